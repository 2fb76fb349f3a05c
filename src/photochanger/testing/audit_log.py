"""The contract of `AuditLog`."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any

import pytest

from photochanger.application.ports.administration import AuditFilter
from photochanger.domain.audit import Actor, AuditAction, AuditEntry, AuditEvent, Change
from photochanger.testing.harness import (
    AN_INSTANT,
    HOUR,
    SECOND,
    Records,
    RecordsContract,
    a_pending_job,
    an_entry,
    present,
)

AWKWARD_TEXTS = (
    "two\nlines\r\n\tand a tab",
    "\"double\" 'single' `back` \\n \\ \\u0041 %s %(x)s {y} $1 --",
    "Фотозона № 1 ☀ 👩\u200d👩\u200d👧 \u00e9 e\u0301",
    " blanks around ",
    "'; DROP TABLE audit_event; --",
    "x" * 10_000,
)

_EVERYTHING = AuditFilter()
_FILTERS = ("action", "actor", "subject", "since", "until", "before")


async def _logged(records: Records, *logged: AuditEntry) -> Sequence[AuditEvent]:
    """Add the entries, a second apart, and return their events in the same order."""
    for entry in logged:
        await records.audit.add(entry)
        await records.time_passes(SECOND)
    return (await records.audit.page(_EVERYTHING, limit=1_000))[::-1]


async def _some_events(records: Records) -> Sequence[AuditEvent]:
    """Return events of two actions of two actors on two subjects, each combination once."""
    return await _logged(
        records,
        *(
            an_entry(actor, action, subject)
            for actor in ("serg", "игорь")
            for action in (AuditAction.SLOT_CHANGED, AuditAction.SLOT_CLEANED)
            for subject in ("slot-001", "slot-002")
        ),
    )


def _by(name: str, event: AuditEvent) -> AuditFilter:
    """Return the filter by one thing that the event meets; the times and the id it meets just so."""
    entry = event.entry
    return {
        "action": AuditFilter(action=entry.action),
        "actor": AuditFilter(actor=entry.actor.name),
        "subject": AuditFilter(subject=entry.subject),
        "since": AuditFilter(since=event.at),
        "until": AuditFilter(until=event.at + AN_INSTANT),
        "before": AuditFilter(before=event.event_id + 1),
    }[name]


def _meets(event: AuditEvent, wanted: AuditFilter) -> bool:
    entry = event.entry
    return all(
        [
            wanted.action is None or entry.action == wanted.action,
            wanted.actor is None or entry.actor.name == wanted.actor,
            wanted.subject is None or entry.subject == wanted.subject,
            wanted.since is None or wanted.since <= event.at,
            wanted.until is None or event.at < wanted.until,
            wanted.before is None or event.event_id < wanted.before,
        ]
    )


class AuditLogContract(RecordsContract):
    """Every sentence of `AuditLog`; override the fixture `records`."""

    async def test_it_is_empty_at_first(self, records: Records) -> None:
        assert list(await records.audit.page(_EVERYTHING, limit=10)) == []

    async def test_every_field_of_an_entry_is_kept(self, records: Records) -> None:
        entry = AuditEntry(
            action=AuditAction.SLOT_CHANGED,
            actor=Actor(name="игорь", origin="2001:db8::1"),
            subject="slot-007",
            changes={
                "retry.max_attempts": Change(2, 3),
                "params": Change({"strength": 0.25, "sharp": True}, None),
                "template_media": Change([], [{"role": "style", "template_id": "t-1"}]),
                "ingest_password": Change(old=False, new=True),
                "size": Change(1, 1.5),
            },
        )
        [event] = await _logged(records, entry)
        assert event.entry == entry
        assert repr(event.entry.changes["ingest_password"]) == "Change(old=False, new=True)"

    @pytest.mark.parametrize("text", AWKWARD_TEXTS, ids=lambda text: ascii(text[:12]))
    async def test_text_is_kept_exactly(self, records: Records, text: str) -> None:
        entry = AuditEntry(
            action=AuditAction.LOGIN_FAILED,
            actor=Actor(name=text, origin=text),
            subject=text,
            changes={text: Change(text, [text, {text: text}])},
        )
        [event] = await _logged(records, entry)
        assert event.entry == entry
        for wanted in (AuditFilter(actor=text), AuditFilter(subject=text)):
            assert await records.audit.page(wanted, limit=10) == [event]

    @pytest.mark.parametrize("action", AuditAction)
    async def test_there_is_an_entry_of_every_action(self, records: Records, action: AuditAction) -> None:
        [event] = await _logged(records, an_entry(action=action))
        assert event.entry.action is action
        assert await records.audit.page(AuditFilter(action=action), limit=10) == [event]

    async def test_nobody_may_be_known_to_have_done_it(self, records: Records) -> None:
        entry = AuditEntry(action=AuditAction.LOGIN_FAILED, actor=Actor(name=None, origin="192.0.2.7"))
        [event] = await _logged(records, entry)
        assert event.entry == entry

    async def test_its_time_is_the_stores(self, records: Records) -> None:
        before = await a_pending_job(records)
        await records.audit.add(an_entry())
        after = await present(records, before)
        [event] = await records.audit.page(_EVERYTHING, limit=1)
        assert before.now <= event.at <= after.now
        assert event.at.utcoffset() == timedelta(0)

    async def test_the_newest_come_first(self, records: Records) -> None:
        for number in range(10):
            await records.audit.add(an_entry(subject=str(number)))
        events = await records.audit.page(_EVERYTHING, limit=100)
        assert [event.entry.subject for event in events] == list("9876543210")
        ids = [event.event_id for event in events]
        assert ids == sorted(set(ids), reverse=True)

    async def test_no_more_are_returned_than_were_asked_for(self, records: Records) -> None:
        events = await _some_events(records)
        assert await records.audit.page(_EVERYTHING, limit=3) == events[::-1][:3]

    @pytest.mark.parametrize("name", _FILTERS)
    async def test_each_filter_alone(self, records: Records, name: str) -> None:
        events = await _some_events(records)
        wanted = _by(name, events[3])
        expected = [event for event in events[::-1] if _meets(event, wanted)]
        assert 0 < len(expected) < len(events)
        assert await records.audit.page(wanted, limit=100) == expected

    async def test_since_is_included_and_until_is_not(self, records: Records) -> None:
        _, second, third, *_ = await _some_events(records)
        wanted = AuditFilter(since=second.at, until=third.at)
        assert await records.audit.page(wanted, limit=100) == [second]
        assert await records.audit.page(replace(wanted, since=second.at + AN_INSTANT), limit=100) == []

    async def test_all_filters_together_are_each_met(self, records: Records) -> None:
        events = await _some_events(records)
        event = events[3]
        wanted = AuditFilter(
            **{name: getattr(_by(name, event), name) for name in _FILTERS},
        )
        assert await records.audit.page(wanted, limit=100) == [event]
        others: dict[str, Any] = {
            "action": AuditAction.LOGGED_OUT,
            "actor": "nobody",
            "subject": "slot-003",
            "since": event.at + AN_INSTANT,
            "until": event.at,
            "before": event.event_id,
        }
        for name, other in others.items():
            assert await records.audit.page(replace(wanted, **{name: other}), limit=100) == []

    async def test_filters_are_of_the_whole_text(self, records: Records) -> None:
        await _some_events(records)
        for wanted in (AuditFilter(actor="ser"), AuditFilter(actor="%"), AuditFilter(subject="SLOT-001")):
            assert await records.audit.page(wanted, limit=100) == []

    async def test_what_an_unknown_actor_did_is_not_the_empty_ones(self, records: Records) -> None:
        await _logged(records, an_entry(None))
        assert await records.audit.page(AuditFilter(actor=""), limit=100) == []

    async def test_a_moment_may_be_given_in_any_time_zone(self, records: Records) -> None:
        _, second, third, *_ = await _some_events(records)
        since, until = (event.at.astimezone(timezone(5.5 * HOUR)) for event in (second, third))
        assert await records.audit.page(AuditFilter(since=since, until=until), limit=100) == [second]

    async def test_pages_follow_one_another_whatever_is_added_meanwhile(self, records: Records) -> None:
        events = await _some_events(records)
        seen: list[AuditEvent] = []
        wanted = _EVERYTHING
        while page := await records.audit.page(wanted, limit=3):
            seen.extend(page)
            wanted = AuditFilter(before=page[-1].event_id)
            await records.audit.add(an_entry())
        assert seen == events[::-1]

    async def test_concurrent_additions_are_all_kept(self, records: Records) -> None:
        await asyncio.gather(*(records.audit.add(an_entry(subject=str(number))) for number in range(50)))
        events = await records.audit.page(_EVERYTHING, limit=100)
        assert {event.entry.subject for event in events} == {str(number) for number in range(50)}
        assert len({event.event_id for event in events}) == 50

    async def test_a_returned_event_is_a_copy(self, records: Records) -> None:
        changes = {"a": Change([1], [2])}
        entry = AuditEntry(action=AuditAction.SLOT_CHANGED, actor=Actor(name="serg"), changes=changes)
        [event] = await _logged(records, entry)
        for held in (changes, event.entry.changes):
            held["b"] = Change(1, 2)  # type: ignore[index] # behind everyone's back
        [kept] = await records.audit.page(_EVERYTHING, limit=10)
        assert kept.entry.changes == {"a": Change([1], [2])}

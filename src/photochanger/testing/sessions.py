"""The contract of `SessionRepository`.

A session's times are the caller's. So that they lie well with a store that has a real clock, they are counted
from the store's present time.
"""

import asyncio
from datetime import datetime, timedelta

from photochanger.domain.account import Session, SessionId
from photochanger.domain.audit import AuditAction, AuditEntry
from photochanger.domain.media import MediaKind
from photochanger.testing.harness import (
    HOUR,
    MINUTE,
    Records,
    RecordsContract,
    an_entry,
    announced,
    entries,
    new_id,
)

_OPENED = an_entry("serg", AuditAction.LOGIN_SUCCEEDED, "serg")
_CLOSED = an_entry("serg", AuditAction.LOGGED_OUT, "serg")
_ALL_CLOSED = an_entry("igor", AuditAction.SESSIONS_CLOSED, "serg")


async def _now(records: Records) -> datetime:
    image = await announced(records, MediaKind.PREVIEW)
    reading = await records.media.peek(image.media_id)
    assert reading is not None
    return reading.now


async def _opened(records: Records, username: str = "serg", *, life: timedelta = HOUR) -> SessionId:
    now = await _now(records)
    session = Session(
        session_id=SessionId(new_id()), username=username, created_at=now, expires_at=now + life
    )
    await records.sessions.open(session, entry=_OPENED)
    return session.session_id


async def _actions(records: Records) -> list[AuditAction]:
    return [entry.action for entry in await entries(records)]


class SessionRepositoryContract(RecordsContract):
    """Every sentence of `SessionRepository`; override the fixture `records`."""

    async def test_what_was_not_opened_is_not_open(self, records: Records) -> None:
        await _opened(records)
        for unknown in (new_id(), "", "serg"):
            assert not await records.sessions.is_open(SessionId(unknown))

    async def test_an_opened_session_is_open_and_its_entry_in_the_log(self, records: Records) -> None:
        session_id = await _opened(records)
        assert await records.sessions.is_open(session_id)
        assert await entries(records) == [_OPENED]

    async def test_a_session_is_open_until_its_end(self, records: Records) -> None:
        session_id = await _opened(records, life=HOUR)
        await records.time_passes(HOUR - MINUTE)
        assert await records.sessions.is_open(session_id)
        await records.time_passes(MINUTE)
        assert not await records.sessions.is_open(session_id)

    async def test_a_closed_session_is_not_open_and_the_others_are(self, records: Records) -> None:
        closed, other = await _opened(records), await _opened(records)
        assert await records.sessions.close(closed, entry=_CLOSED)
        assert not await records.sessions.is_open(closed)
        assert await records.sessions.is_open(other)
        assert await entries(records) == [_OPENED, _OPENED, _CLOSED]

    async def test_what_is_not_open_is_not_closed_and_not_logged(self, records: Records) -> None:
        closed, ended = await _opened(records), await _opened(records, life=MINUTE)
        await records.sessions.close(closed, entry=_CLOSED)
        await records.time_passes(MINUTE)
        for session_id in (closed, ended, SessionId(new_id())):
            assert not await records.sessions.close(session_id, entry=_CLOSED)
        assert await _actions(records) == [_OPENED.action, _OPENED.action, _CLOSED.action]

    async def test_of_concurrent_callers_one_closes_it(self, records: Records) -> None:
        session_id = await _opened(records)
        closings = (records.sessions.close(session_id, entry=_CLOSED) for _ in range(6))
        assert sorted(await asyncio.gather(*closings)) == [*[False] * 5, True]
        assert await _actions(records) == [_OPENED.action, _CLOSED.action]

    async def test_all_sessions_of_an_account_are_closed_and_no_others(self, records: Records) -> None:
        mine = [await _opened(records) for _ in range(3)]
        other = await _opened(records, "igor")
        assert await records.sessions.close_all("serg", entry=_ALL_CLOSED) == 3
        assert [await records.sessions.is_open(session_id) for session_id in mine] == [False] * 3
        assert await records.sessions.is_open(other)
        assert (await entries(records))[4:] == [_ALL_CLOSED]

    async def test_only_open_ones_are_counted_and_none_is_logged_too(self, records: Records) -> None:
        await _opened(records, life=MINUTE)
        await records.sessions.close(await _opened(records), entry=_CLOSED)
        await records.time_passes(MINUTE)
        for username in ("serg", "nobody"):
            assert await records.sessions.close_all(username, entry=_ALL_CLOSED) == 0
        assert (await _actions(records))[-2:] == [_ALL_CLOSED.action] * 2

    async def test_of_concurrent_callers_each_session_is_counted_by_one(self, records: Records) -> None:
        for _ in range(5):
            await _opened(records)
        closings = (records.sessions.close_all("serg", entry=_ALL_CLOSED) for _ in range(4))
        assert sum(await asyncio.gather(*closings)) == 5

    async def test_every_field_of_an_entry_is_kept(self, records: Records) -> None:
        session_id = await _opened(records)
        entry: AuditEntry = an_entry(None, AuditAction.LOGGED_OUT, "кто-то")
        assert await records.sessions.close(session_id, entry=entry)
        assert (await entries(records))[-1] == entry

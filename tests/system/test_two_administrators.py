"""Who edits the same thing at the same time: one wins, the others are told, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest

from tests.system.administrator import Administrator, as_update, initial_credentials, logged_in
from tests.system.installation import Installation

pytestmark = [pytest.mark.anyio, pytest.mark.system]

EDITORS: Final = 100
SLOT: Final = "/api/slots/slot-004"


@pytest.fixture
async def administrators(installation: Installation) -> AsyncIterator[list[Administrator]]:
    """Two logins, each at a server process of its own."""
    servers = [installation.serve("--no-worker") for _ in range(2)]
    known = initial_credentials(installation.folder)
    async with AsyncExitStack() as closing:
        yield [
            await closing.enter_async_context(
                logged_in(server.base_url, known["admin_username"], known["admin_password"])
            )
            for server in servers
        ]
    assert "Traceback" not in installation.logs()


async def test_the_second_of_two_gets_409_and_nothing_is_lost(administrators: list[Administrator]) -> None:
    one, other = administrators
    seen, seen_by_other = as_update(await one.get(SLOT)), as_update(await other.get(SLOT))

    first = await one.call("PUT", SLOT, seen | {"display_name": "of the first"})
    second = await other.call("PUT", SLOT, seen_by_other | {"size_limit_mb": 7})

    assert (first[0], second[0], second[1]["code"]) == (200, 409, "version_conflict")
    assert as_update(await other.get(SLOT)) == seen | {"display_name": "of the first", "version": 2}
    status, stored = await other.call("PUT", SLOT, as_update(await other.get(SLOT)) | {"size_limit_mb": 7})
    assert status == 200
    assert (stored["display_name"], stored["size_limit_mb"], stored["version"]) == ("of the first", 7, 3)
    assert await one.get(SLOT) | {"ingest_url": ""} == stored | {"ingest_url": ""}


async def test_the_same_goes_for_settings(administrators: list[Administrator]) -> None:
    before = await administrators[0].get("/api/settings")
    document = {name: before[name] for name in ("version", "results", "limits", "cleanup")}
    document["ingest"] = {name: value for name, value in before["ingest"].items() if "password" not in name}
    wishes = [{**document, "results": {**before["results"], "gallery_size": size}} for size in (3, 4)]

    answers = await asyncio.gather(
        *(
            administrator.call("PUT", "/api/settings", wish)
            for administrator, wish in zip(administrators, wishes, strict=True)
        )
    )

    [(_, stored)] = [answer for answer in answers if answer[0] == 200]
    [(_, refused)] = [answer for answer in answers if answer[0] == 409]
    assert refused["code"] == "version_conflict"
    for administrator in administrators:
        assert (await administrator.get("/api/settings"))["results"] == stored["results"]


async def test_of_a_hundred_at_once_one_wins_and_who_reads_anew_wins_later(
    administrators: list[Administrator],
) -> None:
    before = await administrators[0].get(SLOT)
    seen = as_update(before)
    answers = await asyncio.gather(
        *(
            administrators[number % 2].call("PUT", SLOT, seen | {"display_name": f"{1 << number:x}"})
            for number in range(EDITORS)
        )
    )
    [first] = [number for number, (status, _) in enumerate(answers) if status == 200]
    assert [answer["code"] for status, answer in answers if status != 200] == ["version_conflict"] * 99

    at_once = asyncio.Semaphore(20)  # who loses reads anew, so that all hundred would ask ten thousand times
    won = await asyncio.gather(
        *(
            _set_bit(administrators[number % 2], 1 << number, at_once)
            for number in range(EDITORS)
            if number != first
        )
    )
    won.append(answers[first][1]["version"])

    after = await administrators[0].get(SLOT)
    assert int(after["display_name"], 16) == (1 << EDITORS) - 1
    assert sorted(won) == [*range(before["version"] + 1, before["version"] + 1 + EDITORS)]
    assert after["version"] == before["version"] + EDITORS
    await _see_the_log(administrators[1])


async def _set_bit(administrator: Administrator, bit: int, at_once: asyncio.Semaphore) -> int:
    """Add `bit` to the number that the slot is named by, however often it takes; return the version."""
    async with at_once:
        while True:
            seen = await administrator.get(SLOT)
            name = f"{int(seen['display_name'] or '0', 16) | bit:x}"
            status, answer = await administrator.call("PUT", SLOT, as_update(seen) | {"display_name": name})
            if status == 200:
                version: int = answer["version"]
                return version
            assert (status, answer["code"]) == (409, "version_conflict")


async def _see_the_log(administrator: Administrator) -> None:
    """See that each edit is in the log once, and that each began where the one before had ended."""
    page: dict[str, Any] = await administrator.get(
        "/api/audit?action=slot_changed&subject=slot-004&limit=200"
    )
    changes = [event["changes"]["display_name"] for event in reversed(page["items"])]
    assert (len(changes), page["next_cursor"]) == (EDITORS, None)
    assert [change["old"] for change in changes] == ["", *(change["new"] for change in changes[:-1])]
    added = [int(change["new"], 16) ^ int(change["old"] or "0", 16) for change in changes]
    assert sorted(added) == [1 << number for number in range(EDITORS)]

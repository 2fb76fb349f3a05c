"""What runs in the background of a process."""

import asyncio
import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest
from structlog.testing import capture_logs

from photochanger.domain.errors import DatabaseUnavailable
from photochanger.entrypoints import runtime
from photochanger.entrypoints.container import Container

pytestmark = pytest.mark.anyio


async def test_metrics_are_shown_again_after_a_database_that_was_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "SHOW_EVERY_SEC", 0)
    calls, shown = 0, asyncio.Event()

    async def show() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise DatabaseUnavailable
        shown.set()

    with capture_logs() as lines:
        showing = asyncio.create_task(runtime._show_regularly(show, "the quotas"))
        await asyncio.wait_for(shown.wait(), 10)
        showing.cancel()
        await asyncio.wait([showing])

    assert [(line["log_level"], line["event"], line["what"]) for line in lines] == [
        ("warning", "cannot read for the metrics now", "the quotas")
    ]


async def test_all_hours_are_added_up_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "ADD_UP_EVERY_SEC", 0)
    limits, all_done = [], asyncio.Event()
    answers: Iterator[int | None] = iter([None, 6, 6, 2, 0, 0, 1, 0])

    class Hours:
        async def roll_up(self, *, limit: int) -> int:
            limits.append(limit)
            answer = next(answers, -1)
            if answer is None:
                raise DatabaseUnavailable
            if answer < 0:
                all_done.set()
            return max(0, answer)

    container = cast("Container", SimpleNamespace(statistics=Hours))
    with capture_logs() as lines:
        adding = asyncio.create_task(runtime._add_up_regularly(container))
        await asyncio.wait_for(all_done.wait(), 10)
        adding.cancel()
        await asyncio.wait([adding])

    assert set(limits) == {runtime.HOURS_AT_ONCE}
    assert [(line["log_level"], line["event"], line.get("count")) for line in lines] == [
        ("warning", "cannot add hours up now", None),
        ("info", "hours added up", 14),
        ("info", "hours added up", 1),
    ]


def test_what_the_start_has_made_is_set_aside() -> None:
    before = gc.get_freeze_count()
    try:
        runtime.set_aside_what_stays()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()

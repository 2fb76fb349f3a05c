"""What runs in the background of a process."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest
from structlog.testing import capture_logs

from photochanger.domain.errors import DatabaseUnavailable
from photochanger.entrypoints import runtime
from photochanger.entrypoints.container import Container

pytestmark = pytest.mark.anyio


async def test_quotas_are_shown_again_after_a_database_that_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "SHOW_QUOTAS_EVERY_SEC", 0)
    calls, shown = 0, asyncio.Event()

    async def show_quotas() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise DatabaseUnavailable
        shown.set()

    container = cast("Container", SimpleNamespace(show_quotas=lambda: show_quotas))
    with capture_logs() as lines:
        showing = asyncio.create_task(runtime._show_quotas_regularly(container))
        await asyncio.wait_for(shown.wait(), 10)
        showing.cancel()
        await asyncio.wait([showing])

    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("warning", "cannot read the quotas now")
    ]

"""What no server of ours lets through, and another might."""

from typing import Any, cast

import pytest
from litestar.types import Receive, Scope, Send

from photochanger.entrypoints.http.guard import Guard

pytestmark = pytest.mark.anyio


async def test_a_websocket_is_closed_before_it_is_opened() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    scope = cast("Scope", {"type": "websocket", "path": "/ingest/slot-001", "headers": []})
    await Guard(never)(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]

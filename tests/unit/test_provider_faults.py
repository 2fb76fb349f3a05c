"""The replay of faults finds what is not as a row says."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import BinaryIO

import pytest

from photochanger.application.ports.providers import ImageProvider, TransformRequest
from photochanger.domain.errors import (
    ProviderError,
    ProviderNoImage,
    ProviderQuotaExhausted,
    ProviderRejected,
)
from photochanger.domain.operation import Operation, ProviderDescription
from photochanger.testing.provider_faults import Outcome, Row, replay

pytestmark = pytest.mark.anyio

ROW = Row(name="broken", meaning="it breaks", expected=ProviderError)
OPERATION = Operation(name="nothing", display_name="Nothing")

Behaviour = Callable[[TransformRequest], Awaitable[None]]


class ScriptedProvider(ImageProvider):
    def __init__(self, behave: Behaviour) -> None:
        self._behave = behave

    @property
    def description(self) -> ProviderDescription:
        return ProviderDescription(name="scripted", display_name="Scripted", operations=(OPERATION,))

    async def transform(self, request: TransformRequest, into: BinaryIO) -> None:
        await self._behave(request)


async def outcome_of(behave: Behaviour, row: Row = ROW, deadline_sec: float = 5) -> Outcome:
    @asynccontextmanager
    async def arranged(_row: Row) -> AsyncIterator[ImageProvider]:
        yield ScriptedProvider(behave)

    (outcome,) = await replay([row], arranged, operation=OPERATION, params={}, deadline_sec=deadline_sec)
    return outcome


def raising(error: Exception | None) -> Behaviour:
    async def behave(_request: TransformRequest) -> None:
        if error is not None:
            raise error

    return behave


async def test_a_row_that_is_as_it_should_be_is_ok() -> None:
    outcome = await outcome_of(raising(ProviderError("gone")))
    assert outcome.ok
    assert outcome.maybe_billed is False
    assert outcome.told.startswith("broken: ProviderError (gone), ")
    assert outcome.told.endswith(" s: ok")


@pytest.mark.parametrize(
    ("error", "row", "problem"),
    [
        (None, ROW, "is not ProviderError"),
        (KeyError("x"), ROW, "is not ProviderError"),
        (ProviderRejected(), ROW, "is not ProviderError"),
        (ProviderError(maybe_billed=True), ROW, "maybe_billed is not False"),
        (ProviderNoImage(once=True), replace(ROW, expected=ProviderNoImage, once=False), "once is not False"),
        (
            ProviderQuotaExhausted(retry_after_sec=60),
            replace(ROW, expected=ProviderQuotaExhausted, retry_after_sec=37),
            "retry_after_sec is 60, not 37",
        ),
    ],
)
async def test_another_outcome_is_told(error: Exception | None, row: Row, problem: str) -> None:
    outcome = await outcome_of(raising(error), row)
    assert outcome.problems == (problem,)
    assert not outcome.ok
    assert outcome.told.endswith(problem)


async def test_a_call_that_ends_late_is_told() -> None:
    async def late(request: TransformRequest) -> None:
        await asyncio.sleep(request.deadline - asyncio.get_running_loop().time() + 0.5)
        raise ProviderError

    (problem,) = (await outcome_of(late, deadline_sec=0.05)).problems
    assert problem.endswith("ms late")


async def test_what_a_call_leaves_behind_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("photochanger.testing.provider_faults._SETTLED_WITHIN_SEC", 0.1)
    task = open_socket = None

    async def careless(_request: TransformRequest) -> None:
        nonlocal task, open_socket
        task = asyncio.create_task(asyncio.Event().wait(), name="forgotten")
        open_socket = socket.socket()
        raise ProviderError

    outcome = await outcome_of(careless)
    assert isinstance(task, asyncio.Task)
    assert isinstance(open_socket, socket.socket)
    task.cancel()
    open_socket.close()
    assert outcome.problems[:2] == ("task left: forgotten after the call", "sockets left: 1 after the call")
    assert "task left: forgotten after closing" in outcome.problems


async def test_a_call_that_never_ends_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("photochanger.testing.provider_faults._SETTLED_WITHIN_SEC", 0.1)

    async def hang(_request: TransformRequest) -> None:
        await asyncio.Event().wait()

    assert "is not ProviderError" in (await outcome_of(hang, deadline_sec=0.1)).problems

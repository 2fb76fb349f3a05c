"""Every way in which a provider can fail, replayed one by one against a fake of it.

A provider's fake lists its failures as `Row`s. `replay` calls the provider once for each and says what came
of it, so that one command shows the whole table:

    outcomes = await replay(FAULTS.values(), arrange, operation=EDIT_IMAGE, params={"prompt": "…"})
    assert [outcome.told for outcome in outcomes if not outcome.ok] == []
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Final, TypeAlias

from photochanger.application.ports.images import PreparedImage
from photochanger.application.ports.providers import ImageProvider, TransformRequest
from photochanger.domain.errors import ProviderFault, ProviderNoImage
from photochanger.domain.operation import Operation, ParameterValue
from photochanger.testing.provider_requests import Link, a_photo, a_request, no_link

LATENESS_SEC: Final = 0.05
"""By how much a call may end after its deadline, on a machine that is not late itself."""

_SETTLED_WITHIN_SEC: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A way to fail, and the fault it must become; None where there must be a picture all the same.

    `once` and `retry_after_sec` are compared where they are given. Where `takes_all_time`, the fault comes at
    the deadline and not before.
    """

    name: str
    meaning: str = ""
    expected: type[ProviderFault] | None
    maybe_billed: bool = False
    once: bool | None = None
    retry_after_sec: float | None = None
    takes_all_time: bool = False

    @property
    def expectation(self) -> str:
        """What must come of it, in a few words."""
        if self.expected is None:
            return "a picture"
        return self.expected.__name__ + (", maybe billed" if self.maybe_billed else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a row; `problems` holds what is not as it should be."""

    row: Row
    got: BaseException | None
    seconds: float
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything is as the row says."""
        return not self.problems

    @property
    def maybe_billed(self) -> bool | None:
        """What the fault says; None where there was none."""
        return self.got.maybe_billed if isinstance(self.got, ProviderFault) else None

    @property
    def told(self) -> str:
        """The row and its outcome, in a line."""
        verdict = "ok" if self.ok else "; ".join(self.problems)
        return f"{self.row.name}: {self.result}, {self.seconds:.2f} s: {verdict}"

    @property
    def result(self) -> str:
        """What came of it, in a few words."""
        if self.got is None:
            return "a picture"
        return type(self.got).__name__ + (", maybe billed" if self.maybe_billed else "") + f" ({self.got})"


Arrange: TypeAlias = Callable[[Row], AbstractAsyncContextManager[ImageProvider]]
"""Sets up a fresh fake that fails as the row says, and a provider that calls it; closes both at the end."""


async def replay(
    rows: Iterable[Row],
    arrange: Arrange,
    *,
    operation: Operation,
    params: Mapping[str, ParameterValue],
    deadline_sec: float = 1.0,
    photo: Callable[[], PreparedImage] = a_photo,
    link: Link = no_link,
    watch: Callable[[Outcome], None] = lambda _outcome: None,
) -> list[Outcome]:
    """Call the provider once for each row, and compare.

    Each call has `deadline_sec` and is watched for: the class of its fault and what it says of billing, an
    end at the deadline, and that it leaves no task and no socket behind; nor does closing the provider.
    `watch` is told of each as it comes.
    """
    outcomes = []
    for row in rows:
        async with (
            _nothing_left("after closing") as after_closing,
            arrange(row) as provider,
            _nothing_left("after the call") as after_the_call,
        ):
            request = a_request(operation, params, photo=photo(), seconds=deadline_sec, link=link)
            outcome = await _outcome(row, provider, request, deadline_sec)
        outcome = replace(outcome, problems=(*outcome.problems, *after_the_call, *after_closing))
        outcomes.append(outcome)
        watch(outcome)
    return outcomes


async def _outcome(
    row: Row, provider: ImageProvider, request: TransformRequest, deadline_sec: float
) -> Outcome:
    start, got = time.monotonic(), None
    alarm = _Alarm(request.deadline)
    try:
        async with asyncio.timeout(deadline_sec + _SETTLED_WITHIN_SEC):
            await provider.transform(request, BytesIO())
    except Exception as error:  # noqa: BLE001  # whatever it is, it is compared
        got = error
    end = time.monotonic()
    problems = _differences(row, got)
    if row.takes_all_time and end < request.deadline - LATENESS_SEC:
        problems.append("gave up before its time")
    if end > alarm.rang_at() + LATENESS_SEC:
        problems.append(f"{(end - request.deadline) * 1000:.0f} ms late")
    return Outcome(row=row, got=got, seconds=end - start, problems=tuple(problems))


class _Alarm:
    """Says when this machine, busy as it is, lets a thread continue that slept until the deadline."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._rang_at = deadline
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sleep, daemon=True)
        self._thread.start()

    def _sleep(self) -> None:
        if not self._stopped.wait(max(0.0, self._deadline - time.monotonic())):
            self._rang_at = time.monotonic()

    def rang_at(self) -> float:
        """Return when it was; the deadline itself where that has not passed."""
        if time.monotonic() < self._deadline:
            self._stopped.set()
        self._thread.join()
        return self._rang_at


def _differences(row: Row, got: BaseException | None) -> list[str]:
    if row.expected is None and got is None:
        return []
    if type(got) is not row.expected or not isinstance(got, ProviderFault):
        return [f"is not {row.expectation}"]
    problems = []
    if got.maybe_billed is not row.maybe_billed:
        problems.append(f"maybe_billed is not {row.maybe_billed}")
    if row.once is not None and (not isinstance(got, ProviderNoImage) or got.once is not row.once):
        problems.append(f"once is not {row.once}")
    if row.retry_after_sec is not None and got.retry_after_sec != row.retry_after_sec:
        problems.append(f"retry_after_sec is {got.retry_after_sec}, not {row.retry_after_sec}")
    return problems


@asynccontextmanager
async def _nothing_left(when: str) -> AsyncIterator[list[str]]:
    """Yield a list that in the end holds what was begun inside and is still there."""
    tasks, sockets = asyncio.all_tasks(), open_sockets()
    left: list[str] = []
    yield left
    give_up = time.monotonic() + _SETTLED_WITHIN_SEC
    # Closed connections and cancelled tasks need a few turns of the loop, and tell nobody of their end.
    while (found := _surplus(tasks, sockets)) and time.monotonic() < give_up:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    left += [f"{what} {when}" for what in found]


def _surplus(tasks: set[asyncio.Task[Any]], sockets: int) -> list[str]:
    surplus = [f"task left: {task.get_name()}" for task in asyncio.all_tasks() - tasks if not task.done()]
    if (more := open_sockets() - sockets) > 0:
        surplus.append(f"sockets left: {more}")
    return surplus


def open_sockets() -> int:
    """Return how many sockets this process has open; 0 where the system has no /proc."""
    count = 0
    for descriptor in Path("/proc/self/fd").glob("*"):
        try:
            count += str(descriptor.readlink()).startswith("socket:")
        except OSError:
            continue  # the folder's own descriptor, closed by now
    return count

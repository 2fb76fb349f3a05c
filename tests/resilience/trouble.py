"""Trouble with PostgreSQL while requests are held and booths, probes and monitors go on asking."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final

from photochanger.domain.job import Job, JobState
from photochanger.domain.slot import SLOT_IDS, ProviderCall, SlotId
from photochanger.entrypoints.cli.processes import ServeProcess
from photochanger.testing.photos import plain_jpeg
from tests.system.administration import port_of
from tests.system.http_server import Answer, Connection, form, get, part, post
from tests.system.installation import PASSWORD, Installation, eventually, states

HANGING, QUICK = SLOT_IDS[:2]
"""The slot whose provider never answers, and the one whose provider answers at once."""

_PROBE_EVERY_SEC: Final = 0.2
_PHOTO: Final = plain_jpeg()
_PLACES: Final = 128
"""More than there are held requests."""
_GEMINI: Final = ProviderCall(provider="gemini", operation="edit_image", params={"prompt": "as a comic"})


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer: when it was asked for (monotonic) and how long it took, in seconds; and what it was."""

    at: float
    seconds: float
    status: int
    code: str = ""
    has_retry_after: bool = False


@dataclass(kw_only=True)
class Endured:
    """What was seen of the outside."""

    time_out_sec: float
    before: Sequence[Seen] = ()
    """The photo that was delivered before there was trouble."""
    held: Sequence[Seen] = ()
    during: list[Seen] = field(default_factory=list)
    """The photos that were sent while there was trouble."""
    live: list[Seen] = field(default_factory=list)
    ready: list[Seen] = field(default_factory=list)
    ended_at: float = 0.0
    back_at: float = 0.0
    """When the first photo was delivered after the trouble had ended."""
    after: Sequence[Seen] = ()
    """The photos that were sent from the trouble's end to the first delivery."""
    jobs: Sequence[Job] = ()
    """All of both slots, in the end."""
    states: Mapping[SlotId, set[JobState]] = field(default_factory=dict)
    """The states that they are in."""

    @property
    def back_sec(self) -> float:
        """How long after the trouble's end a picture was delivered again."""
        return self.back_at - self.ended_at

    def lost(self) -> int:
        """Return how many pictures were delivered that no job knows of."""
        delivered = sum(each.status == 200 for each in (*self.before, *self.during, *self.after))
        completed = sum(job.state is JobState.COMPLETED for job in self.jobs)
        return max(0, delivered - completed)

    def doubled(self) -> int:
        """Return how many jobs there are beyond the photos that were sent."""
        sent = (*self.before, *self.held, *self.during, *self.after)
        return max(0, len(self.jobs) - len(sent))

    def late_sec(self) -> list[float]:
        """Return how late the held requests were answered."""
        return [each.seconds - self.time_out_sec for each in self.held]


async def photo_to(server: ServeProcess, slot_id: str) -> Seen:
    """Send a photo; say what came."""
    fields = part("password", PASSWORD.encode()), part("fileToUpload", _PHOTO, file_name="a.jpg")
    return await _seen(server, post(form(*fields), f"/ingest/{slot_id}"))


async def _seen(server: ServeProcess, request: bytes) -> Seen:
    async with Connection.to(port_of(server)) as connection:
        # Not before: when a hundred connect at once, we ourselves take most of the time.
        began = time.monotonic()
        await connection.send(request)
        answer = await connection.answer(within_sec=70)
    return Seen(began, time.monotonic() - began, answer.status, _code(answer), "retry-after" in answer)


def _code(answer: Answer) -> str:
    is_problem = any(value.startswith("application/problem") for _, value in answer.headers)
    return str(json.loads(answer.body)["code"]) if is_problem else ""


class Endurance:
    """A server with held requests that meets trouble, and is asked all along."""

    def __init__(self, installation: Installation, *, time_out_sec: int) -> None:
        self._installation = installation
        self._seen = Endured(time_out_sec=time_out_sec)

    async def set_up(self) -> None:
        """Set the two slots up, and start the server.

        Their providers differ: when calls of the one have hung, its breaker keeps others away for a while.
        And no held request waits for a place: it might be refused.
        """
        terms = {"timeout_sec": int(self._seen.time_out_sec), "max_concurrency": _PLACES}
        await self._installation.set_up({}, slot_id=HANGING, call=_GEMINI, **terms)
        await self._installation.set_up({"effect": "none"}, slot_id=QUICK, **terms)
        self._silent = socket.create_server(("127.0.0.1", 0), backlog=_PLACES)  # where nobody is answered
        host, port = self._silent.getsockname()
        gemini = {"GEMINI_API_KEY": "key", "GEMINI_BASE_URL": f"http://{host}:{port}"}
        self._server = await asyncio.to_thread(self._installation.serve, workers=_PLACES, variables=gemini)

    async def go_through(self, trouble: AbstractAsyncContextManager[None], *, held: int) -> Endured:
        """Hold requests, have trouble until all of them are answered, and wait until photos go through."""
        with self._silent:
            self._seen.before = [await photo_to(self._server, QUICK)]
            assert self._seen.before[0].status == 200
            holding = asyncio.gather(*(photo_to(self._server, HANGING) for _ in range(held)))
            await self._all_are_jobs(held + 1)
            async with trouble:
                while not holding.done():
                    await self._probe()
            self._seen.ended_at = time.monotonic()
            self._seen.held = await holding
            self._seen.back_at = await self._first_delivery()
            self._seen.jobs = jobs = await self._all_final()
            self._seen.states = {
                slot_id: states([job for job in jobs if job.slot_id == slot_id])
                for slot_id in (HANGING, QUICK)
            }
            return self._seen

    async def _all_final(self) -> list[Job]:
        async def final() -> list[Job]:
            jobs = await self._installation.jobs()
            return jobs if all(job.is_finalized for job in jobs) else []

        return await eventually(final)

    async def _all_are_jobs(self, count: int) -> None:
        async def they_are() -> bool:
            return len(await self._installation.jobs()) >= count

        await eventually(they_are)

    async def _probe(self) -> None:
        """Send photos at once, and ask what supervisors ask."""
        *photos, live, ready = await asyncio.gather(
            *(photo_to(self._server, QUICK) for _ in range(3)),
            _seen(self._server, get("/livez")),
            _seen(self._server, get("/readyz")),
        )
        self._seen.during += photos
        self._seen.live.append(live)
        self._seen.ready.append(ready)
        await asyncio.sleep(_PROBE_EVERY_SEC)

    async def _first_delivery(self) -> float:
        """Send a photo every few milliseconds until one is delivered; return when that was."""
        sent: list[asyncio.Task[Seen]] = []

        async def delivered() -> Seen | None:
            sent.append(asyncio.create_task(photo_to(self._server, QUICK)))
            await asyncio.sleep(0.03)
            return next(_delivered(sent), None)

        await eventually(delivered)
        self._seen.after = await asyncio.gather(*sent)
        return min(each.at + each.seconds for each in _delivered(sent))


def _delivered(sent: Sequence["asyncio.Task[Seen]"]) -> Iterator[Seen]:
    return (task.result() for task in sent if task.done() and task.result().status == 200)

"""Booths: they send photos, slowly or at once, hang up, come again with their key, and note what they got."""

import asyncio
import base64
import random
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.crash.ledger import Told
from tests.crash.line import DEADLINE_SEC, FORM_TYPE, Heard, form
from tests.crash.scenery import PICTURES, SLOTS, Scenery, photo_of

ANSWERS: Final = frozenset({200, 409, 410, 429, 502, 503, 504})
"""All that a good photo can be answered: with a picture, cancelled, cleaned up, or one of the failures."""

_CHUNK: Final = 16 * 1024
_TRIES_WITH_KEY: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How one photo is sent."""

    slot_id: str
    body: bytes
    slowness_sec: float = 0.0
    hang_up_after_sec: float | None = None
    key: str | None = None
    inline: str | None = None
    """None: the picture is wanted as such, else as JSON."""

    @property
    def target(self) -> str:
        """The path with its query."""
        return f"/ingest/{self.slot_id}" + (f"?inline={self.inline}" if self.inline else "")

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""
        keyed = {"Idempotency-Key": self.key} if self.key else {}
        wanted = {"Accept": "application/json"} if self.inline else {}
        return {"Content-Type": FORM_TYPE, "Content-Length": str(len(self.body)), **keyed, **wanted}

    async def bytes(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces, over as long a time as the booth's network takes."""
        pieces = range(0, len(self.body), _CHUNK)
        for start in pieces:
            yield self.body[start : start + _CHUNK]
            if self.slowness_sec:
                await asyncio.sleep(self.slowness_sec / len(pieces))


class Booth:
    """Sends one photo after the other."""

    def __init__(self, scenery: Scenery, number: int) -> None:
        self._scenery = scenery
        self._name = f"booth {number}"
        self._choices = scenery.choices(self._name)
        self._sent = 0

    async def run(self) -> None:
        """Send photos until the load is over."""
        while await self._scenery.goes_on():
            await self._send(self._next())
            await asyncio.sleep(self._choices.uniform(0, 0.25))

    def _next(self) -> Sending:
        chance, self._sent = self._choices, self._sent + 1
        [slot_id] = chance.choices(list(SLOTS), [plan.weight for plan in SLOTS.values()])
        [number] = chance.choices(range(len(PICTURES)), [8, 8, 8, 8, 3, 3, 3, 3, 2, 1])
        unique = f"{self._scenery.seed} {self._name} {self._sent}"
        body = form(
            ("password", self._scenery.ingest_password), file=("fileToUpload", photo_of(number, unique))
        )
        return Sending(
            slot_id=slot_id,
            body=body,
            slowness_sec=chance.uniform(0.05, 1.5) if chance.random() < 0.2 else 0.0,
            hang_up_after_sec=_log_uniform(chance, 0.005, 3) if chance.random() < 0.1 else None,
            key=unique if chance.random() < 0.35 else None,
            inline=chance.choice(["true", "preview", "false"]) if chance.random() < 0.2 else None,
        )

    async def _send(self, sending: Sending) -> None:
        self._scenery.ledger.counts["photos"] += 1
        began = time.monotonic()
        for _ in range(_TRIES_WITH_KEY if sending.key else 1):
            heard = await self._scenery.line.ask(
                "POST",
                sending.target,
                body=sending.bytes(),
                headers=sending.headers,
                held=True,
                kind="photos",
                hang_up_after_sec=sending.hang_up_after_sec,
            )
            if heard is not None:
                self._note(sending, heard, began)
                return
            if not await self._scenery.goes_on():
                return

    def _note(self, sending: Sending, heard: Heard, began: float) -> None:
        ledger = self._scenery.ledger
        if heard.status not in ANSWERS:
            ledger.violated(f"a good photo was answered {heard.status}: {heard.body[:300]!r}")
        if heard.status == 504 and not sending.key and heard.head_at - heard.sent_at < DEADLINE_SEC:
            ledger.violated("a photo was answered 504 before its deadline")
        if heard.status != 200:
            _note_failure(self._scenery, heard)
        elif sending.inline:
            note_outcome(self._scenery, heard.document, sending.inline, began)
        else:
            job_id = heard.headers["X-Job-Id"]
            ledger.tell(job_id, Told(status=200, source=heard.headers["X-Result-Source"]))
            ledger.gave(job_id, sending.slot_id, sent_at=began, picture=heard.body)


class TestRuns:
    """An administrator who tries slots, saved or with another configuration."""

    def __init__(self, scenery: Scenery) -> None:
        self._scenery = scenery
        self._choices = scenery.choices("test runs")

    async def once(self) -> None:
        """Try a slot."""
        slot_id = self._choices.choice(["slot-001", "slot-002", "slot-006"])
        photo = photo_of(self._choices.randrange(4), f"{self._scenery.seed} test {self._choices.random()}")
        body = form(file=("fileToUpload", photo))
        began = time.monotonic()
        heard = await self._scenery.line.ask(
            "POST",
            f"/api/slots/{slot_id}/test-run?inline=true",
            body=body,
            headers=self._scenery.bearing | {"Content-Type": FORM_TYPE},
            held=True,
            kind="test runs",
        )
        if heard is not None and heard.status == 200:
            note_outcome(self._scenery, heard.document, "true", began)
        elif heard is not None:
            if heard.status not in ANSWERS:
                self._scenery.ledger.violated(f"a test run was answered {heard.status}: {heard.body[:300]!r}")
            _note_failure(self._scenery, heard)


def note_outcome(scenery: Scenery, outcome: Mapping[str, Any], inline: str, began: float) -> None:
    """Note an answer in JSON, with the picture or the preview in it, or neither."""
    inlined = outcome["result_inline_base64"]
    image = None if inlined is None else base64.b64decode(inlined)
    job_id, source = outcome["job_id"], outcome["result_source"]
    scenery.ledger.tell(job_id, Told(status=200, source=source))
    scenery.ledger.gave(
        job_id,
        outcome["slot_id"],
        sent_at=began,
        picture=image if inline == "true" else None,
        preview=image if inline == "preview" else None,
    )


def _note_failure(scenery: Scenery, heard: Heard) -> None:
    problem = heard.document
    scenery.ledger.counts[f"photos refused: {problem['code']}"] += 1
    if job_id := problem.get("job_id"):
        told = Told(status=heard.status, failure_reason=problem.get("failure_reason"))
        scenery.ledger.tell(job_id, told)


def _log_uniform(chance: random.Random, least: float, most: float) -> float:
    """Return a number whose order of magnitude is as random as the number."""
    return float(least * (most / least) ** chance.random())

"""The load: booths, guests and administrators, each with choices of its own that come from the seed."""

import asyncio
import base64
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.chaos.history import History, Kind
from tests.chaos.line import Answer, Asking, Line
from tests.chaos.pictures import Numbers, numbered, numbers_in
from tests.crash.line import FORM_TYPE, form
from tests.crash.scenery import settings_update
from tests.system.administrator import as_update

SWITCHED_SLOT: Final = "slot-005"
"""The one that an administrator switches off and on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long a slot's photos may take, and how often a call is repeated that has failed."""

    deadline_sec: int
    retries: int


SLOTS: Final[Mapping[str, Terms]] = {
    "slot-001": Terms(deadline_sec=12, retries=0),
    "slot-002": Terms(deadline_sec=20, retries=1),
    "slot-003": Terms(deadline_sec=20, retries=2),
    "slot-004": Terms(deadline_sec=16, retries=1),
    SWITCHED_SLOT: Terms(deadline_sec=20, retries=0),
}
"""Gemini takes no call with less than ten seconds left, so a slot's time-out is at least twelve."""

LONGEST_SEC: Final = max(terms.deadline_sec for terms in SLOTS.values())

STAND_IN_SLOT: Final = "slot-004"
"""Where everything fails it answers with the booth's own photo."""

PERSONAL: Final = ("name", "user_id", "profile", "status", "id")
"""The fields of a booth's form that are about a person."""

_TRIES_WITH_KEY: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What may be in no log: who knows it is in `named`, by what it is."""

    ingest_password: str
    admin_username: str
    admin_password: str
    personal: str


@dataclass(kw_only=True)
class Scene:
    """What all who make the load share."""

    seed: int
    history: History
    line: Line
    secrets: Secrets
    token: str = ""
    over: bool = False
    photos: int = 0
    results: list[str] = field(default_factory=list)
    """The jobs that a client has got a picture of."""

    def chance(self, who: str) -> random.Random:
        """Return the choices of one of them: the same for the same seed."""
        return random.Random(f"{self.seed} {who}")

    def new_photo(self) -> "Photo":
        """Return a photo that nobody has sent yet."""
        self.photos += 1
        return Photo.of(self.photos)

    async def administer(
        self, what: str, method: str, path: str, document: object = None, **facts: Any
    ) -> Answer | None:
        """Ask as an administrator, with a JSON document; the history says how it was answered."""
        typed = {} if document is None else {"Content-Type": "application/json"}
        asking = Asking(
            who="administrator",
            what=what,
            method=method,
            path=path,
            body=None if document is None else json.dumps(document).encode(),
            headers={"Authorization": f"Bearer {self.token}", **typed},
            facts=facts,
        )
        answer = await self.line.ask(asking)
        if answer is not None:
            kind = Kind.OK if answer.status < 300 else Kind.FAIL
            self.line.complete(asking, answer, kind, code=code_of(answer))
        return answer

    async def log_in(self) -> None:
        """Log in; sessions outlive the processes, so that once is enough."""
        asking = Asking(
            who="administrator",
            what="login",
            method="POST",
            path="/api/login",
            body=json.dumps(
                {"username": self.secrets.admin_username, "password": self.secrets.admin_password}
            ).encode(),
            headers={"Content-Type": "application/json"},
            facts={},
        )
        answer = await self.line.ask(asking)
        assert answer is not None
        self.line.complete(asking, answer, Kind.OK)
        self.token = answer.document["access_token"]

    async def set_up(self) -> None:
        """Set the slots up, have files deleted every second, and refuse nobody for being one too many."""
        settings = settings_update(await self._read("/api/settings"))
        settings["cleanup"] = {"enabled": True, "interval_sec": 1}
        settings["ingest"] |= {"rate_limit_rps": 10_000, "rate_limit_burst": 100_000}
        settings["limits"] |= {"per_slot": 1_000}
        await self._write("/api/settings", settings)
        for slot_id, terms in SLOTS.items():
            slot = await self._read(f"/api/slots/{slot_id}")
            await self._write(f"/api/slots/{slot_id}", as_update(slot) | _configuration(slot_id, terms))

    async def _read(self, path: str) -> Any:
        answer = await self.administer("set up", "GET", path)
        assert answer is not None
        assert answer.status == 200, answer.body
        return answer.document

    async def _write(self, path: str, document: object) -> None:
        answer = await self.administer("set up", "PUT", path, document)
        assert answer is not None
        assert answer.status == 200, answer.body


def _configuration(slot_id: str, terms: Terms) -> dict[str, object]:
    return {
        "provider": "gemini",
        "operation": "edit_image",
        "params": {"prompt": "as a comic", "models": ["gemini-3.1-flash-lite-image"]},
        "is_active": True,
        "public_gallery": True,
        "on_failure": "original" if slot_id == STAND_IN_SLOT else "error",
        "sync_response_timeout_sec": terms.deadline_sec,
        "retry": {"max_attempts": terms.retries, "backoff_ms": 100},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """A photo, whose number can be read from its pixels."""

    number: int
    content: bytes
    sha256: str

    @classmethod
    def of(cls, number: int) -> "Photo":
        """Return the photo of this number."""
        content = numbered(Numbers(number, 0))
        return cls(number=number, content=content, sha256=hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How a photo is sent. `inline` is None where the picture is wanted as such, else as JSON."""

    photo: Photo
    slot_id: str
    key: str | None = None
    inline: str | None = None
    hang_up_after_sec: float | None = None


class Booth:
    """Sends photos: alone or as twins, with and without a key, patiently or not."""

    def __init__(self, scene: Scene, number: int, *, pause_sec: float) -> None:
        self._scene = scene
        self._who = f"booth {number}"
        self._chance = scene.chance(self._who)
        self._pause_sec = pause_sec

    async def run(self) -> None:
        """Send photos until the load is over."""
        while not self._scene.over:
            [act] = self._chance.choices(
                [self._alone, self._with_key, self._as_twins, self._twins_with_key, self._impatiently],
                [50, 20, 10, 10, 10],
            )
            await act(self._scene.new_photo(), self._chance.choice(list(SLOTS)))
            await asyncio.sleep(self._chance.uniform(0, 2 * self._pause_sec))

    async def _alone(self, photo: Photo, slot_id: str) -> None:
        await self._send(Sending(photo=photo, slot_id=slot_id, inline=self._inline()))

    async def _with_key(self, photo: Photo, slot_id: str) -> None:
        """Send it with a key, and again with the same key as long as nobody has answered."""
        sending = Sending(photo=photo, slot_id=slot_id, key=f"key-{photo.number}", inline=self._inline())
        for _ in range(_TRIES_WITH_KEY):
            answer = await self._send(sending)
            if answer is not None and answer.status not in {500, 503}:
                return

    async def _as_twins(self, photo: Photo, slot_id: str) -> None:
        """Send the same photo two or three times at once, without a key."""
        await self._at_once(Sending(photo=photo, slot_id=slot_id))

    async def _twins_with_key(self, photo: Photo, slot_id: str) -> None:
        """Send the same photo two or three times at once, with one key."""
        await self._at_once(Sending(photo=photo, slot_id=slot_id, key=f"key-{photo.number}"))

    async def _at_once(self, sending: Sending) -> None:
        await asyncio.gather(*(self._send(sending) for _ in range(self._chance.choice([2, 2, 3]))))

    async def _impatiently(self, photo: Photo, slot_id: str) -> None:
        """Hang up while the photo is sent, or while the picture is made."""
        patience_sec = 0.002 * 1_000 ** self._chance.random()
        await self._send(Sending(photo=photo, slot_id=slot_id, hang_up_after_sec=patience_sec))

    def _inline(self) -> str | None:
        return self._chance.choice(["true", "preview", "false"]) if self._chance.random() < 0.3 else None

    async def _send(self, sending: Sending) -> Answer | None:
        asking = self._asking(sending)
        answer = await self._scene.line.ask(asking)
        if answer is not None:
            kind = Kind.OK if answer.status == 200 else Kind.FAIL
            told = told_of(sending, answer)
            self._scene.line.complete(asking, answer, kind, **told)
            if kind is Kind.OK:
                self._scene.results.append(told["job_id"])
        return answer

    def _asking(self, sending: Sending) -> Asking:
        personal = [(name, self._scene.secrets.personal) for name in PERSONAL]
        fields = [("password", self._scene.secrets.ingest_password), *personal]
        keyed = {"Idempotency-Key": sending.key} if sending.key else {}
        wanted = {"Accept": "application/json"} if sending.inline else {}
        return Asking(
            who=self._who,
            what="photo",
            method="POST",
            path=f"/ingest/{sending.slot_id}" + (f"?inline={sending.inline}" if sending.inline else ""),
            body=form(*fields, file=("fileToUpload", sending.photo.content)),
            headers={"Content-Type": FORM_TYPE, **keyed, **wanted},
            facts={
                "photo": sending.photo.number,
                "sha256": sending.photo.sha256,
                "slot_id": sending.slot_id,
                "key": sending.key,
            },
            hang_up_after_sec=sending.hang_up_after_sec,
        )


def told_of(sending: Sending, answer: Answer) -> dict[str, Any]:
    """Return what an answer to a photo says, for the history."""
    if answer.status != 200:
        document = _document(answer)
        told = {name: document.get(name) for name in ("code", "job_id", "failure_reason")}
        return {**told, "retry_after": answer.headers.get("Retry-After")}
    if sending.inline is None:
        told = {"job_id": answer.headers["X-Job-Id"], "source": answer.headers["X-Result-Source"]}
        return {**told, **picture_facts(answer.body)}
    document = answer.document
    told = {"job_id": document["job_id"], "source": document["result_source"]}
    if sending.inline != "true":
        return told
    return {**told, **picture_facts(base64.b64decode(document["result_inline_base64"]))}


def picture_facts(picture: bytes) -> dict[str, Any]:
    """Return the hash of a picture and the numbers in it, for the history."""
    numbers = numbers_in(picture)
    return {
        "picture_sha256": hashlib.sha256(picture).hexdigest(),
        "shows_photo": numbers.photo if numbers else None,
        "shows_call": numbers.call if numbers else None,
    }


def code_of(answer: Answer) -> str | None:
    """Return the code of an error; None for any other answer."""
    found = _document(answer).get("code") if answer.status >= 400 else None
    return found if isinstance(found, str) else None


def _document(answer: Answer) -> Mapping[str, Any]:
    try:
        found = answer.document
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


class Guest:
    """Looks at results and galleries."""

    def __init__(self, scene: Scene, number: int) -> None:
        self._scene = scene
        self._who = f"guest {number}"
        self._chance = scene.chance(self._who)

    async def run(self) -> None:
        """Look around until the load is over."""
        while not self._scene.over:
            await self._chance.choice([self._result, self._result, self._gallery])()
            await asyncio.sleep(self._chance.uniform(0, 0.4))

    async def _result(self) -> None:
        if self._scene.results:
            await see_result(self._scene, self._who, self._chance.choice(self._scene.results[-200:]))

    async def _gallery(self) -> None:
        slot_id = self._chance.choice(list(SLOTS))
        asking = Asking(
            who=self._who,
            what="gallery",
            method="GET",
            path=f"/public/slots/{slot_id}",
            headers={"Accept": "application/json"},
            facts={"slot_id": slot_id},
        )
        answer = await self._scene.line.ask(asking)
        if answer is not None:
            kind = Kind.OK if answer.status == 200 else Kind.FAIL
            items = answer.document["items"] if kind is Kind.OK else []
            jobs = [item["job_id"] for item in items]
            self._scene.line.complete(asking, answer, kind, jobs=jobs, code=code_of(answer))


async def see_result(scene: Scene, who: str, job_id: str) -> None:
    """Download a result; the history says what came."""
    path = f"/public/results/{job_id}"
    asking = Asking(who=who, what="result", method="GET", path=path, facts={"job_id": job_id})
    answer = await scene.line.ask(asking)
    if answer is None:
        return
    if answer.status == 200:
        scene.line.complete(asking, answer, Kind.OK, **picture_facts(answer.body))
    else:
        scene.line.complete(asking, answer, Kind.FAIL, code=code_of(answer))


class Operator:
    """Cancels jobs, and switches a slot off and on."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._chance = scene.chance("operator")

    async def run(self) -> None:
        """Work until the load is over; the slot is left switched on."""
        while not self._scene.over:
            [act] = self._chance.choices([self._cancel, self._switch], [5, 1])
            await act()
            await asyncio.sleep(self._chance.uniform(0.2, 1.5))

    async def _cancel(self) -> None:
        state = self._chance.choice(["pending", "processing"])
        found = await self._scene.administer("jobs", "GET", f"/api/jobs?status={state}&limit=50")
        if found is None or found.status != 200 or not (jobs := found.document["items"]):
            return
        job_id = self._chance.choice(jobs)["job_id"]
        await self._scene.administer("cancel", "POST", f"/api/jobs/{job_id}/cancel", job_id=job_id)

    async def _switch(self) -> None:
        await self._set(is_active=False)
        await asyncio.sleep(self._chance.uniform(0.1, 1.0))
        for _ in range(20):
            if self._scene.over or await self._set(is_active=True):
                return
            await asyncio.sleep(0.5)

    async def _set(self, *, is_active: bool) -> bool:
        path = f"/api/slots/{SWITCHED_SLOT}"
        slot = await self._scene.administer("slot", "GET", path)
        if slot is None or slot.status != 200:
            return False
        document = as_update(slot.document) | {"is_active": is_active}
        answer = await self._scene.administer("switch", "PUT", path, document, on=is_active)
        return answer is not None and answer.status == 200


def crowd(
    scene: Scene, *, booths: int, guests: int, pause_sec: float
) -> Sequence["Booth | Guest | Operator"]:
    """Return everybody who makes the load."""
    return [
        *(Booth(scene, number, pause_sec=pause_sec) for number in range(booths)),
        *(Guest(scene, number) for number in range(guests)),
        Operator(scene),
    ]

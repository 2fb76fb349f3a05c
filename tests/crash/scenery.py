"""What all who make the load share: the slots and how they are set up, the photos, a login, the pauses."""

import asyncio
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from photochanger.entrypoints.container import Container
from photochanger.testing.photos import camera_jpeg, plain_jpeg
from tests.crash.ledger import Ledger
from tests.crash.line import DEADLINE_SEC, Heard, Line
from tests.system.administrator import as_update

PICTURES: Final = (
    *((320 + 40 * step, 240) for step in range(4)),
    *((1200 + 60 * step, 800) for step in range(4)),
    (2000, 1400),
    (3456, 2304),
)
"""Pixels of the photos; the last one has 3 MB. The first ones are sent more often."""


_CALL: Final = {"provider": "rehearsal", "operation": "photo_effect"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotPlan:
    """What a slot is set up for, and how often booths send photos to it, compared with the others."""

    weight: int
    params: Mapping[str, object]
    call: Mapping[str, str] = field(default_factory=lambda: _CALL)
    fallback: Mapping[str, object] | None = None
    on_failure: str = "error"


SLOTS: Final[Mapping[str, SlotPlan]] = {
    "slot-001": SlotPlan(weight=14, params={"effect": "none"}),
    "slot-002": SlotPlan(weight=8, params={"effect": "mirror", "delay_ms": 300}),
    "slot-003": SlotPlan(weight=5, params={"effect": "none", "delay_ms": 1_500}),
    "slot-004": SlotPlan(weight=3, params={"effect": "none", "delay_ms": 4_000}),
    "slot-005": SlotPlan(weight=2, params={"outcome": "error", "delay_ms": 100}),
    "slot-006": SlotPlan(
        weight=3, params={"outcome": "no_image"}, fallback={"effect": "sepia", "delay_ms": 200}
    ),
    "slot-007": SlotPlan(weight=3, params={"outcome": "error"}, on_failure="original"),
    "slot-008": SlotPlan(weight=1, params={"outcome": "hang"}),
    "slot-009": SlotPlan(weight=1, params={"outcome": "hang"}, on_failure="original"),
    "slot-011": SlotPlan(
        weight=3,
        call={"provider": "turbotext", "operation": "generate_image2image"},
        params={"content": "as knights"},
    ),
}

TEMPLATE_SLOT: Final = "slot-010"
"""Switched off; it binds templates, so that they are removed with `force`."""


def photo_of(number: int, unique: str) -> bytes:
    """Return one of the photos, with a comment that makes its bytes unlike all others."""
    width, height = PICTURES[number]
    of_camera = number % 3 == 2 or width > 3000
    photo = camera_jpeg(width, height, noise=0.1) if of_camera else plain_jpeg(width, height)
    comment = unique.encode()
    # A comment segment right behind the start of the image: ITU-T T.81, B.2.4.5.
    return photo[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + photo[2:]


@dataclass(kw_only=True)
class Scenery:
    """What all who make the load share."""

    seed: int
    ledger: Ledger
    line: Line
    container: Container
    ingest_password: str
    login: Mapping[str, str]
    token: str = ""
    going: asyncio.Event = field(default_factory=asyncio.Event)
    editing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever changes what others compare."""
    over: bool = False

    def choices(self, who: str) -> random.Random:
        """Return the choices of one of them: the same for the same seed."""
        return random.Random(f"{self.seed} {who}")

    async def goes_on(self) -> bool:
        """Wait while the load pauses; false where it is over."""
        await self.going.wait()
        return not self.over

    async def ask(self, method: str, path: str, document: object = None) -> Heard | None:
        """Ask as an administrator, with a JSON document."""
        body = None if document is None else _json(document)
        typed = {} if document is None else {"Content-Type": "application/json"}
        return await self.line.ask(method, path, body=body, headers=self.bearing | typed)

    @property
    def bearing(self) -> dict[str, str]:
        """The header of who is logged in."""
        return {"Authorization": f"Bearer {self.token}"}

    async def log_in(self) -> None:
        """Log in; sessions outlive the processes, so that once is enough."""
        heard = await self.line.ask(
            "POST", "/api/login", body=_json(self.login), headers={"Content-Type": "application/json"}
        )
        if heard is None or heard.status != 200:
            raise RuntimeError("cannot log in")
        self.token = heard.document["access_token"]

    async def set_up(self) -> None:
        """Set the slots up, and have files deleted every second."""
        settings = settings_update(await self._read("/api/settings"))
        cleanup = {"enabled": True, "interval_sec": 1}
        await self._put("/api/settings", settings | {"cleanup": cleanup})
        for slot_id, plan in SLOTS.items():
            slot = await self._read(f"/api/slots/{slot_id}")
            await self._put(f"/api/slots/{slot_id}", as_update(slot) | _configuration(plan))

    async def _read(self, path: str) -> Any:
        heard = await self.ask("GET", path)
        assert heard is not None
        assert heard.status == 200, heard.body
        return heard.document

    async def _put(self, path: str, document: object) -> None:
        heard = await self.ask("PUT", path, document)
        assert heard is not None
        assert heard.status == 200, heard.body


def settings_update(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings, as they were read, as the document that would leave them as they are."""
    ingest = {name: value for name, value in settings["ingest"].items() if "password" not in name}
    kept = {name: settings[name] for name in ("version", "results", "limits", "cleanup")}
    return {**kept, "ingest": ingest}


def _configuration(plan: SlotPlan) -> dict[str, object]:
    fallback = None if plan.fallback is None else {**_CALL, "params": plan.fallback}
    return {
        **plan.call,
        "params": plan.params,
        "fallback": fallback,
        "is_active": True,
        "public_gallery": True,
        "on_failure": plan.on_failure,
        "sync_response_timeout_sec": int(DEADLINE_SEC),
        "retry": {"max_attempts": 1, "backoff_ms": 50},
    }


def _json(document: object) -> bytes:
    return json.dumps(document).encode()

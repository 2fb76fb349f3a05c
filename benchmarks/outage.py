"""What booths notice while a provider is down for ten minutes, with a fallback, through real processes."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from benchmarks.harness import PASSWORD, configure, installation, percentile, running, table
from photochanger.domain.job import ResultSource
from photochanger.domain.slot import ProviderCall
from photochanger.entrypoints.cli.booth import Delivery, Refusal, send_photo
from photochanger.testing.fake_gemini import FakeGemini
from photochanger.testing.photos import plain_jpeg

BEFORE_SEC, DOWN_SEC, AFTER_SEC = 60.0, 600.0, 60.0
PHOTOS_PER_SEC = 1.0
CALL_SEC = 2.0
"""How long Gemini takes when it works, and how long the fallback takes."""

PORT = 8317
GEMINI = ProviderCall(provider="gemini", operation="edit_image", params={"prompt": "as a comic"})
FALLBACK = ProviderCall(
    provider="rehearsal", operation="photo_effect", params={"delay_ms": int(CALL_SEC * 1000)}
)


def run() -> str:
    """Measure, and return the figures as Markdown."""
    return asyncio.run(_measure())


@dataclass(frozen=True, slots=True)
class _Photo:
    sent_at: float
    seconds: float
    source: str


@dataclass
class _Party:
    """Photos at a steady rate, and a Gemini that can be switched off."""

    began: float = field(default_factory=monotonic)
    photos: list[_Photo] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)

    @property
    def now(self) -> float:
        return monotonic() - self.began

    @property
    def is_down(self) -> bool:
        return BEFORE_SEC <= self.now < BEFORE_SEC + DOWN_SEC

    def script(self, _number: int) -> str:
        self.calls.append(self.now)
        return "overloaded" if self.is_down else "ok"

    async def go_on(self, photo: Path) -> None:
        async with asyncio.TaskGroup() as booths:
            while self.now < BEFORE_SEC + DOWN_SEC + AFTER_SEC:
                booths.create_task(self._send(photo))
                await asyncio.sleep(1 / PHOTOS_PER_SEC)

    async def _send(self, photo: Path) -> None:
        sent_at, url = self.now, f"http://127.0.0.1:{PORT}/ingest/slot-001"
        try:
            answer: Delivery | Refusal = await send_photo(
                url, PASSWORD, photo, timeout_sec=60, on_progress=lambda _: None
            )
        except Refusal as refusal:
            answer = refusal
        source = answer.result_source if isinstance(answer, Delivery) else f"refused: {answer.error.code}"
        self.photos.append(_Photo(sent_at, self.now - sent_at, source))


async def _measure() -> str:
    with installation() as data_dir:
        photo = data_dir / "photo.jpg"
        photo.write_bytes(plain_jpeg())
        await asyncio.to_thread(configure, data_dir, call=GEMINI, fallback=FALLBACK)
        party = _Party()
        async with FakeGemini(script=party.script, delay_sec=CALL_SEC) as gemini:
            variables = {"GEMINI_API_KEY": gemini.api_key, "GEMINI_BASE_URL": gemini.base_url}
            with running(data_dir, PORT, variables=variables):
                party.began = monotonic()
                await party.go_on(photo)
    return _told(party)


def _told(party: _Party) -> str:
    down_until = BEFORE_SEC + DOWN_SEC
    phases = {
        "before": (0.0, BEFORE_SEC),
        "the first minute of the outage": (BEFORE_SEC, BEFORE_SEC + 60),
        "the rest of it": (BEFORE_SEC + 60, down_until),
        "after": (down_until, down_until + AFTER_SEC),
    }
    rows = [[name, *_phase(party, start, stop)] for name, (start, stop) in phases.items()]
    back = min(
        (p.sent_at for p in party.photos if p.sent_at > down_until and p.source == ResultSource.PROVIDER),
        default=float("nan"),
    )
    return "\n".join(
        [
            f"### A provider is down for {DOWN_SEC / 60:g} minutes, {PHOTOS_PER_SEC:g} photo a second",
            "",
            table(["phase", "photos", "p50 s", "p95 s", "max s", "from", "calls of Gemini"], rows),
            "",
            f"The first photo that Gemini did again was sent {back - down_until:.1f} s after it was back.",
        ]
    )


def _phase(party: _Party, start: float, stop: float) -> list[object]:
    photos = [photo for photo in party.photos if start <= photo.sent_at < stop]
    times = [photo.seconds for photo in photos]
    sources = ", ".join(sorted({photo.source for photo in photos}))
    calls = sum(start <= at < stop for at in party.calls)
    figures = (percentile(times, 0.5), percentile(times, 0.95), max(times))
    return [len(photos), *(f"{figure:.2f}" for figure in figures), sources, calls]

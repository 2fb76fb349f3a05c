"""`photochanger fake-provider` and `provider-faults`: rehearsing the real adapters without a key."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TypeAlias

import rich_click as click
from rich.console import Console
from rich.table import Table

from photochanger.adapters.gemini import GeminiProvider
from photochanger.adapters.gemini.operations import EDIT_IMAGE
from photochanger.adapters.turbotext import TurbotextProvider
from photochanger.application.ports import ImageProvider, PreparedImage
from photochanger.domain.image import ImageInfo, ImageType
from photochanger.domain.operation import Operation
from photochanger.testing import fake_gemini, fake_turbotext, photos
from photochanger.testing.fake_gemini import FakeGemini
from photochanger.testing.fake_turbotext import FakeTurbotext
from photochanger.testing.links import Links
from photochanger.testing.provider_faults import Outcome, Row, replay

Fake: TypeAlias = FakeGemini | FakeTurbotext

_DEADLINE_SEC = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FakedProvider:
    """A provider of which there is a fake, and the table of its faults."""

    fake: Callable[..., Fake]
    rows: Sequence[Row]
    operation: Operation
    adapter: Callable[[Fake], ImageProvider]
    needs_public_links: bool = False

    @asynccontextmanager
    async def arranged(self, row: Row) -> AsyncIterator[ImageProvider]:
        """Yield the adapter on a fresh fake that goes wrong as the row says."""
        async with self.fake(script=[row.name]) as fake:
            provider = self.adapter(fake)
            yield provider
            await provider.close()


def _gemini(fake: Fake) -> ImageProvider:
    return GeminiProvider(api_key=fake.api_key, base_url=fake.base_url)


def _turbotext(fake: Fake) -> ImageProvider:
    return TurbotextProvider(api_key=fake.api_key, base_url=fake.base_url, poll_sec=0.02, silence_sec=0.4)


FAKED: Mapping[str, FakedProvider] = {
    "gemini": FakedProvider(
        fake=FakeGemini,
        rows=tuple(fake_gemini.FAULTS.values()),
        operation=EDIT_IMAGE,
        adapter=_gemini,
    ),
    "turbotext": FakedProvider(
        fake=FakeTurbotext,
        rows=fake_turbotext.FAULTS,
        operation=TurbotextProvider(api_key=None).description.operations[0],
        adapter=_turbotext,
        needs_public_links=True,
    ),
}


def run_fake(name: str, *, host: str, port: int, delay_sec: float, faults: Sequence[str]) -> None:
    """Serve the fake until the process is asked to end."""
    known = {row.name for row in FAKED[name].rows} | {"ok"}
    if unknown := [fault for fault in faults if fault not in known]:
        raise click.UsageError(
            f"No such faults: {', '.join(unknown)}. See: photochanger fake-provider {name} --list"
        )
    fake = FAKED[name].fake(script=list(faults), host=host, port=port, delay_sec=delay_sec)
    asyncio.run(_serve(name, fake))


async def _serve(name: str, fake: Fake) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with fake:
        click.echo(_instructions(name, fake))
        await ended.wait()


def _instructions(name: str, fake: Fake) -> str:
    prefix = name.upper()
    lines = [
        f"A fake {name} is at {fake.base_url}; Ctrl-C ends it. Start PhotoChanger with:",
        "",
        f"  {prefix}_BASE_URL={fake.base_url}",
        f"  {prefix}_API_KEY={fake.api_key}",
    ]
    if FAKED[name].needs_public_links:
        lines.append("  PUBLIC_BASE_URL=http://127.0.0.1:8000")
    return "\n".join(lines)


def list_faults(name: str) -> None:
    """Print what can go wrong, and what must come of it."""
    table = Table("fault", "what happens", "what must come of it", box=None)
    for row in FAKED[name].rows:
        table.add_row(row.name, row.meaning, row.expectation)
    Console().print(table)


def replay_faults(names: Collection[str], *, only: Collection[str]) -> bool:
    """Replay the tables, print each row as it comes, and say whether all were as they must be."""
    console = Console()
    outcomes = [outcome for name in names for outcome in asyncio.run(_replayed(name, only, console))]
    wrong = sum(not outcome.ok for outcome in outcomes)
    console.print(f"\n{len(outcomes)} rows, {wrong} of them not as they must be")
    return bool(outcomes) and wrong == 0


async def _replayed(name: str, only: Collection[str], console: Console) -> Sequence[Outcome]:
    faked = FAKED[name]
    rows = [row for row in faked.rows if not only or row.name in only]
    console.print(f"\n[bold]{name}[/bold]: {len(rows)} rows")

    def show(outcome: Outcome) -> None:
        mark = "[green]ok[/green]" if outcome.ok else f"[red]{'; '.join(outcome.problems)}[/red]"
        console.print(
            f"  {outcome.row.name:28} expected {outcome.row.expectation:36} got {outcome.result}"
            f" in {outcome.seconds:.2f} s  {mark}",
            soft_wrap=True,
            highlight=False,
        )

    async with Links() as links:
        return await replay(
            rows,
            faked.arranged,
            operation=faked.operation,
            params={"prompt": "as a comic"} if name == "gemini" else {},
            deadline_sec=_DEADLINE_SEC,
            photo=_large_photo,
            link=links,
            watch=show,
        )


def _large_photo() -> PreparedImage:
    """Return a photo that does not fit into the buffers of a connection: one can be cut while it is sent."""
    data = photos.camera_jpeg(2400, 1800, noise=0.9, quality=95)
    info = ImageInfo(image_type=ImageType.JPEG, width=2400, height=1800)
    return PreparedImage(file=BytesIO(data), info=info, size_bytes=len(data))

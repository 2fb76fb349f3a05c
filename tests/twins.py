"""Send one photo fifty times at once to three servers, again and again.

Each round has a photo of its own, and its requests are spread over three `photochanger serve` processes on
one PostgreSQL; in every other round they bring an Idempotency-Key. A round is right where the provider, which
counts for itself, was called once, where one request made the job and all the others were told that it is not
new, and where all of them got the same picture. Exit status: 0 all rounds were right, 1 some were not, and
are told.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import aiohttp

from photochanger.adapters.embedded_postgres import EmbeddedPostgres
from photochanger.adapters.postgres import migrate
from photochanger.domain.slot import ProviderCall
from photochanger.entrypoints.cli.processes import ServeProcess
from photochanger.testing.fake_gemini import FakeGemini
from photochanger.testing.harness import an_entry
from photochanger.testing.photos import plain_jpeg
from tests.system.installation import PASSWORD, SLOT, Installation, as_url

SERVERS = 3
REQUESTS = 50

GEMINI = ProviderCall(provider="gemini", operation="edit_image", params={"prompt": "a knight"})


@dataclass(frozen=True, slots=True)
class Heard:
    """What one request was answered."""

    status: int
    job_id: str
    replayed: bool
    picture: bytes


class Twins:
    """Three servers in front of a provider that counts its calls."""

    def __init__(self, installation: Installation, gemini: FakeGemini) -> None:
        self._installation = installation
        self._gemini = gemini
        self.servers: list[ServeProcess] = []

    async def start(self) -> None:
        """Set the installation up, so that the same photo is done once, and start the servers."""
        await self._installation.set_up({}, call=GEMINI)
        async with self._installation.container() as container:
            settings = await container.settings().get()
            ingest = replace(
                settings.ingest, deduplicate=True, rate_limit_rps=10_000, rate_limit_burst=100_000
            )
            await container.settings().save(replace(settings, ingest=ingest), entry=an_entry("test"))
        variables = {"GEMINI_API_KEY": self._gemini.api_key, "GEMINI_BASE_URL": self._gemini.base_url}
        self.servers = self._installation.serve_several(SERVERS, variables=variables)

    async def rounds(self, count: int, *, tell: Callable[[str], None] = lambda _: None) -> Sequence[str]:
        """Do that many rounds, and return what was wrong."""
        wrong: list[str] = []
        began = time.monotonic()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            for number in range(1, count + 1):
                wrong += [f"round {number}: {what}" for what in await self._round(session, number)]
                if number % 50 == 0:
                    tell(f"{number} rounds in {time.monotonic() - began:.0f} s, {len(wrong)} times wrong")
        jobs = len(await self._installation.jobs())
        return wrong + ([] if jobs == count else [f"{jobs} jobs for {count} photos"])

    async def _round(self, session: aiohttp.ClientSession, number: int) -> Sequence[str]:
        self._gemini.calls.clear()
        photo, key = photo_of(number), f"round {number}" if number % 2 else None
        servers = cycle(self.servers)
        heard = await asyncio.gather(
            *(self.send(session, next(servers), photo, key) for _ in range(REQUESTS))
        )
        return what_is_wrong(heard, calls=len(self._gemini.calls))

    async def send(
        self, session: aiohttp.ClientSession, server: ServeProcess, photo: bytes, key: str | None
    ) -> Heard:
        """Send a photo to a server."""
        form = aiohttp.FormData()
        form.add_field("password", PASSWORD)
        form.add_field("fileToUpload", photo, filename="IMG_0001.JPG", content_type="image/jpeg")
        headers = {"Idempotency-Key": key} if key else {}
        async with session.post(f"{server.base_url}/ingest/{SLOT}", data=form, headers=headers) as answer:
            return Heard(
                status=answer.status,
                job_id=answer.headers.get("X-Job-Id", ""),
                replayed="Idempotent-Replayed" in answer.headers,
                picture=await answer.read(),
            )


def photo_of(number: int) -> bytes:
    """Return a photo of this number: the same picture with other bytes."""
    comment = f"photo {number}".encode()
    photo = plain_jpeg()
    return photo[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + photo[2:]


def what_is_wrong(heard: Sequence[Heard], *, calls: int) -> Sequence[str]:
    """Judge what the requests of one photo were answered."""
    new = sum(not each.replayed for each in heard)
    found = {
        f"answered {sorted({each.status for each in heard})}": {each.status for each in heard} != {200},
        f"{len({each.job_id for each in heard})} jobs": len({each.job_id for each in heard}) != 1,
        f"{len({each.picture for each in heard})} pictures": len({each.picture for each in heard}) != 1,
        f"{new} answers were new": new != 1,
        f"{calls} calls of the provider": calls != 1,
    }
    return [what for what, is_so in found.items() if is_so]


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.twins",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=1000, help="how many (default 1000: some ten minutes)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="photochanger-twins-"))
    with EmbeddedPostgres(folder / "server") as dsn:
        migrate(dsn)
        wrong = asyncio.run(_run(Installation(folder / "data", as_url(dsn)), options.rounds))
    print(f"{options.rounds} rounds of {REQUESTS} requests to {SERVERS} servers: {len(wrong)} times wrong")
    print("\n".join(wrong))
    shutil.rmtree(folder)
    return 1 if wrong else 0


async def _run(installation: Installation, rounds: int) -> Sequence[str]:
    try:
        async with FakeGemini(delay_sec=0.02) as gemini:
            twins = Twins(installation, gemini)
            await twins.start()
            return await twins.rounds(rounds, tell=lambda text: print(text, file=sys.stderr, flush=True))
    finally:
        installation.kill_all()


if __name__ == "__main__":
    sys.exit(main())

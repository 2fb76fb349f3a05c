"""Results fetched as people fetch them: by curl, from a real server process on PostgreSQL."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from photochanger.entrypoints.cli.booth import Delivery
from photochanger.testing.photos import camera_jpeg
from tests.system.installation import Installation

pytestmark = [pytest.mark.anyio, pytest.mark.system]

PHOTO = camera_jpeg(1600, 1200, quality=95, noise=0.5)
HTTP_ERROR = 22
"""curl's exit code for an answer of 400 or above: https://curl.se/docs/manpage.html#EXIT"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """Somebody with curl, a folder, and the address of a result."""

    folder: Path
    url: str
    picture: bytes

    async def curl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run curl in the folder."""
        command = ["curl", "--silent", "--show-error", "--fail", "--max-time", "30", *arguments]
        return await asyncio.to_thread(
            subprocess.run, command, cwd=self.folder, capture_output=True, text=True, check=False
        )

    async def fetch(self, *arguments: str) -> str:
        """Fetch the result into `got`; return the statuses of the answers."""
        done = await self.curl("--output", "got", "--write-out", "%{http_code}", *arguments, self.url)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def got(self) -> bytes:
        """What was fetched."""
        return (self.folder / "got").read_bytes()


@pytest.fixture
async def guest(installation: Installation, tmp_path: Path) -> AsyncIterator[Guest]:
    if shutil.which("curl") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("curl is missing")
    await installation.set_up({"effect": "none"})
    server = await asyncio.to_thread(installation.serve)
    photo, folder = tmp_path / "photo.jpg", tmp_path / "guest"
    photo.write_bytes(PHOTO)
    folder.mkdir()
    delivery = await installation.send(server, photo)
    assert isinstance(delivery, Delivery)
    assert len(delivery.picture) > 1_000_000
    yield Guest(folder=folder, url=delivery.result_url, picture=delivery.picture)
    assert "Traceback" not in installation.logs()


async def test_a_result_is_fetched_in_every_way_that_curl_has(guest: Guest) -> None:
    assert await guest.fetch() == "200"
    assert guest.got == guest.picture

    assert await guest.fetch("--range", "100-199999") == "206"
    assert guest.got == guest.picture[100:200_000]

    (guest.folder / "got").write_bytes(guest.picture[:123_456])
    assert await guest.fetch("--continue-at", "-") == "206"
    assert guest.got == guest.picture

    named = await guest.curl("--remote-name", "--remote-header-name", f"{guest.url}?download=1")
    assert named.returncode == 0
    [download] = guest.folder.glob("photochanger-*.jpg")
    assert download.read_bytes() == guest.picture

    head = await guest.curl("--head", guest.url)
    assert f"content-length: {len(guest.picture)}" in head.stdout.lower()


async def test_what_has_been_fetched_is_not_fetched_again(guest: Guest) -> None:
    etag = ("--etag-save", "etag", "--etag-compare", "etag")
    assert [await guest.fetch(*etag), await guest.fetch(*etag)] == ["200", "304"]
    assert await guest.fetch("--remote-time") == "200"
    assert await guest.fetch("--time-cond", "got") == "304"
    assert await guest.fetch("--time-cond", "1 Jan 2020") == "200"
    assert guest.got == guest.picture


async def test_a_range_behind_the_end_is_an_error(guest: Guest) -> None:
    behind = await guest.curl("--range", "999999999-", guest.url)
    assert (behind.returncode, "416" in behind.stderr) == (HTTP_ERROR, True)


async def test_many_fetches_over_one_connection(guest: Guest) -> None:
    count = 5
    outputs = [argument for n in range(count) for argument in ("--output", str(n), guest.url)]
    done = await guest.curl("--write-out", "%{num_connects}\n", *outputs)
    assert done.stdout.split() == ["1", *["0"] * (count - 1)]
    assert {(guest.folder / str(n)).read_bytes() for n in range(count)} == {guest.picture}

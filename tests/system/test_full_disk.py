"""A small disk below a real server's media: full, without names left, read-only, unmounted, and back."""

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import pytest
from PIL import Image

from photochanger.domain.job import JobState
from photochanger.domain.slot import OnFailure
from photochanger.entrypoints.cli.exit_codes import ExitCode
from photochanger.entrypoints.cli.processes import ServeProcess
from tests.small_disk import SmallDisk, small_disk
from tests.system.administration import ask, port_of, read, token_of
from tests.system.administrator import as_update
from tests.system.http_server import Answer, Connection, exchange, form, part, post
from tests.system.installation import PASSWORD, SLOT, Installation, as_url, eventually, states

pytestmark = [pytest.mark.anyio, pytest.mark.system]

DISK_BYTES: Final = 8 * 1024 * 1024
FILES: Final = 2000
HEALS_WITHIN_SEC: Final = 10.0


def noise(side: int = 300, *, quality: int = 90, orientation: int | None = None) -> bytes:
    """Return a photo whose size on the disk counts: some 100 KB."""
    image = Image.effect_noise((side, side), 80).convert("RGB")
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    with BytesIO() as file:
        image.save(file, "JPEG", quality=quality, exif=exif)
        return file.getvalue()


PHOTO: Final = noise(orientation=6)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path, size_bytes=DISK_BYTES, files=FILES) as disk:
        yield disk


@pytest.fixture
def installation(tmp_path: Path, new_database: Callable[[], str], disk: SmallDisk) -> Iterator[Installation]:
    """An installation whose media are on the small disk, in a folder with a difficult name."""
    installation = Installation(
        tmp_path / "data", as_url(new_database()), media_root=disk.path / "медиа – папка 1"
    )
    yield installation
    installation.kill_all()


@pytest.fixture
async def server(installation: Installation) -> ServeProcess:
    await installation.set_up({"effect": "none"}, timeout_sec=20, public_gallery=True)
    await installation.add_account("igor")
    return await asyncio.to_thread(installation.serve)


def in_chunks(request: bytes) -> bytes:
    """Return the same request without saying how long it is."""
    head, _, body = request.partition(b"\r\n\r\n")
    head = re.sub(rb"\r\nContent-Length: \d+", b"\r\nTransfer-Encoding: chunked", head)
    pieces = [body[at : at + 7000] for at in range(0, len(body), 7000)]
    coded = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return head + b"\r\n\r\n" + coded + b"0\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A server with a result, a template and a link, and somebody logged in."""

    installation: Installation
    server: ServeProcess
    token: str
    job_id: str = ""
    template_id: str = ""
    media_path: str = ""

    async def send(self, path: str, *parts: bytes, chunked: bool = False, **headers: str) -> Answer:
        body = form(*parts)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = post(body, path, headers={"Authorization": f"Bearer {self.token}"} | named)
        return await exchange(port_of(self.server), in_chunks(request) if chunked else request)

    async def photo(self, photo: bytes = PHOTO, *, chunked: bool = False, **headers: str) -> Answer:
        fields = part("password", PASSWORD.encode()), part("fileToUpload", photo, file_name="a.jpg")
        return await self.send(f"/ingest/{SLOT}", *fields, chunked=chunked, **headers)

    async def trial(self, photo: bytes = PHOTO) -> Answer:
        return await self.send(f"/api/slots/{SLOT}/test-run", part("fileToUpload", photo, file_name="a.jpg"))

    async def template(self, photo: bytes = PHOTO) -> Answer:
        fields = part("file", photo, file_name="a.jpg"), part("name", b"frame")
        return await self.send("/api/template-media/register", *fields)

    async def link(self, photo: bytes = PHOTO) -> Answer:
        return await self.send("/api/media/register", part("file", photo, file_name="a.jpg"))

    async def ask(self, path: str, method: str = "GET", document: object = None) -> Answer:
        return await ask(self.server, method, path, token=self.token, document=document)


@pytest.fixture
async def house(installation: Installation, server: ServeProcess) -> House:
    """Return a house in which everything has been stored once."""
    house = House(installation=installation, server=server, token=await token_of(server, "igor"))
    delivered = await house.photo()
    assert delivered.status == 200, delivered
    template, link = await house.template(), await house.link()

    async def swept() -> bool:
        return not await installation.leftovers()

    await eventually(swept)
    assert (template.status, link.status) == (201, 201), (template, link)
    return replace(
        house,
        job_id=delivered["x-job-id"],
        template_id=read(template)["template_id"],
        media_path=urlsplit(read(link)["public_url"]).path,
    )


Sending: TypeAlias = Callable[[House], Coroutine[Any, Any, Answer]]

NEEDS_ROOM: Final[Mapping[str, Sending]] = {
    "a photo": lambda house: house.photo(),
    "a photo of no known length": lambda house: house.photo(chunked=True),
    "a photo whose answer is JSON": lambda house: house.photo(Accept="application/json"),
    "a photo with its password in the head": lambda house: house.photo(X_Ingest_Password=PASSWORD),
    "a test run": lambda house: house.trial(),
    "a template": lambda house: house.template(),
    "a link": lambda house: house.link(),
}

NEEDS_NO_ROOM: Final[Mapping[str, int]] = {
    "/public/results/{job_id}": 200,
    "/public/results/{job_id}/preview": 200,
    "/public/slots/slot-001": 200,
    "{media_path}": 200,
    "/api/template-media/{template_id}/content": 200,
    "/api/template-media/{template_id}/preview": 200,
    "/api/template-media": 200,
    "/api/jobs": 200,
    "/api/jobs/{job_id}": 200,
    "/api/slots": 200,
    "/api/slots/slot-001": 200,
    "/api/settings": 200,
    "/api/stats/system": 200,
    "/api/stats/slots": 200,
    "/api/audit": 200,
    "/api/me": 200,
    "/livez": 200,
    "/metrics": 200,
}


async def checked_reading(house: House) -> None:
    """See that everything that needs no room is there, and that logging in works."""
    ids = {"job_id": house.job_id, "template_id": house.template_id, "media_path": house.media_path}
    found = {path: (await house.ask(path.format(**ids))).status for path in NEEDS_NO_ROOM}
    assert found == NEEDS_NO_ROOM
    assert await token_of(house.server, "igor")
    slot = as_update(dict(read(await house.ask("/api/slots/slot-002"))))
    changed = await house.ask("/api/slots/slot-002", "PUT", slot | {"display_name": secrets.token_hex(4)})
    assert changed.status == 200, changed


def assert_unavailable(answer: Answer) -> None:
    """See that an answer tells that the media store is not available, and when to come again."""
    assert answer.status == 503, answer
    assert answer["content-type"] == "application/problem+json"
    assert int(answer["retry-after"]) >= 1
    assert read(answer)["code"] == "storage_unavailable"


async def checked_refusals(house: House) -> None:
    """See that everything that needs room is refused as it should be, and health told."""
    for name, send in NEEDS_ROOM.items():
        try:
            assert_unavailable(await send(house))
        except (AssertionError, OSError, asyncio.IncompleteReadError) as error:
            raise AssertionError(name) from error

    async def known() -> bool:
        health = await house.ask("/healthz")
        return health.status == 503 and read(health)["checks"]["media"] == "unavailable"

    await eventually(known, within_sec=10)
    ready = await house.ask("/readyz")
    assert (ready.status, read(ready)["problems"]) == (503, ["media"])


async def heals(house: House) -> None:
    """See that a photo is taken again within the time that is promised, and health told."""
    began = time.monotonic()
    delivered = await house.photo()
    while delivered.status != 200 and time.monotonic() - began < HEALS_WITHIN_SEC:
        assert_unavailable(delivered)
        await asyncio.sleep(0.1)
        delivered = await house.photo()
    assert delivered.status == 200, delivered

    async def ready() -> bool:
        return (await house.ask("/readyz")).status == 200

    await eventually(ready, within_sec=HEALS_WITHIN_SEC)


async def nothing_is_left(house: House) -> None:
    """See that no partial file, no file without a row, and no row without its file stays."""
    installation = house.installation

    async def clean() -> bool:
        return await remains(installation) == []

    with suppress(AssertionError):
        await eventually(clean, within_sec=HEALS_WITHIN_SEC)
    assert await remains(installation) == []
    log = installation.logs()
    assert "Traceback" not in log
    assert '"level": "error"' not in log
    assert house.server.exit_status is None


async def remains(installation: Installation) -> list[str]:
    """Return what is in the database or on the disk and should not be."""
    root = installation.environment.media_dir
    partial = [str(path) for pattern in ("*.part", ".check-*") for path in root.rglob(pattern)]
    return partial + await installation.leftovers() + await installation.discrepancies()


async def a_minute_passes(installation: Installation) -> None:
    """Let the time be over after which the sweeper tries again what it could not delete."""
    async with installation.container() as container, container.pool().connection() as connection:
        await connection.execute("UPDATE media_object SET offer_at = now() WHERE state = 'deleting'")


async def sweeping_fails(installation: Installation) -> None:
    """Wait until the sweeper has said that it cannot delete."""

    async def says_so() -> bool:
        log = installation.logs()
        return "cannot sweep now" in log or "files could not be deleted" in log

    await eventually(says_so)


async def test_on_a_full_disk_every_request_is_answered_cleanly_and_deleting_makes_room(
    house: House, disk: SmallDisk
) -> None:
    disk.fill()
    await checked_refusals(house)
    await checked_reading(house)
    await nothing_is_left(house)
    jobs = await house.installation.jobs()
    assert states(jobs) == {JobState.COMPLETED}, "no job is made of a photo that was not stored"

    assert (await house.ask(f"/api/slots/{SLOT}/cleanup", "POST", {})).status == 200
    assert (await house.ask(f"/public/results/{house.job_id}")).status == 410
    assert (await house.ask(f"/api/template-media/{house.template_id}", "DELETE")).status == 204

    async def there_is_room() -> bool:
        return disk.free_bytes > 2 * len(PHOTO)

    await eventually(there_is_room)
    disk.make_room()
    await heals(house)
    await checked_upload_that_fills_the_disk(house, disk)
    await heals(house)
    await nothing_is_left(house)


async def checked_upload_that_fills_the_disk(house: House, disk: SmallDisk) -> None:
    """See that a photo is refused that finds no room in the middle of its way."""
    parts = part("password", PASSWORD.encode()), part("fileToUpload", PHOTO, file_name="a.jpg")
    request = post(form(*parts))
    async with Connection.to(port_of(house.server)) as connection:
        await connection.send(request[: len(request) // 2])

        async def begun() -> bool:
            return bool(list(house.installation.environment.media_dir.glob("payload/*/*.part")))

        await eventually(begun)
        disk.fill()
        await connection.send(request[len(request) // 2 :])
        assert_unavailable(await connection.answer())
    disk.make_room()


def assert_whole(picture: bytes) -> None:
    """See that a picture is all there: it is decoded, and ends as a JPEG ends."""
    with Image.open(BytesIO(picture)) as image:
        image.load()
    assert picture.endswith(b"\xff\xd9")


ROOMS: Final = range(0, 10 * len(PHOTO), 40 * 1024)
"""How much room is left: from none to plenty, so that it ends at every moment of a photo's way."""


async def statuses_by_room(house: House, disk: SmallDisk, send: Sending) -> Collection[int]:
    """Send with ever more room; whatever is answered, it is right. Return the statuses."""
    statuses = set()
    for room in ROOMS:
        disk.fill(but_for_bytes=room)
        answer = await send(house)
        disk.make_room()
        statuses.add(answer.status)
        if answer.status == 503:
            assert_unavailable(answer)
        elif answer["content-type"] == "image/jpeg":
            assert_whole(answer.body)
    return statuses


async def test_wherever_on_its_way_a_photo_finds_no_room_its_booth_is_told_at_once(
    house: House, disk: SmallDisk
) -> None:
    assert await statuses_by_room(house, disk, House.photo) == {200, 503}
    jobs = await house.installation.jobs()
    assert states(jobs) == {JobState.COMPLETED, JobState.FAILED_INTERNAL}
    assert {job.failure_reason for job in jobs} == {None, "storage_unavailable"}
    await nothing_is_left(house)
    await house.installation.set_up({"outcome": "error"}, on_failure=OnFailure.ORIGINAL)
    assert await statuses_by_room(house, disk, House.photo) == {200, 502, 503}
    await nothing_is_left(house)


async def test_wherever_what_an_administrator_sends_finds_no_room_it_is_told(
    house: House, disk: SmallDisk
) -> None:
    assert await statuses_by_room(house, disk, House.trial) == {200, 503}
    assert await statuses_by_room(house, disk, House.template) == {201, 503}
    assert await statuses_by_room(house, disk, House.link) == {201, 503}
    await nothing_is_left(house)


async def test_without_names_left_photos_are_refused_and_all_else_works(
    house: House, disk: SmallDisk
) -> None:
    disk.use_up_names()
    await checked_refusals(house)
    await checked_reading(house)
    disk.make_room()
    statuses = set()
    for names in (*range(14), 30):
        disk.use_up_names(but_for=names)
        answer = await house.photo()
        disk.make_room()
        statuses.add(answer.status)
        if answer.status == 503:
            assert_unavailable(answer)
    assert statuses == {200, 503}
    await heals(house)
    await nothing_is_left(house)


async def test_while_the_disk_is_read_only_photos_are_refused_and_nothing_is_lost(
    house: House, disk: SmallDisk
) -> None:
    disk.make_read_only()
    await checked_refusals(house)
    await checked_reading(house)
    assert (await house.ask(f"/api/slots/{SLOT}/cleanup", "POST", {})).status == 200
    await sweeping_fails(house.installation)
    disk.make_writable()
    await heals(house)
    await a_minute_passes(house.installation)
    await nothing_is_left(house)


@pytest.mark.parametrize("how", ["unmounted", "renamed"])
async def test_while_the_media_folder_is_not_there_nothing_counts_as_gone(
    house: House, disk: SmallDisk, how: str
) -> None:
    root = house.installation.environment.media_dir
    elsewhere = root.with_name("elsewhere")
    if how == "unmounted":
        disk.vanish()
    else:
        root.rename(elsewhere)
    before = list(disk.path.iterdir())
    await checked_refusals(house)
    files = [
        f"/public/results/{house.job_id}",
        f"/public/results/{house.job_id}/preview",
        f"/api/template-media/{house.template_id}/content",
        house.media_path,
    ]
    for path in files:
        assert_unavailable(await house.ask(path))
    await sweeping_fails(house.installation)
    assert list(disk.path.iterdir()) == before, "nothing is written in its place"
    if how == "unmounted":
        disk.come_back()
    else:
        elsewhere.rename(root)
    await checked_reading(house)
    await heals(house)
    await a_minute_passes(house.installation)
    await nothing_is_left(house)


async def test_a_server_that_starts_on_a_full_disk_delivers_and_heals(
    house: House, disk: SmallDisk, installation: Installation
) -> None:
    assert await asyncio.to_thread(house.server.stop) == 0
    disk.fill()
    server = installation.start_server()
    await asyncio.to_thread(server.wait_for, f"{server.base_url}/livez")
    again = replace(house, server=server, token=await token_of(server, "igor"))
    await checked_refusals(again)
    await checked_reading(again)
    disk.make_room()
    await heals(again)
    await nothing_is_left(again)


async def test_a_media_folder_that_cannot_be_used_ends_the_start_in_one_line(
    installation: Installation, disk: SmallDisk
) -> None:
    await installation.set_up({"effect": "none"})
    (disk.path / "file").touch()
    read_only = disk.path / "медиа – папка 1"

    def started(root: Path) -> str:
        process = installation.start_server(variables={"MEDIA_ROOT": str(root)})
        assert process.wait() == ExitCode.UNAVAILABLE
        return process.log_path.read_text()

    assert_one_line(started(disk.path / "file"), "Not a directory")
    assert_one_line(started(disk.path / "file" / "media"), "Not a directory")
    disk.make_read_only()
    assert_one_line(started(read_only), "Read-only file system")
    assert_one_line(started(disk.path / "missing"), "Read-only file system")


def assert_one_line(log: str, reason: str) -> None:
    """See that a start that failed said so in a line, without a path."""
    told = [line for line in log.splitlines() if '"level": "info"' not in line]
    assert told == [f"photochanger: The media folder cannot be used: {reason}"]

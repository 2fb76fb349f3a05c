"""Links for providers that fetch: there for the time of a call, and for nobody afterwards."""

import asyncio
import io
from datetime import timedelta
from typing import Any

import pytest

from photochanger.adapters.memory import ManualClock, MemoryMediaStore, MemoryStorage
from photochanger.application.ports import PreparedImage
from photochanger.application.provider_links import Link, OpenedLink, OpenLink, ProviderLinks
from photochanger.application.store_image import store_image
from photochanger.domain.errors import (
    DatabaseUnavailable,
    MediaExpired,
    MediaNotFound,
    ProviderMisconfigured,
    StorageUnavailable,
)
from photochanger.domain.image import ImageInfo, ImageType
from photochanger.domain.media import MediaId, MediaKind, MediaState, StoredFile
from photochanger.domain.slot import SlotId
from tests.unit.application.house import a_sweep

pytestmark = pytest.mark.anyio

SLOT = SlotId("slot-001")
BASE = "https://photos.example.org/booth"
PHOTO = b"a fox in the snow"
FRAME = b"a golden frame"


def prepared(content: bytes, image_type: ImageType = ImageType.JPEG) -> PreparedImage:
    info = ImageInfo(image_type=image_type, width=30, height=20)
    file = io.BytesIO(content)
    file.seek(3)
    return PreparedImage(file=file, info=info, size_bytes=len(content))


class Place:
    """Links over memory, on a clock that is set forward by hand."""

    def __init__(self, base_url: str | None = BASE, *, files: MemoryMediaStore | None = None) -> None:
        self.clock = ManualClock()
        self.storage = MemoryStorage(self.clock)
        self.files = files or self.storage.files
        self.links = ProviderLinks(registry=self.storage.media, store=self.files, base_url=base_url)
        self.open_link = OpenLink(registry=self.storage.media, store=self.files)

    async def content(self, opened: OpenedLink) -> bytes:
        return b"".join([chunk async for chunk in self.open_link.content(opened).read()])

    async def keys(self) -> list[str]:
        keys = self.files.keys()
        return [key async for key in keys]

    async def states(self) -> set[MediaState]:
        return {row.media.state for row in self.storage.records.media.values()}

    async def store(self, kind: MediaKind) -> MediaId:
        """Store a file of another kind, as if it were a link."""
        media_id = MediaId("c" * 32)
        image = prepared(PHOTO)
        await self.storage.media.intend([(media_id, kind)], slot_id=SLOT, ttl=timedelta(hours=1))
        stored = await store_image(self.files, kind, media_id, image.file, image.info)
        self.storage.records.store_images([stored], until=self.clock.now() + timedelta(hours=1))
        return media_id


@pytest.fixture
def place() -> Place:
    return Place()


async def test_each_image_has_a_link_of_its_own_that_ends_with_the_context(place: Place) -> None:
    images = [prepared(PHOTO), prepared(FRAME, ImageType.PNG)]

    async with place.links.offered(images, slot_id=SLOT, ttl_sec=48) as links:
        assert [link.url for link in links] == [
            f"{BASE}/public/media/{links[0].media_id}.jpg",
            f"{BASE}/public/media/{links[1].media_id}.png",
        ]
        for link, content, image_type in zip(
            links, (PHOTO, FRAME), (ImageType.JPEG, ImageType.PNG), strict=True
        ):
            opened = await place.open_link(link.url.rpartition("/")[2])
            assert (opened.image_type, opened.file.size_bytes) == (image_type, len(content))
            assert await place.content(opened) == content
            assert await place.content(await place.open_link(link.media_id)) == content

    for link in links:
        with pytest.raises(MediaExpired):
            await place.open_link(link.media_id)
    await a_sweep(place.storage, ManualClock(), store=place.files)()
    assert await place.keys() == []
    with pytest.raises(MediaExpired):
        await place.open_link(links[0].media_id)


async def test_the_images_can_be_read_again_from_their_beginning(place: Place) -> None:
    image = prepared(PHOTO)

    async with place.links.offered([image], slot_id=SLOT, ttl_sec=48):
        assert image.file.read() == PHOTO


async def test_a_link_ends_at_its_end_and_not_before(place: Place) -> None:
    async with place.links.offered([prepared(PHOTO)], slot_id=SLOT, ttl_sec=48) as [link]:
        place.clock.advance(timedelta(seconds=48) - timedelta(microseconds=1))
        await place.open_link(link.media_id)
        place.clock.advance(timedelta(microseconds=1))
        with pytest.raises(MediaExpired):
            await place.open_link(link.media_id)


async def test_without_images_there_are_no_links(place: Place) -> None:
    async with place.links.offered([], slot_id=SLOT, ttl_sec=48) as links:
        assert list(links) == []


async def test_without_a_public_address_it_says_what_is_missing() -> None:
    place = Place(base_url=None)

    with pytest.raises(ProviderMisconfigured, match=r"^PUBLIC_BASE_URL is not set: "):
        async with place.links.offered([prepared(PHOTO)], slot_id=SLOT, ttl_sec=48):
            pytest.fail("offered")

    assert await place.states() == set()


async def test_a_failing_call_ends_its_links(place: Place) -> None:
    with pytest.raises(ZeroDivisionError):
        async with place.links.offered([prepared(PHOTO)], slot_id=SLOT, ttl_sec=48):
            raise ZeroDivisionError

    assert await place.states() == {MediaState.DELETING}


async def test_a_cancelled_call_ends_its_links(place: Place) -> None:
    offered = asyncio.Event()

    async def call() -> None:
        async with place.links.offered([prepared(PHOTO)], slot_id=SLOT, ttl_sec=48):
            offered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await offered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await place.states() == {MediaState.DELETING}


@pytest.mark.parametrize("statement", ["intend", "offer"])
async def test_a_database_that_is_away_for_a_moment_is_outlived(
    place: Place, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    call, losses = getattr(place.storage.media, statement), iter(range(2))

    async def answer_lost(*given: Any, **named: Any) -> Any:
        answer = await call(*given, **named)
        for _ in losses:
            raise DatabaseUnavailable
        return answer

    monkeypatch.setattr(place.storage.media, statement, answer_lost)
    async with place.links.offered([prepared(PHOTO)], slot_id=SLOT, ttl_sec=48) as [link]:
        assert await place.content(await place.open_link(link.media_id)) == PHOTO

    assert await place.states() == {MediaState.DELETING}


async def test_what_could_be_offered_in_part_only_is_not_offered() -> None:
    place = Place(files=MemoryMediaStore(capacity_bytes=len(PHOTO) + 1))

    with pytest.raises(StorageUnavailable):
        async with place.links.offered([prepared(PHOTO), prepared(FRAME)], slot_id=SLOT, ttl_sec=48):
            pytest.fail("offered")

    assert await place.states() == {MediaState.DELETING}


async def test_links_that_cannot_be_condemned_end_by_themselves(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(_: object) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(place.storage.media, "condemn", unavailable)
    async with place.links.offered([prepared(PHOTO)], slot_id=SLOT, ttl_sec=48) as [link]:
        pass

    place.clock.advance(timedelta(seconds=48))
    with pytest.raises(MediaExpired):
        await place.open_link(link.media_id)
    assert [media.media_id for media in await place.storage.media.doomed(limit=9)] == [link.media_id]


async def test_it_is_known_which_links_were_never_fetched(place: Place) -> None:
    images = [prepared(PHOTO), prepared(FRAME)]
    async with place.links.offered(images, slot_id=SLOT, ttl_sec=48) as links:
        assert await place.links.unfetched(links) == 2
        await place.open_link(links[0].media_id, is_fetched=False)
        assert await place.links.unfetched(links) == 2
        for _ in range(2):
            await place.open_link(links[0].media_id)
        assert await place.links.unfetched(links) == 1

    with pytest.raises(MediaExpired):
        await place.open_link(links[1].media_id)
    assert await place.links.unfetched(links) == 1
    assert await place.links.unfetched([]) == 0


@pytest.mark.parametrize("kind", sorted(set(MediaKind) - {MediaKind.PROVIDER_LINK}))
async def test_files_of_other_kinds_have_no_link(place: Place, kind: MediaKind) -> None:
    media_id = await place.store(kind)
    with pytest.raises(MediaNotFound):
        await place.open_link(media_id)


async def test_what_was_never_stored_was_never_there(place: Place) -> None:
    link = Link(media_id=MediaId("d" * 32), url="")
    await place.storage.media.intend(
        [(link.media_id, MediaKind.PROVIDER_LINK)], slot_id=SLOT, ttl=timedelta(seconds=48)
    )
    for _ in range(2):
        with pytest.raises(MediaNotFound):
            await place.open_link(link.media_id)
        await place.storage.media.condemn([link.media_id])


@pytest.mark.parametrize(
    "name", ["", ".jpg", "0" * 32, "0" * 31, "A" * 32, "../../etc/passwd", "0" * 32 + ".jpg", "x" * 5_000]
)
async def test_what_is_no_link_is_not_found(place: Place, name: str) -> None:
    with pytest.raises(MediaNotFound):
        await place.open_link(name)


@pytest.mark.parametrize("extension", [".png", ".jpeg", ".JPG", ".", ".jpg.jpg", ".jpg.", " .jpg"])
async def test_an_extension_of_another_type_is_not_found(place: Place, extension: str) -> None:
    async with place.links.offered([prepared(PHOTO)], slot_id=SLOT, ttl_sec=48) as [link]:
        with pytest.raises(MediaNotFound):
            await place.open_link(link.media_id + extension)


async def test_an_image_is_stored_from_where_its_file_stands(place: Place) -> None:
    image = prepared(PHOTO)
    stored = await store_image(place.files, MediaKind.RESULT, MediaId("e" * 32), image.file, image.info)
    assert stored.file == StoredFile(size_bytes=len(PHOTO) - 3, sha256=stored.file.sha256)
    assert await place.keys() == ["result/ee/" + "e" * 32]

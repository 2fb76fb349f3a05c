"""Provider links: images on public addresses, for providers that fetch instead of being sent bytes."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from photochanger.application.content import Content
from photochanger.application.identifiers import new_media_id
from photochanger.application.patience import until_answered
from photochanger.application.ports.images import PreparedImage
from photochanger.application.ports.media import MediaReading, MediaRegistry, MediaStore
from photochanger.application.store_image import store_image
from photochanger.domain.errors import (
    DatabaseUnavailable,
    MediaExpired,
    MediaNotFound,
    ProviderMisconfigured,
    Unavailable,
)
from photochanger.domain.image import ImageType
from photochanger.domain.media import (
    MediaId,
    MediaKind,
    MediaObject,
    MediaState,
    StoredFile,
    parse_media_id,
)
from photochanger.domain.retention import has_passed
from photochanger.domain.slot import SlotId

_KIND = MediaKind.PROVIDER_LINK


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A public address under which a provider finds one image. Whoever knows it may fetch the image."""

    media_id: MediaId
    url: str


class ProviderLinks:
    """Offers images to a provider for the time of one call.

    `base_url` is where the world reaches this installation (`PUBLIC_BASE_URL`), without a slash at its end.
    """

    def __init__(self, *, registry: MediaRegistry, store: MediaStore, base_url: str | None) -> None:
        self._registry = registry
        self._store = store
        self._base_url = base_url

    @asynccontextmanager
    async def offered(
        self, images: Sequence[PreparedImage], *, slot_id: SlotId, ttl_sec: float
    ) -> AsyncIterator[Sequence[Link]]:
        """Give a link for each image, in their order, as long as the context lasts.

        The links end with the context, however it is left, and `ttl_sec` after they were made at the latest.
        The images' files are left at their beginning. Raises `ProviderMisconfigured` where there is no
        public address to make links of.
        """
        base_url = self._base_url
        if base_url is None:
            raise ProviderMisconfigured(
                "PUBLIC_BASE_URL is not set: this provider fetches photos from public links"
            )
        announced: list[MediaId] = []
        try:
            media_ids = await until_answered(
                lambda: self._made(images, announced, slot_id=slot_id, ttl=timedelta(seconds=ttl_sec))
            )
            yield [
                Link(media_id=media_id, url=f"{base_url}{link_path(media_id, image.info.image_type)}")
                for media_id, image in zip(media_ids, images, strict=True)
            ]
        finally:
            with suppress(Unavailable):  # then they end by themselves, at the end of their time
                await self._registry.condemn(announced)

    async def _made(
        self, images: Sequence[PreparedImage], announced: list[MediaId], *, slot_id: SlotId, ttl: timedelta
    ) -> Sequence[MediaId]:
        """Make a link for each image; their ids are `announced` before anything is known of them."""
        media_ids = [new_media_id() for _ in images]
        announced += media_ids
        await self._registry.intend([(media_id, _KIND) for media_id in media_ids], slot_id=slot_id, ttl=ttl)
        for media_id, image in zip(media_ids, images, strict=True):
            await self._offer(media_id, image)
        return media_ids

    async def _offer(self, media_id: MediaId, image: PreparedImage) -> None:
        image.file.seek(0)
        stored = await store_image(self._store, _KIND, media_id, image.file, image.info)
        image.file.seek(0)
        await self._registry.offer(stored)

    async def unfetched(self, links: Sequence[Link]) -> int:
        """Return how many of the links nobody has fetched, also after their end; 0 where it cannot be said.

        Where a provider says that it cannot read a photo, this tells whether it ever came for it.
        """
        try:
            return len(links) - len(await self._registry.fetched([link.media_id for link in links]))
        except DatabaseUnavailable:
            return 0


def link_path(media_id: MediaId, image_type: ImageType) -> str:
    """Return the path of a link. Its extension is for providers that go by it."""
    return f"/public/media/{media_id}{image_type.extension}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedLink:
    """The image behind a link, which may be delivered now."""

    media: MediaObject
    image_type: ImageType
    file: StoredFile


class OpenLink:
    """Opens the image behind a provider link to whoever knows its address."""

    def __init__(self, *, registry: MediaRegistry, store: MediaStore) -> None:
        self._registry = registry
        self._store = store

    async def __call__(self, name: str, *, is_fetched: bool = True) -> OpenedLink:
        """Return the image called `name`: a link's id, with or without the extension of the image's type.

        `is_fetched` is false where the image itself is not wanted, so that it does not count as fetched.
        Raises `MediaNotFound` for what is no link, or never was there; `MediaExpired` from the instant of
        its end, and once it is condemned.
        """
        text, dot, extension = name.partition(".")
        media_id = parse_media_id(text)
        if media_id is None:
            raise MediaNotFound
        look = self._registry.fetch if is_fetched else self._registry.peek
        reading = await look(media_id)
        link = None if reading is None else _link(reading.media)
        if reading is None or link is None or dot + extension not in {"", link.image_type.extension}:
            raise MediaNotFound
        if not _is_open(reading):
            raise MediaExpired
        return link

    def content(self, link: OpenedLink) -> Content:
        """Return the image's bytes."""
        return Content(self._store, link.media.key)


def _link(media: MediaObject) -> OpenedLink | None:
    """Return a link that was stored once, whatever has become of it since."""
    if media.image_type is None or media.size_bytes is None or media.sha256 is None:
        return None
    if media.kind is not _KIND:
        return None
    file = StoredFile(size_bytes=media.size_bytes, sha256=media.sha256)
    return OpenedLink(media=media, image_type=media.image_type, file=file)


def _is_open(reading: MediaReading) -> bool:
    end = reading.media.expires_at
    has_ended = end is not None and has_passed(end, now=reading.now)
    return reading.media.state is MediaState.STORED and not has_ended

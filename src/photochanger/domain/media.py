"""The files PhotoChanger keeps, and the life of each.

    (no row) ─intend→ pending ─store→ stored ─condemn→ deleting ─confirm→ deleted
                         └────────────condemn────────────┘

The row exists before the file and outlives it: whatever is killed when, every file has a row that the
sweeper can finish, and no row in `stored` lacks its file.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from photochanger.domain.image import ImageInfo, ImageType

MediaId = NewType("MediaId", str)

_ID = re.compile(r"[0-9a-f]{32}")


class MediaKind(StrEnum):
    """What a file is for."""

    PAYLOAD = "payload"
    """The photo as the booth sent it; lives until its job is final."""
    RESULT = "result"
    """The finished picture; lives until the job's `result_expires_at`."""
    PREVIEW = "preview"
    """A small JPEG of a result or a template; lives as long as that."""
    PROVIDER_LINK = "provider_link"
    """A photo or template offered to a provider on a public link; lives as long as its call."""
    TEMPLATE = "template"
    """An administrator's image; lives until it is removed."""


class MediaState(StrEnum):
    """Where a file is in its life."""

    PENDING = "pending"
    """Announced; the file may be absent, partial or whole."""
    STORED = "stored"
    """The file is whole and durable."""
    DELETING = "deleting"
    """Condemned; the file may still be there."""
    DELETED = "deleted"
    """The file is gone; the row stays as a tombstone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """What the media store knows of a file once it is durable."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """An image in the media store: which row knows it, what was stored, what it shows."""

    media_id: MediaId
    file: StoredFile
    info: ImageInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaObject:
    """One file as the database knows it. `image_type`, `size_bytes` and `sha256` are known once stored.

    `slot_id` is None for what belongs to no slot, `expires_at` for what has no end of its own: templates
    and their previews, once stored. `fetched_at` is when a provider link was fetched for the first time.
    """

    media_id: MediaId
    kind: MediaKind
    slot_id: str | None
    state: MediaState
    created_at: datetime
    expires_at: datetime | None
    image_type: ImageType | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    fetched_at: datetime | None = None

    @property
    def key(self) -> str:
        """The file's key in the media store."""
        return media_key(self.kind, self.media_id)


def parse_media_id(text: str) -> MediaId | None:
    """Return `text` as a media id (32 hexadecimal digits, 128 random bits), or None where it is not one."""
    return MediaId(text) if _ID.fullmatch(text) else None


def media_key(kind: MediaKind, media_id: MediaId) -> str:
    """Return the key of a file in the media store, made from the kind and an id of ours alone.

    Raises `ValueError` for anything that is not an id of ours, so that no path is ever made of user input.
    """
    if not _ID.fullmatch(media_id):
        raise ValueError("not a media id")
    return f"{kind.value}/{media_id[:2]}/{media_id}"


_KEY = re.compile(rf"({'|'.join(MediaKind)})/([0-9a-f]{{2}})/(\2[0-9a-f]{{30}})")


def parse_media_key(key: str) -> tuple[MediaKind, MediaId] | None:
    """Return what `media_key` has made `key` of, or None where it is not the key of a media file."""
    match = _KEY.fullmatch(key)
    return (MediaKind(match[1]), MediaId(match[3])) if match else None

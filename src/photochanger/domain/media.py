"""The files PhotoChanger keeps, and the life of each, as one state machine.

Rule 1: every state and event is in `TRANSITIONS`, and nowhere else. The chart in `docs/` is drawn from this
table and from `LIVES`, and the statements of the PostgreSQL adapter are derived from it.

Rule 2: the row exists before the file and outlives it. So whatever is killed when, every file has a row that
the sweeper can finish, and a row in `stored` has its file.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NewType

from photochanger.domain.image import ImageInfo, ImageType

MediaId = NewType("MediaId", str)

_ID = re.compile(r"[0-9a-f]{32}")


class MediaKind(StrEnum):
    """What a file is for; `LIVES` says how long it lives."""

    PAYLOAD = "payload"
    """The photo as the booth sent it."""
    RESULT = "result"
    """The finished picture."""
    PREVIEW = "preview"
    """A small JPEG of a result or a template."""
    PROVIDER_LINK = "provider_link"
    """A photo or template offered to a provider on a public link."""
    TEMPLATE = "template"
    """An administrator's image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """Whose a file is, until when it lives once it is stored, and when it is given up if it never is."""

    owner: str
    ends: str
    given_up: str


_AFTER_THE_DEADLINE: Final = "some seconds after the job's deadline"

LIVES: Final[Mapping[MediaKind, Life]] = {
    MediaKind.PAYLOAD: Life(
        owner="the job", ends="when the job is final", given_up="some seconds after the booth's deadline"
    ),
    MediaKind.RESULT: Life(
        owner="the job", ends="at the job's `result_expires_at`", given_up=_AFTER_THE_DEADLINE
    ),
    MediaKind.PREVIEW: Life(
        owner="the job, or the template", ends="with what it shows", given_up="as what it shows"
    ),
    MediaKind.PROVIDER_LINK: Life(
        owner="the provider call, or whoever registered it",
        ends="with the call, and at the end of its own time at the latest",
        given_up="at the end of its own time",
    ),
    MediaKind.TEMPLATE: Life(
        owner="the template", ends="when it is removed", given_up="some minutes after its upload began"
    ),
}
"""What lies in a scratch file has no row: a prepared copy, an image on its way in. It has no name either, and
vanishes with the process that holds it."""


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


class MediaEvent(StrEnum):
    """What can happen to a file."""

    ANNOUNCED = "announced"
    """Somebody is about to write it."""
    STORED = "stored"
    """It is durable, and its owner refers to it from now on."""
    CONDEMNED = "condemned"
    """Nobody needs it any more, or its writer gave up; it may even come late, after it was deleted."""
    ENDED = "ended"
    """Its time is over."""
    CONFIRMED = "confirmed"
    """It is gone."""
    LOST = "lost"
    """It is not where it was stored: somebody else has removed it."""
    FOUND = "found"
    """It is there, and no row expects it: a backup or somebody else has brought it, or a writer came late."""
    FORGOTTEN = "forgotten"
    """Its tombstone has stood long enough."""


@dataclass(frozen=True, slots=True)
class MediaTransition:
    """One row of the table: in `source`, `event` leads to `target`. None is where there is no row."""

    source: MediaState | None
    event: MediaEvent
    target: MediaState | None


TRANSITIONS: Final = (
    MediaTransition(None, MediaEvent.ANNOUNCED, MediaState.PENDING),
    MediaTransition(MediaState.PENDING, MediaEvent.STORED, MediaState.STORED),
    MediaTransition(MediaState.PENDING, MediaEvent.CONDEMNED, MediaState.DELETING),
    MediaTransition(MediaState.STORED, MediaEvent.CONDEMNED, MediaState.DELETING),
    MediaTransition(MediaState.DELETED, MediaEvent.CONDEMNED, MediaState.DELETING),
    MediaTransition(MediaState.PENDING, MediaEvent.ENDED, MediaState.DELETING),
    MediaTransition(MediaState.STORED, MediaEvent.ENDED, MediaState.DELETING),
    MediaTransition(MediaState.DELETING, MediaEvent.CONFIRMED, MediaState.DELETED),
    MediaTransition(MediaState.STORED, MediaEvent.LOST, MediaState.DELETED),
    MediaTransition(MediaState.DELETED, MediaEvent.FOUND, MediaState.DELETING),
    MediaTransition(None, MediaEvent.FOUND, MediaState.DELETING),
    MediaTransition(MediaState.DELETED, MediaEvent.FORGOTTEN, None),
)


def states_before(event: MediaEvent) -> frozenset[MediaState]:
    """Return the states in which `event` can happen to a file that has a row."""
    return frozenset(row.source for row in TRANSITIONS if row.event is event and row.source is not None)


def state_after(event: MediaEvent) -> MediaState:
    """Return the state that `event` leads to; raises `ValueError` where it leads to none."""
    [target] = {row.target for row in TRANSITIONS if row.event is event}
    if target is None:
        raise ValueError(f"there is no state after {event.value}")
    return target


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

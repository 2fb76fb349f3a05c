"""The table `photochanger.domain.media.TRANSITIONS`, walked on an adapter."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Final

import pytest

from photochanger.domain.errors import InternalError
from photochanger.domain.media import TRANSITIONS, MediaEvent, MediaId, MediaKind, MediaState, StoredImage
from photochanger.testing.harness import A_SLOT, HOUR, MINUTE, Records, RecordsContract, an_image

_HISTORY: Final = timedelta(days=30)
_LINK: Final = MediaKind.PROVIDER_LINK
"""Whatever can happen to a file can happen to one of these, without a job or a template."""


async def _announce(records: Records, image: StoredImage) -> None:
    with suppress(ValueError):
        await records.media.intend([(image.media_id, _LINK)], slot_id=A_SLOT, ttl=MINUTE)


async def _store(records: Records, image: StoredImage) -> None:
    with suppress(InternalError):
        await records.media.offer(image)


async def _condemn(records: Records, image: StoredImage) -> None:
    await records.media.condemn([image.media_id])


async def _end(records: Records, _image: StoredImage) -> None:
    await records.time_passes(MINUTE)
    await records.media.doomed(limit=10)


async def _confirm(records: Records, image: StoredImage) -> None:
    await records.media.confirm_deleted([image.media_id])


async def _lose(records: Records, image: StoredImage) -> None:
    await records.media.lost([image.media_id])


async def _find(records: Records, image: StoredImage) -> None:
    await records.media.found([(image.media_id, _LINK)])


async def _forget(records: Records, _image: StoredImage) -> None:
    await records.time_passes(_HISTORY + HOUR)
    await records.housekeeping.forget(history=_HISTORY, limit=10)


_CAUSES: Final[Mapping[MediaEvent, Callable[[Records, StoredImage], Awaitable[None]]]] = {
    MediaEvent.ANNOUNCED: _announce,
    MediaEvent.STORED: _store,
    MediaEvent.CONDEMNED: _condemn,
    MediaEvent.ENDED: _end,
    MediaEvent.CONFIRMED: _confirm,
    MediaEvent.LOST: _lose,
    MediaEvent.FOUND: _find,
    MediaEvent.FORGOTTEN: _forget,
}

_WAYS: Final[Mapping[MediaState | None, tuple[MediaEvent, ...]]] = {
    None: (),
    MediaState.PENDING: (MediaEvent.ANNOUNCED,),
    MediaState.STORED: (MediaEvent.ANNOUNCED, MediaEvent.STORED),
    MediaState.DELETING: (MediaEvent.ANNOUNCED, MediaEvent.CONDEMNED),
    MediaState.DELETED: (MediaEvent.ANNOUNCED, MediaEvent.CONDEMNED, MediaEvent.CONFIRMED),
}

_TABLE: Final = {(row.source, row.event): row.target for row in TRANSITIONS}


async def _state(records: Records, media_id: MediaId) -> MediaState | None:
    media = await records.media.get(media_id)
    return None if media is None else media.state


class MediaMachineContract(RecordsContract):
    """Every event in every state: it leads where the table says, and nowhere where the table says nothing."""

    @pytest.mark.parametrize("event", MediaEvent)
    @pytest.mark.parametrize("state", [None, *MediaState])
    async def test_the_table_is_kept(
        self, records: Records, state: MediaState | None, event: MediaEvent
    ) -> None:
        image = an_image()
        for step in _WAYS[state]:
            await _CAUSES[step](records, image)
        assert await _state(records, image.media_id) is state
        await _CAUSES[event](records, image)
        assert await _state(records, image.media_id) is _TABLE.get((state, event), state)

"""The slots and settings in force, from a small cache that a signal empties."""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from photochanger.application.ports.clock import Clock
from photochanger.application.ports.configuration import SettingsRepository, SlotRepository
from photochanger.application.ports.signals import Signals, Topic
from photochanger.domain.concurrency import ConcurrencyLimits
from photochanger.domain.errors import DatabaseUnavailable, SlotNotFound
from photochanger.domain.settings import Settings
from photochanger.domain.slot import Slot, SlotId, parse_slot_id
from photochanger.domain.waiting import Capacity

MAX_AGE_SEC = 1.0
"""A change is in force everywhere within this time, even where its signal was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """All slots and the settings, as they were when they were read together."""

    slots: Mapping[SlotId, Slot]
    settings: Settings

    @property
    def limits(self) -> ConcurrencyLimits:
        """How many jobs may be under way at once, at each slot and provider."""
        slots = {slot_id: self.settings.places(slot.configuration) for slot_id, slot in self.slots.items()}
        return ConcurrencyLimits(slots=slots, providers=self.settings.limits.per_provider)

    @property
    def capacity(self) -> Capacity:
        """The same, with the provider of each slot."""
        providers = {slot_id: slot.configuration.call.provider for slot_id, slot in self.slots.items()}
        limits = self.limits
        return Capacity(
            slots={slot_id: (provider, limits.slots[slot_id]) for slot_id, provider in providers.items()},
            providers=limits.providers,
        )

    def slot(self, slot_id: str) -> Slot:
        """Return the slot, switched on or off; raises `SlotNotFound` for anything that is not a slot's id."""
        known = parse_slot_id(slot_id)
        if known is None or known not in self.slots:
            raise SlotNotFound
        return self.slots[known]


class CurrentConfiguration:
    """What slots and settings say now, without a query for each photo.

    A change is seen at once when its signal arrives, and after `MAX_AGE_SEC` at the latest.
    """

    def __init__(
        self, *, slots: SlotRepository, settings: SettingsRepository, signals: Signals, clock: Clock
    ) -> None:
        self._slots = slots
        self._settings = settings
        self._clock = clock
        self._subscriptions = ExitStack()
        self._changes = self._subscriptions.enter_context(signals.subscribe(Topic.CONFIGURATION_CHANGED))
        self._reading = asyncio.Lock()
        self._cached: Configuration | None = None
        self._read_at = 0.0
        self._failed_at: float | None = None

    def close(self) -> None:
        """Stop listening for changes."""
        self._subscriptions.close()

    async def get(self) -> Configuration:
        """Return the configuration in force. Concurrent callers share one reading, also where it fails."""
        asked_at = self._clock.monotonic()
        async with self._reading:
            if self._failed_at is not None and self._failed_at >= asked_at:
                raise DatabaseUnavailable
            changed = await self._changes.wait(0)  # asked first: what it tells of is in what is read next
            too_old = self._clock.monotonic() - self._read_at >= MAX_AGE_SEC
            if self._cached is None or changed or too_old:
                self._read_at = self._clock.monotonic()
                self._cached = await self._read_now()
            return self._cached

    async def _read_now(self) -> Configuration:
        try:
            return await self._read()
        except DatabaseUnavailable:
            self._failed_at = self._clock.monotonic()
            raise

    async def _read(self) -> Configuration:
        slots = {slot.slot_id: slot for slot in await self._slots.list()}
        return Configuration(slots=slots, settings=await self._settings.get())

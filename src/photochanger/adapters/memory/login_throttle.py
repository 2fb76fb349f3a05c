"""The login throttle in memory."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from photochanger.adapters.memory.records import Attempts, MemoryRecords
from photochanger.application.ports.administration import LoginThrottle
from photochanger.domain.account import LOGIN_ATTEMPTS, LOGIN_BLOCK, LOGIN_DECISION


class MemoryLoginThrottle(LoginThrottle):
    """The attempts of each key, in a dictionary."""

    def __init__(self, records: MemoryRecords) -> None:
        self._records = records

    async def admit(self, keys: Collection[str]) -> float | None:
        """Count one attempt for every key; or return the seconds until it is worth trying again."""
        self._remove_ended()
        now, throttled = self._records.clock.now(), self._records.throttled
        full = [throttled[key] for key in keys if key in throttled and throttled[key].count >= LOGIN_ATTEMPTS]
        if full:
            return max(_wait_sec(attempts, now) for attempts in full)
        for key in set(keys):
            before = throttled.get(key, Attempts(count=0, failures=0, ends_at=now))
            throttled[key] = replace(before, count=before.count + 1, ends_at=now + LOGIN_BLOCK)
        return None

    async def failed(self, keys: Collection[str]) -> bool:
        """Record that an attempt has failed; say whether that has blocked one of the keys."""
        has_blocked = False
        for key, attempts in self._undecided(keys):
            self._records.throttled[key] = replace(attempts, failures=attempts.failures + 1)
            has_blocked |= attempts.failures + 1 == LOGIN_ATTEMPTS
        return has_blocked

    async def succeeded(self, keys: Collection[str], *, forgiven: str) -> None:
        """Take an attempt off every key; forget the failures of the key `forgiven`."""
        for key, attempts in self._undecided(keys):
            forgotten = attempts.failures if key == forgiven else 0
            self._records.throttled[key] = replace(
                attempts, count=attempts.count - 1 - forgotten, failures=attempts.failures - forgotten
            )

    def _undecided(self, keys: Collection[str]) -> list[tuple[str, Attempts]]:
        self._remove_ended()
        known = [(key, self._records.throttled[key]) for key in set(keys) if key in self._records.throttled]
        return [(key, attempts) for key, attempts in known if attempts.failures < attempts.count]

    def _remove_ended(self) -> None:
        now, throttled = self._records.clock.now(), self._records.throttled
        for key in [key for key, attempts in throttled.items() if attempts.ends_at <= now]:
            del throttled[key]


def _wait_sec(attempts: Attempts, now: datetime) -> float:
    is_undecided = (
        attempts.failures < LOGIN_ATTEMPTS and now < attempts.ends_at - LOGIN_BLOCK + LOGIN_DECISION
    )
    return 1.0 if is_undecided else (attempts.ends_at - now).total_seconds()

"""The count of provider calls in PostgreSQL."""

from collections.abc import Sequence
from typing import Final

import msgspec

from photochanger.adapters.postgres.pool import Pool, fetch_all, fetch_one
from photochanger.application.ports.providers import ProviderUsage
from photochanger.domain.errors import InternalError
from photochanger.domain.quota import ProviderUsed, Quota

_TAKE: Final = b"""
    INSERT INTO provider_usage AS usage (provider) VALUES (%(provider)s)
    ON CONFLICT (provider) DO UPDATE SET (counted_at, in_minute, on_day, full_until) = (
        SELECT
            CASE WHEN judged.full_until IS NULL THEN judged.now ELSE usage.counted_at END,
            CASE WHEN judged.full_until IS NULL THEN judged.in_minute + 1 ELSE usage.in_minute END,
            CASE WHEN judged.full_until IS NULL THEN judged.on_day + 1 ELSE usage.on_day END,
            judged.full_until
        FROM (
            SELECT now, in_minute, on_day, CASE
                WHEN on_day >= %(per_day)s::integer THEN day + interval '24 hours'
                WHEN in_minute >= %(per_minute)s::integer THEN minute + interval '1 minute'
            END AS full_until
            FROM (
                SELECT now, minute, day,
                    CASE WHEN date_trunc('minute', usage.counted_at, 'UTC') = minute
                         THEN usage.in_minute ELSE 0 END AS in_minute,
                    CASE WHEN date_trunc('day', usage.counted_at, 'UTC') = day
                         THEN usage.on_day ELSE 0 END AS on_day
                FROM (
                    SELECT now,
                        date_trunc('minute', now, 'UTC') AS minute, date_trunc('day', now, 'UTC') AS day
                    FROM (SELECT clock_timestamp() AS now) AS moment
                ) AS windows
            ) AS present
        ) AS judged
    )
    RETURNING
        counted_at = 'epoch' AND full_until IS NULL AS is_new,
        extract(epoch FROM full_until - clock_timestamp())::float8 AS wait_sec"""
"""Locks the provider's row, then reads the clock, then judges both windows: whoever waited for the lock is
judged by what those before have counted. Of a provider's very first call nothing is counted: it makes the row
that the next one locks."""

_USED: Final = b"""
    SELECT provider, on_day AS today,
        CASE WHEN date_trunc('minute', counted_at, 'UTC') = date_trunc('minute', now, 'UTC')
             THEN in_minute ELSE 0 END AS this_minute
    FROM provider_usage, (SELECT clock_timestamp() AS now) AS moment
    WHERE date_trunc('day', counted_at, 'UTC') = date_trunc('day', now, 'UTC') AND on_day > 0
    ORDER BY provider"""


class PostgresProviderUsage(ProviderUsage):
    """One row for each provider, with the counts of both windows."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def take(self, provider: str, quota: Quota) -> float | None:
        """Count one call, or return the seconds until there is room."""
        parameters = {"provider": provider, "per_minute": quota.per_minute, "per_day": quota.per_day}
        row = await fetch_one(self._pool, _TAKE, parameters)
        if row is not None and row["is_new"]:
            row = await fetch_one(self._pool, _TAKE, parameters)
        if row is None or row["is_new"]:
            raise InternalError("A provider's calls cannot be counted")
        return None if row["wait_sec"] is None else max(0.0, row["wait_sec"])

    async def used(self) -> Sequence[ProviderUsed]:
        """Return what was counted for every provider with a call on the present day."""
        rows = await fetch_all(self._pool, _USED, {}, repeatable=True)
        return [msgspec.convert(row, ProviderUsed) for row in rows]

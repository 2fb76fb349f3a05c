"""The login throttle in PostgreSQL."""

from collections.abc import Collection
from typing import Final

from psycopg.sql import SQL

from photochanger.adapters.postgres.pool import Pool, fetch_all, fetch_one
from photochanger.application.ports.administration import LoginThrottle
from photochanger.domain.account import LOGIN_ATTEMPTS, LOGIN_BLOCK, LOGIN_DECISION
from photochanger.domain.errors import DatabaseUnavailable

_TRIES: Final = 10

_LOCKED: Final = SQL("""
    locked AS MATERIALIZED (
        SELECT * FROM login_throttle WHERE key = ANY(%(keys)s::text[]) ORDER BY key FOR UPDATE
    ), moment AS MATERIALIZED (
        SELECT count(*) AS found, clock_timestamp() AS now FROM locked
    )""")
"""Locks the rows of all keys, always in the same order, and only then reads the clock: whoever had to wait is
judged by what those before have counted, and by the time that it then is."""

_ADMIT: Final = (
    SQL("""
    WITH made AS (
        INSERT INTO login_throttle (key, attempts, ends_at)
        SELECT key, 0, clock_timestamp() + %(block)s FROM unnest(%(keys)s::text[]) AS key ORDER BY key
        ON CONFLICT (key) DO NOTHING
    ), {locked}, present AS MATERIALIZED (
        SELECT key, now, ends_at,
            CASE WHEN now < ends_at THEN attempts ELSE 0 END AS attempts,
            CASE WHEN now < ends_at THEN failures ELSE 0 END AS failures
        FROM locked, moment
        WHERE found = cardinality(%(keys)s::text[])
    ), judged AS MATERIALIZED (
        SELECT max(
            CASE WHEN failures >= %(limit)s OR now >= ends_at - %(block)s + %(decision)s
                 THEN extract(epoch FROM ends_at - now)::float8 ELSE 1 END
        ) FILTER (WHERE attempts >= %(limit)s) AS wait_sec
        FROM present
    ), counted AS (
        UPDATE login_throttle AS throttle
        SET attempts = present.attempts + 1, failures = present.failures, ends_at = present.now + %(block)s
        FROM present, judged
        WHERE throttle.key = present.key AND wait_sec IS NULL
    )
    SELECT found = cardinality(%(keys)s::text[]) AS is_complete, wait_sec FROM moment, judged""")
    .format(locked=_LOCKED)
    .as_bytes()
)
"""Where a key has no row yet, nothing is judged or counted: this makes the row, and is sent again."""

_REMOVE_ENDED: Final = b"""
    DELETE FROM login_throttle WHERE key IN (
        SELECT key FROM login_throttle WHERE ends_at <= now() ORDER BY ends_at LIMIT 10
        FOR UPDATE SKIP LOCKED)"""
"""A statement of its own, for it locks in an order that is not that of the keys."""

_FAILED: Final = (
    SQL("""
    WITH {locked}, decided AS (
        UPDATE login_throttle AS throttle SET attempts = locked.attempts, failures = locked.failures + 1
        FROM locked, moment
        WHERE throttle.key = locked.key AND now < locked.ends_at AND locked.failures < locked.attempts
        RETURNING throttle.failures
    )
    SELECT coalesce(bool_or(failures = %(limit)s), false) AS has_blocked FROM decided""")
    .format(locked=_LOCKED)
    .as_bytes()
)
"""Sets what it does not change as well: the constraints of the new row are first checked against the version
that was there when the statement began, even where the one that is then updated is another."""

_SUCCEEDED: Final = (
    SQL("""
    WITH {locked}
    UPDATE login_throttle AS throttle SET
        attempts = locked.attempts - 1 - CASE WHEN locked.key = %(forgiven)s THEN locked.failures ELSE 0 END,
        failures = CASE WHEN locked.key = %(forgiven)s THEN 0 ELSE locked.failures END
    FROM locked
    WHERE throttle.key = locked.key AND locked.failures < locked.attempts""")
    .format(locked=_LOCKED)
    .as_bytes()
)


class PostgresLoginThrottle(LoginThrottle):
    """A row for each key, with its attempts and how many of them have failed."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def admit(self, keys: Collection[str]) -> float | None:
        """Count one attempt for every key; or return the seconds until it is worth trying again."""
        parameters = _about(keys) | {"block": LOGIN_BLOCK, "decision": LOGIN_DECISION}
        for _ in range(_TRIES):
            row = await fetch_one(self._pool, _ADMIT, parameters)
            if row is not None and row["is_complete"]:
                return None if row["wait_sec"] is None else max(0.0, row["wait_sec"])
            await fetch_all(self._pool, _REMOVE_ENDED, {})
        raise DatabaseUnavailable("Logins cannot be counted")

    async def failed(self, keys: Collection[str]) -> bool:
        """Record that an attempt has failed; say whether that has blocked one of the keys."""
        row = await fetch_one(self._pool, _FAILED, _about(keys))
        return row is not None and bool(row["has_blocked"])

    async def succeeded(self, keys: Collection[str], *, forgiven: str) -> None:
        """Take an attempt off every key; forget the failures of the key `forgiven`."""
        await fetch_all(self._pool, _SUCCEEDED, _about(keys) | {"forgiven": forgiven})


def _about(keys: Collection[str]) -> dict[str, object]:
    return {"keys": sorted(set(keys)), "limit": LOGIN_ATTEMPTS}

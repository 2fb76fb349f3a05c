"""The contract of `LoginThrottle`."""

import asyncio

import pytest

from photochanger.domain.account import (
    LOGIN_ATTEMPTS,
    LOGIN_BLOCK,
    LOGIN_DECISION,
    account_key,
    throttle_keys,
)
from photochanger.testing.harness import MINUTE, SECOND, Records, RecordsContract

_ADDRESS = "203.0.113.7"
_KEYS = throttle_keys("serg", _ADDRESS)
_SERG = account_key("serg")
_BLOCK_SEC = LOGIN_BLOCK.total_seconds()


async def fail(
    records: Records, times: int, *, username: str = "serg", address: str = _ADDRESS
) -> list[bool]:
    """Let logins be admitted and fail, one after the other; return what each was told."""
    keys = throttle_keys(username, address)
    told = []
    for _ in range(times):
        assert await records.throttle.admit(keys) is None
        told.append(await records.throttle.failed(keys))
    return told


class LoginThrottleContract(RecordsContract):
    """Every sentence of `LoginThrottle`; override the fixture `records`."""

    async def test_so_many_failures_block_and_the_last_one_is_told_so(self, records: Records) -> None:
        told = await fail(records, LOGIN_ATTEMPTS)
        assert told == [*[False] * (LOGIN_ATTEMPTS - 1), True]
        assert await records.throttle.admit(_KEYS) is not None

    async def test_the_wait_is_until_the_end_of_the_block(self, records: Records) -> None:
        await fail(records, LOGIN_ATTEMPTS)
        for passed_sec in (0, 60):
            await records.time_passes(passed_sec * SECOND)
            wait_sec = await records.throttle.admit(_KEYS)
            assert wait_sec is not None
            assert _BLOCK_SEC - passed_sec - 30 < wait_sec <= _BLOCK_SEC - passed_sec

    async def test_the_block_ends_so_long_after_the_last_attempt(self, records: Records) -> None:
        await fail(records, LOGIN_ATTEMPTS - 1)
        await records.time_passes(10 * MINUTE)
        await fail(records, 1)
        await records.time_passes(LOGIN_BLOCK - MINUTE)
        assert await records.throttle.admit(_KEYS) is not None
        await records.time_passes(MINUTE)
        assert await fail(records, LOGIN_ATTEMPTS) == [*[False] * (LOGIN_ATTEMPTS - 1), True]

    async def test_fewer_failures_are_forgotten_after_the_same_time(self, records: Records) -> None:
        await fail(records, LOGIN_ATTEMPTS - 1)
        await records.time_passes(LOGIN_BLOCK)
        assert await fail(records, LOGIN_ATTEMPTS) == [*[False] * (LOGIN_ATTEMPTS - 1), True]

    async def test_a_refused_attempt_is_not_counted_and_makes_no_block_longer(self, records: Records) -> None:
        await fail(records, LOGIN_ATTEMPTS)
        await records.time_passes(LOGIN_BLOCK - MINUTE)
        for _ in range(20):
            assert await records.throttle.admit(_KEYS) is not None
        await records.time_passes(MINUTE)
        assert await records.throttle.admit(_KEYS) is None

    async def test_what_one_key_refuses_counts_for_no_other(self, records: Records) -> None:
        await fail(records, LOGIN_ATTEMPTS)
        for _ in range(2 * LOGIN_ATTEMPTS):
            assert await records.throttle.admit(throttle_keys("igor", _ADDRESS)) is not None
        assert await fail(records, LOGIN_ATTEMPTS, username="igor", address="203.0.113.8")

    async def test_an_account_is_blocked_at_every_address(self, records: Records) -> None:
        for number in range(LOGIN_ATTEMPTS):
            await fail(records, 1, address=f"203.0.113.{number}")
        assert await records.throttle.admit(throttle_keys("serg", "203.0.113.99")) is not None
        assert await records.throttle.admit(throttle_keys("igor", "203.0.113.99")) is None

    async def test_an_address_is_blocked_for_every_account(self, records: Records) -> None:
        for number in range(LOGIN_ATTEMPTS):
            await fail(records, 1, username=f"nobody-{number}")
        assert await records.throttle.admit(throttle_keys("serg", _ADDRESS)) is not None
        assert await records.throttle.admit(throttle_keys("serg", "203.0.113.99")) is None

    async def test_an_attempt_counts_from_the_moment_it_is_let_in(self, records: Records) -> None:
        for _ in range(LOGIN_ATTEMPTS):
            assert await records.throttle.admit(_KEYS) is None
        assert await records.throttle.admit(_KEYS) == 1

    async def test_one_that_is_never_decided_counts_like_a_failed_one(self, records: Records) -> None:
        for _ in range(LOGIN_ATTEMPTS):
            assert await records.throttle.admit(_KEYS) is None
        await records.time_passes(LOGIN_DECISION)
        wait_sec = await records.throttle.admit(_KEYS)
        assert wait_sec is not None
        assert wait_sec > _BLOCK_SEC - LOGIN_DECISION.total_seconds() - 30
        await records.time_passes(LOGIN_BLOCK - LOGIN_DECISION)
        assert await records.throttle.admit(_KEYS) is None

    async def test_where_several_keys_are_full_the_longest_wait_counts(self, records: Records) -> None:
        await fail(records, LOGIN_ATTEMPTS, address="203.0.113.8")
        for _ in range(LOGIN_ATTEMPTS):
            assert await records.throttle.admit(throttle_keys("igor", _ADDRESS)) is None
        wait_sec = await records.throttle.admit(_KEYS)
        assert wait_sec is not None
        assert wait_sec > _BLOCK_SEC - 30

    async def test_a_success_is_taken_off_every_key(self, records: Records) -> None:
        for _ in range(3 * LOGIN_ATTEMPTS):
            assert await records.throttle.admit(_KEYS) is None
            await records.throttle.succeeded(_KEYS, forgiven=_SERG)
        assert await fail(records, LOGIN_ATTEMPTS) == [*[False] * (LOGIN_ATTEMPTS - 1), True]

    async def test_a_success_forgives_the_account_and_not_the_address(self, records: Records) -> None:
        await fail(records, LOGIN_ATTEMPTS - 1)
        assert await records.throttle.admit(_KEYS) is None
        await records.throttle.succeeded(_KEYS, forgiven=_SERG)
        assert await fail(records, 1) == [True]  # the address has its fifth
        assert await records.throttle.admit(_KEYS) is not None
        told = await fail(records, LOGIN_ATTEMPTS - 1, address="203.0.113.8")
        assert told == [*[False] * (LOGIN_ATTEMPTS - 2), True]  # the account has had one since

    async def test_a_success_leaves_attempts_that_are_under_way(self, records: Records) -> None:
        for _ in range(3):
            assert await records.throttle.admit(_KEYS) is None
        await records.throttle.succeeded(_KEYS, forgiven=_SERG)
        assert await fail(records, LOGIN_ATTEMPTS - 2) == [False] * (LOGIN_ATTEMPTS - 2)
        assert await records.throttle.admit(_KEYS) == 1

    async def test_no_more_can_fail_or_succeed_than_were_let_in(self, records: Records) -> None:
        assert not await records.throttle.failed(_KEYS)
        await records.throttle.succeeded(_KEYS, forgiven=_SERG)
        await fail(records, 1)
        assert not await records.throttle.failed(_KEYS)
        await records.throttle.succeeded(_KEYS, forgiven=_SERG)
        assert await fail(records, LOGIN_ATTEMPTS - 1) == [*[False] * (LOGIN_ATTEMPTS - 2), True]

    async def test_a_failure_that_comes_after_the_end_counts_for_nothing(self, records: Records) -> None:
        for _ in range(LOGIN_ATTEMPTS):
            assert await records.throttle.admit(_KEYS) is None
        await records.time_passes(LOGIN_BLOCK)
        assert [await records.throttle.failed(_KEYS) for _ in range(LOGIN_ATTEMPTS)] == [False] * 5

    @pytest.mark.parametrize(
        "keys", [sorted(_KEYS), [_SERG], sorted(_KEYS, reverse=True)], ids=["both", "one", "backwards"]
    )
    async def test_no_number_of_parallel_attempts_is_more(self, records: Records, keys: list[str]) -> None:
        waits = await asyncio.gather(*(records.throttle.admit(keys) for _ in range(40)))
        assert waits.count(None) == LOGIN_ATTEMPTS
        assert {wait for wait in waits if wait is not None} == {1.0}

    async def test_of_parallel_failures_one_blocks(self, records: Records) -> None:
        for _ in range(LOGIN_ATTEMPTS):
            assert await records.throttle.admit(_KEYS) is None
        told = await asyncio.gather(*(records.throttle.failed(_KEYS) for _ in range(LOGIN_ATTEMPTS)))
        assert sorted(told) == [*[False] * (LOGIN_ATTEMPTS - 1), True]

    async def test_many_keys_at_once_do_not_hold_each_other_up(self, records: Records) -> None:
        """Each of them is in four pairs."""
        names, addresses = [f"n{number}" for number in range(4)], [f"203.0.113.{n}" for n in range(4)]
        pairs = [throttle_keys(name, address) for name in names for address in addresses]
        for _ in range(3):
            waits = await asyncio.gather(*(records.throttle.admit(keys) for keys in pairs))
            assert waits == [None] * len(pairs)
            await asyncio.gather(*(records.throttle.succeeded(keys, forgiven="") for keys in pairs))

"""The contract of `PasswordHasher`."""

import asyncio
import time

import pytest

from photochanger.application.ports.auth import PasswordHasher
from photochanger.testing.harness import AsyncContract

_PASSWORD = "Пароль № 1 – correct horse"


class PasswordHasherContract(AsyncContract):
    """Every sentence of `PasswordHasher`; override the fixture `hasher`."""

    @pytest.fixture
    def hasher(self) -> PasswordHasher:
        """Return the hasher to test."""
        raise NotImplementedError("override the fixture `hasher`")

    async def test_a_password_matches_its_hash_and_no_other_does(self, hasher: PasswordHasher) -> None:
        password_hash = await hasher.hash(_PASSWORD)
        assert await hasher.verify(_PASSWORD, password_hash)
        assert not await hasher.verify("another", password_hash)
        assert not await hasher.verify("", password_hash)

    async def test_two_hashes_of_one_password_differ(self, hasher: PasswordHasher) -> None:
        one, two = await hasher.hash(_PASSWORD), await hasher.hash(_PASSWORD)
        assert one != two
        assert await hasher.verify(_PASSWORD, two)

    async def test_a_hash_names_its_algorithm_and_holds_no_password(self, hasher: PasswordHasher) -> None:
        password_hash = await hasher.hash("plaintext-password")
        assert password_hash.startswith("$")
        assert "plaintext-password" not in password_hash

    @pytest.mark.parametrize(
        ("password", "other"),
        [
            ("secret12", "SECRET12"),
            ("secret12", " secret12"),
            ("secret12", "secret12\n"),
            ("caf\u00e9-cafe", "cafe\u0301-cafe"),
            ("ﬁnesse12", "finesse12"),
            ("secret12", "secret12\0"),
        ],
    )
    async def test_passwords_are_compared_exactly(
        self, hasher: PasswordHasher, password: str, other: str
    ) -> None:
        assert not await hasher.verify(other, await hasher.hash(password))
        assert await hasher.verify(other, await hasher.hash(other))

    @pytest.mark.parametrize(
        "broken", ["", "$", "plain", "$argon2id$v=19$", "$argon2id$v=19$m=65536,t=3,p=4$AAAA$", "\0", "ключ"]
    )
    async def test_a_broken_hash_matches_no_password(self, hasher: PasswordHasher, broken: str) -> None:
        assert not await hasher.verify(_PASSWORD, broken)
        assert not await hasher.verify("", broken)

    async def test_the_event_loop_is_not_held_up(self, hasher: PasswordHasher) -> None:
        hashing = asyncio.create_task(hasher.hash(_PASSWORD))
        longest = 0.0
        while not hashing.done():
            begun = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - begun)
        assert longest < 0.25

    async def test_many_calls_at_once_all_come_to_their_end(self, hasher: PasswordHasher) -> None:
        hashes = await asyncio.gather(*(hasher.hash(f"password-{number}") for number in range(6)))
        answers = await asyncio.gather(
            *(hasher.verify(f"password-{number}", text) for number, text in enumerate(hashes))
        )
        assert all(answers)

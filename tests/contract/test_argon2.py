"""argon2id, held to the port's contract."""

import asyncio
import threading

import pytest

from photochanger.adapters.argon2_hasher import AT_ONCE, Argon2PasswordHasher
from photochanger.application.ports import PasswordHasher
from photochanger.testing.auth import PasswordHasherContract


class TestArgon2PasswordHasher(PasswordHasherContract):
    """The hasher that production uses, with its real costs."""

    @pytest.fixture
    def hasher(self) -> PasswordHasher:
        return Argon2PasswordHasher()

    async def test_the_hash_names_algorithm_and_parameters(self, hasher: PasswordHasher) -> None:
        assert (await hasher.hash("correct-horse")).startswith("$argon2id$v=19$m=19456,t=2,p=1$")

    async def test_only_so_many_run_at_once_and_off_the_event_loop(
        self, hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert isinstance(hasher, Argon2PasswordHasher)
        lock, running, most, threads = threading.Lock(), 0, 0, set()
        matches = hasher._matches

        def counted(password: str, password_hash: str) -> bool:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
                threads.add(threading.current_thread())
            try:
                return matches(password, password_hash)
            finally:
                with lock:
                    running -= 1

        monkeypatch.setattr(hasher, "_matches", counted)
        stored = await hasher.hash("correct-horse")

        checked = await asyncio.gather(*(hasher.verify("correct-horse", stored) for _ in range(8)))

        assert checked == [True] * 8
        assert most <= AT_ONCE
        assert threading.main_thread() not in threads

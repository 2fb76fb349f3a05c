"""argon2id, held to the port's contract."""

import asyncio
import os
import sys
import threading

import pytest

from photochanger.adapters.argon2_hasher import AT_ONCE, Argon2PasswordHasher
from photochanger.adapters.background_threads import NICENESS
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

    async def test_who_does_not_wait_for_it_any_more_makes_no_room_for_others(
        self, hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A thread goes on to its end: nobody could make more of them by hanging up."""
        assert isinstance(hasher, Argon2PasswordHasher)
        begun, may_end = threading.Semaphore(0), threading.Event()

        def matches(_password: str, _password_hash: str) -> bool:
            begun.release()
            return may_end.wait(30)

        monkeypatch.setattr(hasher, "_matches", matches)
        for _ in range(AT_ONCE):
            verifying = asyncio.create_task(hasher.verify("", ""))
            assert await asyncio.to_thread(begun.acquire, timeout=30)
            verifying.cancel()
        another = asyncio.create_task(hasher.verify("", ""))
        assert not await asyncio.to_thread(begun.acquire, timeout=0.2)

        may_end.set()

        assert await another

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no niceness")
    async def test_it_steps_back_behind_the_photos(
        self, hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []

        def matches(_password: str, _password_hash: str) -> bool:
            seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return True

        monkeypatch.setattr(hasher, "_matches", matches)
        before = os.getpriority(os.PRIO_PROCESS, 0)

        await hasher.verify("", "")

        assert seen == [max(before, NICENESS)]
        assert os.getpriority(os.PRIO_PROCESS, 0) == before

"""The keys of tokens: weak ones are refused, and without any one is made, once for all processes."""

import asyncio
import base64
import random
import secrets
import uuid
from pathlib import Path

import pytest

from photochanger.adapters.jwt_tokens import JwtAccessTokens
from photochanger.domain.errors import StorageUnavailable, ValidationFailed
from photochanger.entrypoints.settings import Environment, read_environment, weakness_of
from photochanger.entrypoints.signing_keys import signing_keys

GOOD = "vN2sQ8xR5tYw1ZkC7bLm4HfJ6dGp9aEu"

WEAK = [
    "short",
    GOOD[:-1],
    "a" * 64,
    "ab" * 32,
    "abcd1234" * 8,
    (GOOD[:20] * 4),
    "0123456789abcdef" * 4,
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "zyxwvutsrqponmlkjihgfedcba9876543210",
    "changeme-changeme-changeme-x7Kq2ZpW",
    "Change_Me_" + GOOD,
    "your-256-bit-secret-your-256-bit-se",
    "your-super-long-and-safe-signing-key",
    "my-secret-key-that-nobody-can-guess!",
    "replace-this-with-a-long-random-text",
    "a-string-secret-at-least-256-bits-long",
    "correct-password-battery-staple-2026",
    GOOD + ",",
    GOOD[:16] + " " + GOOD[16:],
    "пароль-" * 8,
    "-----BEGIN PUBLIC KEY----- MCowBQYDK2VwAyEA -----END PUBLIC KEY-----",
    GOOD + "\0",
]


@pytest.mark.parametrize("key", WEAK)
@pytest.mark.parametrize("variable", ["JWT_SIGNING_KEY", "JWT_PREVIOUS_KEYS"])
def test_a_weak_key_is_refused_with_the_way_out(variable: str, key: str) -> None:
    if variable == "JWT_PREVIOUS_KEYS" and key == GOOD + ",":
        key = ","
    with pytest.raises(ValidationFailed) as refused:
        read_environment({variable: key})
    [problem] = refused.value.problems
    assert problem.field == variable
    assert "openssl rand -base64 48" in problem.message
    assert key not in problem.message


def test_no_random_key_is_refused() -> None:
    made = random.Random(7)
    for _ in range(2_000):
        content = made.randbytes(32)
        for key in (
            content.hex(),
            content[:16].hex(),
            base64.b64encode(content).decode(),
            base64.urlsafe_b64encode(content).decode(),
            f"{uuid.UUID(bytes=content[:16], version=4)}",
        ):
            assert weakness_of(key) is None, key
            JwtAccessTokens([key])


def test_the_keys_are_read_and_not_shown() -> None:
    old = [secrets.token_urlsafe(48) for _ in range(2)]
    environment = read_environment({"JWT_SIGNING_KEY": GOOD, "JWT_PREVIOUS_KEYS": f"{old[0]} , {old[1]}"})
    assert signing_keys(environment) == [GOOD, *old]
    for key in (GOOD, *old):
        assert key not in repr(environment)


def test_a_given_key_makes_no_file(tmp_path: Path) -> None:
    signing_keys(Environment(data_dir=tmp_path, jwt_signing_key=GOOD))
    assert list(tmp_path.iterdir()) == []


def test_without_a_key_one_is_made_that_only_its_owner_can_read(tmp_path: Path) -> None:
    [key] = signing_keys(Environment(data_dir=tmp_path))
    assert weakness_of(key) is None
    assert len(key) == 64
    path = tmp_path / "secrets" / "jwt-signing-key"
    assert path.read_text().strip() == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_every_installation_makes_another_and_keeps_it(tmp_path: Path) -> None:
    here, there = (Environment(data_dir=tmp_path / name) for name in ("here", "there"))
    assert signing_keys(here) == signing_keys(here)
    assert signing_keys(here) != signing_keys(there)
    assert signing_keys(Environment(data_dir=tmp_path / "here", jwt_previous_keys=(GOOD,)))[1:] == [GOOD]


@pytest.mark.anyio
async def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    environment = Environment(data_dir=tmp_path)
    keys = await asyncio.gather(*(asyncio.to_thread(signing_keys, environment) for _ in range(8)))
    assert len({key for [key] in keys}) == 1


@pytest.mark.parametrize("content", ["", "\n", "short", "a" * 64, "\xff" * 40])
def test_a_file_without_a_good_key_is_refused(tmp_path: Path, content: str) -> None:
    environment = Environment(data_dir=tmp_path)
    signing_keys(environment)
    path = tmp_path / "secrets" / "jwt-signing-key"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(ValidationFailed) as refused:
        signing_keys(environment)
    assert str(path) in str(refused.value)
    assert not content.strip() or content not in str(refused.value)


def test_a_key_that_others_may_have_read_is_refused(tmp_path: Path) -> None:
    environment = Environment(data_dir=tmp_path)
    signing_keys(environment)
    path = tmp_path / "secrets" / "jwt-signing-key"
    path.chmod(0o640)
    with pytest.raises(ValidationFailed, match="others than its owner"):
        signing_keys(environment)


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text("a file")
    with pytest.raises(StorageUnavailable, match="signing key"):
        signing_keys(Environment(data_dir=tmp_path))

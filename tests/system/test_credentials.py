"""The file of the administrators' accounts, misused: nobody logs in, rather than somebody who must not."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from photochanger.domain.errors import Unavailable
from tests.system.administration import ask, log_in, refusal, token_of, who_is
from tests.system.installation import Installation

pytestmark = [pytest.mark.anyio, pytest.mark.system]

UNAVAILABLE: Final = (503, "storage_unavailable")
CANARY: Final = "canary-7c1d"


def _readable_by_others(path: Path) -> None:
    path.chmod(0o644)


def _broken(path: Path) -> None:
    path.write_text(path.read_text().replace("]", "", 1) + CANARY)


def _broken_and_moved_into_place(path: Path) -> None:
    new = path.with_name("new.json")
    new.write_text(f'{{"accounts": [{{"username": "{CANARY}"}}]}}')
    new.chmod(0o600)
    new.replace(path)


def _emptied(path: Path) -> None:
    os.truncate(path, 0)


def _with_a_permission_that_there_is_not(path: Path) -> None:
    path.write_text(path.read_text().replace("audit:read", f"audit:{CANARY}"))


DAMAGES: Final = (
    _readable_by_others,
    _broken,
    _broken_and_moved_into_place,
    _emptied,
    _with_a_permission_that_there_is_not,
)


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_server_does_not_start_with_a_file_that_cannot_be_used(
    installation: Installation, damage: Callable[[Path], None]
) -> None:
    await installation.set_up({})
    await installation.add_account("serg")
    damage(installation.environment.credentials_path)

    with pytest.raises(Unavailable, match="It ended with status"):
        installation.serve()

    [told] = [line for line in installation.logs().splitlines() if "CREDENTIALS_FILE" in line]
    assert str(installation.environment.credentials_path) in told
    assert "Traceback" not in installation.logs()
    assert CANARY not in installation.logs()


async def test_a_file_that_goes_bad_lets_nobody_in_until_it_is_mended(installation: Installation) -> None:
    await installation.set_up({})
    await installation.add_account("serg")
    server = installation.serve()
    token = await token_of(server, "serg")
    path = installation.environment.credentials_path
    good = path.read_text()

    for damage in DAMAGES:
        damage(path)
        for _ in range(6):  # more often than would block the account, if they counted
            assert refusal(await log_in(server, "serg")) == UNAVAILABLE, damage
            assert refusal(await log_in(server, "serg", "wrong")) == UNAVAILABLE, damage
        for method, asked in (("GET", "/api/me"), ("GET", "/api/settings"), ("POST", "/api/logout")):
            assert refusal(await ask(server, method, asked, token=token)) == UNAVAILABLE, damage

        path.write_text(good)
        path.chmod(0o600)
        assert await who_is(server, token) == 200
        assert (await log_in(server, "serg")).status == 200

    complaints = [line for line in installation.logs().splitlines() if "cannot be used" in line]
    assert len(complaints) == len(DAMAGES)
    assert CANARY not in installation.logs()


async def test_without_the_file_there_are_no_accounts(installation: Installation) -> None:
    await installation.set_up({})
    await installation.add_account("serg")
    server = installation.serve()
    token = await token_of(server, "serg")

    installation.environment.credentials_path.unlink()

    assert refusal(await log_in(server, "serg")) == (401, "invalid_credentials")
    assert refusal(await ask(server, "GET", "/api/me", token=token)) == (401, "not_authenticated")

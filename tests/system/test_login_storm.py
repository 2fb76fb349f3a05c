"""Logins over HTTP to several processes: how often passwords can be guessed, and who is shut out by it."""

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final
from urllib.request import urlopen

import pytest

from photochanger.domain.account import LOGIN_ATTEMPTS
from photochanger.domain.audit import AuditAction
from photochanger.entrypoints.cli.processes import ServeProcess
from tests.system.administration import ask, log_in, read, refusal, token_of
from tests.system.http_server import Answer
from tests.system.installation import Installation

pytestmark = [pytest.mark.anyio, pytest.mark.system]

PROCESSES: Final = 4
WRONG: Final = "not the password"
BEHIND_A_PROXY: Final = {"TRUSTED_PROXIES": "127.0.0.1"}
ONE_ACCOUNT: Final = ("serg", "Serg", "SERG", " serg ", "\u00a0serg", "ｓｅｒｇ", "ſerg")
"""Other case, blanks, full width (U+FF53 …), a long s (U+017F)."""

BLOCKED: Final = (429, "too_many_attempts")
REFUSED: Final = (401, "invalid_credentials")
_VERIFIED: Final = re.compile(
    r'photochanger_port_duration_seconds_count\{operation="verify",[^}]*port="PasswordHasher"} (\S+)'
)


@pytest.mark.slow
async def test_of_a_hundred_parallel_logins_over_four_processes_five_are_verified(
    installation: Installation,
) -> None:
    await installation.set_up({})
    for name in ("serg", "igor"):
        await installation.add_account(name)
    servers = installation.serve_several(PROCESSES, variables=BEHIND_A_PROXY)
    before = await _verified(servers)

    answers = await asyncio.gather(
        *(log_in(servers[n % PROCESSES], "serg", WRONG, address=f"192.0.2.{n}") for n in range(100))
    )

    assert Counter(map(refusal, answers)) == {REFUSED: LOGIN_ATTEMPTS, BLOCKED: 100 - LOGIN_ATTEMPTS}
    assert all(1 <= _retry_after_sec(answer) <= 900 for answer in answers if answer.status == 429)
    assert await _verified(servers) - before == LOGIN_ATTEMPTS
    await _expect_serg_to_be_blocked(servers)
    assert await _verified(servers) - before == LOGIN_ATTEMPTS

    token = await token_of(servers[0], "igor", address="198.51.100.1")
    assert await _audited(servers[1], token, subject="serg") == {
        AuditAction.LOGIN_FAILED: LOGIN_ATTEMPTS - 1,
        AuditAction.LOGIN_BLOCKED: 1,
    }

    for server in servers:
        server.kill()
    await _expect_serg_to_be_blocked(installation.serve_several(2, variables=BEHIND_A_PROXY))


async def _expect_serg_to_be_blocked(servers: Sequence[ServeProcess]) -> None:
    """With the right password, however the name is written, from an address that did nothing wrong."""
    answers = await asyncio.gather(
        *(log_in(server, name, address="203.0.113.1") for server in servers for name in ONE_ACCOUNT)
    )
    assert Counter(map(refusal, answers)) == {BLOCKED: len(answers)}
    assert all(600 < _retry_after_sec(answer) <= 900 for answer in answers)


async def test_an_address_is_blocked_for_all_accounts_and_other_addresses_are_not(
    installation: Installation,
) -> None:
    await installation.set_up({})
    await installation.add_account("serg")
    server = installation.serve(variables=BEHIND_A_PROXY)

    for number in range(LOGIN_ATTEMPTS):
        assert refusal(await log_in(server, f"nobody-{number}", address="192.0.2.1")) == REFUSED

    for same in ("192.0.2.1", "::ffff:192.0.2.1", "203.0.113.9, 192.0.2.1", "nonsense, 192.0.2.1"):
        assert refusal(await log_in(server, "serg", address=same)) == BLOCKED, same
    assert (await log_in(server, "serg", address="192.0.2.2")).status == 200
    assert (await log_in(server, "serg")).status == 200


async def test_without_a_trusted_proxy_nobody_can_say_that_they_are_somebody_else(
    installation: Installation,
) -> None:
    await installation.set_up({})
    await installation.add_account("serg")
    server = installation.serve()

    answers = await asyncio.gather(
        *(log_in(server, f"nobody-{number}", address=f"192.0.2.{number}") for number in range(40))
    )

    assert Counter(map(refusal, answers)) == {REFUSED: LOGIN_ATTEMPTS, BLOCKED: 40 - LOGIN_ATTEMPTS}
    assert refusal(await log_in(server, "serg", address="192.0.2.200")) == BLOCKED


def _retry_after_sec(answer: Answer) -> int:
    told = int(answer["Retry-After"])
    assert read(answer)["retry_after_sec"] == told
    return told


async def _verified(servers: Sequence[ServeProcess]) -> float:
    """Return how many passwords the processes have compared with a hash, by their metrics."""
    pages = await asyncio.gather(*(asyncio.to_thread(_metrics, server) for server in servers))
    return sum(float(count) for page in pages for count in _VERIFIED.findall(page))


def _metrics(server: ServeProcess) -> str:
    with urlopen(f"{server.base_url}/metrics", timeout=10) as answer:
        page: bytes = answer.read()
    return page.decode()


async def _audited(server: ServeProcess, token: str, *, subject: str) -> Counter[str]:
    """Return what the audit log has about the subject."""
    answer = await ask(server, "GET", f"/api/audit?subject={subject}&limit=200", token=token)
    assert answer.status == 200
    return Counter(event["action"] for event in read(answer)["items"])

"""What the time of a refused login tells, and what a wave of logins costs the photos."""

import asyncio
import json
import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path

from benchmarks.harness import (
    Answer,
    Connection,
    Spread,
    configure,
    ingest_request,
    installation,
    keep_to_load_core,
    load,
    peak_resident_mib,
    percentile,
    resident_mib,
    running,
    table,
)
from photochanger.adapters.argon2_hasher import Argon2PasswordHasher
from photochanger.domain.account import LOGIN_ATTEMPTS
from photochanger.entrypoints.settings import Environment
from photochanger.testing.photos import plain_jpeg

SAMPLES = 200
AT_ONCE = (1, 8)
"""How many logins are under way."""
WAVE = 64
ROUNDS = 5
PHOTOS = 100
PORT = 8321

UNKNOWN, WRONG, THROTTLED = KINDS = ("unknown user", "wrong password", "throttled")
STATUS: Mapping[str, int] = {UNKNOWN: 401, WRONG: 401, THROTTLED: 429}
BLOCKED = "blocked"

_addresses = (str(IPv4Address("10.0.0.0") + number) for number in count(1))
"""Every login comes from another one, for they are throttled as well."""


def run() -> str:
    """Measure, and return the figures as Markdown."""
    with installation() as data_dir:
        configure(data_dir, params={"effect": "none"})
        names = [f"account-{number}" for number in range(SAMPLES * len(AT_ONCE))]
        asyncio.run(_make_accounts(data_dir, [*names, BLOCKED]))
        with running(data_dir, PORT, variables={"TRUSTED_PROXIES": "127.0.0.1"}) as server:
            keep_to_load_core()
            asyncio.run(_block())
            fresh = iter(names)
            refusals = [(at_once, asyncio.run(_refusals(at_once, fresh))) for at_once in AT_ONCE]
            rounds = [asyncio.run(_wave(server.pid)) for _ in range(ROUNDS + 1)][1:]
    return f"{_about_refusals(refusals)}\n\n{_about_waves(rounds)}"


async def _make_accounts(data_dir: Path, names: Sequence[str]) -> None:
    """Write them all with one hash: how long a password takes does not depend on its salt."""
    password_hash = await Argon2PasswordHasher().hash("the password of all of them")
    accounts = [
        {"username": name, "password_hash": password_hash, "permissions": ["audit:read"]} for name in names
    ]
    path = Environment(data_dir=data_dir).credentials_path
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(json.dumps({"accounts": accounts}))
    path.chmod(0o600)


def _login(username: str) -> bytes:
    body = json.dumps({"username": username, "password": "not the password"}).encode()
    return (
        f"POST /api/login HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: {next(_addresses)}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def _block() -> None:
    connection = Connection(PORT)
    for _ in range(LOGIN_ATTEMPTS):
        await connection.ask(_login(BLOCKED))
    await connection.close()


async def _refusals(at_once: int, accounts: Iterator[str]) -> Mapping[str, list[Answer]]:
    """Refuse each kind `SAMPLES` times, all kinds in turn and each turn in an order of its own."""
    dice, answers = random.Random(at_once), {kind: list[Answer]() for kind in KINDS}
    turns = (kind for _ in range(SAMPLES) for kind in dice.sample(KINDS, len(KINDS)))
    names = {UNKNOWN: (f"nobody-{at_once}-{n}" for n in count()), WRONG: accounts}

    async def one_connection() -> None:
        connection = Connection(PORT)
        for kind in turns:
            name = BLOCKED if kind == THROTTLED else next(names[kind])
            answers[kind].append(await connection.ask(_login(name)))
        await connection.close()

    await asyncio.gather(*(one_connection() for _ in range(at_once)))
    return answers


async def _wave(pid: int) -> dict[str, float]:
    """Send photos one after the other: first alone, then while a wave of logins is being verified."""
    request = ingest_request(plain_jpeg(600, 400))
    figures = {"idle MiB": resident_mib(pid)}
    figures |= _of_photos("alone", await load(PORT, request, connections=1, requests=PHOTOS))
    logins: list[Answer] = []

    async def both() -> None:
        wave = asyncio.ensure_future(_many_logins())
        figures.update(_of_photos("beside", await _photos_during(wave, request)))
        logins.extend(await wave)

    figures["peak MiB"] = await peak_resident_mib(pid, both)
    figures["logins s"] = max(answer.seconds for answer in logins)
    figures["failed"] = sum(answer.status != 401 for answer in logins)
    return figures


async def _photos_during(wave: asyncio.Future[list[Answer]], request: bytes) -> list[Answer]:
    connection, photos = Connection(PORT), list[Answer]()
    while not wave.done():
        photos.append(await connection.ask(request))
    await connection.close()
    return photos


async def _many_logins() -> list[Answer]:
    connections = [Connection(PORT) for _ in range(WAVE)]
    requests = [_login(f"nobody-{next(_addresses)}") for _ in connections]
    answers = await asyncio.gather(
        *(connection.ask(request) for connection, request in zip(connections, requests, strict=True))
    )
    for connection in connections:
        await connection.close()
    return answers


def _of_photos(name: str, photos: Sequence[Answer]) -> dict[str, float]:
    times = [photo.seconds * 1000 for photo in photos]
    return {
        f"{name} p50": percentile(times, 0.5),
        f"{name} p99": percentile(times, 0.99),
        f"{name} photos": len(times),
        f"{name} failed": sum(photo.status != 200 for photo in photos),
    }


def _about_refusals(measured: Sequence[tuple[int, Mapping[str, list[Answer]]]]) -> str:
    rows = []
    for at_once, answers in measured:
        times = {kind: [answer.seconds * 1000 for answer in answers[kind]] for kind in KINDS}
        medians = {kind: statistics.median(times[kind]) for kind in KINDS}
        spread = [f"{medians[kind]:.2f} ({percentile(times[kind], 0.99):.2f})" for kind in KINDS]
        apart = abs(medians[UNKNOWN] - medians[WRONG])
        farthest = max(medians.values()) - min(medians.values())
        failed = sum(answer.status != STATUS[kind] for kind in KINDS for answer in answers[kind])
        told = _share_told_apart(times[UNKNOWN], times[WRONG])
        rows.append([at_once, *spread, f"{apart:.2f}", f"{farthest:.2f}", f"{told:.3f}", failed])
    header = ["logins at once", *(f"{kind}, ms" for kind in KINDS)]
    header += ["unknown and wrong apart, ms", "all three apart, ms", "AUC", "other answers"]
    return (
        f"### Refused logins ({SAMPLES} of each kind: median, and p99 in brackets)\n\n{table(header, rows)}"
    )


def _share_told_apart(one: Sequence[float], other: Sequence[float]) -> float:
    """Return how often the greater of a pair is of the kind that is greater more often; 0.5 tells nothing."""
    greater = sum((a > b) + (a == b) / 2 for a in one for b in other) / (len(one) * len(other))
    return max(greater, 1 - greater)


def _about_waves(rounds: Sequence[Mapping[str, float]]) -> str:
    def spread(name: str) -> Spread:
        return Spread.of([each[name] for each in rounds])

    rows: list[list[object]] = [
        ["photos", spread("alone photos"), spread("beside photos")],
        ["photos, p50 ms", spread("alone p50"), spread("beside p50")],
        ["photos, p99 ms", spread("alone p99"), spread("beside p99")],
        ["photos failed", spread("alone failed"), spread("beside failed")],
        ["memory, MiB", spread("idle MiB"), spread("peak MiB")],
        ["the last login is refused after, s", "", spread("logins s")],
        ["logins not refused with 401", "", spread("failed")],
    ]
    title = f"### {WAVE} logins at once beside photos, one after the other ({ROUNDS} interleaved rounds)"
    return f"{title}\n\n{table(['', 'photos alone', f'with {WAVE} logins'], rows)}"

"""Three servers and three workers, each on a machine of its own, behind one address.

They share a PostgreSQL and a bucket, and no file.
"""

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.request import Request, urlopen

import aiohttp
import pytest

from photochanger.adapters.object_store.bucket import Bucket
from photochanger.domain.job import JobState
from photochanger.domain.slot import SlotId
from tests.nginx import nginx_before
from tests.system.administration import ADMIN_PASSWORD
from tests.system.installation import PASSWORD, Installation, as_url, eventually, free_port, states
from tests.twins import photo_of

pytestmark = [pytest.mark.anyio, pytest.mark.system, pytest.mark.usefixtures("nginx_is_there")]

SLOTS = [SlotId(f"slot-00{number}") for number in (1, 2, 3)]
BOOTHS = 12
PHOTOS = 8
"""How many each booth sends."""


class Machines:
    """Six of them: each has a folder of its own, and beside it only what its environment says."""

    def __init__(self, folder: Path, database_url: str, bucket: Bucket) -> None:
        self.all = [
            Installation(folder / f"machine-{number}", database_url, bucket=bucket) for number in range(6)
        ]
        self.servers, self.workers = self.all[:3], self.all[3:]
        self.ports = [free_port() for _ in self.servers]
        self.port = free_port()
        self._variables = {
            "JWT_SIGNING_KEY": secrets.token_urlsafe(48),
            "PUBLIC_BASE_URL": self.url,
            "TRUSTED_PROXIES": "127.0.0.1",
            "DRAIN_SEC": "5",
        }

    @property
    def url(self) -> str:
        """The one address."""
        return f"http://127.0.0.1:{self.port}"

    async def set_up(self) -> None:
        """Switch three slots on; give every server the same account."""
        for slot_id in SLOTS:
            await self.all[0].set_up({"effect": "none", "delay_ms": 30}, slot_id=slot_id)
        await self.all[0].add_account("igor")
        accounts = self.all[0].environment.credentials_path
        for machine in self.servers[1:]:
            machine.environment.credentials_path.parent.mkdir(parents=True)
            machine.environment.credentials_path.write_bytes(accounts.read_bytes())
            machine.environment.credentials_path.chmod(0o600)

    def start(self) -> None:
        """Start a process on every machine, and wait for the servers."""
        servers = [
            machine.start_server("--no-worker", "--port", str(port), variables=self._variables)
            for machine, port in zip(self.servers, self.ports, strict=True)
        ]
        for machine in self.workers:
            machine.worker(workers=2, variables=self._variables)
        for server, port in zip(servers, self.ports, strict=True):
            server.base_url = f"http://127.0.0.1:{port}"
            server.wait_until_ready()

    def kill_all(self) -> None:
        """Leave no process behind."""
        for machine in self.all:
            machine.kill_all()


@pytest.fixture
def machines(tmp_path: Path, new_database: Callable[[], str], bucket: Bucket) -> Iterator[Machines]:
    machines = Machines(tmp_path, as_url(new_database()), bucket)
    yield machines
    machines.kill_all()


@pytest.fixture
async def one_address(machines: Machines, tmp_path: Path) -> str:
    await machines.set_up()
    await asyncio.to_thread(machines.start)
    return machines.url


async def test_every_photo_is_delivered_though_a_server_and_a_worker_are_killed(
    machines: Machines, tmp_path: Path, one_address: str
) -> None:
    """A booth whose server dies sends its photo again, with the same key; all others notice nothing."""
    async with aiohttp.ClientSession() as session:
        with nginx_before(machines.ports, port=machines.port, folder=tmp_path):
            sending = [asyncio.create_task(_booth(session, one_address, number)) for number in range(BOOTHS)]

            async def some_are_done() -> bool:
                return sum(_logged(machine, "job ended") for machine in machines.workers) >= BOOTHS

            await eventually(some_are_done)
            machines.servers[0].processes[0].kill()
            machines.workers[0].processes[0].kill()
            delivered = {job_id for jobs in await asyncio.gather(*sending) for job_id in jobs}
            pictures = [await _fetched(session, f"{one_address}/public/results/{each}") for each in delivered]
            told = await _statistics(one_address)
    jobs = await machines.all[1].jobs()
    assert len(delivered) == len(jobs) == BOOTHS * PHOTOS
    assert states(jobs) == {JobState.COMPLETED}
    assert {picture[:3] for picture in pictures} == {b"\xff\xd8\xff"}
    assert told == BOOTHS * PHOTOS
    assert await machines.all[1].discrepancies() == []


async def test_the_load_is_shared_and_no_file_is(
    machines: Machines, tmp_path: Path, one_address: str
) -> None:
    async with aiohttp.ClientSession() as session:
        with nginx_before(machines.ports, port=machines.port, folder=tmp_path):
            await asyncio.gather(*(_booth(session, one_address, number) for number in range(BOOTHS)))
    requests = [_logged(machine, "request") for machine in machines.servers]
    jobs = [_logged(machine, "job ended") for machine in machines.workers]
    assert sum(jobs) == BOOTHS * PHOTOS
    assert sum(requests) >= BOOTHS * PHOTOS
    assert min(requests) >= BOOTHS * PHOTOS // 10
    assert min(jobs) >= BOOTHS * PHOTOS // 10
    for machine in machines.all:
        assert [path for path in machine.environment.media_dir.rglob("*") if path.is_file()] == []


async def _booth(session: aiohttp.ClientSession, url: str, number: int) -> Sequence[str]:
    """Send photos one after the other; return the ids of the jobs that delivered them."""
    return [await _delivered(session, url, number * 1000 + photo) for photo in range(PHOTOS)]


async def _delivered(session: aiohttp.ClientSession, url: str, number: int) -> str:
    headers = {"Idempotency-Key": f"photo {number}"}
    for _ in range(3):
        form = aiohttp.FormData()
        form.add_field("password", PASSWORD)
        form.add_field("fileToUpload", photo_of(number), filename="IMG.JPG", content_type="image/jpeg")
        slot_id = SLOTS[number % len(SLOTS)]
        async with session.post(f"{url}/ingest/{slot_id}", data=form, headers=headers) as answer:
            if answer.status == 200:
                return answer.headers["X-Job-Id"]
            # nginx's word for a server that died with the request in its hands
            assert answer.status == 502, await answer.text()
    raise AssertionError("no server delivers")


def _logged(machine: Installation, event: str) -> int:
    lines = [json.loads(line) for line in machine.logs().splitlines() if line.startswith("{")]
    return Counter(line.get("event") for line in lines)[event]


async def _fetched(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.get(url) as answer:
        assert answer.status == 200
        return await answer.read()


async def _statistics(url: str) -> int:
    """Log in at whatever server it is, and ask whatever others how many photos were completed."""

    def ask(path: str, token: str = "", document: object = None) -> dict[str, object]:
        body = None if document is None else json.dumps(document).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        with urlopen(Request(url + path, data=body, headers=headers), timeout=10) as answer:
            found: dict[str, object] = json.load(answer)
            return found

    credentials = {"username": "igor", "password": ADMIN_PASSWORD}
    token = str((await asyncio.to_thread(ask, "/api/login", document=credentials))["access_token"])
    answers = [await asyncio.to_thread(ask, "/api/stats/system", token) for _ in range(3)]
    counts = {json.dumps(answer["totals"]) for answer in answers}
    assert len(counts) == 1
    totals = answers[0]["totals"]
    assert isinstance(totals, dict)
    return int(totals["by_status"]["completed"])

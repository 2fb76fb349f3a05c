"""A PhotoChanger as it is installed: real processes on one database and one media store."""

import asyncio
import json
import os
import re
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from psycopg.conninfo import conninfo_to_dict

from photochanger.adapters.argon2_hasher import Argon2PasswordHasher
from photochanger.adapters.credentials_file import CredentialsFile
from photochanger.adapters.object_store.bucket import Bucket
from photochanger.application.media_ownership import MARK_KEY
from photochanger.domain.account import Account
from photochanger.domain.job import Job, JobState, parse_job_id
from photochanger.domain.media import parse_media_key
from photochanger.domain.operation import ParameterValue
from photochanger.domain.permissions import Permission
from photochanger.domain.slot import ProviderCall, SlotId
from photochanger.entrypoints.cli.booth import Delivery, Refusal, send_photo
from photochanger.entrypoints.cli.processes import Process, ServeProcess
from photochanger.entrypoints.container import Container
from photochanger.entrypoints.opening import opened
from photochanger.entrypoints.settings import Environment
from photochanger.testing.harness import an_entry
from tests.system.administration import ADMIN_PASSWORD

PASSWORD = "correct-horse"
SLOT = SlotId("slot-001")

T = TypeVar("T")


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def as_url(dsn: str) -> str:
    """Return the connection string as the URL that an operator would write."""
    parts = conninfo_to_dict(dsn)
    query = urlencode({name: value for name, value in parts.items() if name in {"host", "port"}})
    return f"postgresql://{quote(str(parts['user']))}@/{parts['dbname']}?{query}"


async def eventually(look: Callable[[], Awaitable[T]], *, within_sec: float = 30.0) -> T:
    """Look until what is returned is true, and return it; fail after `within_sec`."""
    patience_ends = time.monotonic() + within_sec
    while True:
        found = await look()
        if found:
            return found
        assert time.monotonic() < patience_ends, f"not within {within_sec} s"
        await asyncio.sleep(0.02)


async def fetched(url: str, **headers: str) -> tuple[int, bytes]:
    """Return the status and the body of an answer."""

    def fetch() -> tuple[int, bytes]:
        try:
            with urlopen(Request(url, headers=headers), timeout=10) as answer:
                return answer.status, answer.read()
        except HTTPError as error:
            return error.code, error.read()

    return await asyncio.to_thread(fetch)


class Installation:
    """Processes that are started and killed, and a view of their database and media from outside."""

    def __init__(
        self,
        folder: Path,
        database_url: str,
        *,
        bucket: Bucket | None = None,
        media_root: Path | None = None,
    ) -> None:
        self.folder = folder
        self.environment = Environment(
            data_dir=folder, database_url=database_url, media_bucket=bucket, media_root=media_root
        )
        self.processes: list[Process] = []
        self.variables = {"DATABASE_URL": database_url, **(_variables_of(bucket) if bucket else {})}
        """What every process's environment has besides."""
        if media_root is not None:
            self.variables["MEDIA_ROOT"] = str(media_root)

    def serve(
        self, *options: str, workers: int = 4, variables: Mapping[str, str] | None = None
    ) -> ServeProcess:
        """Start `photochanger serve` and wait until it takes photos; its public address is its own."""
        process = self.start_server(*options, workers=workers, variables=variables)
        process.wait_until_ready()
        return process

    def serve_several(self, count: int, *, variables: Mapping[str, str] | None = None) -> list[ServeProcess]:
        """Start several of them at once, and wait for all."""
        processes = [self.start_server(variables=variables) for _ in range(count)]
        for process in processes:
            process.wait_until_ready()
        return processes

    def start_server(
        self,
        *options: str,
        workers: int = 4,
        variables: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> ServeProcess:
        """Start `photochanger serve`, and wait for nothing; `prefix` goes before the command."""
        number, port = len(self.processes), free_port()
        public = {"PUBLIC_BASE_URL": f"http://127.0.0.1:{port}"}
        process = ServeProcess(
            self.folder,
            port,
            *("--workers", str(workers), *options),
            log_path=self.folder / f"process-{number}.log",
            variables={**self.variables, **public, **(variables or {})},
            prefix=prefix,
        )
        self.processes.append(process)
        return process

    def worker(
        self, *, workers: int = 4, variables: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
    ) -> Process:
        """Start `photochanger worker`; `prefix` goes before the command."""
        process = Process(
            ["worker", "--data-dir", str(self.folder), "--workers", str(workers)],
            log_path=self.folder / f"process-{len(self.processes)}.log",
            variables={**self.variables, **(variables or {})},
            prefix=prefix,
        )
        self.processes.append(process)
        return process

    async def command(self, *arguments: str) -> tuple[int, Any]:
        """Run a command that prints JSON, and return its exit status and what it printed."""
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "photochanger", *arguments, "--json", "--data-dir", str(self.folder)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **self.variables},
        )
        printed, _ = await running.communicate()
        assert running.returncode is not None
        return running.returncode, json.loads(printed) if printed else None

    def kill_all(self) -> None:
        """Leave no process behind."""
        for process in self.processes:
            if process.exit_status is None:
                process.kill()

    def logs(self) -> str:
        """Return what all processes have written."""
        return "".join(process.log_path.read_text() for process in self.processes)

    def spans(self) -> list[dict[str, str]]:
        """Return the name and trace id of every span that was exported to the console."""
        found = re.findall(r'"name": "([^"]+)",\s+"context": {\s+"trace_id": "(\w+)"', self.logs())
        return [{"name": name, "trace_id": trace_id} for name, trace_id in found]

    @asynccontextmanager
    async def container(self) -> AsyncIterator[Container]:
        """Open the same database and media as the processes have."""
        async with opened(self.environment) as container:
            yield container

    async def set_up(
        self,
        params: Mapping[str, ParameterValue],
        *,
        timeout_sec: int = 20,
        slot_id: SlotId = SLOT,
        **terms: Any,
    ) -> None:
        """Set a slot up, with a known password and a sweep every second. Each photo makes a job of its own.
        They may come faster than any test sends them.

        It uses the rehearsal provider with these parameters, unless `terms` say otherwise.
        """
        async with self.container() as container:
            slot = await container.slots().get(slot_id)
            call = ProviderCall(provider="rehearsal", operation="photo_effect", params=params)
            given: dict[str, Any] = {
                "is_active": True,
                "call": call,
                "sync_response_timeout_sec": timeout_sec,
            }
            configuration = replace(slot.configuration, **given | terms)
            await container.slots().save(replace(slot, configuration=configuration), entry=an_entry("test"))
            settings = await container.settings().get()
            password_hash = await container.hasher().hash(PASSWORD)
            await container.settings().save(
                replace(
                    settings,
                    ingest=replace(
                        settings.ingest,
                        password_hash=password_hash,
                        deduplicate=False,
                        rate_limit_rps=10_000,
                        rate_limit_burst=100_000,
                    ),
                    cleanup=replace(settings.cleanup, interval_sec=1),
                ),
                entry=an_entry("test"),
            )

    async def add_account(
        self,
        username: str,
        password: str = ADMIN_PASSWORD,
        *,
        permissions: Collection[Permission] = tuple(Permission),
    ) -> None:
        """Write an account into the credentials file, as an operator would; replace the one of this name."""
        account = Account(
            username=username,
            password_hash=await Argon2PasswordHasher().hash(password),
            permissions=frozenset(permissions),
        )
        await CredentialsFile(self.environment.credentials_path).put(account)

    async def send(
        self, server: ServeProcess, photo: Path, *, slot_id: SlotId = SLOT, password: str = PASSWORD
    ) -> Delivery | Refusal:
        """Send a photo as the booth does; return what comes of it."""
        url = f"{server.base_url}/ingest/{slot_id}"
        try:
            return await send_photo(url, password, photo, timeout_sec=70, on_progress=lambda _: None)
        except Refusal as refusal:
            return refusal

    async def jobs(self) -> list[Job]:
        """Return every job that there is."""
        async with self.container() as container:
            async with container.pool().connection() as connection:
                cursor = await connection.execute("SELECT job_id FROM job ORDER BY seq")
                ids = [parse_job_id(row["job_id"]) for row in await cursor.fetchall()]
            readings = [await container.jobs().get(job_id) for job_id in ids if job_id]
            return [reading.job for reading in readings if reading]

    async def discrepancies(self) -> list[str]:
        """Compare the database with the media folder; nothing is found where both tell the same."""
        async with self.container() as container:
            async with container.pool().connection() as connection:
                cursor = await connection.execute("SELECT media_id, kind, state FROM media_object")
                rows: list[dict[str, Any]] = await cursor.fetchall()
            keys = container.store().keys()
            media = {key: parse_media_key(key) async for key in keys}
        assert {key for key, found in media.items() if found is None} == {MARK_KEY}
        files = {found[1] for found in media.values() if found is not None}
        stored = {row["media_id"] for row in rows if row["state"] == "stored"}
        known = {row["media_id"] for row in rows if row["state"] != "deleted"}
        return [
            *(f"file without a row: {media_id}" for media_id in files - known),
            *(f"row without its file: {media_id}" for media_id in stored - files),
        ]

    async def leftovers(self) -> list[str]:
        """Return the kinds of the media rows that are not deleted, and of the files, but for results."""
        async with self.container() as container:
            async with container.pool().connection() as connection:
                cursor = await connection.execute(
                    "SELECT kind FROM media_object WHERE state NOT IN ('deleted', 'stored')"
                    " OR (state = 'stored' AND kind = 'payload')"
                )
                rows = [str(row["kind"]) for row in await cursor.fetchall()]
            keys = container.store().keys()
            files = [key async for key in keys if key.startswith("payload/")]
        scratch = [str(path) for path in (self.environment.media_dir / "scratch").glob("*")]
        return rows + files + scratch


def _variables_of(bucket: Bucket) -> dict[str, str]:
    return {
        "MEDIA_URL": f"s3://{bucket.name}/{bucket.prefix}",
        "AWS_ENDPOINT_URL": bucket.endpoint or "",
        "AWS_ACCESS_KEY_ID": bucket.access_key_id or "",
        "AWS_SECRET_ACCESS_KEY": bucket.secret_access_key or "",
    }


def states(jobs: list[Job]) -> set[JobState]:
    """Return the states that the jobs are in."""
    return {job.state for job in jobs}

"""PostgreSQL servers that are stopped, killed, frozen and replaced; each in a folder of its own."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

from photochanger.adapters.embedded_postgres.programs import Programs
from tests.system.installation import free_port

HOST: Final = "127.0.0.1"
USER: Final = "postgres"

_SETTINGS: Final = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "32MB",
}

Mode = Literal["smart", "fast", "immediate"]


class PostgresServer:
    """A server that listens on a port of the loopback interface; the programs are the embedded one's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "data"
        self._programs = Programs.of(self._folder)
        self.port = free_port()

    def dsn(self, database: str = "postgres") -> str:
        """Return the connection string of one of its databases."""
        return make_conninfo("", host=HOST, port=self.port, user=USER, dbname=database)

    def create(self) -> None:
        """Make it, and start it."""
        self._own_folder()
        settings = [f"--set={name}={value}" for name, value in _SETTINGS.items()]
        self._run("initdb", "--auth=trust", f"--username={USER}", "--encoding=UTF8", "--locale=C", *settings)
        self.start()

    def create_standby_of(self, primary: "PostgresServer") -> None:
        """Make it a copy that follows `primary`, and start it."""
        self._own_folder()
        source = make_conninfo("", host=HOST, port=primary.port, user=USER)
        self._run("pg_basebackup", f"--pgdata={self._folder}", f"--dbname={source}", "-R", "--checkpoint=fast")
        self.start()

    def _own_folder(self) -> None:
        self._folder.mkdir(parents=True, mode=0o700)
        self._programs.give(self._folder)

    def start(self) -> None:
        """Start it, and return when it answers."""
        self._run("pg_ctl", "start", "--wait", "--silent", "--log=startup.log", f"--options=-p {self.port}")

    def stop(self, mode: Mode = "fast") -> None:
        """Stop it, and return when it has ended; one that has ended already stays so."""
        if self.is_running:
            self._run("pg_ctl", "stop", "--wait", "--silent", f"--mode={mode}")

    def promote(self) -> None:
        """Make the standby a primary, and return when it is one."""
        self._run("pg_ctl", "promote", "--wait", "--silent")

    def freeze(self) -> None:
        """Stop its processes where they are: it goes on listening, and answers nothing."""
        for process in self._processes():
            process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        for process in reversed(self._processes()):
            process.send_signal(signal.SIGCONT)

    @property
    def is_running(self) -> bool:
        """Whether its main process is there."""
        return (self._folder / "postmaster.pid").exists()

    def _processes(self) -> list[psutil.Process]:
        main = psutil.Process(int((self._folder / "postmaster.pid").read_text().splitlines()[0]))
        return [main, *main.children(recursive=True)]

    def _run(self, program: str, *arguments: str) -> None:
        self._programs.run(program, *arguments, cluster=self._folder)

    def ask(self, statement: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement as an administrator, and return its rows."""
        with psycopg.connect(self.dsn(database), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def end_connections(self, *, which: str = "true") -> int:
        """End the clients' connections that the condition on `pg_stat_activity` selects; return how many."""
        ended = self.ask(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            f" WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND {which}"
        )
        return len(ended)


@contextmanager
def stopped_at_last(*servers: PostgresServer):  # type: ignore[no-untyped-def]
    """Leave none of the servers behind, frozen or not."""
    try:
        yield
    finally:
        for server in servers:
            if server.is_running:
                server.thaw()
                server.stop("immediate")


@asynccontextmanager
async def locked(server: PostgresServer, database: str, table: str) -> AsyncIterator[None]:
    """Hold a table during the context as an administrator does who forgets an open transaction."""
    async with await psycopg.AsyncConnection.connect(server.dsn(database)) as connection:
        await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        yield
        await connection.rollback()


async def no_more_than(seconds: float, look: Callable[[], bool]) -> None:
    """Wait until `look` says so."""
    patience_ends = time.monotonic() + seconds
    while not look():  # noqa: ASYNC110 - it sends no signal
        assert time.monotonic() < patience_ends
        await asyncio.sleep(0.02)

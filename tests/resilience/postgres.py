"""PostgreSQL servers that are stopped, killed, frozen and replaced; each in a folder of its own."""

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

from photochanger.adapters.embedded_postgres.programs import Programs
from photochanger.adapters.postgres import migrate
from tests.system.installation import free_port

HOST: Final = "127.0.0.1"
ADMINISTRATOR: Final = "postgres"
OWNER: Final = "photos"
"""As PhotoChanger should be: nobody special, for whom no connections are reserved."""

_SETTINGS: Final = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "32MB",
}

_LOG: Final = "startup.log"

Mode = Literal["smart", "fast", "immediate"]


class PostgresServer:
    """A server that listens on a port of the loopback interface; the programs are the embedded one's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "data"
        self._programs = Programs.of(self._folder)
        self.port = free_port()

    def dsn(self, database: str = "postgres", *, user: str = OWNER) -> str:
        """Return the connection string of one of its databases."""
        return make_conninfo("", host=HOST, port=self.port, user=user, dbname=database)

    def create(self) -> None:
        """Make it, and start it."""
        self._own_folder()
        settings = [f"--set={name}={value}" for name, value in _SETTINGS.items()]
        who = ["--auth=trust", f"--username={ADMINISTRATOR}"]
        self._run("initdb", *who, "--encoding=UTF8", "--locale=C", *settings)
        self.start()
        self.ask(f"CREATE ROLE {OWNER} LOGIN")

    def create_standby_of(self, primary: "PostgresServer") -> None:
        """Make it a copy that follows `primary`, and start it."""
        self._own_folder()
        source = make_conninfo("", host=HOST, port=primary.port, user=ADMINISTRATOR)
        self._run(
            "pg_basebackup", f"--pgdata={self._folder}", f"--dbname={source}", "-R", "--checkpoint=fast"
        )
        self.start()

    def _own_folder(self) -> None:
        self._folder.mkdir(parents=True, mode=0o700)
        self._programs.give(self._folder)

    def start(self) -> None:
        """Start it, and return when it answers."""
        self._run("pg_ctl", "start", "--wait", "--silent", f"--log={_LOG}", f"--options=-p {self.port}")

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
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        for process in reversed(self._processes()):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)

    @property
    def is_running(self) -> bool:
        """Whether its main process is there."""
        return self._main() is not None

    def _processes(self) -> list[psutil.Process]:
        main = self._main()
        return [] if main is None else [main, *main.children(recursive=True)]

    def _main(self) -> psutil.Process | None:
        with suppress(OSError, ValueError, psutil.NoSuchProcess):
            return psutil.Process(int((self._folder / "postmaster.pid").read_text().splitlines()[0]))
        return None

    def _run(self, program: str, *arguments: str) -> None:
        self._programs.run(program, *arguments, cluster=self._folder)

    def log(self) -> str:
        """Return all that it has written since it was made."""
        return (self._folder / _LOG).read_text()

    def ask(self, statement: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement as an administrator, and return its rows."""
        dsn = self.dsn(database, user=ADMINISTRATOR)
        with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def create_database(self, name: str) -> str:
        """Make a database with PhotoChanger's schema, and return its URL."""
        self.ask(f"CREATE DATABASE {name} OWNER {OWNER}")
        migrate(self.dsn(name))
        return f"postgresql://{OWNER}@{HOST}:{self.port}/{name}"

    def end_connections(self, which: str) -> int:
        """End the clients' connections that the condition on `pg_stat_activity` selects; return how many."""
        ended = self.ask(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            f" WHERE usename = '{OWNER}' AND {which}"
        )
        return len(ended)


@contextmanager
def servers(count: int = 1) -> Iterator[Sequence[PostgresServer]]:
    """Give servers that are yet to be created; none of them, frozen or not, is left behind.

    Not in pytest's folder: that is closed to other users again and again, and the servers are another user's.
    """
    with tempfile.TemporaryDirectory(prefix="pc-postgres-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        made = [PostgresServer(Path(folder) / str(number)) for number in range(count)]
        try:
            yield made
        finally:
            for server in made:
                if server.is_running:
                    server.thaw()
                    server.stop("immediate")


@asynccontextmanager
async def stopped(server: PostgresServer, _: str) -> AsyncIterator[None]:
    """Have no server during the context."""
    await asyncio.to_thread(server.stop)
    yield
    await asyncio.to_thread(server.start)


@asynccontextmanager
async def frozen(server: PostgresServer, _: str) -> AsyncIterator[None]:
    """Have a server that answers nothing during the context."""
    server.freeze()
    yield
    server.thaw()


@asynccontextmanager
async def locked(server: PostgresServer, database: str) -> AsyncIterator[None]:
    """Have the jobs locked during the context, as by an administrator who leaves a transaction open."""
    async with await psycopg.AsyncConnection.connect(server.dsn(database)) as connection:
        await connection.execute("LOCK TABLE job IN ACCESS EXCLUSIVE MODE")
        yield
        await connection.rollback()


@asynccontextmanager
async def unflushed(server: PostgresServer, _: str) -> AsyncIterator[None]:
    """Have no commit end during the context, as on a disk that does not write: they wait for a standby."""
    await asyncio.to_thread(server.ask, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    await asyncio.to_thread(server.ask, "SELECT pg_reload_conf()")
    yield
    await asyncio.to_thread(server.ask, "ALTER SYSTEM RESET synchronous_standby_names")
    await asyncio.to_thread(server.ask, "SELECT pg_reload_conf()")


_QUIET_ROUNDS: Final = 10
_ROUND_SEC: Final = 0.05


@asynccontextmanager
async def full(server: PostgresServer, database: str) -> AsyncIterator[None]:
    """Have others take every connection during the context, and ours ended."""
    async with AsyncExitStack() as others:
        # Ours are kept out meanwhile: they would be back sooner than the others come.
        await asyncio.to_thread(server.ask, f"ALTER DATABASE {database} CONNECTION LIMIT 0")
        await asyncio.to_thread(server.end_connections, f"datname = '{database}'")
        quiet_rounds = 0
        while quiet_rounds < _QUIET_ROUNDS:
            quiet_rounds = 0 if await _crowd(server, others) else quiet_rounds + 1
            await asyncio.sleep(_ROUND_SEC)  # who was ended frees the place a moment later
        await asyncio.to_thread(server.ask, f"ALTER DATABASE {database} CONNECTION LIMIT -1")
        yield


async def _crowd(server: PostgresServer, others: AsyncExitStack) -> int:
    """Take every connection that there is; return how many."""
    taken = 0
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(server.dsn())
        except psycopg.OperationalError:
            return taken
        await others.enter_async_context(connection)
        taken += 1


TROUBLES: Final = {
    "stopped": stopped,
    "frozen": frozen,
    "locked": locked,
    "unflushed": unflushed,
    "full": full,
}
"""What a server may be in for, by name."""

CAN_BE_READ: Final = frozenset({"locked", "unflushed"})
"""Those in which the settings can be read, as long as there is a connection to read them."""

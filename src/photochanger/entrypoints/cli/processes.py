"""`photochanger serve` and `worker` as processes: for the demo, the system tests and the benchmarks."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from photochanger.domain.errors import Unavailable

HOST = "127.0.0.1"
START_PATIENCE_SEC = 60.0
STOP_PATIENCE_SEC = 90.0


class Process:
    """A running `photochanger` command, whose output goes to a file."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        log_path: Path,
        variables: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        """Start it. `variables` are added to the environment; `prefix` goes before the command."""
        self.log_path = log_path
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [*prefix, sys.executable, "-m", "photochanger", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "LOG_FORMAT": "json", **(variables or {})},
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def wait_for(self, url: str) -> None:
        """Wait until `url` answers with success; raises `Unavailable` where it ends or takes too long."""
        patience_ends = time.monotonic() + START_PATIENCE_SEC
        while time.monotonic() < patience_ends:
            if self.exit_status is not None:
                raise Unavailable(f"It ended with status {self.exit_status}; see {self.log_path}")
            try:
                with urlopen(url, timeout=2):  # noqa: S310 - our own address
                    return
            except (URLError, OSError):
                time.sleep(0.02)  # the pause of a poll that has an end
        raise Unavailable(f"It was not ready within {START_PATIENCE_SEC:g} s; see {self.log_path}")

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, as an operator or the system would."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end and return the exit status."""
        return self._process.wait(STOP_PATIENCE_SEC)

    def stop(self) -> int:
        """Ask it to end, wait, and return the exit status; a process that does not listen is killed."""
        if self.exit_status is None:
            self.send_signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it with SIGKILL, wait, and return the exit status."""
        self._process.kill()
        return self.wait()


class ServeProcess(Process):
    """A running `photochanger serve` on the loopback interface."""

    def __init__(
        self,
        data_dir: Path,
        port: int,
        *options: str,
        log_path: Path | None = None,
        variables: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        """Start it; `wait_until_ready` says when it takes photos."""
        self.base_url = f"http://{HOST}:{port}"
        super().__init__(
            ["serve", "--host", HOST, "--port", str(port), "--data-dir", str(data_dir), *options],
            log_path=log_path or data_dir / "serve.log",
            variables=variables,
            prefix=prefix,
        )

    def wait_until_ready(self) -> None:
        """Wait until it takes photos; raises `Unavailable` where it does not come to that."""
        self.wait_for(f"{self.base_url}/readyz")

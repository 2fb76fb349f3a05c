"""The command line in the tests' own process: all is real but the start of Python, which takes a second."""

import io
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from photochanger.entrypoints.cli import main


@dataclass(frozen=True, slots=True)
class Done:
    """What a command did."""

    exit_status: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """Return the one document that was printed."""
        return json.loads(self.stdout)


@dataclass(frozen=True, slots=True)
class Terminal:
    """Types commands for an installation. Standard input is no terminal, and empty unless it is given."""

    data_dir: Path
    variables: Mapping[str, str]

    def __call__(self, *arguments: str, stdin: str | bytes = "") -> Done:
        """Run `photochanger` with these arguments."""
        given = stdin if isinstance(stdin, bytes) else stdin.encode()
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        environment = {"PHOTOCHANGER_DATA_DIR": str(self.data_dir), **self.variables}
        with (
            mock.patch.dict(os.environ, environment),
            mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8")),
            redirect_stdout(out),
            redirect_stderr(err),
            _logging_as_before(),
        ):
            exit_status = _exit_status(arguments)
        return Done(exit_status, *(stream.buffer.getvalue().decode() for stream in (out, err)))

    def json(self, *arguments: str, stdin: str = "") -> Any:
        """Run it with `--json`, see that it went well, and return what it printed."""
        done = self(*arguments, "--json", stdin=stdin)
        assert done.exit_status == 0, done.stderr
        return done.json()


def _exit_status(arguments: tuple[str, ...]) -> int:
    try:
        main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@contextmanager
def _logging_as_before() -> Iterator[None]:
    """Let the command send its logs where it wants, and then have them where the tests want them."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(capture=False)

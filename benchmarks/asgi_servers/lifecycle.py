"""How candidates start, end, are killed, and live inside another program."""

import contextlib
import json
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence

from benchmarks.asgi_servers.client import connect, read_head, try_to_talk
from benchmarks.asgi_servers.processes import free_port, python, running
from benchmarks.asgi_servers.serve import ROOT, UVICORN

Rows = dict[str, str]
HELD = 20


def measure_process(names: Sequence[str]) -> dict[str, Rows]:
    """Return the rows of each candidate; they start one after the other, the rest is mostly waits."""
    rows = {name: _started(name) for name in names}

    def observe(name: str) -> None:
        rows[name] |= {"kill -9 of the main process": _killed(name)}
        if name == UVICORN:
            rows[name] |= {"kill -9, two workers asked for": _killed(name, workers=2)}
        rows[name] |= _terminated(name) | _embedded(name)

    threads = [threading.Thread(target=observe, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return rows


def _started(name: str) -> Rows:
    with running(name) as server:
        return {
            "processes (one worker asked for)": str(len(server.family)),
            "first answer after start": f"{server.start_seconds:.2f} s",
            "idle memory, all processes": f"{server.memory():.0f} MiB",
        }


def _killed(name: str, *, workers: int = 1) -> str:
    with running(name, workers=workers) as server:
        server.process.kill()
        server.process.wait()
        time.sleep(0.7)
        answer = try_to_talk(server.port)
        return f"{server.left()} of {len(server.family)} processes left, port: {answer}"


def _terminated(name: str) -> Rows:
    with running(name) as server:
        held = [_held(server.port) for _ in range(HELD)]
        with connect(server.port):  # an idle connection must not keep the server up
            time.sleep(0.5)
            server.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            time.sleep(0.4)
            meanwhile = try_to_talk(server.port)
            answers = Counter(_status(connection) for connection in held)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.process.wait(timeout=8)
        took = time.monotonic() - began
    return {
        f"SIGTERM, {HELD} held (1.5 s to go)": ", ".join(f"{n} × {status}" for status, n in answers.items()),
        "… new connection meanwhile": meanwhile,
        "… exit after": f"{took:.1f} s, code {server.process.returncode}",
    }


def _held(port: int) -> socket.socket:
    connection = connect(port)
    connection.sendall(b"POST /hold?t=2 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    return connection


def _status(connection: socket.socket) -> str:
    with connection:
        try:
            return str(read_head(connection)[0])
        except OSError:
            return "lost"


def _embedded(name: str) -> Rows:
    try:
        done = subprocess.run(
            python("embed", name, free_port()), cwd=ROOT, capture_output=True, timeout=30, check=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, IndexError, ValueError):
        return {"embedded in a program's loop": "failed"}
    return {
        f"embedded: {what}": {True: "yes", False: "NO"}.get(value, str(value))
        for what, value in found.items()
    }

#!/usr/bin/env python3
"""Compare ASGI servers at what PhotoChanger asks of one.

Candidates: uvicorn (httptools + uvloop), uvicorn (h11 + asyncio), granian (HTTP/1 only) and,
with --hypercorn, hypercorn. Each runs the same small ASGI application in a process of its own,
pinned to core 0 (the system call behind `taskset -c 0`); the load comes from core 1 over
127.0.0.1. Rounds are interleaved: every candidate runs once before any runs twice.

Measured
  upload    POST /upload, 10 MB multipart, 16 connections, push parser -> unlinked temp file
  memory    16 uploads of 50 MB at once: peak resident memory above idle
  hold      POST /hold, answered 504 at T: lateness at 100 and 1 000 held, memory per held request
  download  GET /file, 3 MB in 256 KB reads, 16 connections
  hostile   broken, slow and odd HTTP, one observed answer per cell
  process   start, kill -9, SIGTERM with held requests, embedding in a running asyncio program

Every load ends by itself. Nothing is written outside a temporary folder. Linux only.

  python asgi_servers.py             all of it, about five minutes
  python asgi_servers.py --quick     one short round of everything, under a minute
  python asgi_servers.py --only upload,hostile --rounds 5
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import platform
import resource
import selectors
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    PushMultipartParser,
    parse_options_header,
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HERE = Path(__file__).resolve().parent
UVICORN, UVICORN_H11, GRANIAN, HYPERCORN = (
    "uvicorn httptools",
    "uvicorn h11",
    "granian",
    "hypercorn",
)
HOST = "127.0.0.1"
MB = 1_000_000
MIB = 1 << 20
READ = 256 * 1024
FILE_BYTES = 3 * MB
# Without these glibc gives every chunk-sized buffer back to the kernel and faults it in again.
MALLOC_TUNED = {
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TOP_PAD_": str(16 << 20),
}

# --------------------------------------------------------------------------------------------
# The application every candidate serves
# --------------------------------------------------------------------------------------------

SEEN: dict[str, str] = {}  # what the application noticed, by path; read back with GET /seen


class ClientGoneError(Exception):
    """The client went away before its request was complete."""


def _header(scope: Message, name: bytes) -> str:
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value).decode("latin-1")
    return ""


def _query(scope: Message) -> dict[str, str]:
    pairs = bytes(scope["query_string"]).decode("latin-1").split("&")
    return dict(p.partition("=")[::2] for p in pairs if p)


async def _answer(
    send: Send, status: int, text: str, extra: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    body = text.encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body)), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _chunks(receive: Receive, seen_as: str) -> Any:
    total = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            SEEN[seen_as] = f"http.disconnect after {total} bytes"
            raise ClientGoneError
        chunk = message.get("body", b"")
        total += len(chunk)
        if chunk:
            yield chunk
        if not message.get("more_body", False):
            SEEN[seen_as] = f"complete, {total} bytes"
            return


def _unlinked_file() -> int:
    folder = tempfile.gettempdir()
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError:  # a file system without O_TMPFILE
        fd, name = tempfile.mkstemp(dir=folder)
        os.unlink(name)
        return fd


async def _upload(scope: Message, receive: Receive, send: Send) -> None:
    boundary = parse_options_header(_header(scope, b"content-type"))[1].get("boundary", "")
    length = 0
    fd = _unlinked_file()
    try:
        with PushMultipartParser(boundary, max_segment_count=64) as parser:
            async for chunk in _chunks(receive, "/upload"):
                for event in parser.parse(chunk):
                    if isinstance(event, (bytes, bytearray)):
                        length += os.write(fd, event)
    except MultipartError as error:
        await _answer(send, 400, f"multipart: {error}")
        return
    except ClientGoneError:
        return
    finally:
        os.close(fd)
    await _answer(send, 200, str(length))


async def _until(deadline: float) -> None:
    """A timer may fire early (uvloop's clock counts whole milliseconds); an answer may not."""
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return
        await asyncio.sleep(max(left, 0.001))


async def _hold(scope: Message, receive: Receive, send: Send, arrived: float) -> None:
    query = _query(scope)
    deadline = arrived + float(query.get("t", "1"))
    try:
        async for _ in _chunks(receive, "/hold"):
            pass
    except ClientGoneError:
        return
    if "watch" not in query:
        await asyncio.sleep(deadline - time.monotonic())
    else:
        gone = asyncio.ensure_future(receive())
        began = time.monotonic()
        await asyncio.wait({gone}, timeout=deadline - began)
        if gone.done():
            waited = (time.monotonic() - began) * 1000
            SEEN["/hold"] = f"{gone.result()['type']} after {waited:.0f} ms of waiting"
            return
        gone.cancel()
    late = round((time.monotonic() - deadline) * 1e6)
    await _until(deadline)
    await _answer(send, 504, "timeout", [(b"x-wake-us", str(late).encode())])


async def _file(send: Send) -> None:
    fd = os.open(os.environ["ASGI_BENCH_FILE"], os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        headers = [(b"content-type", b"image/jpeg"), (b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while chunk := os.read(fd, READ):
            size -= len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": size > 0})
    finally:
        os.close(fd)


async def _early(scope: Message, receive: Receive, send: Send) -> None:
    """Refuse before the body has been read, in one of three ways."""
    mode = _query(scope).get("mode", "keep")
    text = "refused " * 32
    if mode == "keep":
        await _answer(send, 413, text)
    elif mode == "close":
        await _answer(send, 413, text, [(b"connection", b"close")])
    else:  # the whole answer goes out, but stays open until the client has stopped sending
        headers = [(b"content-length", b"%d" % len(text)), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
        with contextlib.suppress(ClientGoneError):
            async for _ in _chunks(receive, "/early"):
                pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def app(scope: Message, receive: Receive, send: Send) -> None:
    arrived = time.monotonic()
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    if scope["type"] != "http":
        return
    path = scope["path"]
    if path == "/upload":
        await _upload(scope, receive, send)
    elif path == "/hold":
        await _hold(scope, receive, send, arrived)
    elif path == "/late":
        await asyncio.sleep(0.5)
        with contextlib.suppress(ClientGoneError):
            async for _ in _chunks(receive, "/late"):
                pass
    elif path == "/file":
        await _file(send)
    elif path == "/early":
        await _early(scope, receive, send)
    elif path == "/seen":
        facts = {**SEEN, "pid": os.getpid(), "loop": id(asyncio.get_running_loop())}
        await _answer(send, 200, json.dumps(facts))
    else:
        await _answer(send, 200, "ok")


# --------------------------------------------------------------------------------------------
# Starting a candidate: `--serve NAME` (as each is usually started) and `--embed NAME`
# --------------------------------------------------------------------------------------------


def _hypercorn_config(port: int) -> Any:
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"{HOST}:{port}"]
    config.application_path = "asgi_servers:app"
    config.worker_class = "uvloop"
    config.backlog = 4096
    config.graceful_timeout = 60
    config.loglevel = "CRITICAL"
    return config


def serve(name: str, port: int) -> None:
    sys.path.insert(0, str(HERE))
    if name == GRANIAN:
        from granian.constants import HTTPModes, Interfaces
        from granian.server import Server

        Server(
            "asgi_servers:app",
            address=HOST,
            port=port,
            interface=Interfaces.ASGI,
            http=HTTPModes.http1,
            websockets=False,
            backlog=4096,
            backpressure=8192,
            log_enabled=False,
            working_dir=HERE,
        ).serve()
    elif name == HYPERCORN:
        from hypercorn.run import run

        run(_hypercorn_config(port))
    else:
        import uvicorn

        fast = name != UVICORN_H11
        uvicorn.run(
            "asgi_servers:app",
            host=HOST,
            port=port,
            http="httptools" if fast else "h11",
            loop="uvloop" if fast else "asyncio",
            ws="none",
            log_level="critical",
            access_log=False,
            backlog=4096,
            workers=2 if name.endswith("x2") else 1,
        )


async def _answers(port: int) -> dict[str, Any]:
    for _ in range(100):
        try:
            reader, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.write(b"GET /seen HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        raw = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        found: dict[str, Any] = json.loads(raw.partition(b"\r\n\r\n")[2])
        return found
    raise TimeoutError("the embedded server did not answer")


def _embedded(name: str, port: int) -> tuple[Awaitable[Any], Callable[[], Any]]:
    """A coroutine that serves on the running loop, and a function that asks it to stop."""
    if name == GRANIAN:
        from granian.constants import HTTPModes, Interfaces
        from granian.server.embed import Server as Embedded

        granian = Embedded(
            app,
            address=HOST,
            port=port,
            interface=Interfaces.ASGI,
            http=HTTPModes.http1,
            websockets=False,
            backlog=4096,
            log_enabled=False,
        )
        return granian.serve(), granian.stop
    if name == HYPERCORN:
        from hypercorn.asyncio import serve as hypercorn_serve

        stop = asyncio.Event()
        config = _hypercorn_config(port)
        serving = hypercorn_serve(app, config, shutdown_trigger=stop.wait)  # type: ignore[arg-type]
        return serving, stop.set

    import uvicorn

    class Quiet(uvicorn.Server):
        """Signals belong to the program that embeds the server."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    fast = name != UVICORN_H11
    server = Quiet(
        uvicorn.Config(
            app,
            host=HOST,
            port=port,
            http="httptools" if fast else "h11",
            ws="none",
            log_config=None,
            access_log=False,
        )
    )
    return server.serve(), lambda: setattr(server, "should_exit", True)


async def embed(name: str, port: int) -> dict[str, Any]:
    """Our `serve` in small: server and a worker coroutine on one loop, our own SIGTERM handler."""
    logging.disable(logging.CRITICAL)
    loop = asyncio.get_running_loop()
    terminated = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, terminated.set)
    ticks = 0

    async def worker() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def held() -> str:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"POST /hold?t=1.2 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            return (await reader.read(12))[9:].decode() or "closed"
        return "reset"

    work = asyncio.create_task(worker())
    serving, stop = _embedded(name, port)
    task = asyncio.ensure_future(serving)
    facts = await _answers(port)
    waiting = asyncio.create_task(held())
    await asyncio.sleep(0.3)
    os.kill(os.getpid(), signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(terminated.wait(), 1)
    stop()
    answer = await asyncio.wait_for(waiting, 8)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(task), 5)
    ended = task.done()
    before = ticks
    await asyncio.sleep(0.1)
    work.cancel()
    return {
        "same process": facts["pid"] == os.getpid(),
        "same loop": facts["loop"] == id(loop),
        "our SIGTERM handler ran": terminated.is_set(),
        "held request at stop": answer,
        "server ended": ended,
        "our loop went on": ticks > before,
    }


# --------------------------------------------------------------------------------------------
# Processes
# --------------------------------------------------------------------------------------------


def pin(core: int) -> None:
    with contextlib.suppress(AttributeError, OSError):
        if core < (os.cpu_count() or 1):
            os.sched_setaffinity(0, {core})


def tree(pid: int) -> list[int]:
    """pid and its living descendants."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                tail = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                if tail[0] != "Z":
                    parents.setdefault(int(tail[1]), []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        if Path(f"/proc/{one}").exists():
            found.append(one)
        todo += parents.get(one, [])
    return found


def memory(pids: Sequence[int], key: str = "VmRSS") -> float:
    """Sum of VmRSS or VmHWM (the peak) of these processes, in MiB."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(key):
                    total += int(line.split()[1])
    return total / 1024


def cpu_seconds(pids: Sequence[int]) -> float:
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            tail = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(tail[11]) + int(tail[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@dataclass
class Running:
    name: str
    process: subprocess.Popen[bytes]
    port: int
    start_seconds: float
    pids: list[int] = field(default_factory=list)

    def end(self) -> None:
        """Only what this script started, by pid."""
        pids = set(self.pids) | set(tree(self.process.pid))
        self.process.kill()
        for pid in pids - {self.process.pid}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def running(name: str, *, malloc: bool = True) -> Iterator[Running]:
    port = free_port()
    env = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    if malloc:
        env |= MALLOC_TUNED
    began = time.monotonic()
    command = [
        sys.executable,
        str(HERE / Path(__file__).name),
        "--serve",
        name,
        "--port",
        str(port),
    ]
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    server = Running(name, process, port, 0.0)
    try:
        while True:
            with contextlib.suppress(OSError):
                if talk(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", wait=1).startswith("200"):
                    break
            if time.monotonic() - began > 20 or process.poll() is not None:
                raise RuntimeError(f"{name} did not start")
            time.sleep(0.02)
        server.start_seconds = time.monotonic() - began
        server.pids = tree(process.pid)
        yield server
    finally:
        server.end()


# --------------------------------------------------------------------------------------------
# A plain client
# --------------------------------------------------------------------------------------------


def connect(port: int, timeout: float = 30) -> socket.socket:
    sock = socket.create_connection((HOST, port), timeout=timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_head(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            raise ConnectionError("closed before a whole head arrived")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    fields = {k.strip().lower(): v.strip() for k, _, v in (x.partition(":") for x in lines[1:])}
    return int(lines[0].split()[1]), fields, rest


def talk(
    port: int, data: bytes, *, wait: float = 1.5, shut: bool = False, pause: float = 0.0
) -> str:
    """Send, then say in a few words what came back: status, and whether the connection closed."""
    with connect(port, timeout=wait) as sock:
        sent = ""
        try:
            sock.sendall(data)
            if shut:
                time.sleep(pause)
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            sent = " (while sending)"
        got = b""
        end = "kept open"
        try:
            while True:
                more = sock.recv(65536)
                if not more:
                    end = "closed"
                    break
                got += more
                sock.settimeout(0.3)
        except TimeoutError:
            pass
        except OSError:
            end = "reset" + sent
        codes = [
            line.split(b" ", 2)[1].decode()
            for line in got.split(b"\r\n")
            if line.startswith(b"HTTP/1.") and len(line.split(b" ", 2)) > 1
        ]
        if not codes and got:
            codes = [f"{len(got)} bytes that are not HTTP/1"]
        return f"{' then '.join(codes) or 'no answer'}, {end}"


BOUNDARY = b"----------------------------0123456789ab"


def upload_parts(size: int) -> tuple[bytes, bytes, bytes]:
    before = (
        b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="password"\r\n\r\nsecret\r\n'
        b"--" + BOUNDARY + b"\r\nContent-Disposition: form-data; "
        b'name="fileToUpload"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    )
    after = b"\r\n--" + BOUNDARY + b"--\r\n"
    length = len(before) + size + len(after)
    head = (
        b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary="
        + BOUNDARY
        + b"\r\nContent-Length: %d\r\n\r\n" % length
    )
    return head, before, after


# --------------------------------------------------------------------------------------------
# Measurements
# --------------------------------------------------------------------------------------------


def in_threads(count: int, work: Callable[[], int]) -> tuple[int, float, int]:
    """Requests done, seconds, failures."""
    done: list[int] = []
    failures: list[str] = []

    def run() -> None:
        try:
            done.append(work())
        except (OSError, LookupError, RuntimeError, ValueError) as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=run) for _ in range(count)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done), time.monotonic() - began, len(failures)


def upload_load(port: int, size: int, clients: int, seconds: float) -> tuple[int, float, int]:
    """Each client sends whole files until the time is over (at least one)."""
    head, before, after = upload_parts(size)
    payload = memoryview(bytearray(os.urandom(MB) * (size // MB)))
    stop = time.monotonic() + seconds

    def one_client() -> int:
        count = 0
        with connect(port, timeout=60) as sock:
            while count == 0 or time.monotonic() < stop:
                sock.sendall(head + before)
                sock.sendall(payload)
                sock.sendall(after)
                status, _, body = read_head(sock)
                if status != 200 or (body and int(body) != size + len(b"secret")):
                    raise RuntimeError(f"upload answered {status}")
                count += 1
        return count

    return in_threads(clients, one_client)


def measure_upload(name: str, seconds: float, malloc: bool) -> dict[str, float]:
    with running(name, malloc=malloc) as server:
        upload_load(server.port, 10 * MB, 2, 0)
        before = cpu_seconds(server.pids)
        count, took, failed = upload_load(server.port, 10 * MB, 16, seconds)
        cpu = cpu_seconds(server.pids) - before
    return {"mb_s": count * 10 / took, "cpu_ms": cpu * 1000 / count, "failed": failed}


def measure_memory(name: str, malloc: bool) -> dict[str, float]:
    with running(name, malloc=malloc) as server:
        idle = memory(server.pids)
        failed = upload_load(server.port, 50 * MB, 16, 0)[2]
        peak = memory(server.pids, "VmHWM")
    return {"idle": idle, "peak": peak, "failed": failed}


def measure_download(name: str, seconds: float) -> dict[str, float]:
    with running(name) as server:
        stop = time.monotonic() + seconds
        idle = memory(server.pids)
        before = cpu_seconds(server.pids)

        def one_client() -> int:
            count = 0
            buffer = bytearray(READ)
            with connect(server.port) as sock:
                while time.monotonic() < stop:
                    sock.sendall(b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n")
                    _, fields, rest = read_head(sock)
                    left = int(fields["content-length"]) - len(rest)
                    while left > 0:
                        got = sock.recv_into(buffer, min(left, READ))
                        if not got:
                            raise ConnectionError("short file")
                        left -= got
                    count += 1
            return count

        count, took, failed = in_threads(16, one_client)
        cpu = cpu_seconds(server.pids) - before
        peak = memory(server.pids, "VmHWM")
    return {
        "mb_s": count * FILE_BYTES / MB / took,
        "cpu_ms": cpu * 1000 / max(count, 1),
        "grew": peak - idle,
        "failed": failed,
    }


@dataclass
class Held:
    late_ms: list[float]
    wake_ms: list[float]
    kib_each: float
    wrong: int


def hold_load(server: Running, count: int, seconds: float, spread: float) -> Held:
    """`count` held requests, begun evenly over `spread` seconds, each to be answered at T."""
    base = memory(server.pids)
    chooser = selectors.DefaultSelector()
    sockets = [connect(server.port) for _ in range(count)]
    request = (
        b"POST /hold?t=%.3f HTTP/1.1\r\nHost: x\r\nContent-Length: 1024\r\n\r\n" % seconds
        + b"x" * 1024
    )
    sent_at: dict[int, float] = {}
    result = Held([], [], 0.0, 0)
    began = time.monotonic()
    sample_at = began + (spread + seconds) / 2
    sent = answered = 0
    while answered < count and time.monotonic() < began + spread + seconds + 20:
        now = time.monotonic()
        while sent < count and now >= began + spread * sent / count:
            sock = sockets[sent]
            sock.setblocking(False)
            chooser.register(sock, selectors.EVENT_READ)
            sent_at[sock.fileno()] = time.monotonic()
            sock.send(request)
            sent += 1
        if not result.kib_each and now >= sample_at and sent == count and not answered:
            result.kib_each = (memory(server.pids) - base) * 1024 / count
        for key, _ in chooser.select(0.0005 if sent < count else 0.02):
            now = time.monotonic()
            sock = sockets[0] if isinstance(key.fileobj, int) else key.fileobj  # type: ignore[assignment]
            try:
                raw = sock.recv(65536)
            except OSError:
                raw = b""
            chooser.unregister(sock)
            answered += 1
            if b" 504 " not in raw[:16] or b"x-wake-us: " not in raw:
                result.wrong += 1
                continue
            result.late_ms.append((now - sent_at[sock.fileno()] - seconds) * 1000)
            wake = raw.partition(b"x-wake-us: ")[2].partition(b"\r\n")[0]
            result.wake_ms.append(int(wake) / 1000)
    result.wrong += count - answered
    for sock in sockets:
        sock.close()
    chooser.close()
    return result


def percentile(values: Sequence[float], share: float) -> float:
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def measure_hold(name: str, quick: bool) -> dict[str, float]:
    found: dict[str, float] = {}
    cases = [("100", 100, 1.5, 1.0), ("1000", 1000, 3.0, 2.0), ("loaded", 1000, 3.0, 2.0)]
    if quick:
        cases = [("100", 100, 1.0, 0.5), ("1000", 1000, 2.0, 1.0)]
    with running(name) as server:
        hold_load(server, 5, 0.1, 0.1)  # first-request costs are not a held request's
        for label, count, seconds, spread in cases:
            load: subprocess.Popen[bytes] | None = None
            if label == "loaded":
                load = subprocess.Popen(
                    [
                        sys.executable,
                        str(HERE / Path(__file__).name),
                        "--upload-load",
                        str(seconds + spread),
                        "--port",
                        str(server.port),
                    ],
                    stdout=subprocess.DEVNULL,
                )
                time.sleep(0.5)
            held = hold_load(server, count, seconds, spread)
            if load is not None:
                load.wait(timeout=60)
                found["load_failed"] = load.returncode
            found[f"p50_{label}"] = percentile(held.late_ms, 0.5)
            found[f"p99_{label}"] = percentile(held.late_ms, 0.99)
            found[f"max_{label}"] = max(held.late_ms, default=float("nan"))
            found[f"min_{label}"] = min(held.late_ms, default=float("nan"))
            found[f"wake_min_{label}"] = min(held.wake_ms, default=float("nan"))
            found[f"wake_p99_{label}"] = percentile(held.wake_ms, 0.99)
            found[f"kib_{label}"] = held.kib_each
            found[f"wrong_{label}"] = held.wrong
    return found


# --------------------------------------------------------------------------------------------
# Hostile HTTP
# --------------------------------------------------------------------------------------------


def seen(port: int, path: str) -> str:
    with connect(port, 5) as sock:
        sock.sendall(b"GET /seen HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        raw = b""
        while more := sock.recv(65536):
            raw += more
    return str(json.loads(raw.partition(b"\r\n\r\n")[2]).get(path, "nothing"))


def trickle(port: int, first: bytes, drip: bytes, seconds: float) -> str:
    """Send `drip` once a second; when did the server give up?"""
    began = time.monotonic()
    with connect(port, 1) as sock:
        try:
            if first:
                sock.sendall(first)
            while time.monotonic() < began + seconds:
                with contextlib.suppress(TimeoutError):
                    got = sock.recv(4096)
                    status = got.split(b" ", 2)[1].decode() if got else "closed"
                    return f"{status} after {time.monotonic() - began:.0f} s"
                if drip:
                    sock.sendall(drip)
        except OSError:
            return f"reset after {time.monotonic() - began:.0f} s"
    return f"still open after {seconds:.0f} s"


def expect_continue(port: int) -> str:
    """Time until `100 Continue`, then the rest of an upload."""
    head, before, after = upload_parts(MB)
    head = head[:-2] + b"Expect: 100-continue\r\n\r\n"
    with connect(port, 3) as sock:
        began = time.monotonic()
        sock.sendall(head)
        try:
            got = sock.recv(4096)
        except TimeoutError:
            return "nothing for 3 s"
        took = (time.monotonic() - began) * 1000
        if not got.startswith(b"HTTP/1.1 100"):
            return f"{got[:20]!r} at once"
        sock.sendall(before + bytes(MB) + after)
        status = read_head(sock)[0]
    return f"100 after {took:.1f} ms, then {status}"


def early_naive(port: int, mode: str, tries: int) -> str:
    """A client that sends its whole 20 MB before it reads anything."""
    outcomes: list[str] = []
    payload = memoryview(bytearray(20 * MB))
    for _ in range(tries):
        head = (
            f"POST /early?mode={mode} HTTP/1.1\r\nHost: x\r\nContent-Length: {20 * MB}\r\n\r\n"
        ).encode()
        with connect(port, 10) as sock:
            sending = "all sent"
            try:
                sock.sendall(head)
                sock.sendall(payload)
            except OSError:
                sending = "SEND BROKE"
            try:
                status, fields, body = read_head(sock)
                while len(body) < int(fields["content-length"]):
                    more = sock.recv(65536)
                    if not more:
                        raise ConnectionError("short body")
                    body += more
                outcomes.append(f"{sending}, {status} readable")
            except TimeoutError:
                outcomes.append(f"{sending}, no answer in 10 s")
            except OSError:
                outcomes.append(f"{sending}, answer LOST")
    return "; ".join(f"{outcomes.count(o)}/{tries} {o}" for o in sorted(set(outcomes)))


def early_attentive(port: int, mode: str) -> str:
    """A client that listens while it sends (16 KB every 5 ms): how soon does it know?"""
    head = (
        f"POST /early?mode={mode} HTTP/1.1\r\nHost: x\r\nContent-Length: {20 * MB}\r\n\r\n"
    ).encode()
    with connect(port, 5) as sock:
        began = time.monotonic()
        sock.sendall(head)
        sent = 0
        while time.monotonic() < began + 3:
            sock.settimeout(0.005)
            try:
                got = sock.recv(65536)
                status = got.split(b" ", 2)[1].decode() if got else "closed"
                return f"{status} after {(time.monotonic() - began) * 1000:.0f} ms"
            except TimeoutError:
                pass
            except OSError:
                return "reset"
            try:
                sock.settimeout(0.1)
                sent += sock.send(bytes(16384))
            except TimeoutError:
                pass
            except OSError:
                return f"reset after {sent // 1024} KB"
    return f"nothing in 3 s ({sent // 1024} KB sent)"


def leaves_while_held(port: int) -> str:
    with connect(port, 5) as sock:
        sock.sendall(b"POST /hold?t=4&watch=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nxx")
        time.sleep(0.5)
    time.sleep(0.6)
    return "application saw " + seen(port, "/hold")


def leaves_before_read(port: int) -> str:
    with connect(port, 5) as sock:
        sock.sendall(
            b"POST /late HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + bytes(1000)
        )
        time.sleep(0.2)
    time.sleep(0.6)
    return "application saw " + seen(port, "/late")


def fast_hostile(port: int, tries: int) -> dict[str, str]:
    get = b"GET / HTTP/1.1\r\nHost: x\r\n"
    post = b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    rows: dict[str, str] = {}
    rows["D4 client leaves while held (after 0.5 s)"] = leaves_while_held(port)
    hold = b"POST /hold?t=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nxx"
    rows["D4b client half-closes (FIN) while held"] = talk(port, hold, shut=True, pause=0.2)
    rows["D4c whole 1 KB sent, client leaves before the application reads"] = leaves_before_read(
        port
    )
    short = talk(
        port, post + b"Content-Length: 1000\r\n\r\n--b\r\nContent-Dispo", shut=True, pause=0.2
    )
    rows["D5 body shorter than Content-Length, then FIN"] = (
        f"{short}; application saw {seen(port, '/upload')}"
    )
    bad = talk(port, post + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n")
    rows["D6 bad chunk size"] = f"{bad}; application saw {seen(port, '/upload')}"
    rows["D7 Content-Length and Transfer-Encoding"] = talk(
        port,
        b"POST /hold?t=0.01 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    )
    rows["D8 two Host headers"] = talk(port, get + b"Host: y\r\n\r\n")
    rows["D9 no Host"] = talk(port, b"GET / HTTP/1.1\r\n\r\n")
    rows["D11 one header of 1 MB"] = talk(port, get + b"X-A: " + b"a" * MB + b"\r\n\r\n")
    many = b"".join(b"X-%d: a\r\n" % i for i in range(500))
    rows["D12 500 headers"] = talk(port, get + many + b"\r\n")
    rows["D13 URL of 100 KB"] = talk(
        port, b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    rows["D13b URL of 20 KB"] = talk(
        port, b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    rows["D16 Expect: 100-continue"] = expect_continue(port)
    rows["D16 Expect, refused before reading"] = talk(
        port,
        b"POST /early?mode=keep HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
        b"Expect: 100-continue\r\n\r\n",
    )
    rows["D16 obsolete line folding"] = talk(port, get + b"X-A: a\r\n b\r\n\r\n")
    rows["D16 space before the colon"] = talk(port, get + b"X-A : a\r\n\r\n")
    rows["D16 HTTP/2 preface"] = talk(port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
    rows["D16 TLS hello"] = talk(port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64))
    rows["D16 WebSocket upgrade"] = talk(
        port,
        get + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    rows["D16 TRACE"] = talk(port, b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n")
    rows["D16 CONNECT"] = talk(port, b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")
    for mode, title in (
        ("keep", "answer, keep-alive"),
        ("close", "answer with Connection: close"),
        ("drain", "answer, read on, then end it"),
    ):
        rows[f"Early 413, {title}: naive client, 20 MB"] = early_naive(port, mode, tries)
        rows[f"Early 413, {title}: attentive client"] = early_attentive(port, mode)
    return rows


def slow_hostile(port: int, seconds: float) -> dict[str, str]:
    get = b"GET / HTTP/1.1\r\nHost: x\r\n"
    upload = (
        b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    )
    early = b"POST /early?mode=keep HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    cases: dict[str, Callable[[], str]] = {
        "D1 slow head, one line a second": lambda: trickle(port, get, b"X: y\r\n", seconds),
        "D2 connects, sends nothing": lambda: trickle(port, b"", b"", seconds),
        "D3 slow body, one byte a second": lambda: trickle(
            port, upload + b"Content-Length: 1000000\r\n\r\n", b"x", seconds
        ),
        "D3b slow body after an early answer": lambda: drain_forever(port, early, seconds),
    }
    rows: dict[str, str] = {}

    def run(title: str) -> None:
        rows[title] = cases[title]()

    threads = [threading.Thread(target=run, args=(title,)) for title in cases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {title: rows[title] for title in cases}


def drain_forever(port: int, head: bytes, seconds: float) -> str:
    """The final answer is out; the client ignores it and goes on sending a byte a second."""
    with connect(port, 1) as sock:
        sock.sendall(head)
        status = sock.recv(65536)[9:12].decode()
        began = time.monotonic()
        try:
            while time.monotonic() < began + seconds:
                with contextlib.suppress(TimeoutError):
                    if not sock.recv(4096):
                        return f"{status}, closed after {time.monotonic() - began:.0f} s"
                sock.sendall(b"x")
        except OSError:
            return f"{status}, reset after {time.monotonic() - began:.0f} s"
    return f"{status}, still open after {seconds:.0f} s"


def measure_hostile(names: Sequence[str], quick: bool) -> dict[str, dict[str, str]]:
    table: dict[str, dict[str, str]] = {}
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running(name)) for name in names]
        slow: dict[str, dict[str, str]] = {}

        def watch(server: Running) -> None:
            slow[server.name] = slow_hostile(server.port, 4 if quick else 40)

        threads = [threading.Thread(target=watch, args=(s,)) for s in servers]
        for thread in threads:
            thread.start()
        for server in servers:
            table[server.name] = fast_hostile(server.port, 2 if quick else 5)
        for thread in threads:
            thread.join()
    return {name: {**slow[name], **table[name]} for name in names}


# --------------------------------------------------------------------------------------------
# Process model
# --------------------------------------------------------------------------------------------


def held_socket(port: int, seconds: float) -> socket.socket:
    sock = connect(port)
    sock.sendall(b"POST /hold?t=%.1f HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" % seconds)
    return sock


def killed(name: str) -> str:
    with running(name) as server:
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        time.sleep(0.7)
        living = [p for p in server.pids if Path(f"/proc/{p}").exists()]
        try:
            answer = talk(server.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", wait=1)
        except OSError:
            answer = "refused"
    return f"{len(living)} of {len(server.pids)} processes left, port: {answer}"


def terminated(name: str) -> dict[str, str]:
    with running(name) as server:
        held = [held_socket(server.port, 2.0) for _ in range(20)]
        idle = connect(server.port)
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        time.sleep(0.4)
        try:
            new = talk(server.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", wait=1)
        except OSError:
            new = "refused"
        statuses: list[str] = []
        for sock in held:
            try:
                statuses.append(str(read_head(sock)[0]))
            except OSError:
                statuses.append("lost")
            sock.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(timeout=8)
        ended = f"{time.monotonic() - began:.1f} s, code {server.process.poll()}"
        idle.close()
    return {
        "SIGTERM, 20 held (1.5 s to go)": ", ".join(
            f"{statuses.count(s)} × {s}" for s in sorted(set(statuses))
        ),
        "… new connection meanwhile": new,
        "… exit after": ended,
    }


def embedded(name: str) -> dict[str, str]:
    command = [sys.executable, str(HERE / Path(__file__).name), "--embed", name]
    command += ["--port", str(free_port())]
    try:
        done = subprocess.run(command, capture_output=True, timeout=30, check=False)
        found = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError, ValueError):
        return {"embedded in our loop": "failed"}
    return {f"embedded: {k}": {True: "yes", False: "NO"}.get(v, str(v)) for k, v in found.items()}


def measure_process(names: Sequence[str]) -> dict[str, dict[str, str]]:
    table: dict[str, dict[str, str]] = {}
    for name in names:
        with running(name) as server:
            rows = {
                "processes (one worker asked for)": str(len(server.pids)),
                "first answer after start": f"{server.start_seconds:.2f} s",
                "idle memory, all processes": f"{memory(server.pids):.0f} MiB",
            }
        table[name] = rows

    def watch(name: str) -> None:
        rows = table[name]
        rows["kill -9 of the main process"] = killed(name)
        if name == UVICORN:
            rows["kill -9, two workers asked for"] = killed(f"{UVICORN} x2")
        rows.update(terminated(name))
        rows.update(embedded(name))

    threads = [threading.Thread(target=watch, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return table


# --------------------------------------------------------------------------------------------
# Report
# --------------------------------------------------------------------------------------------


def middle(rows: Sequence[dict[str, float]], key: str, digits: int = 0) -> str:
    values = [r[key] for r in rows if key in r and r[key] == r[key]]
    if not values:
        return "–"
    text = f"{statistics.median(values):.{digits}f}"
    if len(values) > 1:
        text += f" ({min(values):.{digits}f}–{max(values):.{digits}f})"
    return text


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"\n### {title}\n")
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    sys.stdout.flush()


def by_candidate(title: str, table: dict[str, dict[str, str]]) -> None:
    names = list(table)
    titles: list[str] = []
    for rows in table.values():
        titles += [t for t in rows if t not in titles]
    show(title, ["", *names], [[t, *(table[n].get(t, "–") for n in names)] for t in titles])


def machine() -> str:
    model = "unknown CPU"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    versions = []
    for package in ("uvicorn", "httptools", "h11", "uvloop", "granian", "hypercorn", "multipart"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{package} {metadata.version(package)}")
    load = os.getloadavg()[0]
    return (
        f"{model}, {os.cpu_count()} cores, Linux {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, load average at start {load:.1f}; "
        + ", ".join(versions)
    )


def interleaved(
    names: Sequence[str], rounds: int, measure: Callable[[str], dict[str, float]]
) -> dict[str, list[dict[str, float]]]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in [*names[turn:], *names[:turn]]:
            found[name].append(measure(name))
    return found


def compare(args: argparse.Namespace) -> None:
    names = [UVICORN, UVICORN_H11, GRANIAN] + ([HYPERCORN] if args.hypercorn else [])
    rounds = args.rounds or (1 if args.quick else 3)
    wanted = set(args.only.split(",")) if args.only else set(SECTIONS)
    seconds = 0.6 if args.quick else 1.5
    mallocs = (True,) if args.quick else (False, True)
    print(f"{machine()}\n\n{rounds} interleaved round(s); cells: median (lowest–highest).")

    if "upload" in wanted:
        rows = []
        for malloc in mallocs:
            result = interleaved(names, rounds, lambda n, m=malloc: measure_upload(n, seconds, m))  # type: ignore[misc]
            base = statistics.median(r["mb_s"] for r in result[UVICORN])
            for name, runs in result.items():
                ratio = statistics.median(r["mb_s"] for r in runs) / base
                rows.append(
                    [name, "tuned" if malloc else "as shipped", middle(runs, "mb_s")]
                    + [f"{ratio:.2f}", middle(runs, "cpu_ms", 1), middle(runs, "failed")]
                )
        show(
            "Upload, 10 MB, 16 connections, multipart to an unlinked file",
            ["server", "malloc", "MB/s", "× first row", "CPU ms per upload", "failed"],
            rows,
        )
    if "memory" in wanted:
        rows = []
        for malloc in mallocs:
            result = interleaved(names, rounds, lambda n, m=malloc: measure_memory(n, m))  # type: ignore[misc]
            for name, runs in result.items():
                for run in runs:
                    run["each"] = (run["peak"] - run["idle"]) / 16
                rows.append(
                    [name, "tuned" if malloc else "as shipped", middle(runs, "idle")]
                    + [middle(runs, "peak"), middle(runs, "each", 2), middle(runs, "failed")]
                )
        show(
            "16 uploads of 50 MB at once (memory of all processes, MiB)",
            ["server", "malloc", "idle", "peak", "per upload", "failed"],
            rows,
        )
    if "hold" in wanted:
        result = interleaved(names, rounds, lambda n: measure_hold(n, args.quick))
        rows = []
        for label, title in (
            ("100", "100 held"),
            ("1000", "1 000 held"),
            ("loaded", "1 000 held, 10 MB uploads c=4"),
        ):
            for name, runs in result.items():
                if f"p50_{label}" in runs[0]:
                    rows.append(
                        [title, name]
                        + [middle(runs, f"{k}_{label}", 2) for k in ("p50", "p99", "max", "min")]
                        + [middle(runs, f"wake_min_{label}", 2), middle(runs, f"wrong_{label}")]
                        + [middle(runs, f"kib_{label}", 1) if label == "1000" else "–"]
                    )
        header = ["case", "server", "p50", "p99", "max", "earliest at client"]
        header += ["earliest wake in the app", "not 504", "KiB per held"]
        show("504 at T: lateness in ms", header, rows)
    if "download" in wanted:
        result = interleaved(names, rounds, lambda n: measure_download(n, seconds))
        base = statistics.median(r["mb_s"] for r in result[UVICORN])
        rows = [
            [name, middle(runs, "mb_s")]
            + [f"{statistics.median(r['mb_s'] for r in runs) / base:.2f}"]
            + [middle(runs, k, 1) for k in ("cpu_ms", "grew")]
            + [middle(runs, "failed")]
            for name, runs in result.items()
        ]
        show(
            "Download, 3 MB in 256 KB reads, 16 connections",
            ["server", "MB/s", "× first row", "CPU ms per file", "memory + MiB", "failed"],
            rows,
        )
    if "hostile" in wanted:
        by_candidate("Hostile HTTP, as observed", measure_hostile(names, args.quick))
    if "process" in wanted:
        by_candidate("Process model", measure_process(names))


SECTIONS = ("upload", "memory", "hold", "download", "hostile", "process")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round, under a minute")
    parser.add_argument("--rounds", type=int, default=0, help="interleaved rounds (default 3)")
    parser.add_argument("--hypercorn", action="store_true", help="measure hypercorn as well")
    parser.add_argument("--only", default="", help="comma-separated: " + ", ".join(SECTIONS))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--embed", help=argparse.SUPPRESS)
    parser.add_argument("--upload-load", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = set(filter(None, args.only.split(","))) - set(SECTIONS)
    if unknown:
        parser.error(f"unknown section: {', '.join(sorted(unknown))}")
    if not sys.platform.startswith("linux"):
        parser.error("needs Linux (/proc, O_TMPFILE)")

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted_files = 16384 if hard == resource.RLIM_INFINITY else min(16384, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted_files, hard))
    if args.serve:
        pin(0)
        serve(args.serve, args.port)
        return 0
    if args.embed:
        pin(0)
        if args.embed == UVICORN_H11:
            facts = asyncio.run(embed(args.embed, args.port))
        else:
            import uvloop

            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                facts = runner.run(embed(args.embed, args.port))
        print(json.dumps(facts))
        return 0
    pin(1)
    if args.upload_load is not None:
        os.nice(5)  # the client that takes the times shares this core
        return upload_load(args.port, 10 * MB, 4, args.upload_load)[2]

    folder = Path(tempfile.mkdtemp(prefix="asgi-servers-"))
    try:
        picture = folder / "result.jpg"
        picture.write_bytes(os.urandom(FILE_BYTES))
        os.environ["ASGI_BENCH_FILE"] = str(picture)
        began = time.monotonic()
        compare(args)
        print(f"\nTook {time.monotonic() - began:.0f} s.")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

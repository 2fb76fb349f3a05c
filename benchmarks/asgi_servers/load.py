"""Uploads and downloads, from threads. As a program: `python -m benchmarks.asgi_servers.load PORT SECONDS`.

The program is the load beside which something else is measured.
"""

import os
import sys
import threading
import time
from collections.abc import Callable

from benchmarks.asgi_servers.client import connect, read_head
from benchmarks.asgi_servers.processes import Running, running

MB = 1_000_000
FILE_BYTES = 3 * MB
CLIENTS, TOGETHER = 16, 16
_BUFFER = 256 * 1024
_BOUNDARY = b"-" * 28 + b"0123456789ab"

Figures = dict[str, float]


def upload_parts(size: int) -> tuple[bytes, bytes, bytes]:
    """Return the head of an upload, and what stands before and after the file in its body."""
    before = (
        b"--" + _BOUNDARY + b'\r\nContent-Disposition: form-data; name="password"\r\n\r\nsecret\r\n'
        b"--" + _BOUNDARY + b'\r\nContent-Disposition: form-data; name="fileToUpload"; filename="a.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n"
    )
    after = b"\r\n--" + _BOUNDARY + b"--\r\n"
    head = (
        b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=" + _BOUNDARY
    ) + b"\r\nContent-Length: %d\r\n\r\n" % (len(before) + size + len(after))
    return head, before, after


def measure_upload(name: str, *, seconds: float, malloc: bool) -> Figures:
    """Return speed and processor time of 10 MB uploads."""
    with running(name, malloc=malloc) as server:
        _uploads(server.port, size=10 * MB, clients=2, seconds=0)
        before = server.cpu_seconds()
        count, took, failed = _uploads(server.port, size=10 * MB, clients=CLIENTS, seconds=seconds)
        cpu = server.cpu_seconds() - before
    return {"mb_s": count * 10 / took, "cpu_ms": cpu * 1000 / max(count, 1), "failed": failed}


def measure_memory(name: str, *, malloc: bool) -> Figures:
    """Return resident memory before and at the peak of uploads of 50 MB at once."""
    with running(name, malloc=malloc) as server:
        idle = server.memory()
        _, _, failed = _uploads(server.port, size=50 * MB, clients=TOGETHER, seconds=0)
        peak = server.peak_memory()
    return {"idle": idle, "peak": peak, "each": (peak - idle) / TOGETHER, "failed": failed}


def measure_download(name: str, *, seconds: float) -> Figures:
    """Return speed, processor time and growth of downloads."""
    with running(name) as server:
        idle, before = server.memory(), server.cpu_seconds()
        count, took, failed = _downloads(server, seconds)
        cpu = server.cpu_seconds() - before
        grew = server.peak_memory() - idle
    speed = count * FILE_BYTES / MB / took
    return {"mb_s": speed, "cpu_ms": cpu * 1000 / max(count, 1), "grew": grew, "failed": failed}


def _uploads(port: int, *, size: int, clients: int, seconds: float) -> tuple[int, float, int]:
    """Have each client send whole files until the time is over, at least one."""
    head, before, after = upload_parts(size)
    payload = memoryview(bytearray(os.urandom(MB) * (size // MB)))
    stop = time.monotonic() + seconds

    def one_client() -> int:
        count = 0
        with connect(port, timeout=60) as connection:
            while count == 0 or time.monotonic() < stop:
                connection.sendall(head + before)
                connection.sendall(payload)
                connection.sendall(after)
                status, _, body = read_head(connection)
                if status != 200 or (body and int(body) != size + len(b"secret")):
                    raise ConnectionError(f"upload answered {status}")
                count += 1
        return count

    return _in_threads(clients, one_client)


def _downloads(server: Running, seconds: float) -> tuple[int, float, int]:
    stop = time.monotonic() + seconds

    def one_client() -> int:
        count = 0
        buffer = bytearray(_BUFFER)
        with connect(server.port) as connection:
            while time.monotonic() < stop:
                connection.sendall(b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n")
                _, fields, rest = read_head(connection)
                left = int(fields["content-length"]) - len(rest)
                while left > 0:
                    got = connection.recv_into(buffer, min(left, _BUFFER))
                    if not got:
                        raise ConnectionError("short file")
                    left -= got
                count += 1
        return count

    return _in_threads(CLIENTS, one_client)


def _in_threads(clients: int, work: Callable[[], int]) -> tuple[int, float, int]:
    """Return requests done, seconds, and clients that failed."""
    done: list[int] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            done.append(work())
        except (OSError, LookupError, ValueError) as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done), time.monotonic() - began, len(failed)


def main() -> None:
    """Upload with four clients, as the load beside which something else is measured."""
    os.nice(5)  # the client that takes the times shares this core
    _, _, failed = _uploads(int(sys.argv[1]), size=10 * MB, clients=4, seconds=float(sys.argv[2]))
    sys.exit(failed)


if __name__ == "__main__":
    main()

"""Broken, slow and odd HTTP: one observed answer for each case and candidate."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from benchmarks.asgi_servers.client import connect, read_head, talk
from benchmarks.asgi_servers.early import attentive, naive
from benchmarks.asgi_servers.load import MB, upload_parts
from benchmarks.asgi_servers.processes import Running, running

Rows = dict[str, str]

_GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
_POST = b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
_EARLY = b"POST /early?mode=keep HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
_HOLD = b"POST /hold?t=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nxx"

_ONE_SHOTS = {
    "Content-Length and Transfer-Encoding": (
        b"POST /hold?t=0.01 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "two Host headers": _GET + b"Host: y\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "one header of 1 MB": _GET + b"X-A: " + b"a" * MB + b"\r\n\r\n",
    "500 headers": _GET + b"".join(b"X-%d: a\r\n" % number for number in range(500)) + b"\r\n",
    "URL of 100 KB": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "URL of 20 KB": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "Expect, refused before reading": _EARLY + b"Expect: 100-continue\r\n\r\n",
    "obsolete line folding": _GET + b"X-A: a\r\n b\r\n\r\n",
    "space before the colon": _GET + b"X-A : a\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "WebSocket upgrade": (
        _GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ),
    "TRACE": b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n",
    "CONNECT": b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
}
_REFUSALS = {
    "keep": "answer, keep-alive",
    "close": "answer with Connection: close",
    "drain": "answer, read on, then end it",
}


def measure_hostile(names: Sequence[str], *, patience: float, tries: int) -> dict[str, Rows]:
    """Return the rows of each candidate; slow clients have `patience` seconds, early refusals `tries`."""
    quick: dict[str, Rows] = {}
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running(name)) for name in names]
        slow = {
            (server.name, title): partial(case, server.port, patience)
            for server in servers
            for title, case in _SLOW.items()
        }

        def observe_quick(server: Running) -> None:
            quick[server.name] = _observe(server.port, tries)

        observed = _at_once(slow, meanwhile=[partial(observe_quick, server) for server in servers])
    return {name: {title: observed[name, title] for title in _SLOW} | quick[name] for name in names}


def _at_once(
    cases: Mapping[tuple[str, str], Callable[[], str]], *, meanwhile: Sequence[Callable[[], None]]
) -> dict[tuple[str, str], str]:
    """Run all the cases in threads, and the others here one after the other."""
    observed: dict[tuple[str, str], str] = {}

    def run(key: tuple[str, str], case: Callable[[], str]) -> None:
        observed[key] = case()

    threads = [threading.Thread(target=run, args=item) for item in cases.items()]
    for thread in threads:
        thread.start()
    for each in meanwhile:
        each()
    for thread in threads:
        thread.join()
    return observed


def _observe(port: int, tries: int) -> Rows:
    rows = {
        "client leaves while held (after 0.5 s)": _leaves_while_held(port),
        "client half-closes (FIN) while held": talk(port, _HOLD, then_shut=True),
        "whole 1 KB sent, client leaves before the application reads": _leaves_before_read(port),
        "body shorter than Content-Length, then FIN": _short_body(port),
        "bad chunk size": _bad_chunk(port),
        "Expect: 100-continue": _expect_continue(port),
    }
    rows |= {title: talk(port, data) for title, data in _ONE_SHOTS.items()}
    for mode, title in _REFUSALS.items():
        rows[f"early 413, {title}: naive client, 20 MB"] = naive(port, mode, tries)
        rows[f"early 413, {title}: attentive client"] = attentive(port, mode)
    return rows


def _leaves_while_held(port: int) -> str:
    with connect(port, 5) as connection:
        connection.sendall(_HOLD.replace(b"t=1", b"t=4&watch=1"))
        time.sleep(0.5)
    time.sleep(0.6)
    return f"application saw {_seen(port, '/hold')}"


def _leaves_before_read(port: int) -> str:
    with connect(port, 5) as connection:
        connection.sendall(b"POST /late HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + bytes(1000))
        time.sleep(0.2)
    time.sleep(0.6)
    return f"application saw {_seen(port, '/late')}"


def _short_body(port: int) -> str:
    answer = talk(port, _POST + b"Content-Length: 1000\r\n\r\n--b\r\nContent-Dispo", then_shut=True)
    return f"{answer}; application saw {_seen(port, '/upload')}"


def _bad_chunk(port: int) -> str:
    answer = talk(port, _POST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n")
    return f"{answer}; application saw {_seen(port, '/upload')}"


def _expect_continue(port: int) -> str:
    """Time the `100 Continue`, then send the upload."""
    head, before, after = upload_parts(MB)
    with connect(port, 3) as connection:
        began = time.monotonic()
        connection.sendall(head[:-2] + b"Expect: 100-continue\r\n\r\n")
        try:
            got = connection.recv(4096)
        except TimeoutError:
            return "nothing for 3 s"
        took = (time.monotonic() - began) * 1000
        if not got.startswith(b"HTTP/1.1 100"):
            return f"{got[:20]!r} at once"
        connection.sendall(before + bytes(MB) + after)
        status, _, _ = read_head(connection)
    return f"100 after {took:.1f} ms, then {status}"


def _seen(port: int, path: str) -> str:
    with connect(port, 5) as connection:
        connection.sendall(b"GET /seen HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        raw = b""
        while more := connection.recv(65536):
            raw += more
    return str(json.loads(raw.partition(b"\r\n\r\n")[2]).get(path, "nothing"))


def _trickle(port: int, patience: float, *, first: bytes, drip: bytes, answered: bool = False) -> str:
    """Send `drip` once a second until the server ends it; where it is `answered`, the answer comes before."""
    with connect(port, 1) as connection:
        connection.sendall(first)
        said = f"{connection.recv(65536)[9:12].decode()}, " if answered else ""
        began = time.monotonic()
        try:
            while time.monotonic() < began + patience:
                with contextlib.suppress(TimeoutError):
                    got = connection.recv(4096)
                    if got and answered:
                        continue  # the rest of the answer
                    status = f"{got[9:12].decode()}, " if got else ""
                    return f"{said}{status}closed after {time.monotonic() - began:.0f} s"
                connection.sendall(drip)
        except OSError:
            return f"{said}reset after {time.monotonic() - began:.0f} s"
    return f"{said}still open after {patience:.0f} s"


_SLOW = {
    "slow head, one line a second": partial(_trickle, first=_GET, drip=b"X: y\r\n"),
    "connects, sends nothing": partial(_trickle, first=b"", drip=b""),
    "slow body, one byte a second": partial(
        _trickle, first=_POST + b"Content-Length: 1000000\r\n\r\n", drip=b"x"
    ),
    "slow body after an early answer": partial(_trickle, first=_EARLY + b"\r\n", drip=b"x", answered=True),
}

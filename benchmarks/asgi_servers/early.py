"""Two clients that are refused while they send: one reads too late, the other listens all the time."""

import contextlib
import socket
import time
from collections import Counter

from benchmarks.asgi_servers.client import connect, read_head

_SIZE = 20_000_000


def naive(port: int, mode: str, tries: int) -> str:
    """Return how often a client that sends its whole 20 MB before it reads gets what."""
    payload = memoryview(bytearray(_SIZE))
    outcomes = Counter(_send_then_read(port, mode, payload) for _ in range(tries))
    return "; ".join(f"{count}/{tries} {outcome}" for outcome, count in sorted(outcomes.items()))


def attentive(port: int, mode: str) -> str:
    """Return how soon a client that sends 16 KB every 5 ms, and listens, knows that it was refused."""
    with connect(port, 5) as connection:
        connection.sendall(_head(mode))
        began = time.monotonic()
        while time.monotonic() < began + 3:
            try:
                if (answer := _listen(connection)) is not None:
                    return f"{answer} after {(time.monotonic() - began) * 1000:.0f} ms"
                with contextlib.suppress(TimeoutError):
                    connection.settimeout(0.1)
                    connection.send(bytes(16384))
            except OSError:
                return f"reset after {(time.monotonic() - began) * 1000:.0f} ms"
    return "nothing in 3 s"


def _listen(connection: socket.socket) -> str | None:
    connection.settimeout(0.005)
    try:
        got = connection.recv(65536)
    except TimeoutError:
        return None
    return got[9:12].decode() or "closed"


def _send_then_read(port: int, mode: str, payload: memoryview) -> str:
    with connect(port, 10) as connection:
        sending = "all sent"
        try:
            connection.sendall(_head(mode))
            connection.sendall(payload)
        except OSError:
            sending = "SEND BROKE"
        try:
            status, fields, body = read_head(connection)
            while len(body) < int(fields["content-length"]):
                more = connection.recv(65536)
                if not more:
                    raise ConnectionError("short body")
                body += more
        except TimeoutError:
            return f"{sending}, no answer in 10 s"
        except OSError:
            return f"{sending}, answer LOST"
    return f"{sending}, {status} readable"


def _head(mode: str) -> bytes:
    return f"POST /early?mode={mode} HTTP/1.1\r\nHost: x\r\nContent-Length: {_SIZE}\r\n\r\n".encode()

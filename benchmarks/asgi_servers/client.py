"""A plain blocking client that says in a few words what came back."""

import socket
import time

from benchmarks.asgi_servers.serve import HOST


def connect(port: int, timeout: float = 30) -> socket.socket:
    """Return a connection that sends at once."""
    connection = socket.create_connection((HOST, port), timeout=timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read_head(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Return the status, the headers by lower-case name, and what has come of the body."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            raise ConnectionError("closed before a whole head arrived")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    return int(first.split()[1]), fields, rest


def talk(port: int, data: bytes, *, wait: float = 1.5, then_shut: bool = False) -> str:
    """Send, then return the statuses that came back and whether the connection was closed.

    With `then_shut` the client closes its sending side 0.2 s later.
    """
    with connect(port, timeout=wait) as connection:
        broke = ""
        try:
            connection.sendall(data)
            if then_shut:
                time.sleep(0.2)
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            broke = " (while sending)"
        got, end = _read_to_the_end(connection)
    return f"{' then '.join(_statuses(got)) or 'no answer'}, {end}{broke if end == 'reset' else ''}"


def try_to_talk(port: int) -> str:
    """Return what a simple request comes to, at a port that may have nobody behind it."""
    try:
        return talk(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", wait=1)
    except OSError:
        return "refused"


def _read_to_the_end(connection: socket.socket) -> tuple[bytes, str]:
    got = b""
    try:
        while more := connection.recv(65536):
            got += more
            connection.settimeout(0.3)
    except TimeoutError:
        return got, "kept open"
    except OSError:
        return got, "reset"
    return got, "closed"


def _statuses(got: bytes) -> list[str]:
    heads = [line.split(b" ") for line in got.split(b"\r\n") if line.startswith(b"HTTP/1.")]
    statuses = [parts[1].decode() for parts in heads if len(parts) > 1]
    return statuses or ([f"{len(got)} bytes that are not HTTP/1"] if got else [])

"""A client that downloads one file again and again and keeps nothing: one thread, one buffer, no parser."""

import re
import selectors
import socket
import time
from dataclasses import dataclass

_BUFFER_BYTES = 1 << 20
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What came in a period: whole files, all bytes of their bodies, and answers that were not 200."""

    files: int
    size_bytes: int
    failed: int
    seconds: float

    @property
    def mb_per_second(self) -> float:
        """The throughput in megabytes (10^6) per second."""
        return self.size_bytes / self.seconds / 1e6


def drain(port: int, path: str, *, connections: int, seconds: float, look: bool = True) -> Drained:
    """Download `path` over kept-alive connections, each one file after the other, for so long.

    With `look` the bytes are copied out of the kernel, as every client does that wants them; without, they
    are thrown away there (`MSG_TRUNC`), which costs the client next to nothing.
    """
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    with selectors.DefaultSelector() as selector:
        streams = [_Stream(port, request, buffer, look=look) for _ in range(connections)]
        for stream in streams:
            selector.register(stream.socket, selectors.EVENT_READ, stream)
        began = time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            for key, _events in selector.select(seconds - passed):
                key.data.take()
        for stream in streams:
            stream.socket.close()
    return Drained(
        files=sum(stream.files for stream in streams),
        size_bytes=sum(stream.size_bytes for stream in streams),
        failed=sum(stream.failed for stream in streams),
        seconds=passed,
    )


class _Stream:
    """One connection: asks for the file, takes it, asks again."""

    def __init__(self, port: int, request: bytes, buffer: memoryview, *, look: bool) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.files = self.size_bytes = self.failed = 0
        self._request = request
        self._buffer = buffer
        self._flags = 0 if look else socket.MSG_TRUNC
        self._head = b""
        self._left: int | None = None
        self.socket.sendall(request)
        self.socket.setblocking(False)

    def take(self) -> None:
        """Take what has come."""
        if self._left is None:
            self._take_head()
            return
        size_bytes = self.socket.recv_into(self._buffer, min(self._left, _BUFFER_BYTES), self._flags)
        if not size_bytes:
            raise ConnectionError("the answer was cut short")
        self._left = self._count(self._left, size_bytes)

    def _take_head(self) -> None:
        self._head += self.socket.recv(4096)
        head, end, body = self._head.partition(b"\r\n\r\n")
        if end:
            found = _LENGTH.search(head)
            if found is None:
                raise ConnectionError("the answer has no Content-Length")
            self.failed += head[9:12] != b"200"
            self._left, self._head = self._count(int(found[1]), len(body)), b""
        elif not self._head:
            raise ConnectionError("the server has closed the connection")

    def _count(self, left: int, size_bytes: int) -> int | None:
        self.size_bytes += size_bytes
        if left > size_bytes:
            return left - size_bytes
        self.files += 1
        self.socket.sendall(self._request)
        return None

"""A load generator that costs little: one thread, non-blocking sockets, ready-made requests, nothing kept.

As a program, `python -m benchmarks.sending PORT REQUEST_FILE CONNECTIONS SECONDS` is the load beside which
something else is measured.
"""

import re
import selectors
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_BUFFER_BYTES: Final = 1 << 20
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
NO_CONTENT: Final = 204
PATIENCE_SEC: Final = 120.0
"""An answer that takes longer counts as none."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer: the status (0 where the connection broke), and the seconds it took.

    They count from before the first byte was sent to the answer's last byte. `size_bytes` are the body's.
    """

    status: int
    seconds: float
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """All exchanges of a period."""

    exchanges: Sequence[Exchange]
    seconds: float

    @property
    def per_second(self) -> float:
        """How many answers came in a second."""
        return len(self.exchanges) / self.seconds

    def milliseconds(self) -> Sequence[float]:
        """Return how long each exchange took."""
        return [each.seconds * 1000 for each in self.exchanges]

    def failed(self, expected: int = 200) -> int:
        """Return how many answers had another status than the expected one."""
        return sum(each.status != expected for each in self.exchanges)


def send(
    port: int,
    requests: Sequence[bytes],
    *,
    connections: int,
    total: int | None = None,
    seconds: float | None = None,
) -> Sent:
    """Send the requests in turn over kept-alive connections, each one after the other's answer.

    It ends after `total` of them, or begins none after `seconds`; whichever is given, or comes first.
    """
    plan = _Plan(requests, total, None if seconds is None else time.perf_counter() + seconds)
    began = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        streams = [_Stream(port, plan, selector) for _ in range(connections)]
        for stream in streams:
            stream.begin()
        while selector.get_map():
            for key, events in selector.select(1.0):
                key.data.go_on(events)
            if any(stream.is_overdue for stream in streams):
                break
        for stream in streams:
            stream.give_up()
    exchanges = [exchange for stream in streams for exchange in stream.exchanges]
    return Sent(exchanges=exchanges, seconds=time.perf_counter() - began)


@dataclass(slots=True)
class _Plan:
    requests: Sequence[bytes]
    total: int | None
    until: float | None
    begun: int = 0

    def next(self) -> bytes | None:
        is_late = self.until is not None and time.perf_counter() >= self.until
        if is_late or (self.total is not None and self.begun >= self.total):
            return None
        self.begun += 1
        return self.requests[self.begun % len(self.requests)]


@dataclass(slots=True)
class _Stream:
    port: int
    plan: _Plan
    selector: selectors.BaseSelector
    exchanges: list[Exchange] = field(default_factory=list)
    _socket: socket.socket | None = None
    _request: memoryview = field(default_factory=lambda: memoryview(b""))
    _head: bytes = b""
    _left: int | None = None
    _size: int = 0
    _status: int = 0
    _began: float = 0.0
    _buffer: memoryview = field(default_factory=lambda: memoryview(bytearray(_BUFFER_BYTES)))

    @property
    def is_overdue(self) -> bool:
        return self._socket is not None and time.perf_counter() - self._began > PATIENCE_SEC

    def begin(self) -> None:
        """Begin the next request of the plan, or end the connection."""
        request = self.plan.next()
        if request is None:
            self._close()
            return
        self._request, self._head, self._left = memoryview(request), b"", None
        self._status = self._size = 0
        self._began = time.perf_counter()
        try:
            if self._socket is None:
                self._socket = socket.create_connection(("127.0.0.1", self.port))
                self._socket.setblocking(False)
                self.selector.register(self._socket, selectors.EVENT_READ, self)
            self._want(selectors.EVENT_READ | selectors.EVENT_WRITE)
        except OSError:
            self._end()

    def go_on(self, events: int) -> None:
        """Send and receive what can be sent and received now."""
        try:
            if events & selectors.EVENT_WRITE and self._request:
                self._send()
            if events & selectors.EVENT_READ:
                self._receive()
        except BlockingIOError:
            return
        except OSError:
            self._status = 0
            self._close()
            self._end()

    def give_up(self) -> None:
        """Count what has not been answered as failed, and close the connection."""
        if self._socket is not None:
            self.exchanges.append(Exchange(0, time.perf_counter() - self._began))
        self._close()

    def _send(self) -> None:
        assert self._socket is not None
        self._request = self._request[self._socket.send(self._request[:_BUFFER_BYTES]) :]
        if not self._request:
            self._want(selectors.EVENT_READ)

    def _receive(self) -> None:
        assert self._socket is not None
        size = self._socket.recv_into(self._buffer, _BUFFER_BYTES)
        if not size:
            raise ConnectionError("the server has closed the connection")
        if self._left is not None:
            self._left -= size
        else:
            self._take_head(bytes(self._buffer[:size]))
        if self._left == 0:
            if self._request:  # answered before all of it was sent: there is no going on here
                self._close()
            self._end()

    def _take_head(self, received: bytes) -> None:
        self._head += received
        head, end, body = self._head.partition(b"\r\n\r\n")
        if end:
            found = _LENGTH.search(head)
            self._status = int(head[9:12])
            if found is None and self._status != NO_CONTENT:
                raise ConnectionError("the answer has no Content-Length")
            self._size = int(found[1]) if found else 0
            self._left = self._size - len(body)

    def _end(self) -> None:
        took = time.perf_counter() - self._began
        self.exchanges.append(Exchange(self._status, took, self._size))
        self.begin()

    def _want(self, events: int) -> None:
        assert self._socket is not None
        self.selector.modify(self._socket, events, self)

    def _close(self) -> None:
        if self._socket is not None:
            self.selector.unregister(self._socket)
            self._socket.close()
            self._socket = None


def main() -> None:
    """Send until the time is over; say on standard output how many answers came, and of which statuses."""
    port, request, connections, seconds = sys.argv[1:5]
    sent = send(int(port), [Path(request).read_bytes()], connections=int(connections), seconds=float(seconds))
    statuses = sorted(each.status for each in sent.exchanges)
    print(len(statuses), *sorted(set(statuses)))


if __name__ == "__main__":
    main()

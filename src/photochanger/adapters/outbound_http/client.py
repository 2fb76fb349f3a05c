"""The HTTP client: one attempt per call, and a truthful word on whether it may have arrived."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import BinaryIO, Final, TypeAlias

import aiohttp
from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    InvalidURL,
    NonHttpUrlClientError,
    TCPConnector,
)
from aiohttp.abc import AbstractResolver
from aiohttp.connector import SocketFactoryType
from yarl import URL

from photochanger.adapters.outbound_http.guard import AddressGuard
from photochanger.adapters.outbound_http.origins import Destinations
from photochanger.adapters.outbound_http.outcomes import (
    Answer,
    AnswerTooLarge,
    Downloaded,
    Interrupted,
    NotSent,
)

CONNECT_TIMEOUT_SEC: Final = 5.0
MAX_CONNECTIONS: Final = 256
_CHUNK: Final = 256 * 1024
_BEGINNING: Final = 64
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

SocketFactory: TypeAlias = SocketFactoryType


@dataclass(frozen=True, slots=True)
class Body:
    """A request body of a known size that is made while it is sent."""

    size_bytes: int
    chunks: AsyncIterator[bytes]


class OutboundHttp:
    """Makes calls from inside one event loop. Redirects are never followed, cookies never kept.

    `use_proxy` takes the proxy of the usual variables (`HTTPS_PROXY`, `NO_PROXY`). `socket_factory` is asked
    for the socket of every connection, and may refuse the address with `Forbidden`. `resolver` finds the
    addresses of names, instead of the system's own.
    """

    def __init__(
        self,
        *,
        use_proxy: bool = False,
        socket_factory: SocketFactory | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._use_proxy = use_proxy
        self._socket_factory = socket_factory
        self._resolver = resolver
        self._session: ClientSession | None = None

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        max_bytes: int,
        body: Body | bytes | None = None,
        silence_sec: float | None = None,
    ) -> Answer:
        """Send one request on a connection of its own, and return the answer, whatever its status.

        It has a connection of its own because on a kept one, which the server may just be closing, nobody can
        tell a request that was not looked at from one that was. Raises `NotSent`, `Interrupted` or
        `AnswerTooLarge`. The caller sets the time limit, by cancelling; a server that sends nothing for
        `silence_sec` counts as `Interrupted`.
        """
        sending = _Sending(body)
        response = await self._response(method, url, headers, sending, silence_sec)
        try:
            whole = bytearray()
            async with aclosing(sending.answered(response, max_bytes)) as chunks:
                async for chunk in chunks:
                    whole += chunk
        finally:
            response.close()
        return Answer(response.status, _named_in_lower_case(response), whole)

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _response(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        sending: "_Sending",
        silence_sec: float | None,
    ) -> ClientResponse:
        """Send the request and return what the answer begins with. The caller closes it."""
        target = _target(url)
        try:
            return await self._opened().request(
                method,
                target,
                headers={"Accept-Encoding": "identity", **headers, **sending.headers},
                data=sending.data,
                allow_redirects=False,
                timeout=ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SEC, sock_read=silence_sec),
            )
        except _BREAKS as error:
            raise sending.meaning_of(error) from None

    def _opened(self) -> ClientSession:
        # Made at the first call: a session belongs to the loop that is then running.
        if self._session is None:
            self._session = ClientSession(
                connector=TCPConnector(
                    limit=MAX_CONNECTIONS,
                    force_close=True,
                    socket_factory=self._socket_factory,
                    # With happy eyeballs a refusal by the factory is lost.
                    happy_eyeballs_delay=0.25 if self._socket_factory is None else None,
                    resolver=self._resolver,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=self._use_proxy,
            )
        return self._session


class GuardedHttp(OutboundHttp):
    """Goes to public addresses only, and to what `destinations` allows on this machine; never by a proxy."""

    def __init__(self, destinations: Destinations, *, resolver: AbstractResolver | None = None) -> None:
        self._destinations = destinations
        allowed = [endpoint for origin in destinations.origins for endpoint in origin.endpoints]
        super().__init__(socket_factory=AddressGuard(allowed), resolver=resolver)

    async def download(
        self,
        url: str,
        into: BinaryIO,
        *,
        max_bytes: int,
        headers: Mapping[str, str] = _NOTHING,
        silence_sec: float | None = None,
    ) -> Downloaded:
        """Write what is at `url`, which somebody else chose, to `into`, as it comes over the wire.

        What `into` held before is gone; only what comes with status 200 is written. Raises `Forbidden` where
        `url` is none of the destinations or leads to an inside address, else as `call` does. What `into`
        holds after an error means nothing.
        """
        self._destinations.check(url)
        into.seek(0)
        into.truncate()
        sending = _Sending(None)
        response = await self._response("GET", url, headers, sending, silence_sec)
        beginning, size = b"", 0
        try:
            if response.status == 200:
                async with aclosing(sending.answered(response, max_bytes)) as chunks:
                    async for chunk in chunks:
                        into.write(chunk)
                        beginning += chunk[: _BEGINNING - len(beginning)]
                        size += len(chunk)
        finally:
            response.close()
        return Downloaded(response.status, _named_in_lower_case(response), size, beginning)


_BREAKS: Final = (ClientError, OSError, ValueError, TimeoutError)
_NEVER_CONNECTED: Final = (ClientConnectorError, ConnectionTimeoutError, InvalidURL, NonHttpUrlClientError)


class _Sending:
    """A request on its way: whether all of its body was handed over, and what a break therefore means."""

    def __init__(self, body: Body | bytes | None) -> None:
        self.handed_over = not isinstance(body, Body)
        self.data = self._watched(body) if isinstance(body, Body) else body
        self.headers = {"Content-Length": str(body.size_bytes)} if isinstance(body, Body) else {}

    async def _watched(self, body: Body) -> AsyncIterator[bytes]:
        left = body.size_bytes
        async for chunk in body.chunks:
            left -= len(chunk)
            # Before the last bytes, not after them: from there on nobody knows.
            self.handed_over = left <= 0
            yield chunk

    async def answered(self, response: ClientResponse, max_bytes: int) -> AsyncGenerator[bytes]:
        """Yield the answer's body as it comes, up to `max_bytes`."""
        size = response.content_length or 0
        if size > max_bytes:
            raise AnswerTooLarge
        read = 0
        try:
            async for chunk in response.content.iter_chunked(_CHUNK):
                read += len(chunk)
                if read > max_bytes:
                    raise AnswerTooLarge
                yield chunk
        except _BREAKS as error:
            raise self.meaning_of(error) from None

    def meaning_of(self, error: Exception) -> NotSent | Interrupted:
        # Only the name of the class: the text of aiohttp's errors holds addresses and headers.
        kind = NotSent if isinstance(error, _NEVER_CONNECTED) or not self.handed_over else Interrupted
        return kind(type(error).__name__)


def _target(url: str) -> URL:
    with suppress(ValueError):
        target = URL(url, encoded=True)
        if target.host and target.port:  # only now does yarl look at the port
            return target
    raise NotSent("not a URL to connect to")


def _named_in_lower_case(response: ClientResponse) -> Mapping[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}

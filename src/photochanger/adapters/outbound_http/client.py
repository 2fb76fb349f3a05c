"""The HTTP client: one attempt per call, and a truthful word on whether it may have arrived."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import aiohttp
from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    TCPConnector,
)
from aiohttp.connector import SocketFactoryType
from yarl import URL

CONNECT_TIMEOUT_SEC: Final = 5.0
MAX_CONNECTIONS: Final = 256
_CHUNK: Final = 256 * 1024

SocketFactory: TypeAlias = SocketFactoryType


class NotSent(Exception):
    """The request did not reach the other side, or not as a whole: it cannot have had any effect there."""


class Interrupted(Exception):
    """The request may have arrived; its answer did not, or not as a whole."""


class AnswerTooLarge(Exception):
    """The answer has more bytes than the caller takes; the rest was not read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole. The names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytearray

    @property
    def content_type(self) -> str:
        """The media type without its parameters, in lower case; empty where there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Body:
    """A request body of a known size that is made while it is sent."""

    size_bytes: int
    chunks: AsyncIterator[bytes]


class OutboundHttp:
    """Makes calls from inside one event loop. Redirects are never followed, cookies never kept.

    `use_proxy` takes the proxy of the usual variables (`HTTPS_PROXY`, `NO_PROXY`). `socket_factory` is asked
    for the socket of every connection, and may refuse the address with an `OSError`.
    """

    def __init__(self, *, use_proxy: bool = False, socket_factory: SocketFactory | None = None) -> None:
        self._use_proxy = use_proxy
        self._socket_factory = socket_factory
        self._session: ClientSession | None = None

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        max_bytes: int,
        body: Body | bytes | None = None,
    ) -> Answer:
        """Send one request on a connection of its own, and return the answer, whatever its status.

        It has a connection of its own because on a kept one, which the server may just be closing, nobody can
        tell a request that was not looked at from one that was. Raises `NotSent`, `Interrupted` or
        `AnswerTooLarge`. The caller sets the time limit, by cancelling.
        """
        sending = _Sending(body)
        try:
            async with self._opened().request(
                method,
                URL(url, encoded=True),
                headers={"Accept-Encoding": "identity", **headers, **sending.headers},
                data=sending.data,
                allow_redirects=False,
            ) as response:
                answer = await _read(response, max_bytes)
        except (ClientError, OSError, ValueError, TimeoutError) as error:
            # From None: the text of aiohttp's errors holds addresses and headers.
            raise (NotSent if sending.cannot_have_arrived(error) else Interrupted)(
                type(error).__name__
            ) from None
        return answer

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> ClientSession:
        # Made at the first call: a session belongs to the loop that is then running.
        if self._session is None:
            self._session = ClientSession(
                connector=TCPConnector(
                    limit=MAX_CONNECTIONS, force_close=True, socket_factory=self._socket_factory
                ),
                timeout=ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SEC),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=self._use_proxy,
            )
        return self._session


class _Sending:
    """A request body on its way, and whether all of it was handed over."""

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

    def cannot_have_arrived(self, error: Exception) -> bool:
        never_connected = isinstance(error, ClientConnectorError | ConnectionTimeoutError)
        return never_connected or not self.handed_over


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> Answer:
    """Read the body into one buffer, made at once in its declared size where there is one."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        if len(body) + len(chunk) > max_bytes:
            raise AnswerTooLarge
        body += chunk
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status, headers, body)

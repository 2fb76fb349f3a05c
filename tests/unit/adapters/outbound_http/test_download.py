import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO

import pytest

from photochanger.adapters.outbound_http import (
    AnswerTooLarge,
    Destinations,
    Forbidden,
    GuardedHttp,
    Interrupted,
    NotSent,
    Origin,
)
from tests.names import Names
from tests.unit.adapters.outbound_http.raw_server import (
    RawServer,
    answering,
    raw_server,
    with_length,
)

pytestmark = pytest.mark.anyio

LIMIT = 1_000_000


@asynccontextmanager
async def guarded(server: RawServer, resolver: Names | None = None) -> AsyncIterator[GuardedHttp]:
    destinations = Destinations(domains=("provider.example",), origins=(Origin.of(server.url),))
    http = GuardedHttp(destinations, resolver=resolver or Names())
    yield http
    await http.close()


async def test_the_picture_is_written_as_it_comes() -> None:
    picture = bytes(range(256)) * 1000
    async with raw_server(answering(with_length(picture))) as server, guarded(server) as http:
        into = BytesIO(b"what was there before" * 100_000)
        got = await http.download(f"{server.url}/x", into, max_bytes=LIMIT)
    assert into.getvalue() == picture
    assert (got.status, got.size_bytes, got.beginning) == (200, len(picture), picture[:64])
    assert b"authorization" not in server.heads[0].lower()


@pytest.mark.parametrize("status", [b"404 No", b"302 Found", b"206 Part", b"500 No"])
async def test_only_a_picture_is_written(status: bytes) -> None:
    async with raw_server(answering(with_length(b"text", status=status))) as server, guarded(server) as http:
        into = BytesIO()
        got = await http.download(server.url, into, max_bytes=LIMIT)
        assert (got.status, got.size_bytes, into.getvalue()) == (int(status[:3]), 0, b"")
        assert len(server.heads) == 1


async def test_bytes_that_were_compressed_stay_so() -> None:
    bomb = gzip.compress(bytes(100 * LIMIT))
    data = with_length(bomb, b"Content-Encoding: gzip")
    async with raw_server(answering(data)) as server, guarded(server) as http:
        into = BytesIO()
        await http.download(server.url, into, max_bytes=LIMIT)
    assert into.getvalue() == bomb


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + bytes(3 * LIMIT),
    ],
)
async def test_too_much_is_not_written(data: bytes) -> None:
    async with raw_server(answering(data)) as server, guarded(server) as http:
        into = BytesIO()
        with pytest.raises(AnswerTooLarge):
            await http.download(server.url, into, max_bytes=LIMIT)
    assert len(into.getvalue()) <= LIMIT


async def test_a_picture_that_breaks_off_is_none() -> None:
    async def half(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(with_length(bytes(1000))[:-500])

    async with raw_server(half) as server, guarded(server) as http:
        with pytest.raises(Interrupted):
            await http.download(server.url, BytesIO(), max_bytes=LIMIT)


async def test_a_full_disk_is_not_the_providers_fault() -> None:
    class FullDisk(BytesIO):
        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    async with raw_server(answering(with_length(b"picture"))) as server, guarded(server) as http:
        with pytest.raises(OSError, match="No space"):
            await http.download(server.url, FullDisk(), max_bytes=LIMIT)


class TestNames:
    """Names under an allowed domain, which lead to wherever their owner wants."""

    @pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "64:ff9b::a00:1"])
    async def test_that_lead_inside(self, address: str) -> None:
        names = Names({"img.provider.example": [[address]]})
        async with raw_server(answering(b"")) as server, guarded(server, names) as http:
            with pytest.raises(Forbidden):
                await http.download("https://img.provider.example/", BytesIO(), max_bytes=LIMIT)
        assert names.asked == ["img.provider.example"]

    @pytest.mark.parametrize("addresses", [["10.0.0.1", "10.0.0.2"], ["::1", "127.0.0.1"]])
    async def test_with_two_inside_addresses(self, addresses: list[str]) -> None:
        names = Names({"img.provider.example": [addresses]})
        async with raw_server(answering(b"")) as server, guarded(server, names) as http:
            with pytest.raises(Forbidden):
                await http.download("https://img.provider.example/", BytesIO(), max_bytes=LIMIT)

    async def test_an_inside_address_ends_the_call_before_a_public_one_is_tried(self) -> None:
        names = Names({"img.provider.example": [["10.0.0.1", "192.0.2.1", "1.1.1.1"]]})
        async with raw_server(answering(b"")) as server, guarded(server, names) as http:
            with pytest.raises(Forbidden):
                await http.download("https://img.provider.example/", BytesIO(), max_bytes=LIMIT)

    async def test_that_do_not_exist(self) -> None:
        async with raw_server(answering(b"")) as server, guarded(server) as http:
            with pytest.raises(NotSent) as caught:
                await http.download("https://img.provider.example/", BytesIO(), max_bytes=LIMIT)
        assert not isinstance(caught.value, Forbidden)

    async def test_elsewhere_are_not_even_looked_up(self) -> None:
        names = Names({"evil.example": [["1.1.1.1"]]})
        async with raw_server(answering(b"")) as server, guarded(server, names) as http:
            with pytest.raises(Forbidden):
                await http.download("https://evil.example/", BytesIO(), max_bytes=LIMIT)
        assert names.asked == []


async def test_calls_are_guarded_too() -> None:
    async with raw_server(answering(with_length(b"yes"))) as server, guarded(server) as http:
        assert (await http.call("GET", server.url, headers={}, max_bytes=3)).body == b"yes"
        with pytest.raises(Forbidden):
            await http.call("GET", "http://127.0.0.2:1/", headers={}, max_bytes=3)
        with pytest.raises(Forbidden):
            await http.call("POST", "https://10.0.0.1/", headers={}, max_bytes=3, body=b"x")


async def test_the_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(answering(with_length(b"by proxy"))) as server, guarded(server) as http:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, server.url)
        with pytest.raises(NotSent):
            await http.download("https://img.provider.example/", BytesIO(), max_bytes=LIMIT)
        assert server.heads == []

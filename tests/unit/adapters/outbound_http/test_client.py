import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from photochanger.adapters.outbound_http import (
    Answer,
    AnswerTooLarge,
    Body,
    Head,
    Interrupted,
    NotSent,
    OutboundHttp,
)
from tests.names import Names
from tests.unit.adapters.outbound_http.raw_server import answering, raw_server, with_length

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
MORE_THAN_ANY_BUFFER = 32 * MIB


@pytest.fixture
async def http() -> AsyncIterator[OutboundHttp]:
    http = OutboundHttp()
    yield http
    await http.close()


async def post(http: OutboundHttp, url: str, body: Body | bytes | None = b"do=it", **more: float) -> Answer:
    return await http.call("POST", url, headers={"X-Key": "secret"}, max_bytes=MIB, body=body, **more)


def large_body(size: int = MORE_THAN_ANY_BUFFER) -> Body:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size // 65536):
            yield bytes(65536)

    return Body(size, chunks())


async def leaves(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def says_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"220 mail.example ready\r\n")


class TestWhetherItMayHaveArrived:
    async def test_nobody_listens(self, http: OutboundHttp) -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            with pytest.raises(NotSent):
                await post(http, f"http://127.0.0.1:{bound.getsockname()[1]}/")

    async def test_there_is_no_such_name(self) -> None:
        http = OutboundHttp(resolver=Names())
        with pytest.raises(NotSent):
            await post(http, "https://nowhere.example/")
        await http.close()

    @pytest.mark.parametrize(
        "url",
        ["http://", "http://[", "http://h:port/", "ftp://127.0.0.1/", "http://127.1/", "http://2130706433/"],
    )
    async def test_it_is_no_url_to_call(self, http: OutboundHttp, url: str) -> None:
        with pytest.raises(NotSent):
            await post(http, url)

    async def test_the_server_speaks_no_tls(self, http: OutboundHttp) -> None:
        async with raw_server(says_hello, reads_head=False) as server:
            with pytest.raises(NotSent):
                await post(http, server.url.replace("http:", "https:"))

    async def test_the_server_leaves_while_the_body_comes(self, http: OutboundHttp) -> None:
        async with raw_server(leaves) as server:
            with pytest.raises(NotSent):
                await post(http, server.url, large_body())

    async def test_the_server_leaves_after_half_of_the_body(self, http: OutboundHttp) -> None:
        async def reads_half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(MORE_THAN_ANY_BUFFER // 2)
            writer.transport.abort()

        async with raw_server(reads_half) as server:
            with pytest.raises(NotSent):
                await post(http, server.url, large_body())

    async def test_the_server_leaves_after_the_whole_body(self, http: OutboundHttp) -> None:
        async def reads_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(MORE_THAN_ANY_BUFFER)
            writer.transport.abort()

        async with raw_server(reads_all) as server:
            with pytest.raises(Interrupted):
                await post(http, server.url, large_body())

    async def test_the_server_leaves_and_nobody_knows_what_it_read(self, http: OutboundHttp) -> None:
        async with raw_server(leaves) as server:
            with pytest.raises(Interrupted):
                await post(http, server.url)
            assert len(server.heads) == 1, "a call is one attempt"

    @pytest.mark.parametrize(
        "part",
        [
            b"HTTP/1.1 200 OK\r\nContent-Le",
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf",
            b"SSH-2.0-OpenSSH_9.2\r\n",
        ],
    )
    async def test_the_answer_breaks_off(self, http: OutboundHttp, part: bytes) -> None:
        async def sends_a_part(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(part)

        async with raw_server(sends_a_part) as server:
            with pytest.raises(Interrupted):
                await post(http, server.url)

    async def test_the_server_says_nothing_for_too_long(self, http: OutboundHttp) -> None:
        async with raw_server(answering(b"")) as server:
            with pytest.raises(Interrupted):
                await post(http, server.url, silence_sec=0.05)

    async def test_errors_name_no_address_and_no_header(self, http: OutboundHttp) -> None:
        async with raw_server(leaves) as server:
            with pytest.raises(Interrupted) as caught:
                await post(http, f"{server.url}/path?key=hidden")
        error = caught.value
        assert error.__cause__ is None
        assert error.__suppress_context__
        assert not any(word in repr(error) for word in ("127.0.0.1", "hidden", "secret"))


class TestTheAnswer:
    async def test_comes_whole_whatever_its_status(self, http: OutboundHttp) -> None:
        data = with_length(b"sorry", b"Content-Type: Text/HTML; charset=x", status=b"503 No")
        async with raw_server(answering(data)) as server:
            answer = await post(http, server.url)
        assert (answer.status, bytes(answer.body), answer.content_type) == (503, b"sorry", "text/html")

    async def test_may_come_before_the_body_was_sent(self, http: OutboundHttp) -> None:
        async with raw_server(answering(with_length(b"", status=b"413 Too large"))) as server:
            async with asyncio.timeout(5):
                answer = await post(http, server.url, large_body())
        assert answer.status == 413

    async def test_up_to_the_limit_is_taken(self, http: OutboundHttp) -> None:
        async with raw_server(answering(with_length(bytes(MIB)))) as server:
            assert len((await post(http, server.url)).body) == MIB

    @pytest.mark.parametrize(
        "data",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100001\r\n" + bytes(MIB + 1),
            b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + bytes(MIB + 1),
        ],
    )
    async def test_of_more_bytes_is_not_read_on(self, http: OutboundHttp, data: bytes) -> None:
        async with raw_server(answering(data)) as server:
            with pytest.raises(AnswerTooLarge):
                await post(http, server.url)

    async def test_that_redirects_is_an_answer(self, http: OutboundHttp) -> None:
        async with raw_server(answering(with_length(b"", b"Location: /on", status=b"302 Found"))) as server:
            answer = await post(http, server.url)
            assert (answer.status, answer.headers["location"]) == (302, "/on")
            assert len(server.heads) == 1

    async def test_is_not_inflated(self, http: OutboundHttp) -> None:
        bomb = gzip.compress(bytes(10 * MIB))
        async with raw_server(answering(with_length(bomb, b"Content-Encoding: gzip"))) as server:
            assert (await post(http, server.url)).body == bomb
            assert b"Accept-Encoding: identity\r\n" in server.heads[0]


class TestConnections:
    async def test_each_call_has_its_own_and_no_cookie_is_kept(self) -> None:
        http = OutboundHttp(resolver=Names({"api.example": [["127.0.0.1"]]}))
        data = with_length(b"", b"Set-Cookie: session=1", b"Connection: keep-alive")
        async with raw_server(answering(data)) as server:
            for _ in range(3):
                async with asyncio.timeout(5):
                    await post(http, f"http://api.example:{server.port}")
            assert len(server.heads) == 3
            assert not any(b"cookie" in head.lower() for head in server.heads)
        await http.close()

    async def test_a_cancelled_call_ends_at_once(self, http: OutboundHttp) -> None:
        async with raw_server(answering(b"")) as server:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await post(http, server.url)

    async def test_the_client_can_be_used_after_it_was_closed(self, http: OutboundHttp) -> None:
        async with raw_server(answering(with_length(b""))) as server:
            await post(http, server.url)
            await http.close()
            await post(http, server.url)

    @pytest.mark.parametrize("use_proxy", [True, False])
    async def test_a_proxy_is_used_where_it_is_wanted(
        self, use_proxy: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        http = OutboundHttp(use_proxy=use_proxy, resolver=Names())
        async with raw_server(answering(with_length(b"by proxy"))) as server:
            monkeypatch.setenv("http_proxy", server.url)
            monkeypatch.delenv("no_proxy", raising=False)
            if use_proxy:
                assert (await post(http, "http://api.example/")).body == b"by proxy"
                assert server.heads[0].startswith(b"POST http://api.example/ ")
            else:
                with pytest.raises(NotSent):
                    await post(http, "http://api.example/")
        await http.close()

    async def test_a_body_that_breaks_off_itself_was_not_sent(self, http: OutboundHttp) -> None:
        async def breaks_off() -> AsyncIterator[bytes]:
            yield bytes(1000)
            raise OSError("the file cannot be read")

        async with raw_server(answering(b"")) as server:
            with pytest.raises(NotSent):
                await post(http, server.url, Body(2000, breaks_off()))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("37", 37), (" 5 ", 5), ("", None), ("-1", None), ("soon", None), ("1.5", None), ("٣", None)],
)
def test_when_to_ask_again(text: str, seconds: float | None) -> None:
    assert Head(429, {"retry-after": text}).retry_after_sec == seconds


def test_when_to_ask_again_as_a_date() -> None:
    def asked(at: datetime, *, usegmt: bool) -> float | None:
        return Head(503, {"retry-after": format_datetime(at, usegmt=usegmt)}).retry_after_sec

    now = datetime.now(UTC)
    assert 58 < (asked(now + timedelta(minutes=1), usegmt=True) or 0) <= 60
    assert asked(now - timedelta(minutes=1), usegmt=True) == 0
    assert Head(503, {}).retry_after_sec is None

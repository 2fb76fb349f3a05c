"""The ways in which Turbotext goes wrong: their names, and how each looks on the wire."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Final

from aiohttp import web

from photochanger.domain.errors import (
    ProviderError,
    ProviderFault,
    ProviderMisconfigured,
    ProviderNoImage,
    ProviderQuotaExhausted,
    ProviderRefused,
    ProviderRejected,
)
from photochanger.testing.provider_faults import Row

PAGE: Final = "<!DOCTYPE html><html><title>Технические работы</title></html>"


def result_at(url: str) -> str:
    """Return the name of an answer that says the result is at `url`."""
    return f"location={url}"


def _rows(
    names: str, expected: type[ProviderFault] | None, *, billed: bool = True, all_time: bool = False
) -> Iterator[Row]:
    maybe_billed = expected is not None and billed
    for name in names.split():
        yield Row(name=name, expected=expected, maybe_billed=maybe_billed, takes_all_time=all_time)


FAULTS: Final[tuple[Row, ...]] = (
    *_rows("ok queueid_as_string numbers_as_strings", None),
    *_rows("reconnect:1 reconnect:5 reconnect_bare:1 reconnect_bare:5 byte_order_mark", None),
    *_rows("location:top location:data location:image_absolute location:image_relative", None),
    *_rows("create:slow result:slow download:slow", None),
    # before there is a place in the queue
    *_rows(
        "create:401 create:402 create:403 create:404 create:redirect", ProviderMisconfigured, billed=False
    ),
    *_rows("create:429 create:429_without_a_time", ProviderQuotaExhausted, billed=False),
    *_rows("create:400 create:413 create:rejected", ProviderRejected, billed=False),
    *_rows("create:408 create:500 create:502 create:503", ProviderError),
    *_rows("create:html create:empty create:not_utf8 create:list create:nan create:deep", ProviderError),
    *_rows("create:stray_bracket create:reconnect create:no_id create:asyncid create:huge_id", ProviderError),
    *_rows("create:cut_before_answer create:cut_in_answer create:oversize create:endless", ProviderError),
    *_rows("create:hang create:trickle", ProviderError, all_time=True),
    # while the result is asked for
    *_rows("result:429:1 result:500:1 result:502:1 result:503:1 result:404:1 result:redirect:1", None),
    *_rows("result:html:1 result:empty:1 result:not_utf8:1 result:list:1 result:nan:1 result:deep:1", None),
    *_rows("result:stray_bracket:1 result:cut_before_answer:1 result:cut_in_answer:1 result:hang:1", None),
    *_rows("result:oversize:1", None),
    *_rows(
        "result:500 result:html result:stray_bracket result:cut_before_answer", ProviderError, all_time=True
    ),
    *_rows("result:hang result:trickle reconnect:for_ever", ProviderError, all_time=True),
    *_rows("result:401 result:402 result:403", ProviderMisconfigured),
    *_rows("result:rejected forgotten unreachable_photo", ProviderRejected),
    *_rows("forbidden_content", ProviderRefused),
    *_rows("location:none", ProviderNoImage),
    # while the picture is downloaded
    *_rows(
        "download:404:1 download:500:1 download:503:1 download:429:1 download:html:1 download:empty:1", None
    ),
    *_rows("download:cut_before_answer:1 download:cut_in_answer:1 download:hang:1 download:needs_key", None),
    *_rows("download:html download:empty download:gzip download:redirect", ProviderError),
    *_rows("download:401 download:403 download:410 download:oversize download:endless", ProviderError),
    *_rows("download:404 download:500 download:cut_in_answer", ProviderError, all_time=True),
    *_rows("download:hang download:trickle", ProviderError, all_time=True),
    *_rows(result_at("https://127.0.0.1/x.png"), ProviderError),
)


BODIES: Final[Mapping[str, bytes]] = {
    "html": PAGE.encode(),
    "empty": b"",
    "not_utf8": '{"success":true,"action":"готово"}'.encode("cp1251"),
    "list": b"[]",
    "nan": b'{"success":true,"queueid":NaN,"data":{"scale":Infinity}}',
    "deep": b'{"success":true,"data":' + b"[" * 200_000,
    "stray_bracket": '{"success":true,"error":"","data":{"prompt":"в стиле дисней"],"width":768}}'.encode(),
    "reconnect": b'{"action":"reconnect"}',
    "no_id": b'{"success":true}',
    "asyncid": b'{"success":true,"asyncid":12}',
    "huge_id": b'{"success":true,"queueid":' + b"9" * 5000 + b"}",
}


def with_status(what: str, answer: web.Response) -> web.Response:
    """Return what an answer becomes where a status, or its encoding, goes wrong."""
    if what == "gzip":
        assert isinstance(answer.body, bytes)
        body = gzip.compress(answer.body)
        return web.Response(body=body, headers={"Content-Encoding": "gzip"}, content_type="image/png")
    status = int(what.partition("_")[0])
    headers = {"Retry-After": "1"} if what == "429" else {}
    return web.Response(status=status, text=PAGE, content_type="text/html", headers=headers)


_Transport = Callable[[web.BaseRequest, web.Response, asyncio.Event], Awaitable[web.StreamResponse]]


async def _cut_before_answer(
    request: web.BaseRequest, answer: web.Response, _ended: asyncio.Event
) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return answer


async def _cut_in_answer(
    request: web.BaseRequest, answer: web.Response, _ended: asyncio.Event
) -> web.StreamResponse:
    stream, body = await _begun(request, answer)
    await stream.write(body[: len(body) // 2])
    assert request.transport is not None
    request.transport.close()
    return stream


async def _slow(request: web.BaseRequest, answer: web.Response, _ended: asyncio.Event) -> web.StreamResponse:
    stream, body = await _begun(request, answer)
    piece = len(body) // 8 + 1
    for at in range(0, len(body), piece):
        await stream.write(body[at : at + piece])
        await asyncio.sleep(0.005)
    return stream


async def _hang(_request: web.BaseRequest, answer: web.Response, ended: asyncio.Event) -> web.StreamResponse:
    await ended.wait()
    return answer


async def _trickle(
    request: web.BaseRequest, _answer: web.Response, ended: asyncio.Event
) -> web.StreamResponse:
    """Send a byte now and then, for ever: never silent, never done."""
    stream = web.StreamResponse()
    await stream.prepare(request)
    with suppress(ConnectionError):
        while not ended.is_set():
            await stream.write(b" ")
            await asyncio.sleep(0.05)
    return stream


async def _oversize(
    request: web.BaseRequest, _answer: web.Response, ended: asyncio.Event
) -> web.StreamResponse:
    stream = web.StreamResponse(headers={"Content-Length": str(10**10)})
    await stream.prepare(request)
    await stream.write(b"{")
    await ended.wait()
    return stream


async def _endless(
    request: web.BaseRequest, _answer: web.Response, ended: asyncio.Event
) -> web.StreamResponse:
    """Send more and more, without having said how much, until the other side has had enough."""
    stream = web.StreamResponse()
    await stream.prepare(request)
    with suppress(ConnectionError):
        while not ended.is_set():
            await stream.write(bytes(1_000_000))
    return stream


async def _begun(request: web.BaseRequest, answer: web.Response) -> tuple[web.StreamResponse, bytes]:
    assert isinstance(answer.body, bytes)
    stream = web.StreamResponse(headers={"Content-Length": str(len(answer.body))})
    stream.content_type = answer.content_type
    await stream.prepare(request)
    return stream, answer.body


TRANSPORTS: Final[Mapping[str, _Transport]] = {
    "cut_before_answer": _cut_before_answer,
    "cut_in_answer": _cut_in_answer,
    "slow": _slow,
    "hang": _hang,
    "trickle": _trickle,
    "oversize": _oversize,
    "endless": _endless,
}

"""The application that every candidate serves. It imports nothing that would weigh on the memory measured."""

import asyncio
import contextlib
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from multipart import (
    MultipartError,
    PushMultipartParser,
    parse_options_header,
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

FILE_VARIABLE = "ASGI_SERVERS_FILE"
"""The variable that names the file for GET /file."""
_READ = 256 * 1024
_seen: dict[str, str] = {}  # what the application noticed, by path


class _ClientGoneError(Exception):
    pass


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Dispatch by path; an unknown one is answered with 200 without its body being read."""
    arrived = time.monotonic()
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "http":
        try:
            await _ROUTES.get(scope["path"], _plain)(scope, receive, send, arrived)
        except _ClientGoneError:
            return


async def _lifespan(receive: Receive, send: Send) -> None:
    kind = ""
    while kind != "lifespan.shutdown":
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})


async def _plain(_scope: Message, _receive: Receive, send: Send, _arrived: float) -> None:
    await _answer(send, 200, "ok")


async def _upload(scope: Message, receive: Receive, send: Send, _arrived: float) -> None:
    """Parse a multipart form as it comes, its content into a file without a name."""
    boundary = parse_options_header(_header(scope, b"content-type"))[1].get("boundary", "")
    length = 0
    try:
        with (
            PushMultipartParser(boundary, max_segment_count=64) as parser,
            tempfile.TemporaryFile(buffering=0) as file,
        ):
            async for chunk in _chunks(receive, "/upload"):
                for event in parser.parse(chunk):
                    if isinstance(event, bytes | bytearray):
                        length += file.write(event)
    except MultipartError as error:
        await _answer(send, 400, f"multipart: {error}")
    else:
        await _answer(send, 200, str(length))


async def _hold(scope: Message, receive: Receive, send: Send, arrived: float) -> None:
    """Answer 504 `t` seconds after arrival; with `watch`, notice that the client has gone."""
    query = _query(scope)
    deadline = arrived + float(query.get("t", "1"))
    async for _ in _chunks(receive, "/hold"):
        pass
    if "watch" in query:
        await _watch(receive, deadline)
    else:
        await asyncio.sleep(deadline - time.monotonic())
    late = round((time.monotonic() - deadline) * 1e6)
    # a timer may fire early (uvloop's clock counts whole milliseconds); an answer may not
    while (left := deadline - time.monotonic()) > 0:  # noqa: ASYNC110
        await asyncio.sleep(max(left, 0.001))
    await _answer(send, 504, "timeout", [(b"x-wake-us", str(late).encode())])


async def _watch(receive: Receive, deadline: float) -> None:
    began = time.monotonic()
    gone = asyncio.ensure_future(receive())
    await asyncio.wait({gone}, timeout=deadline - began)
    if gone.done():
        waited = (time.monotonic() - began) * 1000
        _seen["/hold"] = f"{gone.result()['type']} after {waited:.0f} ms of waiting"
        raise _ClientGoneError
    gone.cancel()


async def _late(_scope: Message, receive: Receive, _send: Send, _arrived: float) -> None:
    """Be busy elsewhere for half a second before reading the body."""
    await asyncio.sleep(0.5)
    async for _ in _chunks(receive, "/late"):
        pass


async def _file(_scope: Message, _receive: Receive, send: Send, _arrived: float) -> None:
    with Path(os.environ[FILE_VARIABLE]).open("rb", buffering=0) as file:  # noqa: ASYNC230
        left = os.fstat(file.fileno()).st_size
        headers = [(b"content-type", b"image/jpeg"), (b"content-length", b"%d" % left)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while chunk := file.read(_READ):
            left -= len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": left > 0})


async def _early(scope: Message, receive: Receive, send: Send, _arrived: float) -> None:
    """Refuse before the body has been read, in one of three ways."""
    mode = _query(scope).get("mode", "keep")
    text = "refused " * 32
    if mode == "keep":
        await _answer(send, 413, text)
    elif mode == "close":
        await _answer(send, 413, text, [(b"connection", b"close")])
    else:  # the whole answer goes out, but is not ended until the client has stopped sending
        headers = [(b"content-length", b"%d" % len(text)), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
        with contextlib.suppress(_ClientGoneError):
            async for _ in _chunks(receive, "/early"):
                pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _tell(_scope: Message, _receive: Receive, send: Send, _arrived: float) -> None:
    facts = {**_seen, "pid": os.getpid(), "loop": id(asyncio.get_running_loop())}
    await _answer(send, 200, json.dumps(facts))


_ROUTES = {
    "/upload": _upload,
    "/hold": _hold,
    "/late": _late,
    "/file": _file,
    "/early": _early,
    "/seen": _tell,
}


async def _answer(send: Send, status: int, text: str, extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
    body = text.encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body)), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _chunks(receive: Receive, seen_as: str) -> AsyncIterator[bytes]:
    total, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            _seen[seen_as] = f"http.disconnect after {total} bytes"
            raise _ClientGoneError
        more = message.get("more_body", False)
        if chunk := message.get("body", b""):
            total += len(chunk)
            yield chunk
    _seen[seen_as] = f"complete, {total} bytes"


def _header(scope: Message, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _query(scope: Message) -> dict[str, str]:
    pairs = bytes(scope["query_string"]).decode("latin-1").split("&")
    return dict(pair.partition("=")[::2] for pair in pairs if pair)

"""What no generator thinks of: odd requests to every operation get what the contract says, and no 5xx."""

import asyncio
import re
from base64 import urlsafe_b64encode
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import unquote

import pytest

from tests.system.contract import Operation, operations
from tests.system.http_server import exchange, get, post
from tests.system.office import Office

pytestmark = [pytest.mark.anyio, pytest.mark.system]

LOGOUT: Final = "/api/logout"
"""It would end the login, with whatever query."""

IDS: Final = ("%00", "..", "%2e%2e", "%ff%fe", "%F0%9F%93%B7", "a" * 4_000, "%", "slot-001%20", "'--")

TIMES: Final = (
    *("0001-01-01T00:00:00Z", "0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59.999999-14:00"),
    *("1970-01-01", "24", "%00", "", "-4713-01-01T00:00:00Z", "294277-01-01T00:00:00Z"),
)
CURSORS: Final = (
    *("999999999999999999", "9" * 19, "-1", "%00", "e30", "=", "%ff"),
    *(
        urlsafe_b64encode(f'["{time}","0f2d6a1f8c7b4e5aa9d3c1b2e4f60718"]'.encode()).decode()
        for time in ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.9-14:00")
    ),
)
QUERIES: Final = (
    *(f"{name}={time}" for name in ("from", "to") for time in TIMES),
    *(f"from={start}&to={end}" for start in TIMES[:3] for end in TIMES[:3]),
    *(f"cursor={cursor}" for cursor in CURSORS),
    *(f"limit={limit}" for limit in ("0", "201", "1e2", "9" * 400, "-1", "%D9%A3", "+1", "1&limit=1")),
    *("&", "=", "a[]=1", "%00=%00", "bucket=1ms", "status[]=pending", "force=1", "x=" + "y" * 8_200),
    *("actor=%ff", "subject=" + "%00" * 3, "download=x", "inline=x", "everywhere=maybe", "key=%ff"),
)
HEADERS: Final[Sequence[Mapping[str, str]]] = (
    *({"Accept": value} for value in ("", "image/avif", "*/*;q=0", "application/xml", ",;,", "a" * 9_000)),
    *({"Accept-Language": value} for value in ("ru", "*", "\xff", "en;q=x", "-,-", "ru-" * 2_000)),
    *({"If-Match": value} for value in ("*", '"x"', 'W/"1"', ",", '"' * 99)),
    *(
        {"Range": value}
        for value in ("bytes=-0", "bytes=9-1", "bytes=0-0,2-3", "lines=1", "bytes=" + "9" * 99)
    ),
    *({"If-None-Match": value} for value in ("*", '"', "W/*", "," * 999)),
    *({"If-Modified-Since": value} for value in ("Thu, 31 Feb 0000 25:61:61 GMT", "0", "\xff")),
    *({"Authorization": value} for value in ("", "Bearer", "Bearer  ", "Basic Og==", "Bearer \xff.a.b")),
    *({"X-Request-Id": "x" * 999}, {"traceparent": "00-0-0-0"}, {"Host": "a b"}),
    *({"Idempotency-Key": value} for value in ("", "\xff", "k" * 256)),
    {f"X-{number}": "x" for number in range(120)},
)
BODIES: Final = (
    *(b"", b"null", b"[]", b"{", b"\xef\xbb\xbf{}", b"\xff", b'"\\ud800"', b"NaN", b"1e999", b"[" * 100_000),
    *(b'{"version": %s}' % number for number in (b"9" * 500, b"1e400", b"-0", b"1.0", b"true", b'"1"')),
    *(b'{"username": %s, "password": "x"}' % text for text in (b'"\\u0000"', b'"\\ud83d"', b"{}")),
    *(b'{"version": 1, "version": 2}', b"--x\r\n\r\n\r\n--x--", b"--x--"),
)
CONTENT_TYPES: Final = (
    *(
        "application/json",
        "APPLICATION/JSON; charset=utf-16",
        "application/json, text/plain",
        "text/plain",
        "",
    ),
    *("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x"),
)


async def test_ids_in_paths(office: Office) -> None:
    await hold(
        office,
        (
            (operation, get(re.sub(r"{\w+}", odd, operation.path), method=operation.method, headers=headers))
            for operation in operations()
            if "{" in operation.path
            for odd in IDS
            for headers in ({}, office.headers)
        ),
        also={404},
    )


async def test_encoded_slashes_are_slashes(office: Office) -> None:
    for operation in operations():
        if "{" in operation.path:
            for odd in ("%2F", "..%2f..%2fetc%2fpasswd", "x%2Fcontent"):
                path = re.sub(r"{\w+}", odd, operation.path)
                encoded, plain = [
                    (await exchange(office.port, get(asked, method=operation.method), to_head=True)).status
                    for asked in (path, unquote(path))
                ]
                assert encoded == plain < 500


async def test_queries(office: Office) -> None:
    await hold(
        office,
        (
            (
                operation,
                get(f"{operation.example_path}?{query}", method=operation.method, headers=office.headers),
            )
            for operation in operations()
            if operation.path != LOGOUT
            for query in QUERIES
        ),
    )


async def test_headers(office: Office) -> None:
    await hold(
        office,
        (
            (
                operation,
                get(operation.example_path, method=operation.method, headers={**office.headers, **headers}),
            )
            for operation in operations()
            if operation.path != LOGOUT
            for headers in HEADERS
        ),
    )


async def test_bodies(office: Office) -> None:
    await hold(
        office,
        (
            (
                operation,
                post(body, operation.example_path, headers=office.headers, content_type=content_type).replace(
                    b"POST", operation.method.encode(), 1
                ),
            )
            for operation in operations()
            if operation.method in {"POST", "PUT"} and operation.path != LOGOUT
            for body in BODIES
            for content_type in CONTENT_TYPES
        ),
    )


async def hold(
    office: Office, requests: Iterable[tuple[Operation, bytes]], *, also: Collection[int] = ()
) -> None:
    """Send the requests, and see that each is answered as the contract says, or with a status of `also`."""
    at_once = asyncio.Semaphore(8)

    async def complaints(operation: Operation, request: bytes) -> list[str]:
        async with at_once:
            answer = await exchange(office.port, request, to_head=operation.method == "HEAD")
        wrong = [] if answer.status in also else operation.complaints(answer)
        return [f"{complaint} <- {request[:300]!r}" for complaint in wrong]

    found = await asyncio.gather(*(complaints(operation, request) for operation, request in requests))
    assert len(found) > 100
    assert [complaint for each in found for complaint in each] == []

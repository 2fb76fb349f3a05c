"""Administrators and intruders at the API of real processes, byte by byte."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from photochanger.entrypoints.cli.processes import ServeProcess
from tests.system.http_server import Answer, exchange

ADMIN_PASSWORD = "administrator-1"

Headers = Sequence[tuple[str, str]]


def port_of(server: ServeProcess) -> int:
    """Return the port that a process serves."""
    port = urlsplit(server.base_url).port
    assert port is not None
    return port


def request(
    method: str, path: str, *, document: object = None, body: bytes = b"", headers: Headers = ()
) -> bytes:
    """Return a whole request; a `document` is its body as JSON. Headers may come twice."""
    typed: Headers = ()
    if document is not None:
        body, typed = json.dumps(document).encode(), [("Content-Type", "application/json")]
    lines = [("Host", "photochanger.test"), ("Content-Length", str(len(body))), *typed, *headers]
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


async def ask(
    server: ServeProcess,
    method: str,
    path: str,
    *,
    token: str | None = None,
    document: object = None,
    headers: Headers = (),
) -> Answer:
    """Send a request on a connection of its own, and return the answer."""
    bearing = [] if token is None else [("Authorization", f"Bearer {token}")]
    return await exchange(
        port_of(server), request(method, path, document=document, headers=[*bearing, *headers])
    )


async def log_in(
    server: ServeProcess, username: str, password: str = ADMIN_PASSWORD, *, address: str | None = None
) -> Answer:
    """Try to log in; from another `address` where a proxy of the process says so."""
    forwarded = [] if address is None else [("X-Forwarded-For", address)]
    document = {"username": username, "password": password}
    return await ask(server, "POST", "/api/login", document=document, headers=forwarded)


async def token_of(
    server: ServeProcess, username: str, password: str = ADMIN_PASSWORD, *, address: str | None = None
) -> str:
    """Log in, and return the token."""
    answer = await log_in(server, username, password, address=address)
    assert answer.status == 200, answer
    return str(read(answer)["access_token"])


async def who_is(server: ServeProcess, token: str) -> int:
    """Return the status of the smallest question that needs a token."""
    return (await ask(server, "GET", "/api/me", token=token)).status


def read(answer: Answer) -> Mapping[str, Any]:
    """Return the JSON document of an answer."""
    document: Mapping[str, Any] = json.loads(answer.body)
    return document


def refusal(answer: Answer) -> tuple[int, str]:
    """Return an answer's status and the code of its error."""
    return answer.status, read(answer)["code"]

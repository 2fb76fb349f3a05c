"""The short way to results and the framework's way: nobody can tell one from the other."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from litestar.types import Receive, Send
from structlog.testing import capture_logs

from photochanger.domain.errors import DatabaseUnavailable, InternalError, StorageUnavailable
from photochanger.domain.media import MediaKind, media_key
from photochanger.entrypoints.http.short_way import ShortWay
from photochanger.testing.harness import an_entry
from tests.system.http_server import (
    SLOT,
    Answer,
    System,
    exchange,
    get,
    photo_form,
    picture,
    post,
)
from tests.system.stopped_clock import SettableClock

pytestmark = [pytest.mark.anyio, pytest.mark.system]

FRAMEWORK = "?way=framework"
"""A query takes a request from the short way, and means nothing."""

ASKED: Mapping[str, Mapping[str, str]] = {
    "whole": {},
    "with an id": {"X-Request-Id": "r-1"},
    "first bytes": {"Range": "bytes=0-9"},
    "last bytes": {"Range": "bytes=-7"},
    "nonsense range": {"Range": "bytes=5-4"},
    "several ranges": {"Range": "bytes=0-0,2-2"},
    "behind the end": {"Range": "bytes=999999999-"},
    "behind the end, in Russian": {"Range": "bytes=-0", "Accept-Language": "ru"},
    "part of this version": {"Range": "bytes=0-1", "If-Range": "{etag}"},
    "part of another version": {"Range": "bytes=0-1", "If-Range": '"another"'},
    "part by date": {"Range": "bytes=0-1", "If-Range": "{date}"},
    "known by tag": {"If-None-Match": '"another", W/{etag}'},
    "whatever it is": {"If-None-Match": "*", "Range": "bytes=0-1"},
    "known by date": {"If-Modified-Since": "{date}"},
    "another by tag": {"If-None-Match": '"another"', "If-Modified-Since": "{date}"},
    "other kinds": {"Accept": "text/html"},
    "by way of a browser": {"Origin": "https://booth.test", "Cookie": "a=b", "Authorization": "Bearer x"},
    "with a body": {"Content-Length": "0"},
}


@pytest.fixture
def system() -> System:
    return System(clock=SettableClock())


@pytest.fixture
async def path(port: int) -> str:
    """The path of a finished picture."""
    return (await exchange(port, post(photo_form(picture(side=900)))))["content-location"]


async def both_ways(
    port: int, path: str, headers: Mapping[str, str] | None = None
) -> Sequence[tuple[Answer, Sequence[Mapping[str, Any]]]]:
    """Return the answers to GET and HEAD with their log lines, which are the same by either way."""
    found = []
    for method in ("GET", "HEAD"):
        short, long = [
            await _told(port, each, method, headers or {}) for each in (path, f"{path}{FRAMEWORK}")
        ]
        assert short == long
        found.append(short)
    return found


async def _told(
    port: int, path: str, method: str, headers: Mapping[str, str]
) -> tuple[Answer, Sequence[Mapping[str, Any]]]:
    with capture_logs() as lines:
        answer = await exchange(port, get(path, method=method, headers=headers), to_head=method == "HEAD")
    moving = {"date"} if "X-Request-Id" in headers else {"date", "x-request-id"}
    kept = [(name, value) for name, value in answer.headers if name not in moving]
    moving_fields = {"duration_ms", "exc_info"}
    told = [{name: value for name, value in line.items() if name not in moving_fields} for line in lines]
    return replace(answer, headers=kept), told


@pytest.mark.parametrize("suffix", ["", "/preview"])
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
async def test_every_request_gets_the_same_answer(
    port: int, path: str, asked: Mapping[str, str], suffix: str
) -> None:
    whole = await exchange(port, get(f"{path}{suffix}"))
    known = {"etag": whole["etag"], "date": whole["last-modified"]}
    headers = {name: value.format(**known) for name, value in asked.items()}
    [(answer, [line]), _] = await both_ways(port, f"{path}{suffix}", headers)
    assert answer.status in (200, 206, 304, 416)
    assert line["route"] == f"/public/results/{{job_id}}{suffix}"


async def _end(system: System) -> None:
    await system.storage.jobs.end_results(SLOT, entry=an_entry("test"))


async def _lose(system: System) -> None:
    (job,) = system.storage.records.jobs.values()
    assert job.result is not None
    images = {MediaKind.RESULT: job.result.image, MediaKind.PREVIEW: job.result.preview}
    await system.storage.files.delete([media_key(kind, image.media_id) for kind, image in images.items()])


async def _forget(system: System) -> None:
    system.storage.records.jobs.clear()


@pytest.mark.parametrize(
    ("happens", "status", "code"),
    [(_end, 410, "result_expired"), (_lose, 410, "result_expired"), (_forget, 404, "result_not_found")],
)
@pytest.mark.parametrize("suffix", ["", "/preview"])
async def test_what_is_not_there_any_more(
    system: System,
    port: int,
    path: str,
    suffix: str,
    happens: Callable[[System], Awaitable[None]],
    status: int,
    code: str,
) -> None:
    await happens(system)
    [(answer, [line]), _] = await both_ways(port, f"{path}{suffix}", {"Accept-Language": "ru"})
    assert (answer.status, line["code"]) == (status, code)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DatabaseUnavailable("away"), 503),
        (StorageUnavailable("away"), 503),
        (InternalError("a defect"), 500),
        (RuntimeError("the secret of the house"), 500),
    ],
)
async def test_errors(
    system: System, port: int, path: str, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    async def broken(_: object) -> None:
        raise error

    monkeypatch.setattr(system.storage.jobs, "get_result", broken)
    [(answer, lines), _] = await both_ways(port, path)
    assert answer.status == status
    assert [line["event"] for line in lines] == ["unexpected error"] * (status == 500) + ["request"]
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    "name", ["0" * 32, "A" * 32, "0" * 31, "0" * 33, "%30" * 32, "%0a", "0" * 32 + "%0A"]
)
async def test_unknown_names(port: int, name: str) -> None:
    [(answer, _), _] = await both_ways(port, f"/public/results/{name}")
    assert answer.status == 404


async def test_both_ways_are_counted_as_one(system: System, path: str, port: int) -> None:
    await both_ways(port, path)
    exposed = (await exchange(port, get("/metrics"))).body.decode()
    for method in ("GET", "HEAD"):
        labels = f'{{method="{method}",route="/public/results/{{job_id}}",status="200"}}'
        assert f"photochanger_http_requests_total{labels} 2.0" in exposed


async def test_plain_requests_take_the_short_way_and_no_others(system: System) -> None:
    passed_on: list[str] = []

    async def framework(scope: Any, _receive: Receive, _send: Send) -> None:
        passed_on.append(f"{scope['method']} {scope['path']}?{scope['query_string'].decode()}")

    async def _nothing(*_: object) -> Any: ...

    way = ShortWay(framework, system.container.open_result)
    plain = f"/public/results/{'0' * 32}"
    for method, path, query in (
        ("GET", plain, b""),
        ("HEAD", f"{plain}/preview", b""),
        ("GET", plain, b"download=1"),
        ("POST", plain, b""),
        ("OPTIONS", plain, b""),
        ("GET", f"{plain}/", b""),
        ("GET", "/livez", b""),
    ):
        scope: Any = {"type": "http", "method": method, "path": path, "query_string": query}
        await way(scope | {"headers": [], "state": {}}, _nothing, _nothing)
    assert passed_on == [
        f"GET {plain}?download=1",
        f"POST {plain}?",
        f"OPTIONS {plain}?",
        f"GET {plain}/?",
        "GET /livez?",
    ]

"""Results, jobs and operations, over a real socket."""

import hashlib
import json
import re
from datetime import timedelta

import pytest
from dependency_injector import providers
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from photochanger.adapters.memory import ManualClock
from photochanger.adapters.telemetry.tracing import configure_tracing
from photochanger.domain.media import MediaKind, media_key
from photochanger.testing.harness import an_entry
from tests.system.http_server import (
    SLOT,
    Answer,
    Connection,
    System,
    exchange,
    get,
    photo_form,
    picture,
    post,
    running,
)
from tests.system.stopped_clock import SettableClock

pytestmark = [pytest.mark.anyio, pytest.mark.system]

PHOTO = picture(side=900)


@pytest.fixture
def system() -> System:
    return System(clock=SettableClock())


@pytest.fixture
async def path(system: System, port: int) -> str:
    """The path of a finished picture."""
    answer = await exchange(port, post(photo_form(PHOTO)))
    return answer["content-location"]


def let_pass(system: System, **time: float) -> None:
    assert isinstance(system.the_clock, ManualClock)
    system.the_clock.advance(timedelta(**time))


class TestResults:
    async def test_the_file_with_all_that_a_browser_needs(self, port: int, path: str) -> None:
        answer = await exchange(port, get(path))
        assert answer.status == 200
        assert answer["content-type"] == "image/jpeg"
        assert answer["content-length"] == str(len(answer.body))
        assert answer["etag"] == f'"{hashlib.sha256(answer.body).hexdigest()}"'
        assert answer["last-modified"] == "Wed, 14 Jan 2026 12:00:00 GMT"
        assert answer["accept-ranges"] == "bytes"
        assert answer["cache-control"] == f"private, max-age={72 * 3600}"
        assert answer["content-disposition"] == f'inline; filename="photochanger-{path[16:24]}.jpg"'
        assert answer["x-content-type-options"] == "nosniff"
        assert answer["content-security-policy"] == "default-src 'none'; sandbox"

    async def test_a_preview_of_its_own(self, port: int, path: str) -> None:
        picture_, preview = [await exchange(port, get(each)) for each in (path, f"{path}/preview")]
        assert preview.status == 200
        assert preview["etag"] == f'"{hashlib.sha256(preview.body).hexdigest()}"' != picture_["etag"]
        assert preview["content-disposition"] == f'inline; filename="photochanger-{path[16:24]}-preview.jpg"'

    async def test_a_download(self, port: int, path: str) -> None:
        answer = await exchange(port, get(f"{path}?download=1"))
        assert answer["content-disposition"].startswith("attachment; filename=")

    async def test_the_head_alone(self, port: int, path: str) -> None:
        whole = await exchange(port, get(path))
        head = await exchange(port, get(path, method="HEAD", headers={"Range": "bytes=0-1"}), to_head=True)
        assert (head.status, head.body) == (200, b"")
        assert {*head.headers} ^ {*whole.headers} <= {
            h for h in (*head.headers, *whole.headers) if h[0] in ("date", "x-request-id")
        }

    @pytest.mark.parametrize(("header", "start", "stop"), [("bytes=10-19", 10, 20), ("bytes=-7", -7, None)])
    async def test_a_range(self, port: int, path: str, header: str, start: int, stop: int | None) -> None:
        whole = (await exchange(port, get(path))).body
        answer = await exchange(port, get(path, headers={"Range": header}))
        assert answer.status == 206
        assert answer.body == whole[start:stop]
        first = start % len(whole)
        assert answer["content-range"] == f"bytes {first}-{first + len(answer.body) - 1}/{len(whole)}"

    async def test_several_ranges_are_the_whole_file(self, port: int, path: str) -> None:
        answer = await exchange(port, get(path, headers={"Range": "bytes=0-1,5-6"}))
        assert answer.status == 200
        assert "content-range" not in answer

    async def test_a_range_behind_the_end(self, port: int, path: str) -> None:
        size = (await exchange(port, get(path)))["content-length"]
        answer = await exchange(port, get(path, headers={"Range": f"bytes={size}-"}))
        assert (answer.status, answer["content-range"]) == (416, f"bytes */{size}")
        assert json.loads(answer.body)["code"] == "range_not_satisfiable"

    async def test_a_range_of_another_version_is_the_whole_file(self, port: int, path: str) -> None:
        answer = await exchange(port, get(path, headers={"Range": "bytes=0-1", "If-Range": '"other"'}))
        assert answer.status == 200

    async def test_what_the_caller_has_already(self, port: int, path: str) -> None:
        whole = await exchange(port, get(path))
        for headers in (
            {"If-None-Match": whole["etag"]},
            {"If-Modified-Since": whole["last-modified"]},
            {"If-None-Match": whole["etag"], "Range": "bytes=0-1"},
        ):
            answer = await exchange(port, get(path, headers=headers))
            assert (answer.status, answer.body, answer["etag"]) == (304, b"", whole["etag"])
            assert "content-length" not in answer

    async def test_it_is_gone_from_the_instant_its_time_is_over(
        self, system: System, port: int, path: str
    ) -> None:
        let_pass(system, hours=71, minutes=59, seconds=59, milliseconds=500)
        answer = await exchange(port, get(path))
        assert (answer.status, answer["cache-control"]) == (200, "private, max-age=0")
        let_pass(system, milliseconds=500)
        for each in (path, f"{path}/preview"):
            answer = await exchange(port, get(each))
            assert (answer.status, json.loads(answer.body)["code"]) == (410, "result_expired")
            assert (await exchange(port, get(each, method="HEAD"), to_head=True)).status == 410

    async def test_a_download_that_is_resumed_too_late_is_gone(
        self, system: System, port: int, path: str
    ) -> None:
        half = {"Range": "bytes=0-99"}
        let_pass(system, hours=71, minutes=59, seconds=59)
        first = await exchange(port, get(path, headers=half))
        assert (first.status, first["cache-control"]) == (206, "private, max-age=1")
        let_pass(system, seconds=1)
        rest = {"Range": "bytes=100-", "If-Range": first["etag"]}
        assert (await exchange(port, get(path, headers=rest))).status == 410
        assert (await exchange(port, get(path, headers={"If-None-Match": "*"}))).status == 410

    async def test_a_download_whose_slot_is_cleaned_meanwhile_cannot_be_resumed(
        self, system: System, port: int, path: str
    ) -> None:
        async with Connection.to(port) as guest:
            await guest.send(get(path, headers={"Range": "bytes=0-99"}))
            assert (await guest.answer()).status == 206
            await system.storage.jobs.end_results(SLOT, entry=an_entry("test"))
            await guest.send(get(path, headers={"Range": "bytes=100-"}))
            assert (await guest.answer()).status == 410

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"Range": "bytes=0-"}, 206),
            ({"Range": "bytes=-1"}, 206),
            ({"Range": "bytes=5-4"}, 200),
            ({"Range": "bytes=0-0,2-2"}, 200),
            ({"Range": "bytes=-0"}, 416),
            ({"Range": "bytes=0-1", "If-Range": "{etag}"}, 206),
            ({"Range": "bytes=0-1", "If-Range": "W/{etag}"}, 200),
            ({"Range": "bytes=0-1", "If-Range": "{date}"}, 206),
            ({"Range": "bytes=0-1", "If-Range": "Wed, 14 Jan 2026 11:59:59 GMT"}, 200),
            ({"Range": "bytes=999999999-", "If-Range": '"another"'}, 200),
            ({"If-None-Match": "*"}, 304),
            ({"If-None-Match": '"another", W/{etag}'}, 304),
            ({"If-None-Match": '"another"', "If-Modified-Since": "{date}"}, 200),
            ({"If-Modified-Since": "Wed, 14 Jan 2026 11:59:59 GMT"}, 200),
            ({"If-Modified-Since": "yesterday"}, 200),
        ],
    )
    async def test_conditions_and_ranges(
        self, port: int, path: str, headers: dict[str, str], status: int
    ) -> None:
        whole = await exchange(port, get(path))
        known = {"etag": whole["etag"], "date": whole["last-modified"]}
        asked = {name: value.format(**known) for name, value in headers.items()}
        answer = await exchange(port, get(path, headers=asked))
        assert answer.status == status
        assert answer["x-content-type-options"] == "nosniff"
        assert ("content-range" in answer) == (status in (206, 416))
        if status in (200, 206):
            assert whole.body.count(answer.body) >= 1
            assert answer["content-length"] == str(len(answer.body))
            assert answer["etag"] == whole["etag"]
        head = await exchange(port, get(path, method="HEAD", headers=asked), to_head=True)
        assert head.status == (304 if status == 304 else 200)
        assert "content-range" not in head

    async def test_it_is_gone_where_its_file_is(self, system: System, port: int, path: str) -> None:
        (job,) = system.storage.records.jobs.values()
        assert job.result is not None
        await system.storage.files.delete([media_key(MediaKind.RESULT, job.result.image.media_id)])
        assert (await exchange(port, get(path))).status == 410

    @pytest.mark.parametrize("job_id", ["0" * 32, "0", "A" * 32, "0" * 33, "%00", "x/y"])
    async def test_an_unknown_one(self, port: int, job_id: str) -> None:
        answer = await exchange(port, get(f"/public/results/{job_id}"))
        assert answer.status == 404
        assert json.loads(answer.body)["code"] in ("result_not_found", "not_found")

    async def test_a_job_that_failed_has_none(self, system: System, port: int) -> None:
        await system.set_slot(params={"outcome": "error"})
        job_id = json.loads((await exchange(port, post(photo_form(PHOTO)))).body)["job_id"]
        assert (await exchange(port, get(f"/public/results/{job_id}"))).status == 404


class TestJobs:
    async def view(self, port: int, job_id: str) -> Answer:
        return await exchange(port, get(f"/api/jobs/{job_id}"))

    async def test_a_completed_one(self, port: int, path: str) -> None:
        job_id = path.rpartition("/")[2]
        answer = await self.view(port, job_id)
        assert answer["cache-control"] == "no-store"
        assert json.loads(answer.body) == {
            "job_id": job_id,
            "slot_id": SLOT,
            "status": "completed",
            "is_finalized": True,
            "failure_reason": None,
            "source": "booth",
            "created_at": "2026-01-14T12:00:00.654Z",
            "started_at": "2026-01-14T12:00:00.654Z",
            "finalized_at": "2026-01-14T12:00:00.654Z",
            "deadline": json.loads(answer.body)["deadline"],
            "attempts": 1,
            "result_url": f"http://booth.test{path}",
            "preview_url": f"http://booth.test{path}/preview",
            "result_expires_at": "2026-01-17T12:00:00.654Z",
            "result_source": "provider",
        }

    async def test_a_failed_one(self, system: System, port: int) -> None:
        await system.set_slot(params={"outcome": "no_image"})
        job_id = json.loads((await exchange(port, post(photo_form(PHOTO)))).body)["job_id"]
        body = json.loads((await self.view(port, job_id)).body)
        assert (body["status"], body["failure_reason"]) == ("failed_provider", "provider_no_image")
        assert body["result_url"] is body["result_expires_at"] is body["result_source"] is None

    async def test_none_after_its_time(self, system: System, port: int, path: str) -> None:
        let_pass(system, hours=72)
        answer = await self.view(port, path.rpartition("/")[2])
        assert (answer.status, json.loads(answer.body)["code"]) == (404, "job_not_found")

    async def test_an_unknown_one(self, port: int) -> None:
        assert (await self.view(port, "0" * 32)).status == 404


class TestOperations:
    async def test_alive_and_ready(self, system: System, port: int) -> None:
        assert (await exchange(port, get("/livez"))).status == 200
        assert json.loads((await exchange(port, get("/readyz"))).body) == {"status": "ok", "problems": []}
        system.the_readiness.shut_down()
        answer = await exchange(port, get("/readyz"))
        assert (answer.status, json.loads(answer.body)["status"]) == (503, "unavailable")
        assert json.loads(answer.body)["problems"]

    async def test_metrics_by_route_and_outcome(self, system: System, port: int, path: str) -> None:
        await exchange(port, post(photo_form(PHOTO, "wrong"), f"/api/ingest/{SLOT}"))
        await exchange(port, get(path))
        await exchange(port, get("/no/such/route"))
        answer = await exchange(port, get("/metrics"))
        assert answer["content-type"].startswith("text/plain; version=")
        text = answer.body.decode()
        for counted in (
            'http_requests_total{method="POST",route="/ingest/{slot_id}",status="200"}',
            'http_requests_total{method="POST",route="/api/ingest/{slot_id}",status="401"}',
            'http_requests_total{method="GET",route="/public/results/{job_id}",status="200"}',
            'ingest_duration_seconds_count{outcome="ok"}',
            'ingest_duration_seconds_count{outcome="invalid_password"}',
        ):
            assert f"photochanger_{counted} 1.0" in text
        assert path.rpartition("/")[2] not in text

    async def test_the_description_and_its_page(self, port: int) -> None:
        described = json.loads((await exchange(port, get("/openapi.json"))).body)
        assert described["openapi"].startswith("3.1")
        page = await exchange(port, get("/docs"))
        assert page["content-type"].startswith("text/html")
        assert "default-src 'none'" in page["content-security-policy"]
        assert not re.search(rb"(src|href)=\"(https?:)?//", page.body)


class TestAccess:
    async def test_a_request_keeps_its_id_or_gets_one(self, port: int) -> None:
        given = await exchange(port, get("/livez", headers={"X-Request-Id": "booth-1.2_3"}))
        assert given["x-request-id"] == "booth-1.2_3"
        for hostile in ("", "x" * 65, "a b", "<script>", "a\xff"):
            made = (await exchange(port, get("/livez", headers={"X-Request-Id": hostile})))["x-request-id"]
            assert re.fullmatch("[0-9a-f]{16}", made)

    async def test_one_line_says_what_happened_and_gives_nothing_away(self, port: int, path: str) -> None:
        with capture_logs() as lines:
            await exchange(port, get(f"{path}?secret=1", headers={"X-Request-Id": "r1"}))
            await exchange(port, get("/secret/path"))
        first, second = lines
        assert (first["event"], first["method"], first["http_status"]) == ("request", "GET", 200)
        assert first["route"] == "/public/results/{job_id}"
        assert first["duration_ms"] >= 0
        assert (second["route"], second["code"]) == ("none", "not_found")
        assert "secret" not in str(lines)
        assert path.rpartition("/")[2] not in str(lines)

    async def test_an_unforeseen_error_is_logged_once_and_not_told(
        self, system: System, port: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def broken(_: object) -> None:
            raise RuntimeError("the secret of the house")

        monkeypatch.setattr(system.storage.jobs, "get", broken)
        with capture_logs() as lines:
            answer = await exchange(port, get(f"/api/jobs/{'0' * 32}"))
        assert (answer.status, json.loads(answer.body)["code"]) == (500, "internal_error")
        assert b"secret" not in answer.body
        assert [line["event"] for line in lines] == ["unexpected error", "request"]

    async def test_a_server_span_continues_the_callers_trace(self, system: System) -> None:
        exporter = InMemorySpanExporter()
        tracing = configure_tracing(version="test", exporter=exporter)
        tracing.provider.add_span_processor(SimpleSpanProcessor(exporter))
        system.container.tracing.override(providers.Object(tracing))
        trace_id = "0af7651916cd43dd8448eb211c80319c"
        async with running(system) as port:
            headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
            await exchange(port, post(photo_form(PHOTO), headers=headers))
        tracing.shutdown()
        (span, *_) = (span for span in exporter.get_finished_spans() if span.name.startswith("POST"))
        assert span.name == "POST /ingest/{slot_id}"
        assert span.context is not None
        assert f"{span.context.trace_id:032x}" == trace_id
        (job,) = system.storage.records.jobs.values()
        assert job.trace_context is not None
        assert trace_id in job.trace_context

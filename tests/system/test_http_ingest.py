"""The booth's exchange, over a real socket."""

import asyncio
import json
import time
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import permutations

import pytest
from structlog.testing import capture_logs

from photochanger.application.ports import Topic
from photochanger.domain.job import JobEvent, JobId, JobState
from photochanger.domain.slot import SlotId
from tests.system.http_server import (
    BOUNDARY,
    PASSWORD,
    SLOT,
    Answer,
    Connection,
    System,
    exchange,
    form,
    get,
    part,
    photo_form,
    picture,
    post,
    running,
    until,
)

pytestmark = [pytest.mark.anyio, pytest.mark.system]

PHOTO = picture()
PICTURE = part("fileToUpload", PHOTO, file_name="IMG_0003.JPG", content_type="image/jpeg")
SECRET = part("password", PASSWORD.encode())


def problem(answer: Answer, status: int, code: str) -> dict[str, object]:
    """Check that the answer is this error, and return its body."""
    body: dict[str, object] = json.loads(answer.body)
    assert (answer.status, body["status"], body["code"]) == (status, status, code), body
    assert answer["content-type"] == "application/problem+json"
    assert answer["cache-control"] == "no-store"
    assert {"type", "title", "detail"} <= set(body)
    return body


async def job_of(system: System, answer: Answer) -> JobState:
    reading = await system.storage.jobs.get(JobId(answer["x-job-id"]))
    assert reading is not None
    return reading.job.state


async def test_the_captured_request_of_a_booth_is_answered_with_the_picture(
    system: System, port: int
) -> None:
    """`reference/dslr-remote-pro.md` 1.2: every header and every field, nothing more."""
    body = form(
        PICTURE,
        SECRET,
        part("time", b"1758217512"),
        part("user_id", b"Acer"),
        part("name", b"DESKTOP-K968T3F"),
        part("id", b"CY04N068111304S2L_00000001."),
        part("model", b"Windows"),
        part("version", b"3.30.2"),
        part("profile", rb"C:\Users\Acer\Documents\PhotoboothImages\setup_Serg.xml"),
        part("status", rb"C:\Users\Acer\Documents\PhotoboothImages\screenSerg\preview.jpg"),
        part("hash", b"7b6c683e1d3fd29c8701791c54e3c12a236f5a5b"),
    )
    head = (
        f"POST /ingest/{SLOT}?session=42 HTTP/1.1\r\n"
        "Host: 192.168.1.10:8000\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Expect: 100-continue\r\n\r\n"
    )
    async with Connection.to(port) as booth:
        asked = time.monotonic()
        await booth.send(head.encode())
        assert (await booth.answer()).status == 100
        assert time.monotonic() - asked < 1
        await booth.send(body)
        answer = await booth.answer()
    assert answer.status == 200
    assert answer["content-type"] == "image/jpeg"
    assert answer["content-length"] == str(len(answer.body))
    assert answer.body.startswith(b"\xff\xd8\xff")
    assert answer["cache-control"] == "no-store"
    assert answer["content-location"] == f"/public/results/{answer['x-job-id']}"
    assert answer["x-result-url"] == f"http://192.168.1.10:8000{answer['content-location']}"
    assert answer["x-result-source"] == "provider"
    assert answer["x-content-type-options"] == "nosniff"
    assert "idempotent-replayed" not in answer
    assert await job_of(system, answer) is JobState.COMPLETED
    assert (await exchange(port, get(answer["content-location"]))).body == answer.body


async def test_the_end_of_the_link_is_told_to_the_millisecond(system: System, port: int) -> None:
    answer = await exchange(port, post(photo_form(PHOTO)))
    told = answer["x-result-expires-at"]
    reading = await system.storage.jobs.get(JobId(answer["x-job-id"]))
    assert reading is not None
    assert reading.job.result_expires_at is not None
    assert told.endswith("Z")
    assert abs(datetime.fromisoformat(told) - reading.job.result_expires_at) < timedelta(milliseconds=1)


async def test_the_public_address_is_used_where_one_is_set() -> None:
    system = System(base_url="https://photos.example/")
    async with running(system) as port:
        answer = await exchange(port, post(photo_form(PHOTO)))
    assert answer["x-result-url"] == f"https://photos.example/public/results/{answer['x-job-id']}"


def orders() -> Iterator[tuple[bytes, ...]]:
    yield from permutations([PICTURE, SECRET, part("time", b"1"), part("hash", b"x")])


@pytest.mark.parametrize("path", [f"/ingest/{SLOT}", f"/api/ingest/{SLOT}", f"/ingest/{SLOT}/"])
async def test_the_fields_may_come_in_any_order(port: int, path: str) -> None:
    for parts in orders():
        assert (await exchange(port, post(form(*parts), path))).status == 200


@pytest.mark.parametrize("name", ["fileToUpload", "file", "image", "photo"])
async def test_the_photo_may_have_any_of_its_names_and_no_file_name(port: int, name: str) -> None:
    assert (await exchange(port, post(form(SECRET, part(name, PHOTO))))).status == 200


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
async def test_the_bytes_decide_the_type(system: System, port: int, kind: str) -> None:
    lying = part("file", picture(kind), file_name="photo.txt", content_type="image/jpeg")
    answer = await exchange(port, post(form(SECRET, lying)))
    assert answer.status == 200
    job = system.storage.records.jobs[JobId(answer["x-job-id"])]
    assert system.storage.records.media[job.payload_id].media.image_type == f"image/{kind.lower()}"


async def test_an_upload_without_a_length_is_taken(port: int) -> None:
    body = photo_form(PHOTO)
    head = post(b"", headers={"Transfer-Encoding": "chunked"}).replace(b"Content-Length: 0\r\n", b"")
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:100], body[100:]))
    assert (await exchange(port, head + chunks + b"0\r\n\r\n")).status == 200


async def test_a_connection_serves_one_photo_after_the_other(port: int) -> None:
    async with Connection.to(port) as booth:
        for _ in range(3):
            await booth.send(post(photo_form(PHOTO)))
            assert (await booth.answer()).status == 200


class TestPassword:
    async def test_it_may_come_in_the_head(self, port: int) -> None:
        nameless = form(PICTURE)
        by_header = post(nameless, headers={"X-Ingest-Password": PASSWORD.encode().decode("latin-1")})
        by_query = post(nameless, f"/ingest/{SLOT}?key=booth-password-%C3%BC")
        assert (await exchange(port, by_header)).status == 200
        assert (await exchange(port, by_query)).status == 200

    async def test_the_header_wins_over_the_query_and_that_over_the_field(self, port: int) -> None:
        wrong_field = form(part("password", b"wrong"), PICTURE)
        query = f"/ingest/{SLOT}?key=booth-password-%C3%BC"
        assert (await exchange(port, post(wrong_field, query))).status == 200
        wrong_header = {"X-Ingest-Password": "wrong"}
        answer = await exchange(port, post(photo_form(PHOTO), query, headers=wrong_header))
        problem(answer, 401, "invalid_password")

    @pytest.mark.parametrize(
        "body",
        [
            form(part("password", b"wrong"), PICTURE),
            form(PICTURE, part("password", b"wrong")),
            form(PICTURE),
            form(part("password", b""), PICTURE),
            form(part("password", PASSWORD.encode() + b"\0"), PICTURE),
            form(part("password", PASSWORD.replace("ü", "u\u0308").encode()), PICTURE),
            form(part("password", PASSWORD.upper().encode()), PICTURE),
            form(part("password", b"x" * 4096), PICTURE),
        ],
        ids=["wrong", "wrong at the end", "none", "empty", "and a NUL", "decomposed", "upper case", "long"],
    )
    async def test_a_wrong_one_is_refused_and_leaves_nothing(
        self, system: System, port: int, body: bytes
    ) -> None:
        answer = await exchange(port, post(body))
        problem(answer, 401, "invalid_password")
        assert not system.storage.records.jobs
        assert [key async for key in system.storage.files.keys()] == []  # noqa: SIM118

    async def test_it_is_checked_before_the_body_where_the_head_has_it(
        self, system: System, port: int
    ) -> None:
        head = post(b"", headers={"X-Ingest-Password": "wrong", "Content-Length": "20000000"})
        async with Connection.to(port) as booth:
            await booth.send(head)
            problem(await booth.answer(), 401, "invalid_password")
        assert not system.storage.records.media

    async def test_nothing_is_stored_before_it_was_right(self, system: System, port: int) -> None:
        await exchange(port, post(form(part("password", b"wrong"), PICTURE)))
        assert not system.storage.records.media

    async def test_bytes_that_are_no_text_are_refused(self, port: int) -> None:
        answer = await exchange(port, post(form(part("password", b"\xff\xfe"), PICTURE)))
        problem(answer, 400, "invalid_request")

    async def test_it_is_never_logged(self, port: int) -> None:
        with capture_logs() as lines:
            await exchange(port, post(photo_form(PHOTO), f"/ingest/{SLOT}?key=hunter2-%C3%BC"))
            await exchange(port, post(form(part("password", b"hunter2"), part("name", b"Acer"), PICTURE)))
        assert len(lines) == 2
        assert not {"hunter2", "Acer", PASSWORD} & set(str(lines).replace("'", " ").split())
        assert "hunter2" not in str(lines)


class TestRefusals:
    async def test_an_unknown_slot(self, port: int) -> None:
        for slot in (
            "slot-016",
            "slot-1",
            "SLOT-001",
            "%D1%95lot-001",
            "slot-001%00",
            "slot-001%0a",
            "%ff%fe",
        ):
            problem(await exchange(port, post(photo_form(PHOTO), f"/ingest/{slot}")), 404, "slot_not_found")

    async def test_the_slot_is_judged_before_the_password(self, port: int) -> None:
        answer = await exchange(port, post(photo_form(PHOTO, "wrong"), "/ingest/slot-016"))
        problem(answer, 404, "slot_not_found")

    async def test_a_slot_that_is_switched_off(self, system: System, port: int) -> None:
        await system.set_slot(is_active=False)
        problem(await exchange(port, post(photo_form(PHOTO))), 404, "slot_disabled")

    async def test_a_form_without_a_photo(self, port: int) -> None:
        problem(await exchange(port, post(form(SECRET))), 400, "invalid_request")

    async def test_an_empty_photo(self, system: System, port: int) -> None:
        problem(await exchange(port, post(form(SECRET, part("file", b"")))), 400, "invalid_request")
        assert not system.storage.records.jobs

    async def test_something_else_than_an_image(self, port: int) -> None:
        for body in (b"hello", b"<svg/>", b"GIF89a/*<script>", b"%PDF-1.7", PHOTO.hex().encode()):
            answer = await exchange(port, post(photo_form(body)))
            problem(answer, 415, "unsupported_media_type")

    async def test_a_broken_image(self, port: int) -> None:
        problem(await exchange(port, post(photo_form(PHOTO[:-20]))), 422, "invalid_image")

    async def test_too_large_a_photo_by_its_length(self, system: System, port: int) -> None:
        await system.set_slot(size_limit_mb=1)
        async with Connection.to(port) as booth:
            await booth.send(post(b"", headers={"Content-Length": "3000000"}))
            body = problem(await booth.answer(), 413, "payload_too_large")
        assert "1 MB" in str(body["detail"])

    @pytest.mark.parametrize("chunked", [True, False])
    async def test_too_large_a_photo_while_it_streams(self, system: System, port: int, chunked: bool) -> None:
        await system.set_slot(size_limit_mb=1)
        begin = photo_form(b"x" * 1_000_001).rpartition(b"\r\n--")[0]
        head = post(b"", headers={"Content-Length": "1900000"})
        if chunked:
            head = head.replace(b"Content-Length: 1900000", b"Transfer-Encoding: chunked")
            begin = b"%x\r\n%b\r\n" % (len(begin), begin)
        async with Connection.to(port) as booth:
            await booth.send(head + begin)
            problem(await booth.answer(), 413, "payload_too_large")
        assert [key async for key in system.storage.files.keys()] == []  # noqa: SIM118

    async def test_a_photo_of_exactly_the_limit_is_not_too_large(self, system: System, port: int) -> None:
        await system.set_slot(size_limit_mb=1)
        answer = await exchange(port, post(photo_form(b"x" * 1_000_000)))
        problem(answer, 415, "unsupported_media_type")

    async def test_another_type_than_a_form(self, port: int) -> None:
        for content_type in ("image/jpeg", "application/json", ""):
            request = post(PHOTO, f"/ingest/{SLOT}?key=booth-password-%C3%BC", content_type=content_type)
            problem(await exchange(port, request), 415, "unsupported_media_type")

    async def test_an_encoded_body(self, port: int) -> None:
        request = post(photo_form(PHOTO), headers={"Content-Encoding": "gzip"})
        problem(await exchange(port, request), 415, "unsupported_media_type")

    async def test_the_caller_reads_it_in_its_language(self, port: int) -> None:
        request = post(photo_form(PHOTO, "wrong"), headers={"Accept-Language": "ru-RU,ru;q=0.9"})
        answer = await exchange(port, request)
        assert problem(answer, 401, "invalid_password")["title"] == "Пароль приёма не указан или неверен"
        assert answer["content-language"] == "ru"


class TestOutcomes:
    @pytest.mark.parametrize(
        ("outcome", "code"), [("error", "provider_error"), ("no_image", "provider_no_image")]
    )
    async def test_a_failure_of_the_provider(
        self, system: System, port: int, outcome: str, code: str
    ) -> None:
        await system.set_slot(params={"outcome": outcome})
        body = problem(await exchange(port, post(photo_form(PHOTO))), 502, code)
        assert body["failure_reason"] == code
        assert JobId(str(body["job_id"])) in system.storage.records.jobs

    async def test_a_provider_that_hangs_is_answered_at_the_deadline(self, system: System, port: int) -> None:
        await system.set_slot(params={"outcome": "hang"}, time_out_sec=1)
        began = time.monotonic()
        body = problem(await exchange(port, post(photo_form(PHOTO))), 504, "timeout")
        assert 1.0 <= time.monotonic() - began < 1.5
        assert body["failure_reason"] == "timeout"
        reading = await system.storage.jobs.get(JobId(str(body["job_id"])))
        assert reading is not None
        assert reading.job.state is JobState.FAILED_TIMEOUT

    async def test_the_deadline_counts_from_the_head_and_ends_a_slow_upload(
        self, system: System, port: int
    ) -> None:
        await system.set_slot(time_out_sec=1)
        body = photo_form(PHOTO)
        async with Connection.to(port) as booth:
            began = time.monotonic()
            await booth.send(post(body)[: -len(body) // 2])
            problem(await booth.answer(), 504, "timeout")
            assert 1.0 <= time.monotonic() - began < 1.5
        assert not system.storage.records.jobs
        assert [key async for key in system.storage.files.keys()] == []  # noqa: SIM118

    async def test_a_body_that_pauses_too_long_is_refused(
        self, system: System, port: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("photochanger.entrypoints.http.bodies.BODY_IDLE_SEC", 0.2)
        body = photo_form(PHOTO)
        async with Connection.to(port) as booth:
            await booth.send(post(body)[: -len(body) // 2])
            problem(await booth.answer(), 400, "invalid_request")

    async def test_a_cancelled_job(self, system: System, port: int) -> None:
        await system.set_slot(params={"outcome": "hang"})
        async with Connection.to(port) as booth:
            await booth.send(post(photo_form(PHOTO)))
            await until(lambda: _is_processing(system))
            records = system.storage.records
            (job,) = records.jobs.values()
            cancelled = job.apply(JobEvent.CANCEL_REQUESTED, now=system.the_clock.now())
            records.replace_job(cancelled)
            records.hub.announce(Topic.JOB_FINALIZED, job.job_id)
            body = problem(await booth.answer(), 409, "job_finalized")
        assert body["failure_reason"] == "cancelled"


async def _is_processing(system: System) -> bool:
    return any(job.state is JobState.PROCESSING for job in system.storage.records.jobs.values())


class TestJson:
    async def json(
        self, port: int, path: str = f"/ingest/{SLOT}", **fields: str
    ) -> tuple[Answer, dict[str, object]]:
        parts = [part(name, value.encode()) for name, value in fields.items()]
        request = post(form(SECRET, *parts, PICTURE), path, headers={"Accept": "application/json"})
        answer = await exchange(port, request)
        assert answer["content-type"] == "application/json"
        assert answer["content-length"] == str(len(answer.body))
        return answer, json.loads(answer.body)

    async def test_it_says_all_that_the_headers_say(self, port: int) -> None:
        answer, body = await self.json(port)
        assert list(body) == [
            "job_id",
            "slot_id",
            "status",
            "result_url",
            "preview_url",
            "result_expires_at",
            "content_type",
            "size_bytes",
            "result_source",
            "duration_ms",
            "replayed",
            "result_inline_base64",
        ]
        assert body["job_id"] == answer["x-job-id"]
        assert (body["slot_id"], body["status"]) == (SLOT, "completed")
        assert body["result_url"] == answer["x-result-url"]
        assert body["preview_url"] == f"{answer['x-result-url']}/preview"
        assert body["result_expires_at"] == answer["x-result-expires-at"]
        assert (body["content_type"], body["result_source"]) == ("image/jpeg", "provider")
        assert isinstance(body["duration_ms"], int)
        assert body["replayed"] is False
        assert body["size_bytes"] == len(b64decode(str(body["result_inline_base64"]), validate=True))

    async def test_the_picture_or_its_preview_or_nothing_is_inside(self, port: int) -> None:
        answer, body = await self.json(port, inline="preview")
        preview = await exchange(port, get(answer["content-location"] + "/preview"))
        assert b64decode(str(body["result_inline_base64"])) == preview.body
        _, body = await self.json(port, f"/ingest/{SLOT}?inline=false", inline="true")
        assert body["result_inline_base64"] is None

    @pytest.mark.parametrize("side", [64, 65, 66, 1500])
    async def test_a_picture_of_any_length_is_whole(self, system: System, port: int, side: int) -> None:
        photo = part("file", picture("PNG", side=side))
        request = post(form(SECRET, photo), headers={"Accept": "application/json"})
        answer = await exchange(port, request)
        result = await exchange(port, get(answer["content-location"]))
        assert b64decode(json.loads(answer.body)["result_inline_base64"], validate=True) == result.body

    @pytest.mark.parametrize(
        ("accept", "expected"),
        [
            ("*/*", "image/jpeg"),
            ("image/*", "image/jpeg"),
            ("application/json, text/plain, */*", "application/json"),
            ("image/jpeg, application/json;q=0.9", "image/jpeg"),
            ("text/html", "image/jpeg"),
            (";;;", "image/jpeg"),
        ],
    )
    async def test_it_is_the_answer_where_it_is_preferred(
        self, port: int, accept: str, expected: str
    ) -> None:
        answer = await exchange(port, post(photo_form(PHOTO), headers={"Accept": accept}))
        assert (answer.status, answer["content-type"]) == (200, expected)

    @pytest.mark.parametrize("wish", ["yes", "", "TRUE"])
    async def test_another_wish_is_refused_before_there_is_a_job(
        self, system: System, port: int, wish: str
    ) -> None:
        in_form = post(form(SECRET, part("inline", wish.encode()), PICTURE))
        for request in (in_form, post(photo_form(PHOTO), f"/ingest/{SLOT}?inline={wish}")):
            problem(await exchange(port, request), 400, "invalid_request")
        assert not system.storage.records.jobs


class TestIdempotencyKey:
    async def send(self, port: int, key: str, photo: bytes = PHOTO, slot: str = SLOT) -> Answer:
        headers = {"Idempotency-Key": key}
        return await exchange(port, post(photo_form(photo), f"/ingest/{slot}", headers=headers))

    async def test_the_same_photo_again_is_the_same_job(self, port: int) -> None:
        first, second = await self.send(port, "k"), await self.send(port, "k")
        assert first["x-job-id"] == second["x-job-id"]
        assert first.body == second.body
        assert second["idempotent-replayed"] == "true"

    async def test_another_photo_is_refused(self, port: int) -> None:
        await self.send(port, "k")
        answer = await self.send(port, "k", picture(color="blue"))
        problem(answer, 422, "idempotency_key_reused")

    async def test_another_slot_is_another_matter(self, system: System, port: int) -> None:
        await system.set_slot(SlotId("slot-002"))
        first = await self.send(port, "k")
        assert (await self.send(port, "k", slot="slot-002"))["x-job-id"] != first["x-job-id"]

    async def test_fifty_at_once_are_one_job(self, system: System, port: int) -> None:
        answers = await asyncio.gather(*(self.send(port, "k") for _ in range(50)))
        assert {answer.status for answer in answers} == {200}
        assert len({answer["x-job-id"] for answer in answers}) == 1
        assert len(system.storage.records.jobs) == 1

    @pytest.mark.parametrize("key", ["", "x" * 256, "ключ".encode().decode("latin-1"), "a\tb"])
    async def test_what_is_no_key_is_refused(self, port: int, key: str) -> None:
        problem(await self.send(port, key), 400, "invalid_request")

    async def test_two_keys_are_refused(self, port: int) -> None:
        request = post(photo_form(PHOTO), headers={"Idempotency-Key": "a", "idempotency-key": "a"})
        problem(await exchange(port, request), 400, "invalid_request")


class TestDeduplication:
    @pytest.fixture(autouse=True)
    async def switched_on(self, system: System, port: int) -> None:
        await system.set_password(deduplicate=True)

    async def send(self, port: int, photo: bytes = PHOTO, *, slot: str = SLOT, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await exchange(port, post(photo_form(photo), f"/ingest/{slot}", headers=named))

    async def test_the_same_photo_again_is_the_same_job(self, port: int) -> None:
        first, second = await self.send(port), await self.send(port)
        assert first["x-job-id"] == second["x-job-id"]
        assert first.body == second.body
        assert "idempotent-replayed" not in first
        assert second["idempotent-replayed"] == "true"

    async def test_fifty_at_once_are_one_job(self, system: System, port: int) -> None:
        answers = await asyncio.gather(*(self.send(port) for _ in range(50)))
        assert {answer.status for answer in answers} == {200}
        assert len(system.storage.records.jobs) == 1

    async def test_another_photo_or_slot_is_another_job(self, system: System, port: int) -> None:
        await system.set_slot(SlotId("slot-002"))
        answers = [
            await self.send(port),
            await self.send(port, picture(color="blue")),
            await self.send(port, slot="slot-002"),
        ]
        assert len({answer["x-job-id"] for answer in answers}) == 3

    async def test_a_slot_that_was_changed_makes_another_picture(self, system: System, port: int) -> None:
        first = await self.send(port)
        await system.set_slot(params={"effect": "none"})
        assert (await self.send(port))["x-job-id"] != first["x-job-id"]

    async def test_a_failed_job_is_not_reused(self, system: System, port: int) -> None:
        await system.set_slot(params={"outcome": "error"})
        problems = [json.loads((await self.send(port)).body) for _ in range(2)]
        assert problems[0]["job_id"] != problems[1]["job_id"]

    @pytest.mark.parametrize("wish", ["no-cache", "max-age=0, No-Cache"])
    async def test_who_wants_it_anew_gets_it_anew(self, port: int, wish: str) -> None:
        first, anew = await self.send(port), await self.send(port, Cache_Control=wish)
        assert anew["x-job-id"] != first["x-job-id"]
        assert (await self.send(port))["x-job-id"] == anew["x-job-id"]

    @pytest.mark.parametrize("wish", ["max-age=0", "no-cachee", ""])
    async def test_nothing_else_is_such_a_wish(self, port: int, wish: str) -> None:
        first = await self.send(port)
        assert (await self.send(port, Cache_Control=wish))["x-job-id"] == first["x-job-id"]

    async def test_where_the_settings_say_so_each_photo_is_a_job(self, system: System, port: int) -> None:
        await system.set_password(deduplicate=False)
        answers = [await self.send(port) for _ in range(2)]
        assert answers[0]["x-job-id"] != answers[1]["x-job-id"]

    async def test_who_came_later_has_all_of_its_own_time(self, system: System, port: int) -> None:
        """The first request's time runs out; the second one's photo is then a job of its own."""
        await system.set_slot(time_out_sec=2, params={"outcome": "hang"})
        first = asyncio.create_task(self.send(port))
        await until(lambda: _is_processing(system))
        [job] = system.storage.records.jobs.values()
        await asyncio.sleep(0.5)  # by so much the second one has more time
        asked = time.monotonic()
        second = asyncio.create_task(self.send(port))
        problem(await first, 504, "timeout")
        problem(answer := await second, 504, "timeout")
        assert time.monotonic() - asked >= 2
        assert json.loads(answer.body)["job_id"] != job.job_id


class TestHangingUp:
    async def test_while_the_picture_is_made_frees_the_waiter_and_not_the_job(
        self, system: System, port: int
    ) -> None:
        await system.set_slot(params={"delay_ms": 500})
        with capture_logs() as lines:
            async with Connection.to(port) as booth:
                await booth.send(post(photo_form(PHOTO)))
                await until(lambda: _is_processing(system))
            left = time.monotonic()
            await until(lambda: _logged(lines))
            assert time.monotonic() - left < 0.4
            await until(lambda: _is_completed(system))
        (line,) = (line for line in lines if line["event"] == "request")
        assert (line["http_status"], line["log_level"]) == (499, "info")
        assert not [line for line in lines if line["log_level"] in ("error", "warning")]
        (job,) = system.storage.records.jobs.values()
        assert (await exchange(port, get(f"/public/results/{job.job_id}"))).status == 200

    async def test_in_the_middle_of_the_body_leaves_no_job_and_no_error(
        self, system: System, port: int
    ) -> None:
        body = photo_form(PHOTO)
        with capture_logs() as lines:
            async with Connection.to(port) as booth:
                await booth.send(post(body)[: -len(body) // 2])
                await until(lambda: _has_begun(system))
            await until(lambda: _logged(lines))
        assert [(line["http_status"], line["log_level"]) for line in lines] == [(499, "info")]
        assert not system.storage.records.jobs
        assert [key async for key in system.storage.files.keys()] == []  # noqa: SIM118


async def _has_begun(system: System) -> bool:
    return bool(system.storage.records.media)


async def _is_completed(system: System) -> bool:
    return all(job.state is JobState.COMPLETED for job in system.storage.records.jobs.values())


async def _logged(lines: Sequence[Mapping[str, object]]) -> bool:
    return any(line["event"] == "request" for line in lines)

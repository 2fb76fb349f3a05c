"""Every refusal that the contract tells of: the request that provokes it, and the answer."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, cast

import pytest

from photochanger.domain.job import JobId
from photochanger.domain.slot import SlotId, TemplateBinding
from photochanger.domain.waiting import SlotTraffic, Traffic
from photochanger.testing.harness import Records, an_entry, success
from tests.system.contract import Operation, operations
from tests.system.http_server import (
    PASSWORD,
    Answer,
    System,
    exchange,
    form,
    get,
    part,
    picture,
    post,
    with_document,
)
from tests.system.scene import PHOTO, Asking, Scene, code_of, file_part, reads, set_scene
from tests.system.stopped_clock import SettableClock
from tests.system.test_http_results import let_pass

pytestmark = [pytest.mark.anyio, pytest.mark.system]

BROKEN: Final = PHOTO[:300]
NOBODY: Final = "0" * 32
FIRST_SLOT: Final = SlotId("slot-001")
FORM: Final = "multipart/form-data; boundary=x"


@pytest.fixture
def system() -> System:
    return System(clock=SettableClock())


@pytest.fixture
async def scene(system: System, port: int) -> Scene:
    return await set_scene(system, port)


def _document(method: str, path: str, document: object) -> Asking:
    async def ask(scene: Scene) -> Answer:
        return await scene.json(method, path, document)

    return ask


def _raw(method: str, path: str, body: bytes, content_type: str) -> Asking:
    async def ask(scene: Scene) -> Answer:
        return await scene.raw(method, path, body, content_type)

    return ask


def _upload(path: str, *parts: bytes, **headers: str) -> Asking:
    async def ask(scene: Scene) -> Answer:
        return await scene.form(path, *parts, **headers)

    return ask


def _announced(path: str, *, method: str = "POST", content_type: str = FORM) -> Asking:
    """Announce a body that is larger than any that is taken."""

    async def ask(scene: Scene) -> Answer:
        lines = {
            "Host": "booth.test",
            "Authorization": f"Bearer {scene.token}",
            "X-Ingest-Password": PASSWORD.encode().decode("latin-1"),
            "Content-Type": content_type,
            "Content-Length": "3000000000",
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return await exchange(scene.port, f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1"))

    return ask


def _too_long(method: str, path: str) -> Asking:
    return _raw(method, path, b'"' + b"x" * 1_000_001 + b'"', "application/json")


def _behind_the_end(path: str) -> Asking:
    return reads(path, Range="bytes=99999999-")


def _too_late(path: str, *, method: str = "GET") -> Asking:
    """Ask once its time is over, and not yet forgotten."""

    async def ask(scene: Scene) -> Answer:
        let_pass(scene.system, **({"seconds": 49} if "media" in path else {"hours": 72}))
        return await reads(path, method=method)(scene)

    return ask


async def _put_slot_nowhere(scene: Scene) -> Answer:
    return await scene.json("PUT", "/api/slots/slot-016", await scene.slot())


async def _closed_gallery(scene: Scene) -> Answer:
    await scene.put_slot(public_gallery=False)
    return await scene.get("/public/slots/slot-001")


async def _after_five_failures(scene: Scene) -> Answer:
    wrong = with_document("POST", "/api/login", {"username": "igor", "password": "wrong"})
    for _ in range(5):
        assert code_of(await exchange(scene.port, wrong)) == "invalid_credentials"
    return await exchange(scene.port, wrong)


async def _stale_settings(scene: Scene) -> Answer:
    return await scene.json("PUT", "/api/settings", await scene.settings(version=99))


async def _wrong_settings(scene: Scene) -> Answer:
    wrong = {"enabled": True, "interval_sec": 0}
    return await scene.json("PUT", "/api/settings", await scene.settings(cleanup=wrong))


async def _used_template(scene: Scene) -> Answer:
    slots = scene.system.storage.slots
    slot = await slots.get(FIRST_SLOT)
    bound = TemplateBinding(role="frame", template_id=scene.template_id)
    call = replace(slot.configuration.call, template_media=(bound,))
    configuration = replace(slot.configuration, call=call)
    await slots.save(replace(slot, configuration=configuration), entry=an_entry("test"))
    return await scene.get(f"/api/template-media/{scene.template_id}", method="DELETE")


async def _finished_job(scene: Scene) -> Answer:
    return await scene.get(f"/api/jobs/{scene.job_id}/cancel", method="POST")


async def _link_for_a_finished_job(scene: Scene) -> Answer:
    return await scene.form("/api/media/register", file_part(), part("job_id", scene.job_id.encode()))


async def _cancelled_test_run(scene: Scene) -> Answer:
    await scene.put_slot(params={"outcome": "hang"})
    request = scene.form("/api/slots/slot-001/test-run", file_part(name="fileToUpload"))
    sending = asyncio.create_task(request)
    await scene.get(f"/api/jobs/{await scene.waiting_job()}/cancel", method="POST")
    return await sending


def _booth(path: str, *parts: bytes, password: str = PASSWORD, **headers: str) -> Asking:
    async def ask(scene: Scene) -> Answer:
        secret = part("password", password.encode())
        return await exchange(scene.port, post(form(secret, *parts), path, headers=headers))

    return ask


def _switched_off(path: str) -> Asking:
    async def ask(scene: Scene) -> Answer:
        await scene.put_slot(is_active=False)
        return await _booth(path, file_part())(scene)

    return ask


def _same_key(path: str, *, other: bytes) -> Asking:
    """Send a photo and then `other` with the same key."""

    async def ask(scene: Scene) -> Answer:
        key = {"Idempotency-Key": "k"}
        assert (await _booth(path, file_part(), **key)(scene)).status == 200
        return await _booth(path, file_part(other), **key)(scene)

    return ask


def _cleared_before_the_answer(booth: Asking) -> Asking:
    """Let the photo's job be completed, and the slot be cleared, before the request hears of either."""

    async def ask(scene: Scene) -> Answer:
        await scene.put_slot(params={"outcome": "hang"})
        sending = asyncio.create_task(booth(scene))
        job_id, records = JobId(await scene.waiting_job()), cast("Records", scene.system.storage)
        verdict = await success(records)
        await records.jobs.finalize(job_id, verdict, fence=1)
        await records.jobs.end_results(FIRST_SLOT, entry=an_entry("test"))
        return await sending

    return ask


def _cancelled(path: str) -> Asking:
    async def ask(scene: Scene) -> Answer:
        await scene.put_slot(params={"outcome": "hang"})
        sending = asyncio.create_task(_booth(path, file_part(picture("PNG")))(scene))
        await scene.get(f"/api/jobs/{await scene.waiting_job()}/cancel", method="POST")
        return await sending

    return ask


def _too_fast(booth: Asking) -> Asking:
    async def ask(scene: Scene) -> Answer:
        settings = await scene.system.storage.settings.get()
        ingest = replace(settings.ingest, rate_limit_rps=0.1, rate_limit_burst=1)
        await scene.system.storage.settings.save(replace(settings, ingest=ingest), entry=an_entry("test"))
        await booth(scene)
        return await booth(scene)

    return ask


def _at_a_full_slot(booth: Asking) -> Asking:
    """Have a hundred photos wait at the slot, and eight be under way for ten seconds."""
    full = SlotTraffic(waiting=100, in_service=8, in_service_sec=80.0)

    async def traffic() -> Traffic:
        return Traffic(slots={SlotId("slot-001"): full})

    async def ask(scene: Scene) -> Answer:
        scene.system.storage.gate.traffic = traffic  # type: ignore[method-assign]
        return await booth(scene)

    return ask


def _refusals_of_the_ingest(path: str) -> dict[str, Asking]:
    here, elsewhere = path.format(slot_id="slot-001"), path.format(slot_id="slot-016")
    return {
        "invalid_password": _booth(here, file_part(), password="wrong"),
        "slot_not_found": _booth(elsewhere, file_part()),
        "slot_disabled": _switched_off(here),
        "rate_limited": _too_fast(_booth(here, file_part(name="fileToUpload"))),
        "slot_busy": _at_a_full_slot(_booth(here, file_part(name="fileToUpload"))),
        "payload_too_large": _announced(here),
        "unsupported_media_type": _booth(here, file_part(b"GIF89a")),
        "invalid_image": _booth(here, file_part(BROKEN)),
        "idempotency_key_reused": _same_key(here, other=picture("PNG")),
        "result_expired": _cleared_before_the_answer(_booth(here, file_part(picture("PNG")))),
        "job_finalized": _cancelled(here),
    }


def _refusals_of_a_document(method: str, path: str) -> dict[str, Asking]:
    return {
        "payload_too_large": _too_long(method, path),
        "unsupported_media_type": _raw(method, path, b"{}", "text/plain"),
        "validation_failed": _document(method, path, {"colour": "red"}),
    }


def _refusals_of_a_file(path: str, *more: bytes, name: str = "file") -> dict[str, Asking]:
    return {
        "payload_too_large": _announced(path),
        "unsupported_media_type": _upload(path, file_part(b"GIF89a", name=name), *more),
        "invalid_image": _upload(path, file_part(BROKEN, name=name), *more),
    }


def _refusals_of_a_result(path: str, *, method: str = "GET") -> dict[str, Asking]:
    found: dict[str, Asking] = {
        "result_not_found": reads(path.replace("{job_id}", NOBODY), method=method),
        "result_expired": _too_late(path, method=method),
    }
    return found | ({"range_not_satisfiable": _behind_the_end(path)} if method == "GET" else {})


SLOT_PATH: Final = "/api/slots/slot-001"
RESULTS: Final = "/public/results/{job_id}"
TEMPLATES: Final = "/api/template-media"
NO_TEMPLATE: Final = f"{TEMPLATES}/{NOBODY}"

REFUSALS: Final[Mapping[str, Mapping[str, Asking]]] = {
    "POST /ingest/{slot_id}": _refusals_of_the_ingest("/ingest/{slot_id}"),
    "POST /api/ingest/{slot_id}": _refusals_of_the_ingest("/api/ingest/{slot_id}"),
    "GET /api/jobs/{job_id}": {"job_not_found": reads(f"/api/jobs/{NOBODY}")},
    "GET /api/jobs": {"validation_failed": reads("/api/jobs?limit=201&cursor=x")},
    "POST /api/jobs/{job_id}/cancel": {
        "job_not_found": reads(f"/api/jobs/{NOBODY}/cancel", method="POST"),
        "job_finalized": _finished_job,
    },
    **{
        f"{method} {path}": _refusals_of_a_result(path, method=method)
        for method in ("GET", "HEAD")
        for path in (RESULTS, f"{RESULTS}/preview")
    },
    "GET /public/media/{media_id}": {
        "media_not_found": reads(f"/public/media/{NOBODY}"),
        "media_expired": _too_late("/public/media/{media_id}"),
        "range_not_satisfiable": _behind_the_end("/public/media/{media_id}"),
    },
    "HEAD /public/media/{media_id}": {
        "media_not_found": reads(f"/public/media/{NOBODY}", method="HEAD"),
        "media_expired": _too_late("/public/media/{media_id}", method="HEAD"),
    },
    "GET /public/slots/{slot_id}": {
        "slot_not_found": reads("/public/slots/slot-016"),
        "gallery_disabled": _closed_gallery,
    },
    "POST /api/login": {
        **_refusals_of_a_document("POST", "/api/login"),
        "invalid_credentials": _document("POST", "/api/login", {"username": "x", "password": "y"}),
        "too_many_attempts": _after_five_failures,
    },
    "POST /api/logout": {"validation_failed": reads("/api/logout?everywhere=maybe", method="POST")},
    "PUT /api/settings": {
        **_refusals_of_a_document("PUT", "/api/settings"),
        "version_conflict": _stale_settings,
        "validation_failed": _wrong_settings,
    },
    "GET /api/slots/{slot_id}": {"slot_not_found": reads("/api/slots/slot-016")},
    "PUT /api/slots/{slot_id}": {
        **_refusals_of_a_document("PUT", SLOT_PATH),
        "slot_not_found": _put_slot_nowhere,
        "version_conflict": lambda scene: scene.put_slot(version=99),
        "validation_failed": lambda scene: scene.put_slot(params={"effect": "sepia", "colour": "red"}),
    },
    "POST /api/slots/{slot_id}/test-run": {
        **_refusals_of_a_file(f"{SLOT_PATH}/test-run", name="fileToUpload"),
        "slot_not_found": _upload("/api/slots/slot-016/test-run", file_part()),
        "validation_failed": _upload(f"{SLOT_PATH}/test-run", file_part(), part("config", b"{}")),
        "job_finalized": _cancelled_test_run,
        "slot_busy": _at_a_full_slot(_upload(f"{SLOT_PATH}/test-run", file_part(name="fileToUpload"))),
        "result_expired": _cleared_before_the_answer(
            _upload(f"{SLOT_PATH}/test-run", file_part(name="fileToUpload"))
        ),
    },
    "POST /api/slots/{slot_id}/cleanup": {
        "slot_not_found": reads("/api/slots/slot-016/cleanup", method="POST")
    },
    "POST /api/template-media/register": {
        **_refusals_of_a_file(f"{TEMPLATES}/register", part("name", b"Gold")),
        "validation_failed": _upload(f"{TEMPLATES}/register", file_part()),
    },
    "GET /api/template-media/{template_id}": {"template_not_found": reads(NO_TEMPLATE)},
    **{
        f"GET {TEMPLATES}/{{template_id}}/{which}": {
            "template_not_found": reads(f"{NO_TEMPLATE}/{which}"),
            "range_not_satisfiable": _behind_the_end(f"{TEMPLATES}/{{template_id}}/{which}"),
        }
        for which in ("content", "preview")
    },
    "DELETE /api/template-media/{template_id}": {
        "template_not_found": reads(NO_TEMPLATE, method="DELETE"),
        "template_in_use": _used_template,
        "validation_failed": reads(f"{NO_TEMPLATE}?force=perhaps", method="DELETE"),
    },
    "POST /api/media/register": {
        **_refusals_of_a_file("/api/media/register"),
        "job_not_found": _upload("/api/media/register", file_part(), part("job_id", NOBODY.encode())),
        "job_finalized": _link_for_a_finished_job,
    },
    "GET /api/stats/system": {"validation_failed": reads("/api/stats/system?bucket=1y")},
    "GET /api/stats/slots": {"validation_failed": reads("/api/stats/slots?from=yesterday")},
    "GET /api/audit": {"validation_failed": reads("/api/audit?actor=a&actor=b")},
}

OF_EVERY_REQUEST: Final = {"invalid_request", "not_authenticated", "token_expired", "forbidden"}
"""What has tests of its own, above and below, for every operation."""


def test_the_table_has_every_refusal_of_the_contract() -> None:
    documented = {
        (str(operation), code)
        for operation in operations()
        for status, response in operation.responses.items()
        if 400 <= status < 500
        for code in response["content"]["application/problem+json"]["examples"]
        if code not in OF_EVERY_REQUEST
    }
    table = {(name, code) for name, refusals in REFUSALS.items() for code in refusals}
    assert documented == table


@pytest.mark.parametrize(
    ("name", "code"), [(name, code) for name, refusals in REFUSALS.items() for code in refusals]
)
async def test_a_refusal(scene: Scene, name: str, code: str) -> None:
    operation = Operation(*name.split(" "))

    answer = await REFUSALS[name][code](scene)

    assert operation.complaints(answer) == []
    [status] = [
        status
        for status, response in operation.responses.items()
        if code in response.get("content", {}).get("application/problem+json", {}).get("examples", {})
    ]
    assert answer.status == status, answer.body
    assert operation.method == "HEAD" or code_of(answer) == code


async def test_what_no_request_may_look_like(port: int) -> None:
    for operation in operations():
        for path, headers, status in (
            (operation.example_path, {"Host": "a b"}, 400),
            (f"{operation.example_path}?{'x' * 9_000}", {}, 414),
            (operation.example_path, {"X-Large": "x" * 33_000}, 431),
        ):
            request = get(path, method=operation.method, headers=headers)
            answer = await exchange(port, request, to_head=operation.method == "HEAD")
            assert answer.status == status, operation
            assert operation.complaints(answer) == []
            assert operation.method == "HEAD" or code_of(answer) == "invalid_request", operation


async def test_a_version_may_come_as_a_header_as_well(scene: Scene) -> None:
    for path in (SLOT_PATH, "/api/settings"):
        read = await scene.get(path)
        document = await (scene.slot() if path == SLOT_PATH else scene.settings())
        assert read["etag"] == f'"{document["version"]}"'
        answers = [
            await exchange(
                scene.port,
                post(
                    json.dumps(document | {"version": int(document["version"]) + done}).encode(),
                    path,
                    headers={"Authorization": f"Bearer {scene.token}", "If-Match": tag},
                    content_type="application/json",
                ).replace(b"POST", b"PUT", 1),
            )
            for done, tag in ((0, '"99"'), (0, read["etag"]), (1, "*"))
        ]
        assert [answer.status for answer in answers] == [409, 200, 200]
        assert answers[1]["etag"] == f'"{document["version"] + 1}"'


async def test_nothing_of_a_refused_document_is_stored(scene: Scene) -> None:
    before = await scene.read(SLOT_PATH)
    for document in ({"display_name": "x"}, {"display_name": "x", "version": 99}, {"size_limit_mb": 0}):
        assert (await scene.put_slot(**document, unknown=1)).status == 422
    assert await scene.read(SLOT_PATH) == before

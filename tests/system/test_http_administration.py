"""Every endpoint of the wire contract answers as it is written: who may, with what, and what comes back."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest

from photochanger.domain.permissions import Permission
from tests.system.contract import Operation, operations
from tests.system.http_server import (
    Answer,
    System,
    exchange,
    get,
    log_in_as,
    part,
    photo_form,
    picture,
    post,
    with_document,
)
from tests.system.scene import PHOTO, Asking, Scene, code_of, file_part, reads, set_scene
from tests.system.stopped_clock import SettableClock
from tests.system.test_http_results import let_pass

pytestmark = [pytest.mark.anyio, pytest.mark.system]


@pytest.fixture
def system() -> System:
    return System(clock=SettableClock())


@pytest.fixture
async def scene(system: System, port: int) -> Scene:
    return await set_scene(system, port)


JOB: Final = (
    "job_id slot_id status is_finalized failure_reason source created_at started_at finalized_at deadline "
    "attempts result_url preview_url result_expires_at result_source"
)
OUTCOME: Final = (
    "job_id slot_id status result_url preview_url result_expires_at content_type size_bytes result_source "
    "duration_ms replayed result_inline_base64"
)
SLOT: Final = (
    "slot_id display_name is_active provider operation params template_media size_limit_mb "
    "sync_response_timeout_sec effective_timeout_sec max_concurrency retry.max_attempts retry.backoff_ms "
    "retry.repeat_maybe_billed fallback on_failure public_gallery ingest_url ingest_password_is_set version "
    "updated_at updated_by"
)
RESULT: Final = "job_id result_url preview_url created_at expires_at"
SLOT_WITH_RESULTS: Final = f"{SLOT} recent_results[]({RESULT})"
TEMPLATE: Final = "template_id name content_type size_bytes width height created_at created_by"
SETTINGS: Final = (
    "version updated_at updated_by ingest(sync_response_timeout_sec password_is_set password_updated_at "
    "password_updated_by rate_limit_rps rate_limit_burst max_upload_mb deduplicate) "
    "results(retention_hours gallery_size) limits(per_slot per_provider quota_per_minute quota_per_day "
    "max_waiting) cleanup(enabled history_days interval_sec) "
    "derived(t_sync_response_sec t_public_link_ttl_sec t_result_retention_hours) "
    "providers.rehearsal.key_is_set accounts[](username permissions[])"
)
TALLY: Final = "total by_status success_share timeout_share error_share p50_sec p95_sec p99_sec"
SYSTEM_STATISTICS: Final = (
    f"from to bucket totals({TALLY}) series[](start {TALLY}) queue_depth oldest_wait_sec under_way "
    f"media_bytes quotas[](provider this_minute today per_minute per_day) last_jobs[]({JOB}) last_failures"
)
SLOT_STATISTICS: Final = (
    f"from to bucket items[](slot_id totals({TALLY}) series[](start {TALLY}) last_job last_job({JOB}) "
    "last_failure)"
)
PROVIDER: Final = (
    "[](provider display_name configured operations[](operation display_name params_schema template_roles "
    "limits.max_templates_bytes limits.least_useful_sec))"
)
EVENT: Final = "event_id at action actor origin subject changes"

OPAQUE: Final = frozenset({"params", "params_schema", "changes", "by_status"})
"""Objects whose names are data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row: what it needs (nothing, a login, or a permission), and what its success looks like."""

    access: Permission | str | None
    ask: Asking
    status: int = 200
    fields: str = ""
    kind: str = "application/json"


ANY: Final = "any account"
READ, WRITE = Permission.SLOTS_READ, Permission.SLOTS_WRITE


def _ingest(path: str) -> Asking:
    async def ask(scene: Scene) -> Answer:
        return await exchange(
            scene.port, post(photo_form(PHOTO), path, headers={"Accept": "application/json"})
        )

    return ask


def _row(access: Permission | str | None, path: str, fields: str = "", **more: Any) -> Row:
    return Row(access=access, ask=reads(path), fields=fields, **more)


async def _log_in(scene: Scene) -> Answer:
    credentials = {"username": "igor", "password": "the password of igor"}
    return await exchange(scene.port, with_document("POST", "/api/login", credentials))


async def _gallery(scene: Scene) -> Answer:
    await scene.put_slot(public_gallery=True)
    return await scene.get("/public/slots/slot-001")


async def _cancel(scene: Scene) -> Answer:
    await scene.put_slot(params={"outcome": "hang"})
    sending = asyncio.create_task(exchange(scene.port, post(photo_form(picture("PNG")))))
    answer = await scene.get(f"/api/jobs/{await scene.waiting_job()}/cancel", method="POST")
    assert (await sending).status == 409
    return answer


async def _test_run(scene: Scene) -> Answer:
    return await scene.form("/api/slots/slot-002/test-run", file_part(name="fileToUpload"))


async def _put_settings(scene: Scene) -> Answer:
    return await scene.json("PUT", "/api/settings", await scene.settings())


ROWS: Final[Mapping[str, Row]] = {
    "POST /ingest/{slot_id}": Row(access=None, ask=_ingest("/ingest/slot-001"), fields=OUTCOME),
    "POST /api/ingest/{slot_id}": Row(access=None, ask=_ingest("/api/ingest/slot-001"), fields=OUTCOME),
    "GET /api/jobs/{job_id}": _row(None, "/api/jobs/{job_id}", JOB),
    "GET /api/jobs": _row(Permission.JOBS_READ, "/api/jobs?limit=1", f"items[]({JOB}) next_cursor"),
    "POST /api/jobs/{job_id}/cancel": Row(access=Permission.JOBS_CANCEL, ask=_cancel, fields=JOB),
    "GET /public/results/{job_id}": _row(None, "/public/results/{job_id}", kind="image/jpeg"),
    "HEAD /public/results/{job_id}": Row(
        access=None, ask=reads("/public/results/{job_id}", method="HEAD"), kind="image/jpeg"
    ),
    "GET /public/results/{job_id}/preview": _row(None, "/public/results/{job_id}/preview", kind="image/jpeg"),
    "HEAD /public/results/{job_id}/preview": Row(
        access=None, ask=reads("/public/results/{job_id}/preview", method="HEAD"), kind="image/jpeg"
    ),
    "GET /public/media/{media_id}": _row(None, "/public/media/{media_id}", kind="image/jpeg"),
    "HEAD /public/media/{media_id}": Row(
        access=None, ask=reads("/public/media/{media_id}", method="HEAD"), kind="image/jpeg"
    ),
    "GET /public/slots/{slot_id}": Row(
        access=None, ask=_gallery, fields=f"slot_id display_name items[]({RESULT})"
    ),
    "POST /api/login": Row(
        access=None, ask=_log_in, fields="access_token token_type expires_in_sec permissions[]"
    ),
    "POST /api/logout": Row(access=ANY, ask=reads("/api/logout", method="POST"), status=204, kind=""),
    "GET /api/me": _row(ANY, "/api/me", "username permissions[] expires_at"),
    "GET /api/settings": _row(Permission.SETTINGS_READ, "/api/settings", SETTINGS),
    "PUT /api/settings": Row(access=Permission.SETTINGS_WRITE, ask=_put_settings, fields=SETTINGS),
    "GET /api/providers": _row(READ, "/api/providers", PROVIDER),
    "GET /api/slots": _row(READ, "/api/slots", f"[]({SLOT})"),
    "GET /api/slots/{slot_id}": _row(READ, "/api/slots/slot-001", SLOT_WITH_RESULTS),
    "PUT /api/slots/{slot_id}": Row(
        access=WRITE, ask=lambda scene: scene.put_slot(), fields=SLOT_WITH_RESULTS
    ),
    "POST /api/slots/{slot_id}/test-run": Row(access=WRITE, ask=_test_run, fields=OUTCOME),
    "POST /api/slots/{slot_id}/cleanup": Row(
        access=Permission.MEDIA_CLEANUP,
        ask=reads("/api/slots/slot-001/cleanup", method="POST"),
        fields="deleted_results deleted_bytes",
    ),
    "POST /api/template-media/register": Row(
        access=Permission.TEMPLATES_WRITE,
        ask=lambda scene: scene.form("/api/template-media/register", file_part(), part("name", b"Gold")),
        status=201,
        fields=TEMPLATE,
    ),
    "GET /api/template-media": _row(READ, "/api/template-media", f"[]({TEMPLATE})"),
    "GET /api/template-media/{template_id}": _row(
        READ, "/api/template-media/{template_id}", f"{TEMPLATE} slot_ids"
    ),
    "GET /api/template-media/{template_id}/content": _row(
        READ, "/api/template-media/{template_id}/content", kind="image/jpeg"
    ),
    "GET /api/template-media/{template_id}/preview": _row(
        READ, "/api/template-media/{template_id}/preview", kind="image/jpeg"
    ),
    "DELETE /api/template-media/{template_id}": Row(
        access=Permission.TEMPLATES_WRITE,
        ask=reads("/api/template-media/{template_id}", method="DELETE"),
        status=204,
        kind="",
    ),
    "POST /api/media/register": Row(
        access=Permission.MEDIA_REGISTER,
        ask=lambda scene: scene.form("/api/media/register", file_part()),
        status=201,
        fields="media_id public_url expires_at",
    ),
    "GET /api/stats/system": _row(Permission.STATS_READ, "/api/stats/system", SYSTEM_STATISTICS),
    "GET /api/stats/slots": _row(Permission.STATS_READ, "/api/stats/slots", SLOT_STATISTICS),
    "GET /api/audit": _row(Permission.AUDIT_READ, "/api/audit?limit=1", f"items[]({EVENT}) next_cursor"),
    "GET /metrics": _row(None, "/metrics", kind="text/plain"),
    "GET /livez": _row(None, "/livez", "status problems"),
    "GET /readyz": _row(None, "/readyz", "status problems"),
    "GET /healthz": _row(
        None, "/healthz", "status checks.database checks.media checks.providers.rehearsal version"
    ),
}
OF_THE_CONTRACT_ITSELF: Final = {"GET /openapi.json": "application/json", "GET /docs": "text/html"}


def test_the_table_is_what_the_contract_has() -> None:
    assert {str(operation) for operation in operations()} == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
async def test_a_row(scene: Scene, name: str) -> None:
    row = ROWS[name]

    answer = await row.ask(scene)

    assert answer.status == row.status, answer.body
    assert Operation(*name.split(" ")).complaints(answer) == []
    if row.kind:
        assert answer["content-type"].partition(";")[0] == row.kind
    if row.fields:
        assert set(shape(json.loads(answer.body))) == set(spread(row.fields))


@pytest.mark.parametrize("name", OF_THE_CONTRACT_ITSELF)
async def test_the_contract_is_served(port: int, name: str) -> None:
    answer = await exchange(port, get(name.removeprefix("GET ")))
    assert answer.status == 200
    assert answer["content-type"].partition(";")[0] == OF_THE_CONTRACT_ITSELF[name]


def shape(value: Any, path: str = "") -> Iterator[str]:
    """Yield the path of everything in a JSON value; lists are all of one kind."""
    match value:
        case dict() if value and path.rpartition(".")[2] not in OPAQUE:
            for name, inner in value.items():
                yield from shape(inner, f"{path}.{name}" if path else name)
        case list() if value:
            for inner in value:
                yield from shape(inner, f"{path}[]")
        case _:
            yield path


def spread(fields: str) -> Iterator[str]:
    """Yield the paths that a line of the table stands for: `a(b c[](d))` is `a.b` and `a.c[].d`."""
    prefixes, name = [""], ""
    for character in [*fields, " "]:
        match character:
            case "(":
                prefixes.append(f"{prefixes[-1]}{name}.")
                name = ""
            case " " | ")":
                if name:
                    yield prefixes[-1] + name
                name = ""
                if character == ")":
                    prefixes.pop()
            case _:
                name += character


GUARDED: Final = [name for name, row in ROWS.items() if row.access is not None]


def _bare(name: str, token: str | None) -> bytes:
    """Return a request without a body, to ids that there are not: whether it is let in is all that counts."""
    operation = Operation(*name.split(" "))
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return get(operation.example_path, method=operation.method, headers=headers)


async def test_who_may(system: System, port: int) -> None:
    for number, name in enumerate(GUARDED):
        access = ROWS[name].access
        only = {access} if isinstance(access, Permission) else set()
        tokens = [
            await log_in_as(system, port, permissions, username=f"{kind}-{number}")
            for kind, permissions in (("only", only), ("without", {*Permission} - only))
        ]
        let_in, shut_out = [await exchange(port, _bare(name, token)) for token in tokens]
        assert let_in.status not in {401, 403}, name
        if isinstance(access, Permission):
            assert (shut_out.status, code_of(shut_out)) == (403, "forbidden"), name
            assert access.value in json.loads(shut_out.body)["detail"]
        else:
            assert shut_out.status not in {401, 403}, name


async def test_who_is_not_logged_in(system: System, port: int) -> None:
    token = await log_in_as(system, port, Permission)
    for name in GUARDED:
        for wrong in (None, "", "nonsense", token[:-2]):
            _is_challenged(await exchange(port, _bare(name, wrong)), "not_authenticated", name)
    let_pass(system, hours=8, seconds=1)
    for name in GUARDED:
        _is_challenged(await exchange(port, _bare(name, token)), "token_expired", name)


def _is_challenged(answer: Answer, code: str, name: str) -> None:
    assert (answer.status, code_of(answer)) == (401, code), name
    assert answer["www-authenticate"] == 'Bearer realm="photochanger"'


async def test_what_is_open_to_everybody(port: int) -> None:
    for name in ROWS.keys() - set(GUARDED):
        operation = Operation(*name.split(" "))
        request = get(operation.example_path, method=operation.method)
        answer = await exchange(port, request, to_head=operation.method == "HEAD")
        assert answer.status != 403, name
        assert answer.status != 401 or code_of(answer) == "invalid_password", name


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("POST /api/slots", 405),
        ("DELETE /api/slots/slot-001", 405),
        ("PUT /public/media/{media_id}", 405),
        ("PATCH /public/media/{media_id}", 405),
        ("POST /public/media/{media_id}", 405),
        ("POST /public/media/{media_id}/extend", 404),
        ("POST /api/media/{media_id}/extend", 404),
        ("PUT /api/media/{media_id}", 404),
        ("PUT /api/template-media/{template_id}", 405),
        ("GET /api/accounts", 404),
    ],
)
async def test_what_nobody_may(scene: Scene, request_line: str, status: int) -> None:
    method, path = request_line.format(media_id=scene.media_id, template_id=scene.template_id).split(" ")
    answer = await scene.get(path, method=method)
    assert answer.status == status
    assert code_of(answer) == {404: "not_found", 405: "method_not_allowed"}[status]

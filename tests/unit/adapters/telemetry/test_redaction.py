import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photochanger.adapters.telemetry.redaction import MASK, is_sensitive, loggable, masked, redact

CANARY = "c4n4ry-S3cret"

TEXTS_WITH_A_SECRET = (
    f"postgresql://app:{CANARY}@db:5432/photos",
    f"postgresql://app:p@ss/{CANARY}@db1:5432,db2:5432/photos?sslmode=require",
    f"cannot connect to postgresql+psycopg://app:{CANARY}@db",
    f"https://{CANARY}@example.org/x",
    f"host=db user=app password={CANARY} dbname=photos",
    f"host=db password='{CANARY} with \\' quote {CANARY}' dbname=photos",
    f"GET /ingest/slot-001?key={CANARY} HTTP/1.1",
    f"GET /ingest/slot-001?a=b&password={CANARY}&c=d HTTP/1.1",
    f"GET /ingest/slot-001?PASSWORD={CANARY}",
    f"https://provider.example/v1/models?key={CANARY}&alt=json failed",
    f"/ingest/slot-001?name={CANARY}&id={CANARY}&profile={CANARY}&user_id={CANARY}&status={CANARY}",
    f"Authorization: Bearer {CANARY}.abc",
    f"authorization=Basic {CANARY} {CANARY}",
    f"{{'Authorization': 'Bearer {CANARY}'}}",
    f"[(b'authorization', b'Bearer {CANARY}'), (b'host', b'x')]",
    f"[(b'x-ingest-password', b'{CANARY}')]",
    f"Cookie: session={CANARY}; other={CANARY}",
    f"set-cookie: __Host-session={CANARY}; Path=/",
    f"x-goog-api-key: {CANARY}",
    f"X-Ingest-Password: {CANARY}",
    f'{{"dslr_password": "{CANARY}"}}',
    f'{{"password":"a\\"b {CANARY}","x":1}}',
    f"{{'key': '{CANARY}'}}",
    f"IngestSettings(password_hash='{CANARY}', rate_limit_rps=50.0)",
    f"JWT_SIGNING_KEY={CANARY}",
    f"api-key={CANARY}",
    f"TURBOTEXT_API_KEY = {CANARY}",
    f"access_token={CANARY}",
    f"DATABASE_URL={CANARY}",
    f"sent bearer {CANARY}",
    f"eyJhbGciOiJIUzI1NiJ9.eyJ{CANARY}.{CANARY}",
    f"AIzaSyA1234567890123456789012345{CANARY}",
    f"$argon2id$v=19$m=19456,t=2,p=1${CANARY}",
    f"DETAIL:  Key (idempotency_key)=({CANARY}) already exists.",
    f"DETAIL:  Failing row contains (1, {CANARY}, null).",
)

HARMLESS_TEXTS = (
    "job ended",
    "slot-001",
    "0123456789abcdef0123456789abcdef",
    "GET /public/results/abc?download=1 HTTP/1.1",
    "http://127.0.0.1:8000/ingest/slot-001",
    "the monkey=banana is there",
    "Снимок готов: 12 мс",
    'File "/app/x.py", line 3, in run',
)


@pytest.mark.parametrize("text", TEXTS_WITH_A_SECRET)
def test_secrets_inside_texts_are_masked(text: str) -> None:
    assert CANARY not in masked(text)
    assert MASK in masked(text)


@pytest.mark.parametrize("text", TEXTS_WITH_A_SECRET)
def test_secrets_are_found_in_the_middle_of_long_and_broken_texts(text: str) -> None:
    assert CANARY not in masked(f"first line\nand then: {text}\nlast line {'x' * 20_000}")


@pytest.mark.parametrize("text", HARMLESS_TEXTS)
def test_harmless_texts_are_left_alone(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize("text", [*TEXTS_WITH_A_SECRET, *HARMLESS_TEXTS, "/public/results/{job_id}"])
def test_a_text_is_masked_alike_whatever_was_masked_before(text: str) -> None:
    once = masked(text)
    for number in range(3000):
        masked(f"{{{number}}}")
    assert [masked(text), masked(text)] == [once, once]


def test_the_host_stays_visible_beside_a_masked_password() -> None:
    assert masked("postgresql://app:pw@db:5432/photos") == f"postgresql://app:{MASK}@db:5432/photos"


@pytest.mark.parametrize(
    "name",
    [
        "password", "Password", "dslr_password", "ingest_password_hash", "X-Ingest-Password", "authorization",
        "Authorization", "api_key", "api-key", "apiKey", "x-goog-api-key", "gemini_api_key", "key", "token",
        "access_token", "secret", "client_secret", "cookie", "Set-Cookie", "dsn", "database_url",
        "DATABASE_URL", "jwt_signing_key", "jwt_previous_keys", "credentials", "idempotency_key",
        "id", "name", "user_id", "profile", "status", "ID", "User-Id",
    ],
)  # fmt: skip
def test_fields_are_masked_by_their_name(name: str) -> None:
    assert is_sensitive(name)
    assert redact(None, "info", {name: CANARY}) == {name: MASK}
    assert CANARY not in str(loggable({"outer": [{name: {"deeper": CANARY}}]}))


@pytest.mark.parametrize(
    "name",
    ["event", "job_id", "slot_id", "request_id", "trace_id", "span_id", "status_code", "logger", "route"],
)
def test_fields_that_operators_need_are_kept(name: str) -> None:
    assert redact(None, "info", {name: "value"}) == {name: "value"}


def test_bytes_become_their_length() -> None:
    assert loggable(b"\xff\xd8" + CANARY.encode()) == f"<{2 + len(CANARY)} bytes>"
    assert loggable(bytearray(3)) == "<3 bytes>"
    assert loggable(memoryview(b"abcd")) == "<4 bytes>"
    assert loggable([b"ab", {"chunk": b"abc"}]) == ["<2 bytes>", {"chunk": "<3 bytes>"}]


def test_objects_of_unknown_types_are_not_looked_into() -> None:
    @dataclass
    class Request:
        prompt: str = CANARY

    assert loggable(Request()) == "<Request>"
    assert loggable({"request": [Request()]}) == {"request": ["<Request>"]}


def test_plain_values_stay_what_they_are() -> None:
    class Colour(StrEnum):
        RED = "red"

    values: Mapping[str, object] = {"a": 1, "b": 1.5, "c": True, "d": None, "e": Colour.RED, "f": "text"}
    assert loggable(values) == {"a": 1, "b": 1.5, "c": True, "d": None, "e": "red", "f": "text"}
    assert loggable(float("nan")) == "nan"
    assert loggable(datetime(2026, 1, 14, tzinfo=UTC)) == "2026-01-14 00:00:00+00:00"


def test_errors_are_shown_by_type_and_masked_message() -> None:
    assert loggable(ValueError(f"password={CANARY}")) == f"ValueError: password={MASK}"


def test_long_and_deep_values_are_cut() -> None:
    nested: list[object] = []
    nested.append(nested)
    assert "<list>" in str(loggable(nested))
    assert len(masked("ab " * 100_000)) < 17_000
    assert len(loggable(list(range(1_000)))) == 64


@pytest.mark.parametrize(
    "text",
    [
        "://a:" * 50_000,
        "password" * 50_000,
        "a" * 500_000,
        'password="' + '\\"' * 100_000,
        "Key (" * 50_000,
        "key=" * 50_000,
    ],
    ids=lambda text: text[:12],
)
def test_no_text_makes_masking_slow(text: str) -> None:
    started = time.process_time()
    masked(text)
    assert time.process_time() - started < 2


@given(st.text(), st.sampled_from(["password=", "?key=", "token: ", "Authorization: "]), st.text())
def test_what_follows_the_name_of_a_secret_is_masked_whatever_surrounds_it(
    before: str, name: str, after: str
) -> None:
    assert CANARY not in masked(f"{before} {name}{CANARY} {after}")

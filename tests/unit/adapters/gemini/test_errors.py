import json

import pytest

from photochanger.adapters.gemini.errors import complaint, fault_of
from photochanger.domain.errors import (
    ProviderError,
    ProviderFault,
    ProviderMisconfigured,
    ProviderQuotaExhausted,
    ProviderRejected,
)


def fault(
    code: int, message: str = "", *details: object, status: str = "", header: str = ""
) -> ProviderFault:
    error = {"code": code, "message": message, "status": status, "details": details}
    return fault_of(complaint(json.dumps({"error": error}).encode(), code=code, retry_after=header))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please retry in 37.1s.", 37.1),
        ("Please retry in 10h17m5.7s.", 37025.7),
        ("Please retry in 2m.", 120),
        ("Please retry in 1m0s, or later", 60),
        ("PLEASE RETRY IN 482.5MS", 0.4825),
        ("Please retry in 900h.", 86_400),
        ("Please retry in a while.", 60),
        ("Please retry in 1e9s.", 60),
        ("Please retry in ٣s.", 60),
        ("", 60),
    ],
)
def test_the_time_to_wait_is_read_from_the_text(text: str, seconds: float) -> None:
    assert fault(429, text).retry_after_sec == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("delay", "header", "seconds"),
    [
        ("37s", "", 37),
        ("0.25s", "", 0.25),
        ("37s", "41", 41),
        (None, "41", 41),
        (None, " 41 ", 41),
        (None, "Wed, 21 Oct 2026 07:28:00 GMT", 60),
        (37, "", 60),
        ({"seconds": 37}, "", 60),
        ("-5s", "", 60),
        ("0s", "", 0),
    ],
)
def test_the_longest_time_counts(delay: object, header: str, seconds: float) -> None:
    assert fault(429, "", {"retryDelay": delay}, header=header).retry_after_sec == seconds


def violation(**fields: str) -> dict[str, object]:
    return {"violations": [fields]}


@pytest.mark.parametrize(
    ("text", "detail", "lasts"),
    [
        ("", violation(quotaId="GenerateRequestsPerDayPerProjectPerModel"), True),
        ("", violation(quotaId="GenerateRequestsPerMinutePerProjectPerModel"), False),
        ("", violation(quotaId="X", quotaValue="0"), True),
        ("", violation(quotaId="X", quotaValue="10"), False),
        ("Quota exceeded, limit: 0\nPlease …", {}, True),
        ("Quota exceeded, limit: 0", {}, True),
        ("Quota exceeded, limit: 0.5", {}, False),
        ("Quota exceeded, limit: 05", {}, False),
        ("You have reached your monthly spending cap", {}, True),
        ("Spend limit of the last 10 minutes exceeded", {}, False),
        ("Your prepayment credits are depleted", {}, True),
        ("Quota exceeded for requests per day", {}, True),
        ("Check your plan and billing details", {}, False),
        ("", {"violations": "PerDay"}, False),
        ("", {"violations": ["PerDay", None]}, False),
    ],
)
def test_quotas_that_last_are_told_from_those_that_fill_up(text: str, detail: object, lasts: bool) -> None:
    found = fault(429, text, detail)
    assert type(found) is ProviderQuotaExhausted
    assert found.retry_after_sec == (3600 if lasts else 60)


def test_an_overloaded_server_may_say_when_to_come_back() -> None:
    assert fault(503, header="7").retry_after_sec == 7
    assert fault(503).retry_after_sec is None


def test_statuses_that_nobody_knows_are_not_shown() -> None:
    told = str(fault(400, "the message", {"reason": "the reason"}, status="the prompt"))
    assert "the" not in told.removeprefix("Gemini does not take this request")
    assert "400" in told


@pytest.mark.parametrize("message", ["API key not valid. Please …", "API key expired. Please renew …"])
def test_a_bad_key_is_known_by_the_text_too(message: str) -> None:
    assert type(fault(400, message, status="INVALID_ARGUMENT")) is ProviderMisconfigured


@pytest.mark.parametrize(
    ("code", "expected"),
    [(304, ProviderMisconfigured), (413, ProviderRejected), (422, ProviderRejected), (599, ProviderError)],
)
def test_codes_without_a_body_are_understood(code: int, expected: type[ProviderFault]) -> None:
    assert type(fault_of(complaint(b"", code=code))) is expected


def test_a_huge_error_answer_is_not_read() -> None:
    body = json.dumps({"error": {"status": "NOT_FOUND", "message": "x" * 300_000}}).encode()
    assert complaint(body, code=500).status == ""

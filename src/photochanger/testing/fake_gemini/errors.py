"""Gemini's error answers: the envelope of google.rpc.Status in JSON."""

from collections.abc import Sequence
from typing import Any, Final

_TYPES: Final = "type.googleapis.com/google.rpc."


class ApiError(Exception):
    """An answer other than 200."""

    def __init__(self, code: int, status: str, message: str, details: Sequence[dict[str, Any]] = ()) -> None:
        self.code = code
        error: dict[str, Any] = {"code": code, "message": message, "status": status}
        self.document = {"error": error | ({"details": list(details)} if details else {})}
        super().__init__(message)


def invalid(message: str, details: Sequence[dict[str, Any]] = ()) -> ApiError:
    """Return what is said of a request that is not right."""
    return ApiError(400, "INVALID_ARGUMENT", message, details)


def bad_fields(violations: Sequence[tuple[str, str]]) -> ApiError:
    """Return what is said of fields: pairs of path and description."""
    found = [
        {"field": path, "description": text} if path else {"description": text} for path, text in violations
    ]
    message = "\n".join(text for _path, text in violations)
    return invalid(message, [{"@type": f"{_TYPES}BadRequest", "fieldViolations": found}])


def bad_key(message: str) -> ApiError:
    """Return what is said of an API key."""
    metadata = {"service": "generativelanguage.googleapis.com"}
    return invalid(
        message,
        [
            {"@type": f"{_TYPES}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
            | {"metadata": metadata},
            {"@type": f"{_TYPES}LocalizedMessage", "locale": "en-US", "message": message},
        ],
    )


def no_such_model(model: str, version: str) -> ApiError:
    """Return what is said of a model that never was."""
    return ApiError(
        404,
        "NOT_FOUND",
        f"models/{model} is not found for API version {version}, or is not supported for generateContent. "
        "Call ListModels to see the list of available models and their supported methods.",
    )


def model_shut_down(model: str) -> ApiError:
    """Return what is said of a model that was."""
    return ApiError(
        404,
        "NOT_FOUND",
        f"This model models/{model} is no longer available. Please update your code to use a newer model "
        "for the latest features and improvements.",
    )


def exhausted(
    message: str, *, quota: str | None = None, value: str = "10", retry_delay: str | None = None
) -> ApiError:
    """Return what is said when a quota is used up."""
    link = {
        "description": "Learn more about quotas",
        "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
    }
    details: list[dict[str, Any]] = [{"@type": f"{_TYPES}Help", "links": [link]}]
    if quota is not None:
        violation = {
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests",
            "quotaId": quota,
            "quotaDimensions": {"location": "global", "model": "gemini-nano-banana-2.1"},
            "quotaValue": value,
        }
        details.append({"@type": f"{_TYPES}QuotaFailure", "violations": [violation]})
    if retry_delay is not None:
        details.append({"@type": f"{_TYPES}RetryInfo", "retryDelay": retry_delay})
    return ApiError(429, "RESOURCE_EXHAUSTED", message, details)

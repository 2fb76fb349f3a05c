"""Why Gemini made no picture: ai.google.dev/api/generate-content, FinishReason and BlockReason.

The names of reasons change now and then. One that is not known here is not shown, for it may be any text.
"""

from collections.abc import Sequence
from typing import Final

from photochanger.domain.errors import (
    ProviderFault,
    ProviderMisconfigured,
    ProviderNoImage,
    ProviderRefused,
)

NO_IMAGE: Final = "NO_IMAGE"
"""Comes within two seconds, and not for long: asking again soon brings a picture."""

_POLICY: Final = frozenset(
    {
        "BLOCKLIST",
        "ESCALATION",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "IMAGE_SAFETY",
        "LANGUAGE",
        "MODEL_ARMOR",
        "PROHIBITED_CONTENT",
        "RECITATION",
        "SAFETY",
        "SPII",
    }
)
_CHANCE: Final = frozenset(
    {
        "CONTINUATION",
        "IMAGE_OTHER",
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "MAX_TOKENS",
        "MISSING_THOUGHT_SIGNATURE",
        NO_IMAGE,
        "OTHER",
        "STOP",
        "TOO_MANY_TOOL_CALLS",
        "UNEXPECTED_TOOL_CALL",
    }
)
_BLOCKS: Final = _POLICY | {"JAILBREAK", "OTHER"}
_ACCOUNT_LIMITED: Final = "PUP_LIMITED_DISABLED"
"""The account has broken the Prohibited Use Policy."""


def why_no_picture(block_reason: str, finish_reasons: Sequence[str]) -> ProviderFault:
    """Return the fault that the reasons mean; texts that are empty count as not given."""
    if block_reason not in {"", "BLOCKED_REASON_UNSPECIFIED"}:
        return _refused(block_reason if block_reason in _BLOCKS else "an unknown reason")
    for reason in finish_reasons:
        if reason in _POLICY:
            return _refused(reason)
        if reason == _ACCOUNT_LIMITED:
            return ProviderMisconfigured(f"The account at Gemini is limited ({reason})")
    shown = next((reason for reason in finish_reasons if reason in _CHANCE), "no known reason")
    return ProviderNoImage(
        f"Gemini answered without a picture ({shown})", once=NO_IMAGE not in finish_reasons
    )


def _refused(reason: str) -> ProviderRefused:
    return ProviderRefused(f"Gemini refuses this photo or prompt ({reason})")

"""How a call can end: with an answer, or with a word on whether it may have had an effect."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


class NotSent(Exception):
    """The request did not reach the other side, or not as a whole: it cannot have had any effect there."""


class Forbidden(NotSent):
    """Calls must not go there: nothing was sent, not even the first packet of a connection."""


class Interrupted(Exception):
    """The request may have arrived; its answer did not, or not as a whole."""


class AnswerTooLarge(Exception):
    """The answer has more bytes than the caller takes; the rest was not read."""


@dataclass(frozen=True, slots=True)
class Head:
    """What an answer begins with. The names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]

    @property
    def content_type(self) -> str:
        """The media type without its parameters, in lower case; empty where there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def retry_after_sec(self) -> float | None:
        """When to ask again, in seconds, 0 or more (RFC 9110, 10.2.3); None where it does not say."""
        text = self.headers.get("retry-after", "").strip()
        if text.isascii() and text.isdigit() and len(text) < 10:
            return float(text)
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return None
        # A date without a zone is in UTC: that is what the header's form says.
        return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


@dataclass(frozen=True, slots=True)
class Answer(Head):
    """What came back, whole."""

    body: bytearray


@dataclass(frozen=True, slots=True)
class Downloaded(Head):
    """What came back, its body written away where the status is 200 and left unread where it is not.

    `beginning` holds the body's first bytes, up to 64 of them.
    """

    size_bytes: int
    beginning: bytes

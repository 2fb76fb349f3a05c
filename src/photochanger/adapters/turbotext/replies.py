"""What Turbotext answers: JSON with the habits of a PHP program, read with patience.

Types vary from answer to answer (numbers as strings, `[]` for an empty object), `action` counts more than
`success`, and the result's location has three places. What cannot be read is None, never an error.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from photochanger.adapters.outbound_http import Answer

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_MAX_ID: Final = 200
_MAX_SNIPPET: Final = 200


class Reply(msgspec.Struct):
    """The fields that we know. `object` stands where anything may come."""

    success: bool | None = None
    action: object = None
    queueid: int | str | None = None
    error: object = None
    data: object = None
    uploaded_image: object = None

    @property
    def is_to_be_asked_again(self) -> bool:
        """Whether the result is not ready."""
        return self.action == "reconnect"

    @property
    def queue_id(self) -> str | None:
        """The number under which the result can be asked for, as text; None where there is none."""
        if self.queueid is None or (isinstance(self.queueid, int) and abs(self.queueid) > 10**_MAX_ID):
            return None
        text = str(self.queueid).strip()
        return text if 0 < len(text) <= _MAX_ID else None

    @property
    def is_forbidden(self) -> bool:
        """Whether the photo or the prompt was found to be against the rules."""
        told = self._data.get("forbidden_content")
        return told is True or str(told).strip().lower() in {"true", "1"}

    @property
    def location(self) -> str | None:
        """Where the result is, an absolute or relative URL; None where nothing is told."""
        return next(self._locations(), None)

    def _locations(self) -> Iterator[str]:
        images = self._data.get("image")
        first = images[0] if isinstance(images, list) and images else images
        for place in (self.uploaded_image, self._data.get("uploaded_image"), first):
            if isinstance(place, str) and place.strip():
                yield place.strip()

    @property
    def _data(self) -> dict[object, object]:
        return self.data if isinstance(self.data, dict) else {}


_DECODER: Final = msgspec.json.Decoder(Reply, strict=False)


def read_reply(answer: Answer) -> Reply | None:
    """Return what an answer says; None where it is no JSON, or says nothing that we know."""
    try:
        reply = _DECODER.decode(bytes(answer.body).removeprefix(_BYTE_ORDER_MARK))
    except (ValueError, RecursionError):
        return None
    return reply if reply.success is not None or reply.is_to_be_asked_again else None


def snippet(error: object, hidden: Iterable[str]) -> str:
    """Return the beginning of an error's text for the log, without URLs and without the words of `hidden`.

    An error may repeat what it was sent: links to photos, and prompts, whole or in part.
    """
    text = error if isinstance(error, str) else msgspec.json.encode(error).decode()
    words = {word.casefold() for secret in hidden for word in _WORD.findall(secret)}
    printable = "".join(letter if letter.isprintable() else " " for letter in text[: 10 * _MAX_SNIPPET])
    plain = " ".join("…" if "/" in token or len(token) > 40 else token for token in printable.split())
    return _WORD.sub(lambda word: "…" if word[0].casefold() in words else word[0], plain)[:_MAX_SNIPPET]


_WORD: Final = re.compile(r"\w{3,}")

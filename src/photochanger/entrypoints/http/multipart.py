"""What a booth's form may look like: our policy on top of the `multipart` library's push parser.

Pure: bytes in, events out, nothing awaited. A part is the photo by its name alone; its file name, declared
type, charset and transfer encoding are ignored. All other parts are small fields of bytes.
"""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from photochanger.domain.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType

PHOTO_FIELDS: Final = frozenset({"fileToUpload", "file", "image", "photo"})
SINGLE_FIELDS: Final = frozenset({"password", "inline"})
"""The fields of a booth's form that mean something to us, and so must not contradict themselves."""

MAX_FIELDS: Final = 64
MAX_FIELD_BYTES: Final = 4 * 1024
MAX_PART_HEADER_BYTES: Final = 8 * 1024
MAX_PART_HEADERS: Final = 8
MAX_BOUNDARY: Final = 70
"""RFC 2046, 5.1.1."""

FORM_OVERHEAD_BYTES: Final = 1_000_000
"""More than all the fields and headers of an acceptable form."""

_BOUNDARY = re.compile(r"[ -~]{0,69}[!-~]", re.ASCII)


@dataclass(frozen=True, slots=True)
class Field:
    """A small field, whole."""

    name: str
    value: bytes


@dataclass(frozen=True, slots=True)
class PhotoBegins:
    """The photo's bytes come next."""


FormEvent = Field | PhotoBegins | bytes
"""Bytes are the next of the photo."""


def boundary_of(content_type: str) -> str:
    """Return the boundary that a `Content-Type` names.

    Raises `UnsupportedMediaType` for another type than `multipart/form-data`, and `InvalidRequest` for a
    boundary that is missing, too long or not printable.
    """
    kind, options = parse_options_header(content_type)
    if kind != "multipart/form-data":
        raise UnsupportedMediaType("The body must be multipart/form-data")
    boundary: str = options.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise InvalidRequest("The boundary of the form is missing or too long")
    return boundary


class PhotoForm:
    """Reads one form. Feed it every chunk of the body, consume all events of each, and `close` it.

    Of `single_fields` there may be one each; any other field may come several times.
    Raises `InvalidRequest` for what is broken, ambiguous or incomplete, and `PayloadTooLarge`.
    """

    def __init__(
        self,
        boundary: str,
        *,
        single_fields: Collection[str] = SINGLE_FIELDS,
        max_field_bytes: int = MAX_FIELD_BYTES,
    ) -> None:
        self._single_fields = single_fields
        self._max_field_bytes = max_field_bytes
        self._parser = PushMultipartParser(
            boundary, max_header_size=MAX_PART_HEADER_BYTES, max_header_count=MAX_PART_HEADERS
        )
        self._edges = _Edges(boundary.encode("ascii"))
        self._fields = 0
        self._seen: set[str] = set()
        self._has_photo = False
        self._field: tuple[str, bytearray] | None = None

    def feed(self, chunk: bytes) -> Iterator[FormEvent]:
        """Yield what `chunk` completes."""
        self._edges.pass_on(chunk)
        with _translated_errors():
            for event in self._parser.parse(chunk):
                if isinstance(event, MultipartSegment):
                    yield from self._begin(event)
                elif event is None:
                    yield from self._end()
                elif self._field is None:
                    yield event
                else:
                    self._extend(*self._field, event)

    def close(self) -> None:
        """Raise where the form is not complete."""
        with _translated_errors():
            self._parser.close()
        self._edges.close()

    def _begin(self, part: MultipartSegment) -> Iterator[PhotoBegins]:
        if sum(len(name) + len(value) for name, value in part.headerlist) > MAX_PART_HEADER_BYTES:
            raise _headers_too_large()
        if not part.name:
            raise InvalidRequest("The form has a part without a name")
        if part.name in PHOTO_FIELDS:
            if self._has_photo:
                raise InvalidRequest("The form has more than one photo")
            self._has_photo = True
            yield PhotoBegins()
        else:
            self._begin_field(part.name)

    def _begin_field(self, name: str) -> None:
        self._fields += 1
        if self._fields > MAX_FIELDS:
            limit_bytes = MAX_FIELDS * self._max_field_bytes
            raise PayloadTooLarge(limit_bytes, f"The form has more than {MAX_FIELDS} fields")
        if name in self._single_fields and name in self._seen:
            raise InvalidRequest(f"The form has more than one {name}")
        self._seen.add(name)
        self._field = (name, bytearray())

    def _extend(self, _name: str, value: bytearray, more: bytes) -> None:
        value += more
        limit_bytes = self._max_field_bytes
        if len(value) > limit_bytes:
            raise PayloadTooLarge(limit_bytes, f"A field of the form is larger than {limit_bytes} bytes")

    def _end(self) -> Iterator[Field]:
        if self._field is not None:
            name, value = self._field
            self._field = None
            yield Field(name, bytes(value))


class _Edges:
    """Sees to it that nothing but a line break stands before the first boundary or after the last.

    The parser lets text stand there, or not, depending on how the body was cut into chunks.
    """

    def __init__(self, boundary: bytes) -> None:
        self._first = b"--" + boundary
        self._last = b"--" + boundary + b"--"
        self._head: bytes | None = b""
        self._tail = b""

    def pass_on(self, chunk: bytes) -> None:
        if self._head is not None:
            self._head = self._check_head(self._head + chunk[: len(self._first) + 2])
        longest = len(self._last) + 2
        self._tail = chunk[-longest:] if len(chunk) >= longest else (self._tail + chunk)[-longest:]

    def _check_head(self, head: bytes) -> bytes | None:
        start = head.removeprefix(b"\r\n") if len(head) > 1 else head
        if start.startswith(self._first):
            return None
        if not self._first.startswith(start) and head != b"\r":
            raise _broken()
        return head

    def close(self) -> None:
        if not self._tail.removesuffix(b"\r\n").endswith(self._last):
            raise _broken()


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except ParserLimitReached as error:
        raise _headers_too_large() from error
    except MultipartError as error:
        raise _broken() from error


def _headers_too_large() -> PayloadTooLarge:
    return PayloadTooLarge(
        MAX_PART_HEADER_BYTES, f"The headers of a part are larger than {MAX_PART_HEADER_BYTES} bytes"
    )


def _broken() -> InvalidRequest:
    return InvalidRequest("The form is broken or incomplete")

"""The policy on forms: what is read, and what is refused, however the body is cut into chunks."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photochanger.domain.errors import (
    InvalidRequest,
    PayloadTooLarge,
    UnsupportedMediaType,
)
from photochanger.entrypoints.http.multipart import (
    MAX_FIELD_BYTES,
    MAX_FIELDS,
    Field,
    FormEvent,
    PhotoBegins,
    PhotoForm,
    boundary_of,
)
from tests.system.http_server import BOUNDARY, form, part

PHOTO = b"\xff\xd8\xff photo \r\n--" + BOUNDARY[:-1].encode() + b" nearly \r\r\n\n"
BOOTH = form(
    part("password", b"123456"),
    part("time", b"1758217512"),
    part("fileToUpload", PHOTO, file_name="IMG_0003.JPG", content_type="image/jpeg"),
    part("profile", rb"C:\Users\Acer\setup.xml"),
)


def read(body: bytes, *, size: int | None = None, boundary: str = BOUNDARY) -> list[FormEvent]:
    """Feed the body in chunks of `size`, and join the photo's chunks."""
    reader = PhotoForm(boundary)
    events = [event for chunk in _cut(body, size or max(1, len(body))) for event in reader.feed(chunk)]
    reader.close()
    photo = b"".join(event for event in events if isinstance(event, bytes))
    return [event for event in events if not isinstance(event, bytes)] + ([photo] if photo else [])


def _cut(body: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@given(size=st.integers(1, len(BOOTH) + 1))
def test_a_form_is_read_alike_however_it_is_cut(size: int) -> None:
    assert read(BOOTH, size=size) == [
        Field("password", b"123456"),
        Field("time", b"1758217512"),
        PhotoBegins(),
        Field("profile", rb"C:\Users\Acer\setup.xml"),
        PHOTO,
    ]


@pytest.mark.parametrize("name", ["fileToUpload", "file", "image", "photo"])
@pytest.mark.parametrize("file_name", [None, "", "../../etc/passwd", "CON", "a\0.jpg", "\u202egpj.exe", "🦊"])
def test_a_part_is_the_photo_by_its_name_alone(name: str, file_name: str | None) -> None:
    body = form(part(name, PHOTO, file_name=file_name, content_type="text/html; charset=bogus"))
    assert read(body) == [PhotoBegins(), PHOTO]


def test_a_line_break_may_stand_before_the_first_boundary_and_after_the_last() -> None:
    body = b"\r\n" + form(part("file", b"x")).removesuffix(b"\r\n")
    for size in range(1, len(body) + 1):
        assert read(body, size=size) == [PhotoBegins(), b"x"]


def test_a_field_is_bytes_whatever_charset_it_claims() -> None:
    body = form(
        part("password", b"\xff\xfe\0", content_type="text/plain; charset=utf-16"), part("file", b"x")
    )
    assert read(body)[0] == Field("password", b"\xff\xfe\0")


BROKEN = {
    "empty": b"",
    "no closing boundary": BOOTH.removesuffix(f"--{BOUNDARY}--\r\n".encode()),
    "cut in a header": BOOTH[:60],
    "cut in the closing boundary": BOOTH.removesuffix(b"-\r\n"),
    "line feeds only": BOOTH.replace(b"\r\n", b"\n"),
    "preamble": b"This is a message in MIME format.\r\n" + BOOTH,
    "a megabyte of line breaks": b"\r\n" * 500_000 + BOOTH,
    "epilogue": BOOTH + b"and one more thing",
    "epilogue after a line break": BOOTH + b"\r\n",
    "another boundary": form(part("file", b"x"), boundary="other"),
    "no disposition": form(b"Content-Type: image/jpeg\r\n\r\nx"),
    "another disposition": form(b'Content-Disposition: attachment; name="file"\r\n\r\nx'),
    "no name": form(b"Content-Disposition: form-data\r\n\r\nx"),
    "empty name": form(part("", b"x")),
    "no colon in a header": form(b"Content-Disposition\r\n\r\nx"),
    "headers not UTF-8": form(b'Content-Disposition: form-data; name="\xff"\r\n\r\nx'),
    "wrong length of a part": form(
        b'Content-Disposition: form-data; name="file"\r\nContent-Length: 9\r\n\r\nx'
    ),
    "two photos": form(part("file", b"x"), part("photo", b"y")),
    "two passwords": form(part("password", b"x"), part("password", b"x"), part("file", b"x")),
    "two inlines": form(part("inline", b"true"), part("file", b"x"), part("inline", b"true")),
}


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_broken_or_ambiguous_is_refused(body: bytes, size: int) -> None:
    with pytest.raises(InvalidRequest):
        read(body, size=size if len(body) < 100_000 else 100_000)


TOO_LARGE = {
    "a password of a megabyte": form(part("password", b"x" * 1_000_000), part("file", b"x")),
    "a field beyond the limit": form(part("name", b"x" * (MAX_FIELD_BYTES + 1)), part("file", b"x")),
    "fifteen hundred parts": form(*(part(f"field{number}", b"") for number in range(1500))),
    "a field too many": form(*(part("same", b"") for _ in range(MAX_FIELDS + 1)), part("file", b"x")),
    "two hundred headers": form(
        b'Content-Disposition: form-data; name="file"\r\n' + b"X-A: b\r\n" * 200 + b"\r\nx"
    ),
    "a header of 100 KB": form(part("file", b"x", file_name="x" * 100_000)),
    "headers of 9 KB together": form(
        b'Content-Disposition: form-data; name="file"\r\n' + (b"X-A: " + b"b" * 3000 + b"\r\n") * 3 + b"\r\nx"
    ),
}


@pytest.mark.parametrize("size", [1000, 10_000_000])
@pytest.mark.parametrize("body", TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_what_is_too_large_is_refused_as_such(body: bytes, size: int) -> None:
    with pytest.raises(PayloadTooLarge):
        read(body, size=size)


def test_sixty_four_fields_of_four_kilobytes_are_read() -> None:
    fields = [part(f"field{number}", b"x" * MAX_FIELD_BYTES) for number in range(MAX_FIELDS)]
    assert len(read(form(*fields, part("file", b"x")))) == MAX_FIELDS + 2


@given(body=st.binary(max_size=300), size=st.integers(1, 50))
def test_no_bytes_make_it_fail_otherwise(body: bytes, size: int) -> None:
    with suppress(InvalidRequest, PayloadTooLarge):
        read(b"--b\r\n" + body + b"\r\n--b--", size=size, boundary="b")


@pytest.mark.parametrize("boundary", ["b", "x" * 70, "----WebKitFormBoundary7MA4YWxkTrZu0gW", BOUNDARY])
def test_a_boundary_is_taken_from_the_content_type(boundary: str) -> None:
    assert boundary_of(f"multipart/form-data; boundary={boundary}") == boundary
    assert boundary_of(f'Multipart/Form-Data;charset=x; Boundary="{boundary}"') == boundary


@pytest.mark.parametrize("value", ["", "; boundary=", f"; boundary={'x' * 71}", '; boundary="a\x01b"'])
def test_a_boundary_that_cannot_be_used_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest):
        boundary_of(f"multipart/form-data{value}")


@pytest.mark.parametrize("value", ["", "image/jpeg", "multipart/mixed; boundary=b", "application/json"])
def test_another_type_than_a_form_is_refused(value: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        boundary_of(value)

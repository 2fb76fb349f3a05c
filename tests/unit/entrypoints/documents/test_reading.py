"""What callers send as JSON or as a query is read strictly, and all problems are told at once."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta, Struct

from photochanger.domain.errors import InvalidRequest, ValidationFailed
from photochanger.entrypoints.documents.reading import read_document, read_query


class Effect(StrEnum):
    SEPIA = "sepia"
    COMIC = "comic"


class Inner(Struct, kw_only=True, forbid_unknown_fields=True):
    count: int
    label: Annotated[str, Meta(max_length=5)] = ""


class Outer(Struct, kw_only=True, forbid_unknown_fields=True, rename={"since": "from"}):
    name: str
    inner: Inner
    effect: Effect = Effect.SEPIA
    maybe: Inner | None = None
    listed: list[Inner] = []
    values: dict[str, str | int | float | bool | list[str]] = {}
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    since: Annotated[datetime, Meta(tz=True)] | None = None


GOOD = {"name": "x", "inner": {"count": 1}}


def problems_of(document: object) -> dict[str, str]:
    with pytest.raises(ValidationFailed) as failed:
        read_document(msgspec.json.encode(document), Outer)
    return {problem.field: problem.code for problem in failed.value.problems}


def message_of(document: object) -> str:
    with pytest.raises(ValidationFailed) as failed:
        read_document(msgspec.json.encode(document), Outer)
    [problem] = failed.value.problems
    return problem.message


def test_a_good_document_is_read() -> None:
    read = read_document(
        msgspec.json.encode({**GOOD, "values": {"a": [], "b": 1.5}, "maybe": None, "listed": [{"count": 2}]}),
        Outer,
    )
    assert (read.name, read.inner.count, read.values) == ("x", 1, {"a": [], "b": 1.5})
    assert (read.maybe, read.listed[0].count) == (None, 2)


def test_all_problems_are_told_with_their_paths() -> None:
    bad = {
        "inner": {"count": "1", "label": "too long", "extra": 1},
        "effect": "blur",
        "maybe": {"label": 5},
        "listed": [{"count": 1}, {"count": None}, 7],
        "values": {"a": {"b": 1}, "c": [1], "d": None},
        "limit": 0,
        "from": "yesterday",
        "unknown": 1,
    }
    assert problems_of(bad) == {
        "name": "required",
        "inner.count": "wrong_type",
        "inner.label": "out_of_range",
        "inner.extra": "unknown",
        "effect": "not_a_choice",
        "maybe.count": "required",
        "maybe.label": "wrong_type",
        "listed[1].count": "wrong_type",
        "listed[2]": "wrong_type",
        "values.a": "wrong_type",
        "values.c[0]": "wrong_type",
        "values.d": "wrong_type",
        "limit": "out_of_range",
        "from": "wrong_form",
        "unknown": "unknown",
    }


@pytest.mark.parametrize("body", [b"", b"{", b"nope", b'{"a": NaN}', b"\xff", b"[" * 200_000, b'"\\ud800"'])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_document(body, Outer)


@pytest.mark.parametrize("document", [[], "x", 1, None, True])
def test_what_is_no_object_is_refused(document: object) -> None:
    assert problems_of(document) == {"": "wrong_type"}


def test_numbers_are_not_taken_from_strings_nor_switches_from_numbers() -> None:
    assert problems_of({"name": 1, "inner": {"count": True}}) == {
        "name": "wrong_type",
        "inner.count": "wrong_type",
    }


def test_text_that_cannot_be_stored_is_found_however_deep_it_is() -> None:
    bad = {**GOOD, "name": "a\0b", "values": {"x": ["fine", "no\0"], "k\0": 1}}
    assert problems_of(bad) == {"name": "wrong_form", "values.x[1]": "wrong_form", "values": "wrong_form"}


def test_messages_tell_what_is_expected_and_never_the_value() -> None:
    assert message_of({**GOOD, "limit": 201}) == "must be at most 200"
    assert message_of({**GOOD, "effect": "hunter2"}) == "must be one of sepia, comic"
    assert message_of({**GOOD, "name": 4711}) == "must be a string"
    assert message_of({**GOOD, "inner": {"count": 1, "label": "hunter2"}}) == "must have at most 5 characters"


def test_long_or_strange_names_of_unknown_fields_are_shortened() -> None:
    [field] = problems_of({**GOOD, "\n" + "x" * 500: 1})
    assert len(field) < 80
    assert field.isprintable()


class Query(Struct, kw_only=True, forbid_unknown_fields=True, rename={"since": "from"}):
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    force: bool = False
    effect: Effect | None = None
    since: Annotated[datetime, Meta(tz=True)] | None = None
    text: str | None = None


def test_a_query_is_read() -> None:
    read = read_query(b"limit=7&force=true&effect=comic&from=2026-01-14T09:30:00Z&text=a%20b+%D0%B6", Query)
    moment = datetime(2026, 1, 14, 9, 30, tzinfo=UTC)
    assert read == Query(limit=7, force=True, effect=Effect.COMIC, since=moment, text="a b ж")
    assert read_query(b"", Query) == Query()


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        (b"limit=0", "limit", "out_of_range"),
        (b"limit=x", "limit", "wrong_type"),
        (b"limit=", "limit", "wrong_type"),
        (b"limit=1&limit=2", "limit", "duplicate"),
        (b"force=maybe", "force", "wrong_type"),
        (b"effect=blur", "effect", "not_a_choice"),
        (b"from=2026-01-14T09:30:00", "from", "wrong_form"),
        (b"from=1", "from", "wrong_form"),
        (b"Limit=1", "Limit", "unknown"),
        (b"text=%00", "text", "wrong_form"),
    ],
)
def test_a_bad_query_is_refused(query: bytes, field: str, code: str) -> None:
    with pytest.raises(ValidationFailed) as failed:
        read_query(query, Query)
    assert [(problem.field, problem.code) for problem in failed.value.problems] == [(field, code)]


def test_bytes_that_are_no_text_are_replaced_and_not_an_error() -> None:
    assert read_query(b"text=%ff", Query).text == "�"

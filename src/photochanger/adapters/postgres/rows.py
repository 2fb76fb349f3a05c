"""Rows to domain values and back; msgspec reads and writes the domain's own dataclasses."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Final

import msgspec
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composed, Identifier

from photochanger.application.ports.jobs import JobReading, ResultReading
from photochanger.domain.job import Job
from photochanger.domain.media import MediaObject, StoredImage
from photochanger.domain.template import Template

JOB_COLUMNS: Final[Sequence[str]] = tuple(field.name for field in fields(Job))
RESULT_COLUMNS: Final[Sequence[str]] = tuple(
    field.name for field in fields(ResultReading) if field.name != "now"
)
MEDIA_COLUMNS: Final[Sequence[str]] = tuple(field.name for field in fields(MediaObject))
TEMPLATE_COLUMNS: Final[Sequence[str]] = tuple(field.name for field in fields(Template))

_RESULT_READINGS: Final = msgspec.json.Decoder(ResultReading)

DESCRIBED: Final = SQL("image_type = %(image_type)s, size_bytes = %(size_bytes)s, sha256 = %(sha256)s")
"""What a media row takes over from its image once that is stored, for SET; see `described`."""


def listed(columns: Sequence[str], *, table: str) -> Composed:
    """Return the columns as they follow SELECT or RETURNING, each with its table."""
    return SQL(", ").join(Identifier(table, column) for column in columns)


def reading_from(row: DictRow, *, ended_here: bool = False) -> JobReading:
    """Return the job in a row that holds its columns and `now`."""
    return JobReading(job=msgspec.convert(row, Job), now=row["now"], ended_here=ended_here)


def result_reading_from(row: DictRow) -> ResultReading:
    """Return what is needed of a job's result, from a row that holds it as one JSON document, `reading`."""
    return _RESULT_READINGS.decode(row["reading"])


def to_json(value: object) -> str:
    """Return a value of the domain as the JSON document of a jsonb column."""
    return msgspec.json.encode(value).decode()


def stored_images(images: Sequence[StoredImage]) -> Mapping[str, object]:
    """Return images as the parallel arrays of a statement that marks their rows as stored."""
    return {
        "media_ids": [image.media_id for image in images],
        "image_types": [image.info.image_type.value for image in images],
        "sizes": [image.file.size_bytes for image in images],
        "hashes": [image.file.sha256 for image in images],
    }


def described(image: StoredImage) -> dict[str, object]:
    """Return one image as the parameters of a statement that marks its row as stored."""
    return {
        "media_id": image.media_id,
        "image_type": image.info.image_type.value,
        "size_bytes": image.file.size_bytes,
        "sha256": image.file.sha256,
    }

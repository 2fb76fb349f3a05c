"""What may not be, as statements: each returns the subjects of which it is so nevertheless."""

from collections.abc import Mapping
from typing import Final, LiteralString

from psycopg.sql import SQL, Composed, Literal

from photochanger.adapters.postgres.transitions import UNFINISHED
from photochanger.domain.consistency import Code
from photochanger.domain.media import MediaKind, MediaState

_WORDS: Final = {
    "unfinished": UNFINISHED,
    "key": SQL("media.kind || '/' || left(media.media_id, 2) || '/' || media.media_id"),
    **{kind.name.lower(): Literal(kind.value) for kind in MediaKind},
    **{state.name.lower(): Literal(state.value) for state in MediaState},
}


def _check(statement: LiteralString) -> Composed:
    return SQL(statement + " LIMIT %(limit)s").format(**_WORDS)


CHECKS: Final[Mapping[Code, Composed]] = {
    Code.JOB_OVERDUE: _check("""
        SELECT job_id AS subject FROM job
        WHERE {unfinished} AND deadline <= clock_timestamp() - %(job_overdue_after)s
        ORDER BY deadline"""),
    Code.PHOTO_MISSING: _check("""
        SELECT job_id AS subject FROM job
        WHERE {unfinished} AND NOT EXISTS (
            SELECT FROM media_object AS media WHERE media.media_id = payload_id AND media.state = {stored})
        ORDER BY seq"""),
    Code.PHOTO_LEFT: _check("""
        SELECT job_id AS subject FROM media_object AS media
        JOIN job ON job.payload_id = media.media_id AND job.finalized_at IS NOT NULL
        WHERE media.kind = {payload} AND media.state IN ({pending}, {stored})
        ORDER BY seq"""),
    Code.RESULT_MISSING: _check("""
        SELECT job_id AS subject FROM job
        WHERE result IS NOT NULL AND result_expires_at > clock_timestamp() AND NOT EXISTS (
            SELECT FROM media_object AS media
            WHERE media.media_id = job.result #>> '{{image,media_id}}' AND media.state = {stored}
                AND media.expires_at = result_expires_at)
        ORDER BY seq"""),
    Code.TEMPLATE_MISSING: _check("""
        SELECT template_id AS subject FROM template
        WHERE NOT EXISTS (
            SELECT FROM media_object AS media
            WHERE media.media_id = template.image ->> 'media_id' AND media.state = {stored}
                AND media.expires_at IS NULL)
        ORDER BY template_id"""),
    Code.FILE_OVERDUE: _check("""
        SELECT {key} AS subject FROM media_object AS media
        WHERE media.state <> {deleted} AND media.expires_at <= clock_timestamp() - %(file_overdue_after)s
        ORDER BY media.kind, media.media_id"""),
    Code.FILE_WITHOUT_OWNER: _check("""
        SELECT {key} AS subject FROM media_object AS media
        WHERE media.state = {stored} AND media.kind <> {provider_link}
            AND (media.expires_at IS NULL OR media.expires_at > clock_timestamp())
            AND NOT EXISTS (SELECT FROM (
                SELECT payload_id AS media_id FROM job
                UNION ALL SELECT result #>> '{{image,media_id}}' FROM job WHERE result IS NOT NULL
                UNION ALL SELECT result #>> '{{preview,media_id}}' FROM job WHERE result IS NOT NULL
                UNION ALL SELECT image ->> 'media_id' FROM template
                UNION ALL SELECT preview ->> 'media_id' FROM template
            ) AS owned WHERE owned.media_id = media.media_id)
        ORDER BY media.kind, media.media_id"""),
}
"""Everything that can be told from the records alone."""

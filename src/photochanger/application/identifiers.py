"""New identifiers. An id is a secret: whoever knows a job's id may see its result."""

import secrets

from photochanger.domain.account import SessionId
from photochanger.domain.job import JobId
from photochanger.domain.media import MediaId

_BYTES = 16
"""128 random bits: too many to guess (OWASP ASVS 5.0, API1)."""


def new_job_id() -> JobId:
    """Return an unguessable job id."""
    return JobId(secrets.token_hex(_BYTES))


def new_media_id() -> MediaId:
    """Return an unguessable media id."""
    return MediaId(secrets.token_hex(_BYTES))


def new_session_id() -> SessionId:
    """Return an unguessable session id."""
    return SessionId(secrets.token_hex(_BYTES))


def new_sweeper_id() -> str:
    """Return a name for one sweep that no other has."""
    return secrets.token_hex(_BYTES)

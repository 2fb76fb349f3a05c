"""The keys that access tokens are signed with: the operator's, or one that the installation makes itself."""

import secrets
from collections.abc import Sequence
from pathlib import Path

from photochanger.domain.errors import Problem, StorageUnavailable, ValidationFailed
from photochanger.entrypoints.secret_files import write_new
from photochanger.entrypoints.settings import Environment, weakness_of

_RANDOM_BYTES = 48


def signing_keys(environment: Environment) -> Sequence[str]:
    """Return the key to sign with, and after it those that only still verify.

    Where none is given, one is made at the first start and kept in the data folder, for all processes that
    share it. Raises `ValidationFailed` or `StorageUnavailable` where that file cannot be used.
    """
    present = environment.jwt_signing_key or _own_key(environment.secrets_dir / "jwt-signing-key")
    return [present, *environment.jwt_previous_keys]


def _own_key(path: Path) -> str:
    try:
        if not path.exists():
            write_new(path, secrets.token_urlsafe(_RANDOM_BYTES) + "\n")
        is_private = path.stat().st_mode & 0o077 == 0
        key = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise StorageUnavailable(f"The signing key cannot be read or made: {error.strerror}") from None
    weakness = weakness_of(key) if is_private else "others than its owner may use it: delete it"
    if weakness is not None:
        message = f"the file {path} {weakness}" if is_private else f"the file {path}: {weakness}"
        raise ValidationFailed([Problem(field="JWT_SIGNING_KEY", code="invalid", message=message)])
    return key

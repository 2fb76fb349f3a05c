"""What the environment says, read once at start; every wrong value is reported, all at once."""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from photochanger.adapters.object_store.bucket import Bucket
from photochanger.domain.errors import Problem, ValidationFailed
from photochanger.domain.retention import (
    MAX_RETENTION_HOURS,
    MAX_SYNC_RESPONSE_SEC,
    MIN_RETENTION_HOURS,
    MIN_SYNC_RESPONSE_SEC,
)
from photochanger.entrypoints.media_bucket import BUCKET_VARIABLES, read_bucket

Network: TypeAlias = IPv4Network | IPv6Network

DEFAULT_DATA_DIR = Path(".data")
DEFAULT_WORKERS = 8
MAX_DRAIN_SEC = 120

MIN_SIGNING_KEY_BYTES = 32
"""As many bits as the hash that signs has (RFC 7518, section 3.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The process's configuration. None means: not given, the default of the sentence applies."""

    data_dir: Path = DEFAULT_DATA_DIR
    database_url: str | None = field(default=None, repr=False)
    """Unset: PostgreSQL embedded in the data folder."""
    media_root: Path | None = None
    """Unset: in the data folder."""
    media_bucket: Bucket | None = None
    """Unset: media are kept in a folder."""
    public_base_url: str | None = None
    """Unset: links are made of the address that each request came to."""
    credentials_file: Path | None = None
    """Unset: `secrets/runtime_credentials.json` in the data folder."""
    jwt_signing_key: str | None = field(default=None, repr=False)
    """Unset: made at the first start, and kept in the data folder."""
    jwt_previous_keys: tuple[str, ...] = field(default=(), repr=False)
    """Keys that no token is signed with any more, but that verify those that were."""
    trusted_proxies: tuple[Network, ...] = ()
    """Whose `X-Forwarded-For` counts; unset: nobody's."""
    result_ttl_hours: int | None = None
    """How long results live, for the first start; then the settings say so."""
    temp_ttl_seconds: int | None = None
    """How long a photo may take, for the first start; then the settings say so."""
    drain_sec: int = 0
    """How long this process serves on after SIGTERM, not ready any more, for load balancers to notice."""
    workers: int = DEFAULT_WORKERS
    """How many jobs this process does at once."""
    log_level: str = "INFO"
    log_format: Literal["json", "console"] | None = None
    """Unset: `console` on a terminal, else `json`."""
    telemetry: Mapping[str, str] = field(default_factory=dict, repr=False)
    """OpenTelemetry's own variables (`OTEL_*`); without an endpoint or exporter, traces go nowhere."""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """All of the environment, for the image providers, each of which reads what is its own."""

    @property
    def media_dir(self) -> Path:
        """The folder of the media store; where media are in a bucket, of the files in work only."""
        return self.media_root or self.data_dir / "media"

    @property
    def secrets_dir(self) -> Path:
        """The folder of what nobody else may read."""
        return self.data_dir / "secrets"

    @property
    def credentials_path(self) -> Path:
        """The file of the administrators' accounts."""
        return self.credentials_file or self.secrets_dir / "runtime_credentials.json"


def read_environment(environ: Mapping[str, str]) -> Environment:
    """Return the configuration in `environ`; raises `ValidationFailed` with every problem.

    Empty values count as unset. No message repeats a value, which may be a secret.
    """
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for variable, (name, parse) in _VARIABLES.items():
        text = environ.get(variable, "").strip()
        if not text:
            continue
        try:
            values[name] = parse(text)
        except ValueError as error:
            problems.append(Problem(field=variable, code="invalid", message=str(error)))
    try:
        values["media_bucket"] = read_bucket(environ)
    except ValidationFailed as failed:
        problems += failed.problems
    if problems:
        raise ValidationFailed(problems)
    given = {name: value for name, value in environ.items() if value.strip()}
    telemetry = {name: value for name, value in given.items() if name.startswith("OTEL_")}
    return Environment(**values, telemetry=telemetry, variables=given)


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _database_url(text: str) -> str:
    if urlsplit(text).scheme not in {"postgresql", "postgres"}:
        raise ValueError("must look like postgresql://user:password@host:5432/database")
    return text


def _base_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.query or parts.fragment:
        raise ValueError("must look like https://photos.example.org, without a query")
    return text.rstrip("/")


def _between(minimum: int, maximum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() else 0
        if not minimum <= number <= maximum:
            raise ValueError(f"must be a whole number from {minimum} to {maximum}")
        return number

    return parse


_PLACEHOLDER = re.compile(
    r"change[-_]?me|secret|password|placeholder|example|default|replace|insert|qwerty|your[-_]", re.IGNORECASE
)


def weakness_of(key: str) -> str | None:
    """Return why this is no key to sign with, as the end of a sentence; None for one that may do.

    Randomness cannot be seen; what is refused is what no random key looks like.
    """
    steps = [ord(after) - ord(before) for before, after in pairwise(key)]
    repeats = any(key.startswith(key[start:]) for start in range(1, len(key) // 2 + 1))
    if not key.isascii() or not key.isprintable() or re.search(r"[\s,]", key):
        return "must consist of visible ASCII characters without a comma"
    if len(key) < MIN_SIGNING_KEY_BYTES:
        return f"must have at least {MIN_SIGNING_KEY_BYTES} characters"
    if len(set(key)) < 8 or repeats or sum(abs(step) <= 1 for step in steps) > len(key) / 2:
        return "must be random, without repetitions and sequences"
    if _PLACEHOLDER.search(key):
        return "must be random, and not the placeholder of an example"
    return None


def _signing_key(text: str) -> str:
    weakness = weakness_of(text)
    if weakness is not None:
        raise ValueError(f"{weakness}; openssl rand -base64 48 makes a good one")
    return text


def _previous_keys(text: str) -> tuple[str, ...]:
    return tuple(_signing_key(key.strip()) for key in text.split(","))


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(_network(entry.strip()) for entry in text.split(","))


def _network(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise ValueError("must be addresses or networks such as 10.0.0.0/8, with commas between") from None
    if network.prefixlen == 0:
        raise ValueError("must not trust everybody: whoever may say where they come from is not slowed down")
    return network


def _one_of(*choices: str, fold: Callable[[str], str] = str.lower) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if fold(text) not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return fold(text)

    return parse


_VARIABLES: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "PHOTOCHANGER_DATA_DIR": ("data_dir", _path),
    "DATABASE_URL": ("database_url", _database_url),
    "MEDIA_ROOT": ("media_root", _path),
    "PUBLIC_BASE_URL": ("public_base_url", _base_url),
    "CREDENTIALS_FILE": ("credentials_file", _path),
    "JWT_SIGNING_KEY": ("jwt_signing_key", _signing_key),
    "JWT_PREVIOUS_KEYS": ("jwt_previous_keys", _previous_keys),
    "TRUSTED_PROXIES": ("trusted_proxies", _networks),
    "RESULT_TTL_HOURS": ("result_ttl_hours", _between(MIN_RETENTION_HOURS, MAX_RETENTION_HOURS)),
    "TEMP_TTL_SECONDS": ("temp_ttl_seconds", _between(MIN_SYNC_RESPONSE_SEC, MAX_SYNC_RESPONSE_SEC)),
    "DRAIN_SEC": ("drain_sec", _between(0, MAX_DRAIN_SEC)),
    "WORKERS": ("workers", _between(1, 256)),
    "LOG_LEVEL": ("log_level", _one_of("DEBUG", "INFO", "WARNING", "ERROR", fold=str.upper)),
    "LOG_FORMAT": ("log_format", _one_of("json", "console")),
}


def documented_variables() -> Iterator[str]:
    """Yield the name of every variable that is read."""
    yield from _VARIABLES
    yield from BUCKET_VARIABLES

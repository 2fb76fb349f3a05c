"""What the environment says, read once at start; every wrong value is reported, all at once."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from photochanger.domain.errors import Problem, ValidationFailed

DEFAULT_DATA_DIR = Path(".data")
DEFAULT_WORKERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The process's configuration. None means: not given, the default of the sentence applies."""

    data_dir: Path = DEFAULT_DATA_DIR
    database_url: str | None = field(default=None, repr=False)
    """Unset: PostgreSQL embedded in the data folder."""
    media_root: Path | None = None
    """Unset: in the data folder."""
    public_base_url: str | None = None
    """Unset: links are made of the address that each request came to."""
    credentials_file: Path | None = None
    """Unset: `secrets/runtime_credentials.json` in the data folder."""
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
        """The folder of the media store."""
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


def _positive(maximum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() else 0
        if not 1 <= number <= maximum:
            raise ValueError(f"must be a whole number from 1 to {maximum}")
        return number

    return parse


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
    "WORKERS": ("workers", _positive(256)),
    "LOG_LEVEL": ("log_level", _one_of("DEBUG", "INFO", "WARNING", "ERROR", fold=str.upper)),
    "LOG_FORMAT": ("log_format", _one_of("json", "console")),
}


def documented_variables() -> Iterator[str]:
    """Yield the name of every variable that is read."""
    yield from _VARIABLES

"""Logs: one line per event, on standard error, for structlog and for the standard library's loggers alike."""

import copy
import json
import logging
import re
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final, TextIO

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

from photochanger.adapters.telemetry.redaction import loggable_argument, redact

LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_WITH_HANDLERS_OF_THEIR_OWN: Final = (
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "uvicorn.asgi",
    "litestar",
    "alembic",
    "aiohttp.access",
    "psycopg",
    "psycopg.pool",
)
_REPETITIVE: Final = ("psycopg.pool",)
"""Loggers that warn of the same several times a second, for as long as it lasts."""

AGAIN_AFTER_SEC: Final = 10.0
"""How long a warning of theirs is not repeated."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


_JSON: Final = json.JSONEncoder()
"""Made once: what is left of a line by then is of JSON's own types, and needs nobody's help."""


class LogFormat(StrEnum):
    """How a log line looks."""

    JSON = "json"
    """One JSON object per line, for machines."""
    CONSOLE = "console"
    """Aligned and coloured, for a terminal."""


def configure_logging(level: str = "INFO", fmt: str | None = None, *, stream: TextIO | None = None) -> None:
    """Send all logs of the process to `stream` (standard error), masked, with times in RFC 3339 UTC.

    `level` is one of `LOG_LEVELS`, in any case. `fmt` is a `LogFormat`; None means `console` on a terminal
    and `json` elsewhere. Raises `ValueError` for any other value. May be called again; the last call counts.
    Whoever starts uvicorn passes `log_config=None`, or it puts its own handlers back.
    """
    if level.upper() not in LOG_LEVELS:
        raise ValueError(f"the log level must be one of {', '.join(LOG_LEVELS)}")
    stream = stream or sys.stderr
    chosen = LogFormat(fmt) if fmt else LogFormat.CONSOLE if stream.isatty() else LogFormat.JSON
    handler = _Handler(stream)
    handler.setFormatter(_formatter(chosen, colors=stream.isatty()))
    _take_over_the_standard_loggers(handler, level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            _clean_arguments,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *_common_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _take_over_the_standard_loggers(handler: logging.Handler, level: str) -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _WITH_HANDLERS_OF_THEIR_OWN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in _REPETITIVE:
        logging.getLogger(name).filters[:] = [_NotAgain()]
    logging.captureWarnings(capture=True)


class _NotAgain(logging.Filter):
    """Holds back warnings whose like was let through a moment ago, whatever their arguments."""

    def __init__(self) -> None:
        super().__init__()
        self._said_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now, kind = time.monotonic(), str(record.msg)
        if record.levelno < logging.WARNING:
            return True
        if now - self._said_at.get(kind, -AGAIN_AFTER_SEC) < AGAIN_AFTER_SEC:
            return False
        self._said_at[kind] = now
        return True


def _common_processors() -> Sequence[Processor]:
    return (
        structlog.contextvars.merge_contextvars,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact,  # what comes later is made here and needs no masking
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        add_trace_ids,
    )


def _formatter(fmt: LogFormat, *, colors: bool) -> logging.Formatter:
    renderers: Sequence[Processor]
    match fmt:
        case LogFormat.JSON:
            renderers = (_as_json,)
        case LogFormat.CONSOLE:
            # The default formatter of exceptions would show local variables as soon as rich is installed.
            plain = structlog.dev.plain_traceback
            renderers = (
                _keep_to_one_line,
                structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain),
            )
    return _Formatter(renderers)


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Formats records of the standard library too, whose arguments are cleaned before they become text."""

    def __init__(self, renderers: Sequence[Processor]) -> None:
        super().__init__(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), _drop_colour_codes, *_common_processors()],
        )
        self._renderers = renderers

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.msg, dict) and hasattr(record, "_logger"):
            return self._rendered(record.msg.copy())
        if record.args:
            record = copy.copy(record)
            record.args = _cleaned(record.args)
        return super().format(record)

    def _rendered(self, line: Any) -> str:
        """Return a line of structlog's, for which nothing is left to be done but to write it."""
        for renderer in self._renderers:
            line = renderer(None, "", line)
        return str(line)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines, and never shows the arguments of a record that it could not format."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- the name is logging's
        try:
            self.stream.write(
                '{"level": "error", "logger": "photochanger.telemetry", '
                f'"event": "a log record could not be written", "line": {record.lineno}}}\n'
            )
        except (OSError, ValueError):
            return  # standard error itself is closed: there is nobody left to tell


def add_trace_ids(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Add `trace_id` and `span_id` of the current OpenTelemetry span, where there is one."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event_dict["trace_id"] = f"{context.trace_id:032x}"
        event_dict["span_id"] = f"{context.span_id:016x}"
    return event_dict


def _as_json(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> str:
    """Return the line as JSON, in ASCII only: no stream refuses it, and no character of it ends a line."""
    return _JSON.encode(event_dict)


def _cleaned(arguments: Any) -> Any:
    if isinstance(arguments, tuple):
        return tuple(loggable_argument(argument) for argument in arguments)
    return loggable_argument(arguments)  # a lone mapping, for `%(name)s`


def _clean_arguments(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    if arguments := event_dict.get("positional_args"):
        event_dict["positional_args"] = _cleaned(arguments)
    return event_dict


def _drop_colour_codes(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    event_dict.pop("color_message", None)  # uvicorn's second copy of its message
    return event_dict


def _keep_to_one_line(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    blocks = {name: _indented(event_dict.pop(name)) for name in ("exception", "stack") if name in event_dict}
    return {_escaped(name): _escaped_value(value) for name, value in event_dict.items()} | blocks


def _escaped_value(value: object) -> object:
    return _escaped(value) if isinstance(value, str) else value  # containers are shown by repr, which escapes


def _escaped(text: str) -> str:
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def _indented(text: object) -> str:
    return "\n".join(f"    {_escaped(line)}" for line in str(text).split("\n"))

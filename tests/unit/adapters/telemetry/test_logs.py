import io
import json
import logging
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from photochanger.adapters.telemetry import logs
from photochanger.adapters.telemetry.logs import configure_logging
from photochanger.adapters.telemetry.redaction import MASK
from photochanger.adapters.telemetry.tracing import configure_tracing

pytestmark = pytest.mark.usefixtures("logging_restored")

CANARY = "c4n4ry-S3cret"
NEEDS_TWO_NUMBERS = "%d %d"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def json_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture(params=["json", "console"])
def output(request: pytest.FixtureRequest) -> io.StringIO:
    stream = io.StringIO()
    configure_logging("DEBUG", request.param, stream=stream)
    return stream


@pytest.fixture
def json_output() -> io.StringIO:
    stream = io.StringIO()
    configure_logging("DEBUG", "json", stream=stream)
    return stream


def _raise_with_secrets() -> None:
    local_variable = CANARY + "-local"
    cause = ConnectionError(f"cannot reach https://api.example/v1?key={CANARY}")
    cause.add_note(f"DATABASE_URL=postgresql://app:{CANARY}@db/{len(local_variable)}")
    raise RuntimeError(f"password={CANARY}") from cause


def _structlog_exception(*, exc_info: bool) -> None:
    try:
        _raise_with_secrets()
    except RuntimeError as error:
        if exc_info:
            structlog.get_logger("x").exception("it broke", error=error)
        else:
            structlog.get_logger("x").error("it broke: %s", error)


def _standard_exception() -> None:
    try:
        _raise_with_secrets()
    except RuntimeError:
        logging.getLogger("aiohttp.client").exception("it broke", extra={"headers": {"Cookie": CANARY}})


def ours() -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.get_logger("x")
    return logger


theirs = logging.getLogger


def _bound_context() -> None:
    with structlog.contextvars.bound_contextvars(password=CANARY, name=CANARY):
        structlog.get_logger("x").info("hello")


WAYS: dict[str, Callable[[], object]] = {
    "field": lambda: ours().info("hello", dslr_password=CANARY, name=CANARY, status=CANARY),
    "nested field": lambda: ours().debug("hello", form={"user_id": CANARY, "a": [{"key": CANARY}]}),
    "event": lambda: ours().info(f"connect postgresql://u:{CANARY}@h/d"),
    "argument": lambda: ours().info("connect %s", f"postgresql://u:{CANARY}@h/d"),
    "mapping argument": lambda: ours().info("form %s", {"profile": CANARY}),
    "bytes argument": lambda: ours().info("body %r", CANARY.encode()),
    "bytes field": lambda: ours().info("body", body=CANARY.encode(), parts=[CANARY.encode()]),
    "object field": lambda: ours().info("object", thing=io.BytesIO(CANARY.encode()), more=object()),
    "bound context": _bound_context,
    "exception": lambda: _structlog_exception(exc_info=True),
    "exception argument": lambda: _structlog_exception(exc_info=False),
    "standard argument": lambda: theirs("aiohttp.client").debug("conninfo %s", f"password={CANARY}"),
    "standard mapping": lambda: theirs("aiohttp.client").debug(
        "%(password)s %(n)d", {"password": CANARY, "n": 1}
    ),
    "standard nested": lambda: theirs("alembic").info("%s", [{"token": CANARY}, CANARY.encode()]),
    "standard bytes": lambda: theirs("asyncio").debug("got %r", CANARY.encode()),
    "standard extra": lambda: theirs("x").info("hello", extra={"api_key": CANARY, "raw": CANARY.encode()}),
    "standard exception": _standard_exception,
    "access log": lambda: theirs("uvicorn.access").info(
        '%s - "%s %s HTTP/%s" %d',
        "1.2.3.4:5",
        "POST",
        f"/ingest/slot-001?key={CANARY}&name={CANARY}",
        "1.1",
        200,
    ),
    "colour message": lambda: theirs("uvicorn.error").info("up", extra={"color_message": CANARY}),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_no_secret_gets_out_at_debug(
    way: Callable[[], object], output: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    way()
    assert output.getvalue()
    assert CANARY not in output.getvalue()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_a_record_that_cannot_be_formatted_shows_nothing_of_its_arguments(
    fmt: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = io.StringIO()
    configure_logging("DEBUG", fmt, stream=stream)
    logging.getLogger("x").info(NEEDS_TWO_NUMBERS, CANARY)
    (line,) = json_lines(stream)
    assert line["event"] == "a log record could not be written"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_line_is_a_json_object(way: Callable[[], object], json_output: io.StringIO) -> None:
    way()
    (line,) = json_lines(json_output)
    assert {"event", "level"} <= line.keys()


def test_a_line_has_a_utc_time_a_level_and_a_logger(json_output: io.StringIO) -> None:
    structlog.get_logger("photochanger.worker").warning("slow", duration_ms=12.5)
    logging.getLogger("uvicorn.error").warning("slow too")
    own, foreign = json_lines(json_output)
    assert own["logger"] == "photochanger.worker"
    assert own["duration_ms"] == 12.5
    assert foreign["logger"] == "uvicorn.error"
    for line in (own, foreign):
        assert line["level"] == "warning"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["timestamp"])


def test_the_context_of_the_job_is_in_every_line(json_output: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(job_id="j", request_id="r", slot_id="slot-001"):
        structlog.get_logger("x").info("ours")
        logging.getLogger("aiohttp.client").info("theirs")
    structlog.get_logger("x").info("later")
    ours, theirs, later = json_lines(json_output)
    for line in (ours, theirs):
        assert (line["job_id"], line["request_id"], line["slot_id"]) == ("j", "r", "slot-001")
    assert "job_id" not in later


def test_the_current_span_is_in_every_line(json_output: io.StringIO) -> None:
    tracing = configure_tracing(version="1")
    with tracing.tracer.start_as_current_span("x") as span:
        structlog.get_logger("x").info("ours")
        logging.getLogger("y").info("theirs")
    logging.getLogger("y").info("outside")
    ours, theirs, outside = json_lines(json_output)
    context = span.get_span_context()
    for line in (ours, theirs):
        assert line["trace_id"] == f"{context.trace_id:032x}"
        assert line["span_id"] == f"{context.span_id:016x}"
    assert "trace_id" not in outside


@pytest.mark.parametrize("separator", ["\n", "\r", "\r\n", "\x0b", "\x85", "\u2028", "\u2029"])
def test_nobody_can_forge_a_line(separator: str, output: io.StringIO) -> None:
    forged = f"x{separator}2026-01-01T00:00:00Z [info] all is well \x1b[2K"
    structlog.get_logger("x").info(forged, filename=forged, **{forged: 1, "nested": [forged]})
    logging.getLogger("y").info("%s", forged, extra={"filename_": forged})
    assert len(output.getvalue().splitlines()) == 2
    assert "\x1b" not in output.getvalue()


@pytest.mark.parametrize("text", ["Снимок готов", "\u2028", "\x85"])
def test_a_line_of_json_is_ascii_whatever_it_says(json_output: io.StringIO, text: str) -> None:
    structlog.get_logger("x").info(text, **{text: [text, 2**80, True, None, 1.5]})
    logging.getLogger("y").info("%s", text)
    assert json_output.getvalue().isascii()
    ours, theirs = json_lines(json_output)
    assert (ours["event"], ours[text]) == (text, [text, 2**80, True, None, 1.5])
    assert theirs["event"] == text


def test_an_error_message_cannot_forge_a_line(output: io.StringIO) -> None:
    error = ValueError("x\n2026-01-01T00:00:00Z [info] all is well\r[info] too\x1b[2K")
    structlog.get_logger("x").error("it broke", exc_info=error)
    assert not any(line.startswith(("2026-01-01", "[info]")) for line in output.getvalue().splitlines())
    assert "\x1b" not in output.getvalue()


def test_a_traceback_shows_where_but_no_local_variables(output: io.StringIO) -> None:
    _structlog_exception(exc_info=True)
    assert "Traceback (most recent call last)" in output.getvalue()
    assert "_raise_with_secrets" in output.getvalue()
    assert f"{CANARY}-local" not in output.getvalue()
    assert MASK in output.getvalue()


def test_a_stack_is_shown_on_request(output: io.StringIO) -> None:
    structlog.get_logger("x").info("here", stack_info=True)
    assert "test_a_stack_is_shown_on_request" in output.getvalue()


def test_the_record_is_not_changed_for_other_handlers(json_output: io.StringIO) -> None:
    seen: list[logging.LogRecord] = []

    class Other(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    logging.getLogger().addHandler(Other())
    logging.getLogger("x").info("%r", b"abc")
    assert seen[0].args == (b"abc",)
    assert json_lines(json_output)[0]["event"] == "'<3 bytes>'"


def test_the_level_holds_for_all_loggers() -> None:
    stream = io.StringIO()
    configure_logging("warning", "json", stream=stream)
    structlog.get_logger("x").info("no")
    logging.getLogger("y").info("no")
    structlog.get_logger("x").warning("yes")
    logging.getLogger("y").warning("yes")
    assert [line["event"] for line in json_lines(stream)] == ["yes", "yes"]


def test_the_pool_does_not_warn_of_the_same_again_and_again(
    json_output: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("psycopg.pool")

    def warn_of_both() -> list[str]:
        logger.warning("error connecting: %s", "refused")
        logger.warning("error connecting: %s", "refused once more")
        logger.warning("discarding a connection")
        return [line["event"] for line in json_lines(json_output)]

    first = ["error connecting: refused", "discarding a connection"]
    assert warn_of_both() == first
    assert warn_of_both() == first
    monkeypatch.setattr(logs, "AGAIN_AFTER_SEC", 0.0)
    assert len(warn_of_both()) == 2 + 3


def test_a_terminal_gets_the_console_format_and_a_file_gets_json() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        configure_logging(stream=stream)
        structlog.get_logger("x").info("hello", job_id="j")
    assert "hello" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    assert json_lines(file)[0]["job_id"] == "j"


def test_logs_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "json")
    structlog.get_logger("x").info("hello")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "hello"


def test_handlers_that_others_have_installed_are_taken_away() -> None:
    noisy = logging.getLogger("uvicorn.access")
    noisy.addHandler(logging.StreamHandler(sys.stdout))
    noisy.propagate = False
    stream = io.StringIO()
    configure_logging("INFO", "json", stream=stream)
    noisy.info("once")
    assert [line["event"] for line in json_lines(stream)] == ["once"]


def test_warnings_are_logged(json_output: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn(f"password={CANARY}", UserWarning, stacklevel=1)
    (line,) = json_lines(json_output)
    assert line["logger"] == "py.warnings"
    assert CANARY not in line["event"]


def test_a_closed_stream_harms_nobody() -> None:
    stream = io.StringIO()
    configure_logging("INFO", "json", stream=stream)
    stream.close()
    structlog.get_logger("x").info("hello")


@pytest.mark.parametrize(("level", "fmt"), [("LOUD", "json"), ("INFO", "xml")])
def test_unknown_levels_and_formats_are_refused(level: str, fmt: str) -> None:
    with pytest.raises(ValueError, match=r"level|LogFormat"):
        configure_logging(level, fmt)


def test_handlers_of_others_get_masked_lines_from_us_too(json_output: io.StringIO) -> None:
    seen: list[str] = []

    class Other(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(str(record.__dict__))

    logging.getLogger().addHandler(Other())
    structlog.get_logger("x").info("hello", password=CANARY)
    (record,) = seen
    assert CANARY not in record

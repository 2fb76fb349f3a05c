"""Every error has a status, one code, and its words in both languages."""

import ast
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import photochanger
from photochanger.domain.errors import (
    InvalidTransition,
    Overloaded,
    PayloadTooLarge,
    PhotoChangerError,
    Problem,
    ValidationFailed,
    error_classes,
)
from photochanger.domain.job import JobId
from photochanger.entrypoints.http.documentation import errors_markdown
from photochanger.entrypoints.http.errors import STATUS_OF, JobFailed, describe, status_of
from photochanger.entrypoints.http.messages import (
    RUSSIAN_SENTENCES,
    RUSSIAN_TITLES,
    Language,
    preferred_language,
    sentence,
    title_of,
)

SOURCE = Path(inspect.getfile(photochanger)).parent
LEAVES = [cls for cls in error_classes() if "code" in cls.__dict__]


@pytest.mark.parametrize("error", LEAVES)
def test_every_error_has_a_status(error: type[PhotoChangerError]) -> None:
    assert 400 <= status_of(error) < 600


def test_every_code_belongs_to_one_error() -> None:
    codes = [cls.code for cls in LEAVES]
    assert len(codes) == len(set(codes))


def test_no_row_of_the_table_is_superfluous() -> None:
    for error, status in STATUS_OF.items():
        inherited = next((STATUS_OF[cls] for cls in error.__mro__[1:] if cls in STATUS_OF), None)
        assert inherited != status, error


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("error", LEAVES)
def test_every_error_has_a_title_in_every_language(
    error: type[PhotoChangerError], language: Language
) -> None:
    assert title_of(error, language)
    assert error.code in RUSSIAN_TITLES


def test_no_translation_belongs_to_nothing() -> None:
    assert set(RUSSIAN_TITLES) == {cls.code for cls in LEAVES}
    raised = set(_sentences())
    assert set(RUSSIAN_SENTENCES) <= raised | {
        "{name} must be given at most once",
        "The template is in use by {slots:list}",
        # raised by the media folder, by a name or where the system's number says so
        "The media folder is not there: is its disk mounted?",
        "There is no room in the media store",
    }


def test_every_sentence_that_the_http_door_raises_has_a_translation() -> None:
    http = set(_sentences(SOURCE / "entrypoints" / "http"))
    of_the_server_itself = {"Cannot listen on {} port {}: {}", "The endpoint {} declares no permission"}
    untranslated = {text for text in http - of_the_server_itself if sentence(text, Language.RU) == text}
    assert not untranslated


def test_every_problem_of_a_field_has_a_translation() -> None:
    folders = ("domain", "application", "entrypoints/documents", "entrypoints/http")
    messages = {text for folder in folders for text in _messages(SOURCE / folder)}
    composed_of_words_below = {"must be {}", "must be {} {}", "must have {} {} characters"}
    samples = {text.replace("{}", "length") for text in messages - composed_of_words_below}
    assert len(samples) > 20
    assert not {text for text in samples if sentence(text, Language.RU) == text}


@pytest.mark.parametrize(
    "words", ["a string", "a whole number or null", "true or false", "a list", "an object"]
)
def test_what_a_field_must_be_is_told_in_russian(words: str) -> None:
    assert sentence(f"must be {words}", Language.RU).startswith("должно быть ")


def _messages(folder: Path) -> Iterator[str]:
    """Yield what every problem of a field that is made says, with `{}` where values stand."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.keyword(arg="message", value=value):
                    yield from _plain(value)
                case ast.Assign(targets=[ast.Name(id="message")], value=value):
                    yield from _plain(value)


def _plain(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str() as text):
            yield text
        case ast.JoinedStr(values=values):
            yield "".join(
                value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else "{}"
                for value in values
            )


def _sentences(folder: Path = SOURCE) -> Iterator[str]:
    """Yield what every error that is made says, with `{…}` where values stand."""
    names = {cls.__name__ for cls in error_classes()}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id=name), args=arguments) if name in names:
                    yield from _texts(arguments)
                case ast.Call(func=ast.Attribute(attr="__init__"), args=[ast.BoolOp(values=values)]):
                    yield from _texts(values)


def _texts(nodes: Sequence[ast.expr]) -> Iterator[str]:
    for node in nodes:
        yield from _text(node)


def _text(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str() as text):
            yield text
        case ast.JoinedStr():
            for plain in _plain(node):
                yield from _matching_template(plain)


def _matching_template(plain: str) -> Iterator[str]:
    """Yield the catalogue's template of the same words, else the words themselves."""
    found = [key for key in RUSSIAN_SENTENCES if _without_names(key) == plain]
    yield from found or [plain]


def _without_names(template: str) -> str:
    pieces = template.split("{")
    return pieces[0] + "".join("{}" + piece.partition("}")[2] for piece in pieces[1:])


def test_values_keep_their_place_in_the_translation() -> None:
    error = PayloadTooLarge(50_000_000)
    assert describe(error, Language.RU).detail == "Файл больше допустимых 50 МБ"
    assert describe(error, Language.EN).detail == "The upload is larger than the 50 MB that are allowed"


def test_a_sentence_without_a_translation_stays_as_it_is() -> None:
    assert sentence("Nobody has translated this", Language.RU) == "Nobody has translated this"


def test_what_applies_to_an_error_is_in_its_description() -> None:
    failed = JobFailed(Overloaded(retry_after_sec=7), JobId("0" * 32), "overloaded")
    problem = describe(failed.error, Language.EN, about=failed)
    assert (problem.status, problem.retry_after_sec) == (503, 7)
    assert (problem.job_id, problem.failure_reason) == ("0" * 32, "overloaded")


def test_all_problems_of_a_configuration_are_told() -> None:
    problem = Problem(field="size_limit_mb", code="out_of_range", message="must be between 1 and 50")
    assert describe(ValidationFailed([problem]), Language.EN).errors == [problem]


def test_an_internal_error_has_the_status_of_a_defect() -> None:
    assert status_of(InvalidTransition) == 500


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", "en"),
        ("ru", "ru"),
        ("ru-RU,ru;q=0.9,en;q=0.8", "ru"),
        ("en-GB, ru;q=0.5", "en"),
        ("de, ru;q=0.1", "ru"),
        ("en;q=0, ru;q=0", "en"),
        ("en;q=0.5, RU;q=0.6", "ru"),
        (";;;,,,q=,ru;q=x", "ru"),
    ],
)
def test_the_preferred_language_is_taken(header: str, expected: str) -> None:
    assert preferred_language(header) == expected


def test_the_contract_lists_every_error() -> None:
    written = Path(__file__).parents[4] / "contracts" / "errors.md"
    assert written.read_text(encoding="utf-8") == errors_markdown(), "run: make contracts"

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from importlib.metadata import EntryPoint
from io import BytesIO

import pytest

from photochanger.adapters.gemini import GeminiProvider
from photochanger.adapters.gemini.operations import EDIT_IMAGE
from photochanger.application.ports.providers import ImageProvider
from photochanger.domain.errors import (
    ProviderError,
    ProviderMisconfigured,
    ProviderModelGone,
    ProviderQuotaExhausted,
    ValidationFailed,
)
from photochanger.testing.provider_requests import a_request, answer

pytestmark = pytest.mark.anyio

KEY = "AQ.the-key"
PROMPT = {"prompt": "as a comic"}


@asynccontextmanager
async def provided(**variables: str) -> AsyncIterator[ImageProvider]:
    provider = GeminiProvider.from_variables(variables)
    yield provider
    await provider.close()


@asynccontextmanager
async def a_server(reply: bytes, *, reads_on: bool = False) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Listen on a port, keep the heads of requests, and answer at once; then hang up, or read to the end."""
    heads: list[bytes] = []
    serving: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(reply)
        with suppress(ConnectionError):
            await writer.drain()
            while reads_on and await reader.read(100_000):
                pass
            writer.close()
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], heads
        await asyncio.gather(*serving)


def test_the_entry_point_makes_a_provider_of_its_name() -> None:
    named = "photochanger.adapters.gemini:GeminiProvider.from_variables"
    entry = EntryPoint("gemini", named, "photochanger.providers")
    assert entry.load()({}).description.name == entry.name


def test_nothing_at_all_is_no_problem() -> None:
    assert not GeminiProvider.from_variables({}).description.is_configured
    assert not GeminiProvider.from_variables({"GEMINI_API_KEY": " "}).description.is_configured


@pytest.mark.parametrize("key", ["AIzaSyA-x_1", "AQ.Ab8_x", "anything/else+="])
def test_a_key_of_any_kind_will_do(key: str) -> None:
    assert GeminiProvider.from_variables({"GEMINI_API_KEY": f" {key}\n"}).description.is_configured


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GEMINI_API_KEY", "two words"),
        ("GEMINI_API_KEY", "line\r\nx: y"),
        ("GEMINI_API_KEY", "ключ"),
        ("GEMINI_BASE_URL", "http://gemini.example.org"),
        ("GEMINI_BASE_URL", "ftp://127.0.0.1"),
        ("GEMINI_BASE_URL", "https://user:secret@gemini.example.org"),
        ("GEMINI_BASE_URL", "https://gemini.example.org/?x=1"),
        ("GEMINI_API_VERSION", "v1/../admin"),
        ("GEMINI_API_VERSION", "latest"),
    ],
)
def test_a_bad_variable_is_named_and_its_value_is_not(name: str, value: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        GeminiProvider.from_variables({name: value})
    (problem,) = caught.value.problems
    assert problem.field == name
    assert value not in str(caught.value)


def test_all_bad_variables_are_named() -> None:
    variables = {"GEMINI_API_KEY": "a b", "GEMINI_BASE_URL": "x", "GEMINI_API_VERSION": "x"}
    with pytest.raises(ValidationFailed) as caught:
        GeminiProvider.from_variables(variables)
    assert {problem.field for problem in caught.value.problems} == set(variables)


def test_the_description_says_on_which_terms() -> None:
    description = GeminiProvider.from_variables({}).description
    requirements = description.image_requirements
    assert description.least_useful_sec == 10
    assert not description.takes_links
    assert (requirements.max_bytes + description.max_templates_bytes) * 4 / 3 < 18_000_000


async def test_without_a_key_nothing_is_sent() -> None:
    async with (
        a_server(b"") as (port, heads),
        provided(GEMINI_BASE_URL=f"http://127.0.0.1:{port}") as provider,
    ):
        with pytest.raises(ProviderMisconfigured, match="GEMINI_API_KEY is not set"):
            await answer(provider, a_request(EDIT_IMAGE, PROMPT))
    assert heads == []


async def test_a_retired_model_is_not_asked_and_the_next_one_can_be() -> None:
    async with (
        a_server(b"HTTP/1.1 500 x\r\n\r\n") as (port, heads),
        provided(GEMINI_API_KEY=KEY, GEMINI_BASE_URL=f"http://127.0.0.1:{port}") as provider,
    ):
        models = ("gemini-2.5-flash-image", "gemini-nano-banana-2.1")
        request = a_request(EDIT_IMAGE, {**PROMPT, "models": models})
        with pytest.raises(ProviderModelGone, match="2 October 2026"):
            await answer(provider, request)
        assert heads == []
        with pytest.raises(ProviderError):
            await answer(provider, replace(request, model=models[1]))
    assert heads[0].startswith(b"POST /v1beta/models/gemini-nano-banana-2.1:generateContent HTTP/1.1\r\n")


async def test_a_path_and_a_version_are_kept() -> None:
    async with a_server(b"HTTP/1.1 500 x\r\n\r\n") as (port, heads):
        variables = {"GEMINI_BASE_URL": f"http://localhost:{port}/via/", "GEMINI_API_VERSION": "v1"}
        async with provided(GEMINI_API_KEY=KEY, **variables) as provider:
            with pytest.raises(ProviderError):
                await answer(provider, a_request(EDIT_IMAGE, PROMPT))
    assert heads[0].startswith(b"POST /via/v1/models/")


@pytest.mark.parametrize(("seconds", "told"), [(2, b"10"), (47.2, b"48")])
async def test_the_server_is_told_how_much_time_there_is(seconds: float, told: bytes) -> None:
    async with (
        a_server(b"HTTP/1.1 500 x\r\n\r\n") as (port, heads),
        provided(GEMINI_API_KEY=KEY, GEMINI_BASE_URL=f"http://127.0.0.1:{port}") as provider,
    ):
        with pytest.raises(ProviderError):
            await answer(provider, a_request(EDIT_IMAGE, PROMPT, seconds=seconds))
    head = heads[0].lower().split(b"\r\n")
    assert b"x-server-timeout: " + told in head
    assert b"x-goog-api-key: " + KEY.lower().encode() in head
    assert b"content-type: application/json" in head


async def test_where_nobody_listens_nothing_is_billed() -> None:
    async with a_server(b"") as (port, _heads):
        pass
    async with provided(GEMINI_API_KEY=KEY, GEMINI_BASE_URL=f"http://127.0.0.1:{port}") as provider:
        with pytest.raises(ProviderError, match="could not be reached") as caught:
            await answer(provider, a_request(EDIT_IMAGE, PROMPT))
    assert not caught.value.maybe_billed


async def test_an_answer_that_comes_before_all_is_sent_counts() -> None:
    early = b"HTTP/1.1 429 x\r\nContent-Length: 0\r\nRetry-After: 23\r\n\r\n"
    async with (
        a_server(early, reads_on=True) as (port, _heads),
        provided(GEMINI_API_KEY=KEY, GEMINI_BASE_URL=f"http://127.0.0.1:{port}") as provider,
    ):
        request = a_request(EDIT_IMAGE, PROMPT)
        large = replace(request.photo, file=BytesIO(bytes(7_000_000)), size_bytes=7_000_000)
        with pytest.raises(ProviderQuotaExhausted) as caught:
            await answer(provider, replace(request, photo=large))
    assert caught.value.retry_after_sec == 23


async def test_after_the_deadline_nothing_is_sent() -> None:
    async with (
        a_server(b"HTTP/1.1 500 x\r\n\r\n") as (port, heads),
        provided(GEMINI_API_KEY=KEY, GEMINI_BASE_URL=f"http://127.0.0.1:{port}") as provider,
    ):
        with pytest.raises(ProviderError, match="no time left") as caught:
            await answer(provider, a_request(EDIT_IMAGE, PROMPT, seconds=-1))
    assert not caught.value.maybe_billed
    assert heads == []


async def test_the_usual_proxy_is_used_and_does_not_see_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_server(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as (port, heads):
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with provided(GEMINI_API_KEY=KEY, GEMINI_BASE_URL="https://gemini.invalid") as provider:
            with pytest.raises(ProviderError) as caught:
                await answer(provider, a_request(EDIT_IMAGE, PROMPT))
    assert not caught.value.maybe_billed
    assert heads[0].startswith(b"CONNECT gemini.invalid:443 ")
    assert KEY.encode() not in b"".join(heads)


async def test_no_proxy_is_used_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_server(b"HTTP/1.1 500 x\r\n\r\n") as (port, heads):
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        async with provided(GEMINI_API_KEY=KEY, GEMINI_BASE_URL=f"http://127.0.0.1:{port}") as provider:
            with pytest.raises(ProviderError, match="500"):
                await answer(provider, a_request(EDIT_IMAGE, PROMPT))
    assert len(heads) == 1


async def test_a_photo_that_is_shorter_than_it_says_is_not_billed() -> None:
    async with (
        a_server(b"", reads_on=True) as (port, _heads),
        provided(GEMINI_API_KEY=KEY, GEMINI_BASE_URL=f"http://127.0.0.1:{port}") as provider,
    ):
        request = a_request(EDIT_IMAGE, PROMPT)
        short = replace(request.photo, file=BytesIO(b"short"))
        with pytest.raises(ProviderError) as caught:
            await answer(provider, replace(request, photo=short))
    assert not caught.value.maybe_billed

import asyncio
from dataclasses import replace
from importlib.metadata import EntryPoint
from io import BytesIO
from typing import Any

import pytest

from photochanger.adapters.outbound_http import Answer
from photochanger.adapters.turbotext import TurbotextProvider
from photochanger.adapters.turbotext.replies import read_reply, snippet
from photochanger.application.ports.images import PreparedImage
from photochanger.application.ports.providers import TemplateImage
from photochanger.domain.errors import ProviderError, ProviderMisconfigured, ValidationFailed
from photochanger.domain.image import ImageType
from photochanger.domain.operation import Operation, ParameterValue
from photochanger.testing.provider_requests import a_photo, a_request


def https_link(_image: PreparedImage) -> str:
    return "https://booth.example.org/media/x.jpg"


def operation(name: str) -> Operation:
    found = TurbotextProvider(api_key="k").description.operation(name)
    assert found is not None
    return found


def problems(name: str, **params: ParameterValue) -> list[tuple[str, str]]:
    needed: dict[str, ParameterValue] = {"content": "x"} if name == "generate_image2image" else {}
    roles = [role.role for role in operation(name).template_roles]
    found = operation(name).problems(needed | params, roles, "")
    return [(problem.field, problem.code) for problem in found]


class TestDescription:
    def test_the_terms(self) -> None:
        description = TurbotextProvider(api_key="k").description
        assert (description.name, description.is_configured, description.takes_links) == (
            "turbotext",
            True,
            True,
        )
        assert description.least_useful_sec == 6
        assert description.image_requirements.types == {ImageType.JPEG, ImageType.PNG}
        assert description.image_requirements.max_side_px == 2048

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *(("strength", value) for value in (0, 80)),
            *(("seed", value) for value in (1, 10_000_000_000)),
            *(("scale", value) for value in (0.1, 20, 7.5)),
            ("negative_prompt", ""),
            ("negative_prompt", " ".join(["слово"] * 80)),
            ("negative_prompt", "  two\n words  "),
            ("original_language", "en"),
            ("user_id", 1),
        ],
    )
    def test_values_within_the_bounds(self, name: str, value: ParameterValue) -> None:
        assert problems("generate_image2image", **{name: value}) == []

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *(("strength", value) for value in (-1, 81, 40.5, "40")),
            *(("seed", value) for value in (0, 10_000_000_001)),
            *(("scale", value) for value in (0.09, 20.1, float("nan"))),
            ("negative_prompt", " ".join(["word"] * 81)),
            ("original_language", "russian"),
            ("user_id", 0),
            ("content", ""),
            ("webhook", "https://x.example"),
        ],
    )
    def test_values_beyond_them(self, name: str, value: Any) -> None:
        [(field, _code)] = problems("generate_image2image", **{name: value})
        assert field == f"params.{name}"

    def test_an_endless_negative_prompt_is_judged_at_once(self) -> None:
        assert problems("generate_image2image", negative_prompt=" a" * 1999 + "\n") != []

    @pytest.mark.parametrize(("name", "role"), [("mix_images", "style"), ("deepfake_photo", "scene")])
    def test_the_template_that_is_needed(self, name: str, role: str) -> None:
        [problem] = operation(name).problems({}, [], "")
        assert problem.code == "required"
        assert role in problem.message


class TestVariables:
    def test_none_are_needed(self) -> None:
        assert not TurbotextProvider.from_variables({}).description.is_configured
        assert not TurbotextProvider.from_variables({"TURBOTEXT_API_KEY": " "}).description.is_configured

    def test_a_key_is_enough(self) -> None:
        assert TurbotextProvider.from_variables({"TURBOTEXT_API_KEY": "key\n"}).description.is_configured

    @pytest.mark.parametrize(
        ("variables", "fields"),
        [
            ({"TURBOTEXT_API_KEY": "два слова"}, ["TURBOTEXT_API_KEY"]),
            ({"TURBOTEXT_API_KEY": "hidden key"}, ["TURBOTEXT_API_KEY"]),
            ({"TURBOTEXT_API_KEY": "hidden\r\nX: y"}, ["TURBOTEXT_API_KEY"]),
            ({"TURBOTEXT_BASE_URL": "http://hidden.example"}, ["TURBOTEXT_BASE_URL"]),
            (
                {"TURBOTEXT_API_KEY": "hidden\tkey", "TURBOTEXT_BASE_URL": "hidden"},
                ["TURBOTEXT_API_KEY", "TURBOTEXT_BASE_URL"],
            ),
        ],
    )
    def test_all_that_is_wrong_is_told_without_the_values(
        self, variables: dict[str, str], fields: list[str]
    ) -> None:
        with pytest.raises(ValidationFailed) as caught:
            TurbotextProvider.from_variables(variables)
        assert [problem.field for problem in caught.value.problems] == fields
        assert "hidden" not in str(caught.value)

    def test_the_entry_point_needs_nothing_to_make_it(self) -> None:
        target = "photochanger.adapters.turbotext:TurbotextProvider.from_variables"
        entry = EntryPoint("turbotext", target, "photochanger.providers")
        assert entry.load()({}).description.name == entry.name


@pytest.mark.anyio
class TestBeforeAnythingIsSent:
    """None of these may be answered by the network: the address is one that nobody can call."""

    @pytest.fixture
    def provider(self) -> TurbotextProvider:
        return TurbotextProvider(api_key="k", base_url="https://turbotext.invalid")

    async def test_without_a_key(self) -> None:
        request = a_request(operation("generate_image2image"), link=https_link)
        with pytest.raises(ProviderMisconfigured, match="TURBOTEXT_API_KEY"):
            await TurbotextProvider(api_key=None).transform(request, BytesIO())

    @pytest.mark.parametrize("url", [None, "http://booth.example.org/x.jpg", "file:///x.jpg", ""])
    async def test_without_a_link_that_can_be_used(
        self, provider: TurbotextProvider, url: str | None
    ) -> None:
        request = a_request(operation("generate_image2image"), link=lambda _: url)
        with pytest.raises(ProviderMisconfigured, match="PUBLIC_BASE_URL"):
            await provider.transform(request, BytesIO())

    async def test_without_a_link_to_the_template(self, provider: TurbotextProvider) -> None:
        request = replace(
            a_request(operation("mix_images"), link=https_link),
            templates=[TemplateImage(role="style", image=a_photo())],
        )
        with pytest.raises(ProviderMisconfigured, match="PUBLIC_BASE_URL"):
            await provider.transform(request, BytesIO())

    async def test_without_the_template(self, provider: TurbotextProvider) -> None:
        request = replace(a_request(operation("mix_images"), link=https_link), templates=[])
        with pytest.raises(ProviderMisconfigured, match="template"):
            await provider.transform(request, BytesIO())

    async def test_without_time(self, provider: TurbotextProvider) -> None:
        request = a_request(operation("generate_image2image"), seconds=-0.1, link=https_link)
        with pytest.raises(ProviderError, match="no time") as caught:
            await provider.transform(request, BytesIO())
        assert not caught.value.maybe_billed

    async def test_without_a_way_there(self) -> None:
        provider = TurbotextProvider(api_key="k", base_url="https://127.0.0.1:1")
        request = a_request(operation("generate_image2image"), link=https_link)
        with pytest.raises(ProviderError, match="reached") as caught:
            await provider.transform(request, BytesIO())
        assert not caught.value.maybe_billed
        await provider.close()

    async def test_a_prompt_that_is_no_text_is_no_crash(self) -> None:
        provider = TurbotextProvider(api_key="k", base_url="https://127.0.0.1:1")
        request = a_request(operation("generate_image2image"), {"content": "\ud800"}, link=https_link)
        with pytest.raises(ProviderError, match="reached"):
            await provider.transform(request, BytesIO())
        await provider.close()

    async def test_to_a_host_inside(self) -> None:
        provider = TurbotextProvider(api_key="k", base_url="https://10.0.0.1")
        request = a_request(operation("generate_image2image"), link=https_link)
        async with asyncio.timeout(2):
            with pytest.raises(ProviderMisconfigured, match="TURBOTEXT_BASE_URL"):
                await provider.transform(request, BytesIO())
        await provider.close()


class TestReplies:
    @pytest.mark.parametrize(
        ("body", "queue_id"),
        [
            (b'{"success":true,"queueid":7}', "7"),
            (b'{"success":"true","queueid":"7"}', "7"),
            (b'{"success":1,"queueid":" a-7 ","limits":{"foto_limit":"x"}}', "a-7"),
            (b'{"success":true,"queueid":""}', None),
            (b'{"success":true,"queueid":null}', None),
            (b'{"success":true,"queueid":' + b"9" * 4000 + b"}", None),
            (b'{"success":true,"queueid":"' + b"9" * 4000 + b'"}', None),
        ],
    )
    def test_the_number_in_the_queue(self, body: bytes, queue_id: str | None) -> None:
        reply = self.read(body)
        assert reply is not None
        assert reply.queue_id == queue_id

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"null",
            b"[]",
            b"{}",
            b'{"error":""}',
            b"<html></html>",
            b'{"success":"perhaps"}',
            b'{"success":NaN}',
            b'{"success":true,"queueid":[]}',
            b'{"success":true,"data":{"prompt":"x"],"width":1}}',
            b'{"success":true,"data":' + b"[" * 100_000,
            b'{"success":true,"action":"\xff"}',
            b'{"success":true}{"success":true}',
        ],
    )
    def test_what_cannot_be_read(self, body: bytes) -> None:
        assert self.read(body) is None

    @pytest.mark.parametrize(
        ("body", "location"),
        [
            (b'{"success":true,"uploaded_image":"a","data":{"uploaded_image":"b","image":["c"]}}', "a"),
            (b'{"success":true,"uploaded_image":" ","data":{"uploaded_image":"b","image":["c"]}}', "b"),
            (
                b'{"success":true,"uploaded_image":null,"data":{"uploaded_image":false,"image":["c","d"]}}',
                "c",
            ),
            (b'{"success":true,"data":{"image":"c"}}', "c"),
            (b'{"success":true,"data":{"image":[]}}', None),
            (b'{"success":true,"data":{"image":[{}]}}', None),
            (b'{"success":true,"data":[]}', None),
            (b'{"success":true,"data":"x"}', None),
            (b'{"success":true}', None),
        ],
    )
    def test_where_the_result_is(self, body: bytes, location: str | None) -> None:
        reply = self.read(body)
        assert reply is not None
        assert reply.location == location

    @pytest.mark.parametrize(
        ("told", "forbidden"),
        [
            (b"true", True),
            (b"1", True),
            (b'"True"', True),
            (b"false", False),
            (b'"False"', False),
            (b"null", False),
        ],
    )
    def test_what_is_forbidden(self, told: bytes, forbidden: bool) -> None:
        reply = self.read(b'{"success":true,"data":{"forbidden_content":' + told + b"}}")
        assert reply is not None
        assert reply.is_forbidden is forbidden

    def read(self, body: bytes) -> Any:
        return read_reply(Answer(200, {}, bytearray(body)))


class TestSnippet:
    @pytest.mark.parametrize(
        ("error", "told"),
        [
            ("face_not_found", "face_not_found"),
            ("url_error https://booth.example.org/media/x.jpg", "url_error …"),
            ("cannot get booth.example.org/media/x.jpg", "cannot get …"),
            ("bad content: Guests as KNIGHTS", "bad content: … as …"),
            ("line\r\nbreak\x00\x1b[31m", "line break [31m"),
            (None, "null"),
            ({"code": 7}, '{"code":7}'),
            ("no such key as the-api-key", "no such … as …-…-…"),
        ],
    )
    def test_nothing_that_was_sent_is_told(self, error: object, told: str) -> None:
        assert snippet(error, ("guests as knights", "the-api-key")) == told

    def test_it_is_short(self) -> None:
        assert len(snippet("word " * 100_000, ())) == 200
        assert snippet("x" * 100_000, ()) == "…"

"""Turbotext as it can go wrong, row by row: which fault it becomes, and that nobody pays twice."""

import asyncio
import logging
from collections.abc import AsyncIterator
from io import BytesIO

import pytest

from photochanger.adapters.turbotext import TurbotextProvider
from photochanger.domain.errors import ProviderFault, ProviderQuotaExhausted
from photochanger.testing import photos
from photochanger.testing.fake_turbotext import FAULTS, FakeTurbotext
from photochanger.testing.images import difference
from photochanger.testing.links import Links
from photochanger.testing.provider_faults import Row
from photochanger.testing.provider_requests import a_request, answer

pytestmark = [pytest.mark.anyio, pytest.mark.system]

PROMPT = "превратить гостя в рыцаря"


@pytest.fixture
async def provider(turbotext: FakeTurbotext) -> AsyncIterator[TurbotextProvider]:
    provider = TurbotextProvider(
        api_key=turbotext.api_key, base_url=turbotext.base_url, poll_sec=0.02, silence_sec=0.4
    )
    yield provider
    await provider.close()


@pytest.mark.parametrize("row", FAULTS, ids=lambda row: row.name)
async def test_every_row(
    row: Row,
    turbotext: FakeTurbotext,
    provider: TurbotextProvider,
    links: Links,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    turbotext.script.append(row.name)
    [operation, *_] = provider.description.operations
    seconds = 0.8 if row.takes_all_time else 20
    request = a_request(operation, {"content": PROMPT}, seconds=seconds, link=links)

    if row.expected is None:
        picture = photos.decoded(await answer(provider, request))
        assert difference(picture, photos.scene(600, 400)) > 20
    else:
        with pytest.raises(ProviderFault) as caught:
            await answer(provider, request)
        assert (type(caught.value), caught.value.maybe_billed) == (row.expected, row.maybe_billed)
        told = f"{caught.value!r} {caught.value.__cause__!r} {caplog.text}"
        assert not any(word in told for word in ("127.0.0.1", "size_error http", "рыцаря", turbotext.api_key))
    if row.takes_all_time:
        assert asyncio.get_running_loop().time() >= request.deadline - 0.001
    elif row.name.startswith(("create:", "result:", "download:")):
        assert set(turbotext.gone_wrong) == {row.name.split(":")[1]}
    assert turbotext.created == 1
    assert turbotext.elsewhere == 0, "a redirect was followed"


@pytest.mark.parametrize(("name", "seconds"), [("create:429", 1), ("create:429_without_a_time", 60)])
async def test_when_there_is_room_again(
    name: str, seconds: float, turbotext: FakeTurbotext, provider: TurbotextProvider, links: Links
) -> None:
    turbotext.script.append(name)
    with pytest.raises(ProviderQuotaExhausted) as caught:
        await provider.transform(a_request(provider.description.operations[0], link=links), BytesIO())
    assert caught.value.retry_after_sec == seconds


async def test_the_key_goes_along_with_a_download_only_where_it_is_asked_for(
    turbotext: FakeTurbotext, provider: TurbotextProvider, links: Links
) -> None:
    turbotext.script.append("download:needs_key")
    await answer(provider, a_request(provider.description.operations[0], link=links))
    await answer(provider, a_request(provider.description.operations[0], link=links))
    assert [download.had_key for download in turbotext.downloads] == [False, True, False]


async def test_many_faults_leave_the_provider_as_it_was(
    turbotext: FakeTurbotext, provider: TurbotextProvider, links: Links
) -> None:
    turbotext.script += ["create:cut_before_answer", "create:500", "result:401", "download:cut_in_answer:1"]
    outcomes = []
    for _ in range(5):
        try:
            await answer(provider, a_request(provider.description.operations[0], link=links))
        except ProviderFault as fault:
            outcomes.append(type(fault).__name__)
        else:
            outcomes.append("picture")
    assert outcomes == ["ProviderError", "ProviderError", "ProviderMisconfigured", "picture", "picture"]

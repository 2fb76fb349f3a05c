"""From the booth through real processes to a provider's own protocol, and back."""

import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from PIL import Image

from photochanger.domain.job import JobState, ResultSource
from photochanger.domain.slot import OnFailure, ProviderCall, RetryPolicy
from photochanger.entrypoints.cli.booth import Delivery, Refusal
from photochanger.entrypoints.cli.exit_codes import ExitCode
from photochanger.testing.fake_gemini import FakeGemini
from photochanger.testing.fake_turbotext import FakeTurbotext
from photochanger.testing.harness import an_entry
from photochanger.testing.marks import metadata_markers
from photochanger.testing.photos import is_upright, jpeg_24mp, plain_jpeg
from tests.system.installation import Installation

pytestmark = [pytest.mark.anyio, pytest.mark.system]

PROMPT = "превратить гостя в рыцаря"
GEMINI = ProviderCall(provider="gemini", operation="edit_image", params={"prompt": PROMPT})
TURBOTEXT = ProviderCall(provider="turbotext", operation="generate_image2image", params={"content": PROMPT})


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo of 24 megapixels that lies on its side and is full of what must not get out."""
    path = tmp_path_factory.mktemp("photo") / "IMG_0003.JPG"
    path.write_bytes(jpeg_24mp(6))
    return path


async def test_gemini_gets_a_clean_photo_and_the_booth_its_picture(
    installation: Installation, photo: Path
) -> None:
    await installation.set_up({}, call=GEMINI)
    async with FakeGemini() as gemini:
        variables = {"GEMINI_API_KEY": gemini.api_key, "GEMINI_BASE_URL": gemini.base_url}
        answer = await installation.send(installation.serve(variables=variables), photo)

    assert isinstance(answer, Delivery)
    assert answer.result_source == ResultSource.PROVIDER
    assert metadata_markers(answer.picture) == []
    [call] = gemini.calls
    [sent] = call.images
    assert metadata_markers(sent.data) == []
    assert is_upright(Image.open(io.BytesIO(sent.data)))
    assert call.prompt == PROMPT
    assert call.size_bytes < 20_000_000
    assert gemini.api_key not in installation.logs()
    assert PROMPT not in installation.logs()


async def test_turbotext_fetches_the_photo_from_a_link_that_ends_with_the_call(
    installation: Installation, photo: Path
) -> None:
    await installation.set_up({}, call=TURBOTEXT)
    async with FakeTurbotext() as turbotext:
        variables = {"TURBOTEXT_API_KEY": turbotext.api_key, "TURBOTEXT_BASE_URL": turbotext.base_url}
        answer = await installation.send(installation.serve(variables=variables), photo)

        assert isinstance(answer, Delivery)
        [fetched] = turbotext.fetched
        assert (fetched.status, fetched.content_type, fetched.extension) == (200, "image/jpeg", ".jpg")
        assert metadata_markers(fetched.body) == metadata_markers(answer.picture) == []
        assert is_upright(Image.open(io.BytesIO(fetched.body)))
        link = turbotext.calls[0].form["url"]
        with pytest.raises(HTTPError) as gone:
            urlopen(link)  # noqa: ASYNC210 -- our own server, at once
        assert gone.value.code == 410
        gone.value.close()
    assert turbotext.created == 1
    assert link.rpartition("/")[2] not in installation.logs()


async def test_the_fallback_of_another_provider_delivers(installation: Installation, photo: Path) -> None:
    await installation.set_up({}, call=GEMINI, fallback=TURBOTEXT)
    async with FakeGemini(script=["image_safety"]) as gemini, FakeTurbotext() as turbotext:
        variables = {
            "GEMINI_API_KEY": gemini.api_key,
            "GEMINI_BASE_URL": gemini.base_url,
            "TURBOTEXT_API_KEY": turbotext.api_key,
            "TURBOTEXT_BASE_URL": turbotext.base_url,
        }
        answer = await installation.send(installation.serve(variables=variables), photo)

    assert isinstance(answer, Delivery)
    assert answer.result_source == ResultSource.FALLBACK
    [job] = await installation.jobs()
    assert (job.state, job.attempts) == (JobState.COMPLETED, 2)


async def test_the_booth_gets_its_own_photo_clean_and_upright_where_the_slot_says_so(
    installation: Installation, photo: Path
) -> None:
    retry = RetryPolicy(max_attempts=0)
    await installation.set_up({"outcome": "error"}, retry=retry, on_failure=OnFailure.ORIGINAL)

    answer = await installation.send(installation.serve(), photo)

    assert isinstance(answer, Delivery)
    assert answer.result_source == ResultSource.ORIGINAL
    assert metadata_markers(answer.picture) == []
    assert is_upright(Image.open(io.BytesIO(answer.picture)))
    [job] = await installation.jobs()
    assert (job.state, job.failure_reason) == (JobState.FAILED_PROVIDER, "provider_error")
    assert await installation.discrepancies() == []


async def test_a_provider_that_hangs_leaves_time_for_the_stand_in(
    installation: Installation, tmp_path: Path
) -> None:
    await installation.set_up({"outcome": "hang"}, timeout_sec=10, on_failure=OnFailure.ORIGINAL)
    path = tmp_path / "photo.jpg"
    path.write_bytes(plain_jpeg())

    answer = await installation.send(installation.serve(), path)

    assert isinstance(answer, Delivery)
    assert answer.result_source == ResultSource.ORIGINAL
    assert answer.total_sec < 10


async def test_a_quota_that_is_used_up_is_told_with_a_time(
    installation: Installation, tmp_path: Path
) -> None:
    await installation.set_up({})
    async with installation.container() as container:
        settings = await container.settings().get()
        limits = replace(settings.limits, quota_per_day={"rehearsal": 1})
        await container.settings().save(replace(settings, limits=limits), entry=an_entry("test"))
    path = tmp_path / "photo.jpg"
    path.write_bytes(plain_jpeg())
    server, other = installation.serve("--no-worker"), installation.worker()

    first, second = [await installation.send(server, path) for _ in range(2)]

    assert other.exit_status is None
    assert isinstance(first, Delivery)
    assert isinstance(second, Refusal)
    assert (second.status, second.error.code) == (503, "provider_quota_exhausted")
    assert second.retry_after_sec


class TestCommands:
    @pytest.mark.parametrize("call", [GEMINI, TURBOTEXT], ids=["gemini", "turbotext"])
    async def test_a_fake_says_how_to_use_it_and_works_that_way(
        self, call: ProviderCall, installation: Installation, tmp_path: Path
    ) -> None:
        command = [sys.executable, "-m", "photochanger", "fake-provider", call.provider, "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as fake:  # noqa: ASYNC220
            assert fake.stdout is not None
            told = ""
            while f"{call.provider.upper()}_API_KEY" not in told:
                told += (line := fake.stdout.readline())
                assert line, "it ended"
            variables = dict(re.findall(r"^  ([A-Z]+_(?:API_KEY|BASE_URL))=(\S+)$", told, re.MULTILINE))
            await installation.set_up({}, call=call)
            path = tmp_path / "photo.jpg"
            path.write_bytes(plain_jpeg())

            answer = await installation.send(installation.serve(variables=variables), path)

            fake.terminate()
        assert isinstance(answer, Delivery)
        assert fake.returncode == 0

    @pytest.mark.parametrize(
        ("arguments", "status", "told"),
        [
            (["provider-faults", "gemini", "--only", "no_image"], ExitCode.OK, "1 rows, 0 of them"),
            (["provider-faults", "turbotext", "--only", "create:401"], ExitCode.OK, "1 rows, 0 of them"),
            (["provider-faults", "--only", "no such row"], ExitCode.DEFECT, "0 rows"),
            (["fake-provider", "turbotext", "--list"], ExitCode.OK, "forbidden_content"),
            (["fake-provider", "gemini", "--fault", "boredom"], ExitCode.USAGE, "boredom"),
        ],
    )
    def test_faults_from_the_command_line(self, arguments: list[str], status: ExitCode, told: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "photochanger", *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
        assert told in done.stdout + done.stderr

"""The parts that the chaos test stands on: its schedule and its numbered pictures."""

from io import BytesIO

import pytest
from PIL import Image

from tests.chaos.pictures import Numbers, numbered, numbers_in
from tests.chaos.schedule import KINDS, kills, schedule

PLACES = ("serve-0", "serve-1", "worker-0")


def test_the_same_seed_makes_the_same_schedule() -> None:
    [once, again] = [schedule(5, KINDS, duration_sec=60, places=PLACES) for _ in range(2)]
    assert once == again
    assert once != schedule(6, KINDS, duration_sec=60, places=PLACES)
    assert kills(5, "serve-0", 9) == kills(5, "serve-0", 9)
    assert kills(5, "serve-0", 9) != kills(5, "serve-1", 9)


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_of_fault_comes_however_short_the_run(seed: int) -> None:
    faults = schedule(seed, KINDS, duration_sec=30, places=PLACES)
    assert {fault.kind for fault in faults} == set(KINDS)
    assert [fault.at_sec for fault in faults] == sorted(fault.at_sec for fault in faults)
    assert all(fault.at_sec < 30 for fault in faults)


def test_faults_of_one_kind_do_not_change_with_the_others() -> None:
    alone = schedule(5, ["stop"], duration_sec=60, places=PLACES)
    among_others = schedule(5, KINDS, duration_sec=60, places=PLACES)
    assert alone == [fault for fault in among_others if fault.kind == "stop"]


@pytest.mark.parametrize("numbers", [Numbers(1, 0), Numbers(2**32 - 1, 2**16 - 1), Numbers(123_456, 789)])
@pytest.mark.parametrize("quality", [30, 75, 95])
def test_numbers_survive_whatever_is_done_to_their_picture(numbers: Numbers, quality: int) -> None:
    with Image.open(BytesIO(numbered(numbers, "PNG"))) as picture:
        buffer = BytesIO()
        picture.resize((512, 512), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=quality)
    assert numbers_in(buffer.getvalue()) == numbers


def test_what_has_no_numbers_is_not_taken_for_some() -> None:
    buffer = BytesIO()
    Image.effect_noise((64, 64), 100).convert("RGB").save(buffer, "PNG")
    assert numbers_in(buffer.getvalue()) is None
    assert numbers_in(b"no picture") is None

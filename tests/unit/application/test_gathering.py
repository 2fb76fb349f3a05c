"""What is asked at one time is asked together."""

import asyncio
from collections.abc import Collection, Mapping

import pytest

from photochanger.application.gathering import Gathered

pytestmark = pytest.mark.anyio


class Squares:
    """Answers when it is let go, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[set[int]] = []
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, numbers: Collection[int]) -> Mapping[int, int]:
        self.calls.append(set(numbers))
        self.asked.set()
        await self.go_on.wait()
        if 13 in numbers:
            raise ZeroDivisionError
        return {number: number**2 for number in numbers if number}


async def test_what_is_wanted_while_a_call_is_under_way_goes_together_in_the_next() -> None:
    squares = Squares()
    gathered = Gathered(squares)
    first = asyncio.create_task(gathered(1))
    await squares.asked.wait()
    others = [asyncio.create_task(gathered(number)) for number in (2, 3, 3, 0)]
    await asyncio.sleep(0)
    squares.go_on.set()

    assert await first == 1
    assert await asyncio.gather(*others) == [4, 9, 9, None]
    assert squares.calls == [{1}, {2, 3, 0}]


async def test_an_error_is_told_to_all_who_were_asked_for_and_the_next_is_asked_anew() -> None:
    squares = Squares()
    squares.go_on.set()
    gathered = Gathered(squares)

    errors = await asyncio.gather(*(gathered(number) for number in (12, 13)), return_exceptions=True)

    assert [type(error) for error in errors] == [ZeroDivisionError, ZeroDivisionError]
    assert await gathered(12) == 144


async def test_who_does_not_wait_any_more_disturbs_nobody() -> None:
    squares = Squares()
    gathered = Gathered(squares)
    leaving, staying = (asyncio.create_task(gathered(number)) for number in (1, 2))
    await squares.asked.wait()
    leaving.cancel()
    await asyncio.wait([leaving])
    squares.go_on.set()

    assert await staying == 4
    assert squares.calls == [{1, 2}]

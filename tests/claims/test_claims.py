"""Limits and order hold while several processes claim: a small round of `python -m tests.claims`."""

from collections.abc import Callable

import pytest

from tests.claims.race import race

pytestmark = [pytest.mark.anyio, pytest.mark.system, pytest.mark.slow]


async def test_no_limit_is_exceeded_and_nobody_overtaken_over_six_processes(
    new_database: Callable[..., str],
) -> None:
    outcome = await race(new_database(), jobs=1_000, processes=6, seed=7)

    assert outcome.exceeded() == []
    assert outcome.out_of_line() == 0
    passed_over, wronged = outcome.overtaken()
    assert wronged == 0
    assert passed_over > 100, "or else the order was not put to the test"
    assert outcome.calls > len(outcome.done) == 1_000, "some moved"

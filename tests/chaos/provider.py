"""The provider: a Gemini that draws numbered pictures, notes every call, and fails when it is told to."""

import random
from collections.abc import Sequence
from typing import Final

from photochanger.testing.fake_gemini import FAULTS, FakeGemini, ReceivedCall
from tests.chaos.history import History
from tests.chaos.pictures import Numbers, numbered, numbers_in

FAILURES: Final = (
    "overloaded",
    "internal",
    "per_minute_text",
    "no_image",
    "garbage_json",
    "cut_before_answer",
    "cut_in_answer",
    "slow_body",
    "hang",
)
"""Faults of the fake Gemini that the nemesis chooses from: errors, a quota, no picture, garbage, silence."""

SOONEST_SEC, LATEST_SEC = 0.05, 1.2
"""Between these, logarithmically, lies how long the provider takes."""

_KEY: Final = "AQ.chaos-"
_OK: Final = "ok"


class ProviderLog:
    """What the provider does with each call, and the history of it."""

    def __init__(self, seed: int, history: History) -> None:
        self._seed = seed
        self._history = history
        self._numbers: dict[int, Numbers] = {}
        self.failing: Sequence[str] = ()
        """What goes wrong now; a call gets one of them, or by chance a picture all the same."""

    def fake(self) -> FakeGemini:
        """Return the server; whoever calls it has a key of its own, made by `key_of`."""
        return FakeGemini(judge=self._judge, delay_sec=self._delay_sec, draw=self._draw, further_keys=_Keys())

    def _judge(self, call: ReceivedCall) -> str:
        found = numbers_in(call.images[0].data) if call.images else None
        numbers = Numbers(found.photo if found else 0, call.number % 2**16)
        chance = self._chance(call)
        answer = chance.choice(self.failing) if self.failing and chance.random() < 0.7 else _OK
        if answer == _OK:
            self._numbers[call.number] = numbers
        caller = call.headers.get("x-goog-api-key", "").removeprefix(_KEY)
        self._history.tell(
            "provider", "call", photo=numbers.photo, call=numbers.call, by=caller, answer=answer
        )
        return answer

    def _delay_sec(self, call: ReceivedCall) -> float:
        return SOONEST_SEC * float((LATEST_SEC / SOONEST_SEC) ** self._chance(call).random())

    def _draw(self, call: ReceivedCall, _mime_type: str) -> bytes:
        return numbered(self._numbers.pop(call.number), "PNG")

    def _chance(self, call: ReceivedCall) -> random.Random:
        return random.Random(f"{self._seed} call {call.number}")


class _Keys:
    """Every key that `key_of` makes."""

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.startswith(_KEY)


def key_of(process: str) -> str:
    """Return the provider's key of a process, by which its calls are known."""
    return _KEY + process


if unknown := set(FAILURES) - FAULTS.keys():
    raise ValueError(f"no such faults: {unknown}")

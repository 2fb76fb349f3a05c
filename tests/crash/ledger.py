"""What clients were told, and what therefore has to be true whatever is killed when."""

import hashlib
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Fate(StrEnum):
    """What may be expected of a result that a client was given."""

    LIVE = "live"
    """It has to be there, byte for byte."""
    ENDED = "ended"
    """It was cleaned up, or its time is over: 410, from now on."""
    EITHER = "either"
    """It is being ended, or whoever asked for its end never got the answer; whatever is seen first holds."""


@dataclass(eq=False, slots=True, kw_only=True)
class Ending:
    """A request that ends results, from when it is sent; `finished_at` also where no answer came."""

    sent_at: float
    finished_at: float | None = None


@dataclass(eq=False, slots=True, kw_only=True)
class Result:
    """A result that a client was given with 200. Hashes are known once its bytes were seen."""

    job_id: str
    slot_id: str
    answered_at: float
    sha256: str | None = None
    preview_sha256: str | None = None
    ended: bool = False
    doubts: list[Ending] = field(default_factory=list)

    @property
    def fate(self) -> Fate:
        """What may be expected of it now."""
        if self.ended:
            return Fate.ENDED
        return Fate.EITHER if self.doubts else Fate.LIVE

    @property
    def path(self) -> str:
        """Where it is downloaded."""
        return f"/public/results/{self.job_id}"

    def seen(self, *, gone: bool, asked_at: float) -> None:
        """Settle the doubts, as far as who asked at `asked_at` has seen what became of it."""
        if gone:
            self.ended = self.ended or bool(self.doubts)
            return
        self.doubts = [
            each for each in self.doubts if each.finished_at is None or each.finished_at > asked_at
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a client was told of a job: the status, the reason of a failure, whose picture it was."""

    status: int
    failure_reason: str | None = None
    source: str | None = None


@dataclass(eq=False, slots=True, kw_only=True)
class Template:
    """A template whose adding was acknowledged. `is_there` is None where its removal got no answer."""

    template_id: str
    sha256: str
    is_there: bool | None = True


class Durable:
    """A value that administrators change: what was acknowledged last, and what was sent without an answer."""

    def __init__(self) -> None:
        self._acknowledged: object = None
        self._maybe: list[object] = []

    def __str__(self) -> str:
        return f"{self._acknowledged!r} was acknowledged, and {self._maybe!r} sent without an answer"

    def sent(self, value: object) -> None:
        """A change was sent."""
        self._maybe.append(value)

    def acknowledged(self, value: object) -> None:
        """The change to `value` succeeded; as it named the version that it followed, it is the last one."""
        self._acknowledged, self._maybe = value, []

    def refused(self, value: object) -> None:
        """The change to `value` was answered, and not made."""
        self._maybe.remove(value)

    def allows(self, found: object) -> bool:
        """Say whether this value may be what is stored now."""
        return self._acknowledged is None or found == self._acknowledged or found in self._maybe


class Ledger:
    """Everything that was promised, and every promise that was found broken."""

    def __init__(self) -> None:
        self.results: dict[str, Result] = {}
        self.told: dict[str, list[Told]] = {}
        self.cancelled: set[str] = set()
        self.templates: dict[str, Template] = {}
        self.changes: dict[str, Durable] = {}
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self._endings: dict[str, list[Ending]] = {}

    def violated(self, what: str) -> None:
        """Note a broken promise, the first time that it is found."""
        if what not in self.violations:
            self.violations.append(what)

    def tell(self, job_id: str, told: Told) -> None:
        """Note what a client was told of a job, which thereby was accepted."""
        self.told.setdefault(job_id, []).append(told)

    def gave(
        self,
        job_id: str,
        slot_id: str,
        *,
        sent_at: float,
        picture: bytes | None,
        preview: bytes | None = None,
    ) -> None:
        """Note a 200, for a photo that was sent at `sent_at`; a job has the same picture every time."""
        now = time.monotonic()
        result = self.results.get(job_id)
        if result is None:
            doubts = [
                ending
                for ending in self._endings.get(slot_id, [])
                if ending.finished_at is None or ending.finished_at > sent_at
            ]
            result = Result(job_id=job_id, slot_id=slot_id, answered_at=now, doubts=doubts)
            self.results[job_id] = result
        elif result.fate is Fate.ENDED:
            self.violated(f"the result of job {job_id} was given again after its end")
        if picture is not None:
            self.compare(result, picture)
        if preview is not None:
            self.compare_preview(result, preview)

    def compare(self, result: Result, picture: bytes) -> None:
        """See that these are the bytes that the result always had."""
        digest = hashlib.sha256(picture).hexdigest()
        if result.sha256 not in {None, digest}:
            self.violated(f"the result of job {result.job_id} has other bytes than the client got")
        result.sha256 = digest

    def compare_preview(self, result: Result, preview: bytes) -> None:
        """See that these are the bytes that the preview always had."""
        digest = hashlib.sha256(preview).hexdigest()
        if result.preview_sha256 not in {None, digest}:
            self.violated(f"the preview of job {result.job_id} has changed")
        result.preview_sha256 = digest

    def ending(self, slot_id: str, only: Result | None = None) -> Ending:
        """Results of a slot are about to be ended: all of them, or only one."""
        ending = Ending(sent_at=time.monotonic())
        affected = [only] if only else self.of_slot(slot_id)
        for result in affected:
            result.doubts.append(ending)
        if only is None:
            self._endings.setdefault(slot_id, []).append(ending)
        return ending

    def ended(self, ending: Ending, *, acknowledged: bool) -> None:
        """The request has come to its end; results that were there before it are gone where it succeeded."""
        ending.finished_at = time.monotonic()
        for result in self.results.values():
            if acknowledged and ending in result.doubts and result.answered_at <= ending.sent_at:
                result.ended = True

    def of_slot(self, slot_id: str) -> list[Result]:
        """Return the slot's results that may still be there."""
        return [result for result in self.results.values() if result.slot_id == slot_id and not result.ended]

    def fates(self) -> Mapping[Fate, int]:
        """Return how many results there are of each fate."""
        return Counter(result.fate for result in self.results.values())

    def change(self, name: str) -> Durable:
        """Return what is known of a value that administrators change."""
        return self.changes.setdefault(name, Durable())

"""The port to wake-ups between the parts of PhotoChanger, inside a process and across processes."""

from abc import abstractmethod
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Protocol


class Topic(StrEnum):
    """What a signal is about."""

    JOB_PENDING = "job_pending"
    """A job waits to be claimed."""
    JOB_FINALIZED = "job_finalized"
    """The job named by the subject is final."""
    PLACE_FREED = "place_freed"
    """A job that has not ended has given up a place: it went to another provider, or was handed back."""
    CONFIGURATION_CHANGED = "configuration_changed"
    """A slot or the settings have changed."""


class Subscription(Protocol):
    """A place to wait for signals of one topic and subject."""

    @abstractmethod
    async def wait(self, timeout: float) -> bool:
        """Wait until a signal arrives, for at most `timeout` seconds; say whether one came.

        A signal that arrived since the subscription began or since the last `wait` returned is not lost: the
        next `wait` returns at once. Several such signals count as one.
        """


class Signals(Protocol):
    """Tells waiters that something has happened.

    A signal is a hint and carries no data. It may come late, twice, for nothing, and (when a connection
    breaks) not at all. So whoever waits subscribes first, then reads the state, then waits, and looks again
    from time to time. The repositories announce their own changes, after the change can be read.
    """

    @abstractmethod
    def subscribe(self, topic: Topic, subject: str = "") -> AbstractContextManager[Subscription]:
        """Return a subscription to `topic` about `subject`; it ends with the context.

        Any number of subscriptions may exist for one topic and subject; each gets every signal.
        """

    @abstractmethod
    def watch(self, *topics: Topic) -> AbstractContextManager[Subscription]:
        """Return a subscription to all of these topics, whatever the subject; it ends with the context."""

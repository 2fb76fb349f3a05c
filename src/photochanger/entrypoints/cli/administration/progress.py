"""How far a long command has come, for whoever waits at a terminal."""

from types import TracebackType

from rich.console import Console


class Progress:
    """A line with a count that grows, for the time of the context; on standard error, if a terminal."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._status = Console(stderr=True).status(what)

    def show(self, count: int) -> None:
        """Show how far it is."""
        self._status.update(f"{self._what} {count}")

    def __enter__(self) -> "Progress":
        self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()

"""Labels whose values come from known sets, so that no request can make new time series."""

from collections.abc import Collection
from typing import Final, Generic, TypeVar

from prometheus_client.metrics import MetricWrapperBase

OTHER: Final = "other"
"""What every value becomes that is not in its label's set."""

InstrumentT = TypeVar("InstrumentT", bound=MetricWrapperBase)


class BoundedFamily(Generic[InstrumentT]):
    """A metric with labels, each with the collection of its known values, in the order of the labels.

    A collection may grow after the family was made.
    """

    def __init__(self, family: InstrumentT, *known: Collection[str]) -> None:
        self._family = family
        self._known = known
        self._children: dict[tuple[str, ...], InstrumentT] = {}

    def child(self, *values: str) -> InstrumentT:
        """Return the time series for these label values, unknown ones replaced by `OTHER`."""
        if (known := self._children.get(values)) is not None:
            return known
        kept = tuple(
            value if value in known else OTHER for value, known in zip(values, self._known, strict=True)
        )
        found = self._children.get(kept)
        if found is None:
            found = self._children[kept] = self._family.labels(*kept)
        return found

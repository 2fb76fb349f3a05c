"""The port to image providers."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from photochanger.application.ports.images import PreparedImage
from photochanger.domain.operation import ParameterValue, ProviderDescription


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformRequest:
    """What to do with a photo.

    `params` holds a value for every parameter of the operation that has a default. `deadline` is on the
    monotonic clock, in seconds: the answer is of no use after it.
    """

    photo: PreparedImage
    operation: str
    params: Mapping[str, ParameterValue]
    deadline: float


class ImageProvider(Protocol):
    """Turns a photo into a picture: one attempt, no retries of its own."""

    @property
    @abstractmethod
    def description(self) -> ProviderDescription:
        """What the provider offers. It never changes while the process runs."""

    @abstractmethod
    async def transform(self, request: TransformRequest, into: BinaryIO) -> None:
        """Write the picture to `into`, an empty file of the caller's.

        Raises a `ProviderFault` that says what went wrong: `ProviderRefused` (never worth repeating),
        `ProviderNoImage`, `ProviderMisconfigured` or `ProviderError`; what `into` then holds means nothing.
        Cancellation ends the attempt promptly and passes through. No secret, prompt or picture reaches the
        error's text or a log.
        """

"""The ports to image providers: calling them, and counting the calls."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol, TypeAlias

from photochanger.application.ports.images import PreparedImage
from photochanger.domain.operation import ParameterValue, ProviderDescription
from photochanger.domain.quota import ProviderUsed, Quota


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateImage:
    """A template, prepared as the photo is, in its role. `url` is its public link, where links are made."""

    role: str
    image: PreparedImage
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformRequest:
    """What to do with a photo.

    `params` holds a value for every parameter of the operation that has a default. `deadline` is on the
    monotonic clock, in seconds: the answer is of no use after it. `model` is the one to use, where the
    operation lists models. `photo_url` is the photo's public link, where the provider's description asks for
    links; it lives as long as the call.
    """

    photo: PreparedImage
    operation: str
    params: Mapping[str, ParameterValue]
    deadline: float
    model: str | None = None
    photo_url: str | None = None
    templates: Sequence[TemplateImage] = ()


class ImageProvider(Protocol):
    """Turns a photo into a picture: one attempt, no retries of its own."""

    @property
    @abstractmethod
    def description(self) -> ProviderDescription:
        """What the provider offers. It never changes while the process runs."""

    @abstractmethod
    async def transform(self, request: TransformRequest, into: BinaryIO) -> None:
        """Write the picture to `into`, an empty file of the caller's.

        Raises a `ProviderFault` whose class says what went wrong and whether asking again is any use, and
        whose `maybe_billed` whether the call may have been charged; what `into` then holds means nothing.
        Cancellation ends the attempt promptly and passes through. No secret, prompt or picture reaches the
        error's text or a log.
        """

    async def close(self) -> None:
        """Give back what the provider holds, such as connections; it is not called again afterwards."""
        return


ProviderFactory: TypeAlias = Callable[[Mapping[str, str]], ImageProvider]
"""What an entry point of the group `photochanger.providers` names.

It is given the environment's variables. Raises `ValidationFailed` with every problem that they have for it,
each under its variable's name and without its value. A key that is not given is no problem: the provider is
then offered as not configured, and its calls raise `ProviderMisconfigured`.
"""


class ProviderUsage(Protocol):
    """How often each provider was called in the present minute and on the present day.

    Both are windows of UTC (`photochanger.domain.quota.QuotaWindow`), by the store's clock.
    """

    @abstractmethod
    async def take(self, provider: str, quota: Quota) -> float | None:
        """Count one call in the present minute and on the present day, and return None.

        Where the quota leaves no room in one of them, nothing is counted, and the seconds until there is
        room again are returned: until the end of the minute, or of the day where that is what is full. No
        number of concurrent callers, in however many processes, is let in beyond the quota.
        """

    @abstractmethod
    async def used(self) -> Sequence[ProviderUsed]:
        """Return what was counted for every provider with a call on the present day, in order of names."""

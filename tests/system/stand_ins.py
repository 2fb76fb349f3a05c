"""A stand-in for the rehearsal provider, for as long as that is not there."""

import asyncio
from typing import BinaryIO

from photochanger.application.ports import ImageProvider, TransformRequest
from photochanger.domain.errors import ProviderError, ProviderNoImage
from photochanger.domain.operation import Operation, Parameter, ProviderDescription


class RehearsalProvider(ImageProvider):
    @property
    def description(self) -> ProviderDescription:
        delay = Parameter(name="delay_ms", kind=int, description="", default=0)
        outcome = Parameter(name="outcome", kind=str, description="", default="ok")
        operation = Operation(name="style", display_name="Style", parameters=(delay, outcome))
        return ProviderDescription(name="rehearsal", display_name="Rehearsal", operations=(operation,))

    async def transform(self, request: TransformRequest, into: BinaryIO) -> None:
        await asyncio.sleep(int(request.params["delay_ms"]) / 1000)
        match request.params["outcome"]:
            case "error":
                raise ProviderError
            case "no_image":
                raise ProviderNoImage
            case "hang":
                await asyncio.Event().wait()
        request.photo.file.seek(0)
        into.write(request.photo.file.read())

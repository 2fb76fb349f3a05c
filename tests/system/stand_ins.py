"""Stand-ins for the image editor and the provider, for as long as the real ones are not there."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO

from photochanger.application.ports import (
    FinishedImage,
    ImageEditor,
    ImageProvider,
    PreparedImage,
    TransformRequest,
)
from photochanger.domain.errors import InvalidImage, ProviderError, ProviderNoImage, UnsupportedMediaType
from photochanger.domain.image import ImageInfo, ImageRequirements, ImageType
from photochanger.domain.operation import Operation, Parameter, ProviderDescription


class PillowImageEditor(ImageEditor):
    async def inspect(self, file: BinaryIO) -> ImageInfo:
        file.seek(0)
        start = file.read(12)
        file.seek(-2, 2)
        if not start.startswith(b"\xff\xd8\xff"):
            raise UnsupportedMediaType
        if file.read(2) != b"\xff\xd9":
            raise InvalidImage("The image is cut short")
        return ImageInfo(image_type=ImageType.JPEG, width=10, height=10)

    @asynccontextmanager
    async def prepare(self, file: BinaryIO, requirements: ImageRequirements) -> AsyncIterator[PreparedImage]:
        file.seek(0)
        data = file.read()
        yield PreparedImage(
            file=io.BytesIO(data), info=await self.inspect(io.BytesIO(data)), size_bytes=len(data)
        )

    @asynccontextmanager
    async def finish(self, file: BinaryIO) -> AsyncIterator[FinishedImage]:
        file.seek(0)
        data = file.read()
        info = await self.inspect(io.BytesIO(data))
        yield FinishedImage(
            file=io.BytesIO(data), info=info, preview=io.BytesIO(data[:3] + data[-2:]), preview_info=info
        )


class RehearsalProvider(ImageProvider):
    @property
    def description(self) -> ProviderDescription:
        return ProviderDescription(
            name="rehearsal",
            display_name="Rehearsal",
            operations=(
                Operation(
                    name="style",
                    display_name="x",
                    parameters=(
                        Parameter(name="delay_ms", kind=int, description="", default=0),
                        Parameter(name="outcome", kind=str, description="", default="ok"),
                    ),
                ),
            ),
        )

    async def transform(self, request: TransformRequest, into: BinaryIO) -> None:
        await asyncio.sleep(int(request.params["delay_ms"]) / 1000)
        match request.params["outcome"]:
            case "error":
                raise ProviderError
            case "no_image":
                raise ProviderNoImage
            case "hang":
                await asyncio.Event().wait()
        data = request.photo.file.read()
        into.write(data[:-2] + b"\x00" * 7 + data[-2:])

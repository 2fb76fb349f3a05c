"""Public links for tests: images that a provider can fetch from this machine."""

from secrets import token_urlsafe
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from photochanger.application.ports.images import PreparedImage

_HOST: Final = "127.0.0.1"


class Links:
    """Serves images, each under an unguessable name with its type's extension. An async context manager."""

    def __init__(self) -> None:
        self._images: dict[str, tuple[bytes, str]] = {}
        self._runner = web.ServerRunner(web.Server(self._answer, access_log=None), shutdown_timeout=1)
        self._port = 0

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, _HOST, 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    def __call__(self, image: PreparedImage) -> str:
        """Return the link to an image."""
        image.file.seek(0)
        path = f"/media/{token_urlsafe(16)}{image.info.image_type.extension}"
        self._images[path] = image.file.read(), image.info.image_type
        return f"http://{_HOST}:{self._port}{path}"

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if request.path not in self._images:
            return web.Response(status=404)
        body, content_type = self._images[request.path]
        return web.Response(body=body, content_type=content_type)

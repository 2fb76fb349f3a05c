"""Litestar's own `UploadFile`, as its documentation shows it: the framework's way to take a file in.

Run as `python -m benchmarks.litestar_upload PORT`. The handler reads the file once, in chunks of 1 MiB, as
whoever wants to keep it has to.
"""

import sys
from typing import Annotated

import uvicorn
from litestar import Litestar, get, post
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.params import Body

_CHUNK_BYTES = 1 << 20


@post("/", request_max_body_size=None, status_code=200)
async def take(data: Annotated[UploadFile, Body(media_type=RequestEncodingType.MULTI_PART)]) -> str:
    """Take a form's file, and say how long it is."""
    size = 0
    while chunk := await data.read(_CHUNK_BYTES):
        size += len(chunk)
    return str(size)


@get("/")
async def ready() -> str:
    """Answer, for whoever waits for the server."""
    return "ready"


def main() -> None:
    """Serve on the port until the process is ended."""
    uvicorn.run(
        Litestar([take, ready]), host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False
    )


if __name__ == "__main__":
    main()

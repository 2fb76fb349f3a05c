"""The public addresses of this installation, as a request shows them."""

from photochanger.entrypoints.documents.links import ResultLinks
from photochanger.entrypoints.http.heads import AnyRequest


def links_for(request: AnyRequest, public_base_url: str | None) -> ResultLinks:
    """Return links below the configured address, or below the one that this request was sent to."""
    return ResultLinks((public_base_url or str(request.base_url)).rstrip("/"))

"""A slot's gallery, for everybody who stands at the booth."""

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from photochanger.application.galleries import ShowGallery
from photochanger.domain.errors import GalleryDisabled, SlotNotFound
from photochanger.entrypoints.documents.jobs import ResultView
from photochanger.entrypoints.documents.links import ResultLinks
from photochanger.entrypoints.http.authorization import ANYBODY
from photochanger.entrypoints.http.endpoints import endpoint


class GalleryView(Struct, kw_only=True):
    """A slot's latest results that have not expired, the newest first."""

    slot_id: str
    display_name: str
    items: list[ResultView]


@get(
    "/public/slots/{slot_id:str}",
    tags=["results"],
    summary="Get a slot's gallery",
    **endpoint(ANYBODY, SlotNotFound, GalleryDisabled),
)
async def get_gallery(
    slot_id: FromPath[str],
    show_gallery: NamedDependency[ShowGallery],
    result_links: NamedDependency[ResultLinks],
) -> GalleryView:
    """Return the slot's latest results. Those that expire vanish by themselves."""
    shown = await show_gallery(slot_id)
    return GalleryView(
        slot_id=shown.slot.slot_id,
        display_name=shown.slot.configuration.display_name,
        items=[ResultView.of(job, result_links) for job in shown.jobs],
    )

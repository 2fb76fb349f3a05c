"""Slots for administrators: looking at them, setting them up, clearing them."""

from litestar import get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response

from photochanger.application.administer_jobs import CleanSlot
from photochanger.application.configuration import CurrentConfiguration
from photochanger.application.edit_slot import EditSlot
from photochanger.application.galleries import ShowGallery
from photochanger.application.ports import SlotRepository
from photochanger.domain.audit import Actor
from photochanger.domain.errors import SlotNotFound, VersionConflict
from photochanger.domain.permissions import Permission
from photochanger.domain.slot import Slot
from photochanger.entrypoints.documents.links import ResultLinks
from photochanger.entrypoints.documents.slots import CleanedUp, SlotUpdate, SlotView, SlotWithResults
from photochanger.entrypoints.http.endpoints import Port, endpoint
from photochanger.entrypoints.http.heads import AnyRequest, first_header
from photochanger.entrypoints.http.operations import VersionedOperation


@get("/api/slots", tags=["slots"], summary="List the slots", **endpoint(Permission.SLOTS_READ))
async def list_slots(
    slot_repository: Port[SlotRepository],
    configuration: NamedDependency[CurrentConfiguration],
    result_links: NamedDependency[ResultLinks],
) -> list[SlotView]:
    """Return all slots, without their results."""
    settings = (await configuration.get()).settings
    stored = await slot_repository.list()
    return [SlotView.of(slot, settings, result_links) for slot in stored]


@get(
    "/api/slots/{slot_id:str}",
    tags=["slots"],
    summary="Get a slot",
    **endpoint(Permission.SLOTS_READ, SlotNotFound, operation_class=VersionedOperation),
)
async def get_slot(
    slot_id: FromPath[str],
    edit_slot: NamedDependency[EditSlot],
    slot_answer: NamedDependency["SlotAnswer"],
) -> Response[SlotWithResults]:
    """Return the slot with its latest results. The `ETag` is its version."""
    return await slot_answer(await edit_slot.find(slot_id))


@put(
    "/api/slots/{slot_id:str}",
    tags=["slots"],
    summary="Set a slot up",
    **endpoint(
        Permission.SLOTS_WRITE,
        SlotNotFound,
        VersionConflict,
        document=SlotUpdate,
        operation_class=VersionedOperation,
    ),
)
async def put_slot(
    request: AnyRequest,
    slot_id: FromPath[str],
    document: NamedDependency[SlotUpdate],
    actor: NamedDependency[Actor],
    edit_slot: NamedDependency[EditSlot],
    slot_answer: NamedDependency["SlotAnswer"],
) -> Response[SlotWithResults]:
    """Check and store the slot; all problems are told at once. Photos under way keep what they came with."""
    require_match(request, document.version)
    return await slot_answer(await edit_slot(slot_id, document.edit(), actor))


@post(
    "/api/slots/{slot_id:str}/cleanup",
    status_code=200,
    tags=["slots"],
    summary="Delete a slot's results",
    **endpoint(Permission.MEDIA_CLEANUP, SlotNotFound),
)
async def clean_up_slot(
    slot_id: FromPath[str], actor: NamedDependency[Actor], cleaning: NamedDependency[CleanSlot]
) -> CleanedUp:
    """Delete all results of the slot before their time. Their links answer 410 from this moment on."""
    ended = await cleaning(slot_id, actor)
    return CleanedUp(deleted_results=ended.results, deleted_bytes=ended.size_bytes)


class SlotAnswer:
    """Answers with one slot, its latest results, and its version as the entity tag."""

    def __init__(
        self, *, configuration: CurrentConfiguration, gallery: ShowGallery, links: ResultLinks
    ) -> None:
        self._configuration = configuration
        self._gallery = gallery
        self._links = links

    async def __call__(self, slot: Slot) -> Response[SlotWithResults]:
        """Return the answer."""
        settings = (await self._configuration.get()).settings
        jobs = await self._gallery.recent(slot.slot_id)
        view = SlotWithResults.of_results(jobs, slot, settings, self._links)
        return Response(view, headers={"ETag": etag_of(slot.version)})


def etag_of(version: int) -> str:
    """Return a version as an entity tag."""
    return f'"{version}"'


def require_match(request: AnyRequest, version: int) -> None:
    """Raise `VersionConflict` where the request is meant for another version than its document says."""
    wanted = first_header(request.scope, b"if-match")
    if wanted is None or wanted.strip() == "*":
        return
    tags = [tag.strip().removeprefix("W/") for tag in wanted.split(",")]
    if etag_of(version) not in tags:
        raise VersionConflict

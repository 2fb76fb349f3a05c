"""A whole PhotoChanger in memory, with an image editor and a provider that do as they are told."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, BinaryIO

from photochanger.adapters.memory import FastPasswordHasherForTests, MemoryStorage
from photochanger.adapters.system_clock import SystemClock
from photochanger.application.await_outcome import AwaitOutcome
from photochanger.application.call_providers import CallProviders
from photochanger.application.compare_media import CompareMedia
from photochanger.application.configuration import CurrentConfiguration
from photochanger.application.doorkeeper import Doorkeeper
from photochanger.application.media_ownership import MARK_KEY, CheckMediaOwner
from photochanger.application.ports import (
    Clock,
    FinishedImage,
    ImageEditor,
    ImageProvider,
    JobReading,
    MediaStore,
    PreparedImage,
    Submitted,
    TransformRequest,
)
from photochanger.application.process_job import LEASE, ProcessJob
from photochanger.application.provider_inputs import PrepareInputs
from photochanger.application.provider_links import ProviderLinks
from photochanger.application.provider_places import TakePlace
from photochanger.application.results import OpenResult, ReadJob
from photochanger.application.submit_photo import SubmitPhoto, Upload
from photochanger.application.sweep import Sweep
from photochanger.domain.call_plan import Attempt
from photochanger.domain.errors import InvalidImage, ProviderFault, UnsupportedMediaType
from photochanger.domain.image import ImageInfo, ImageRequirements, ImageType
from photochanger.domain.job import JobId
from photochanger.domain.media import MediaState
from photochanger.domain.operation import Operation, Parameter, ProviderDescription, TemplateRole
from photochanger.domain.slot import ProviderCall, Slot, SlotId
from photochanger.testing.harness import an_entry

PHOTO = b"image: a fox in the snow"
BROKEN = b"image: broken"
INFO = ImageInfo(image_type=ImageType.JPEG, width=30, height=20)
SLOT = SlotId("slot-001")


def an_owner_check(storage: MemoryStorage, store: MediaStore) -> CheckMediaOwner:
    """Return what says whether the store's files are this storage's; called, it marks them."""
    return CheckMediaOwner(installation=storage.installation, store=store)


def a_comparison(storage: MemoryStorage, store: MediaStore) -> CompareMedia:
    """Return the comparison of this storage's rows with the files of a store that is marked as its own."""
    return CompareMedia(registry=storage.media, store=store, owner=an_owner_check(storage, store))


def a_sweep(storage: MemoryStorage, clock: Clock, *, store: MediaStore | None = None) -> Sweep:
    """Return the sweep of this storage; its files may be elsewhere."""
    files = store or storage.files
    return Sweep(
        jobs=storage.jobs,
        registry=storage.media,
        store=files,
        housekeeping=storage.housekeeping,
        compare=a_comparison(storage, files),
        clock=clock,
    )


class PlainImageEditor(ImageEditor):
    """Takes any bytes that begin with `image:` for an image, and changes nothing."""

    async def inspect(self, file: BinaryIO) -> ImageInfo:
        content = file.read()
        if not content.startswith(b"image:"):
            raise UnsupportedMediaType
        if content == BROKEN:
            raise InvalidImage
        return INFO

    @asynccontextmanager
    async def prepare(self, file: BinaryIO, requirements: ImageRequirements) -> AsyncIterator[PreparedImage]:
        content = file.read()
        if content.endswith(b"undecodable"):
            raise InvalidImage
        yield PreparedImage(file=io.BytesIO(content), info=INFO, size_bytes=len(content))

    @asynccontextmanager
    async def finish(self, file: BinaryIO) -> AsyncIterator[FinishedImage]:
        file.seek(0)
        await self.inspect(file)
        file.seek(0)
        yield FinishedImage(file=file, info=INFO, preview=io.BytesIO(b"preview"), preview_info=INFO)


Behaviour = Callable[[TransformRequest, BinaryIO], Awaitable[None]]


async def paint(request: TransformRequest, into: BinaryIO) -> None:
    """The behaviour of a provider that works."""
    into.write(request.photo.file.read() + b", painted")


def fails_with(*faults: ProviderFault | None) -> Behaviour:
    """The behaviour of a provider that fails so in turn, None being success, and then works."""
    left = list(faults)

    async def behave(request: TransformRequest, into: BinaryIO) -> None:
        if left and (fault := left.pop(0)):
            raise fault
        await paint(request, into)

    return behave


class ObedientProvider(ImageProvider):
    """Does what it is told, and remembers what it was asked and how often it was cut short."""

    def __init__(self, name: str = "painter", **terms: Any) -> None:
        self._name, self._terms = name, terms
        self.behaviour: Behaviour = paint
        self.requests: list[TransformRequest] = []
        self.cancelled = 0
        self.called = asyncio.Event()

    @property
    def description(self) -> ProviderDescription:
        operation = Operation(
            name="paint",
            display_name="Paint",
            parameters=(
                Parameter(name="strength", kind=int, description="", default=40),
                Parameter(name="models", kind=tuple, description="", default=self._terms.get("models")),
            ),
            template_roles=(TemplateRole(role="style"),),
            models="models",
        )
        terms = {name: value for name, value in self._terms.items() if name != "models"}
        return ProviderDescription(
            name=self._name, display_name=self._name.title(), operations=(operation,), **terms
        )

    async def transform(self, request: TransformRequest, into: BinaryIO) -> None:
        self.requests.append(request)
        self.called.set()
        try:
            await self.behaviour(request, into)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def hang(request: TransformRequest, into: BinaryIO) -> None:
    """The behaviour of a provider that never answers."""
    await asyncio.Event().wait()


class House:
    """Every use case over memory adapters, on real time unless another clock is given."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.storage = MemoryStorage(self.clock)
        self.jobs = self.storage.jobs
        self.images = PlainImageEditor()
        self.provider = ObedientProvider()
        self.other_provider = ObedientProvider("sculptor")
        self.failed_attempts: list[Attempt] = []
        self.hasher = FastPasswordHasherForTests()
        self.configuration = CurrentConfiguration(
            slots=self.storage.slots,
            settings=self.storage.settings,
            signals=self.storage.signals,
            clock=self.clock,
        )
        self.doorkeeper = Doorkeeper(gate=self.storage.gate, clock=self.clock)
        self.submit_photo = SubmitPhoto(
            configuration=self.configuration,
            doorkeeper=self.doorkeeper,
            jobs=self.jobs,
            registry=self.storage.media,
            store=self.storage.files,
            images=self.images,
            clock=self.clock,
        )
        self.await_outcome = AwaitOutcome(jobs=self.jobs, signals=self.storage.signals, clock=self.clock)
        self.links = ProviderLinks(
            registry=self.storage.media, store=self.storage.files, base_url="https://photos.example.org"
        )
        self.call_providers = CallProviders(
            providers=self.find_provider,
            inputs=PrepareInputs(
                store=self.storage.files,
                images=self.images,
                templates=self.storage.templates,
                links=self.links,
            ),
            store=self.storage.files,
            images=self.images,
            usage=self.storage.usage,
            take_place=TakePlace(
                jobs=self.jobs,
                signals=self.storage.signals,
                configuration=self.configuration,
                clock=self.clock,
            ),
            configuration=self.configuration,
            clock=self.clock,
            jitter=lambda: 1.0,
            on_failed_attempt=lambda _job, attempt: self.failed_attempts.append(attempt),
        )
        self.process_job = ProcessJob(
            jobs=self.jobs,
            registry=self.storage.media,
            store=self.storage.files,
            images=self.images,
            call_providers=self.call_providers,
            signals=self.storage.signals,
            clock=self.clock,
        )
        self.sweep = a_sweep(self.storage, self.clock)
        self.open_result = OpenResult(jobs=self.jobs, store=self.storage.files)
        self.read_job = ReadJob(self.jobs)

    def find_provider(self, name: str) -> ObedientProvider | None:
        """Return the provider of that name."""
        providers = (self.provider, self.other_provider)
        return next((provider for provider in providers if provider.description.name == name), None)

    async def set_up(self, *, provider: str = "painter", operation: str = "paint", **terms: Any) -> Slot:
        """Mark the files, and switch the first slot on, with these terms of its configuration."""
        await an_owner_check(self.storage, self.storage.files)()
        slot = await self.storage.slots.get(SLOT)
        given: dict[str, Any] = {
            "call": ProviderCall(provider=provider, operation=operation),
            "is_active": True,
        }
        configuration = replace(slot.configuration, **given | terms)
        await self.set_deduplication(False)
        await self.make_room()
        return await self.storage.slots.save(
            replace(slot, configuration=configuration), entry=an_entry("test")
        )

    async def set_deduplication(self, is_wanted: bool) -> None:
        """Have the same photo done once, or every time it comes."""
        settings = await self.storage.settings.get()
        changed = replace(settings, ingest=replace(settings.ingest, deduplicate=is_wanted))
        if changed != settings:
            await self.storage.settings.save(changed, entry=an_entry("test"))

    async def make_room(self, *, per_slot: int = 1_000, rps: float = 10_000, burst: int = 100_000) -> None:
        """Have as many photos taken as may be sent; by default more than any test sends."""
        settings = await self.storage.settings.get()
        changed = replace(
            settings,
            ingest=replace(settings.ingest, rate_limit_rps=rps, rate_limit_burst=burst),
            limits=replace(settings.limits, per_slot=per_slot),
        )
        if changed != settings:
            await self.storage.settings.save(changed, entry=an_entry("test"))

    async def submit(
        self,
        content: bytes = PHOTO,
        *,
        key: str | None = None,
        time_left_sec: float = 48.0,
        anew: bool = False,
        job_id: JobId | None = None,
    ) -> Submitted:
        """Send a photo that has `time_left_sec` to its deadline."""
        _, submitted = await self.upload_and_submit(
            content, key=key, time_left_sec=time_left_sec, anew=anew, job_id=job_id
        )
        return submitted

    async def upload_and_submit(
        self,
        content: bytes = PHOTO,
        *,
        key: str | None = None,
        time_left_sec: float = 48.0,
        anew: bool = False,
        job_id: JobId | None = None,
    ) -> tuple[Upload, Submitted]:
        """Do the same, and return the upload too."""
        arrived_at = self.clock.monotonic() - 48.0 + time_left_sec
        admission = await self.submit_photo.admit(SLOT, arrived_at=arrived_at)
        async with self.submit_photo.receive(admission) as upload:
            await upload.write(content)
            submitted = await self.submit_photo.submit(upload, idempotency_key=key, anew=anew, job_id=job_id)
            return upload, submitted

    async def claim(self) -> JobReading:
        """Claim the next job, of which there is one."""
        [reading] = await self.jobs.claim(limit=1, lease=LEASE)
        return reading

    async def state_of(self, submitted: Submitted) -> JobReading:
        """Read the job as it is now."""
        reading = await self.jobs.get(submitted.reading.job.job_id)
        assert reading is not None
        return reading

    async def files(self) -> list[str]:
        """Return the kinds of the files that are there."""
        return sorted([key.partition("/")[0] for key in await self.keys()])

    async def keys(self) -> list[str]:
        """Return the keys of the files that are there, but for the mark's."""
        keys = self.storage.files.keys()
        return [key async for key in keys if key != MARK_KEY]

    def living_rows(self) -> list[str]:
        """Return the kinds of the media rows whose files are not gone."""
        rows = (row.media for row in self.storage.records.media.values())
        return sorted(media.kind.value for media in rows if media.state is not MediaState.DELETED)

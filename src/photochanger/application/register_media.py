"""Temporary public links to administrators' images."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta

from photochanger.application.configuration import CurrentConfiguration
from photochanger.application.identifiers import new_media_id
from photochanger.application.ports.administration import AuditLog
from photochanger.application.ports.images import ImageEditor
from photochanger.application.ports.jobs import JobRepository
from photochanger.application.ports.media import MediaRegistry, MediaStore
from photochanger.application.provider_links import link_path
from photochanger.application.receive_image import ReceivedImage, receiving
from photochanger.application.store_image import announced, store_image
from photochanger.domain.audit import Actor, AuditAction, AuditEntry
from photochanger.domain.errors import InternalError, JobFinalized, JobNotFound
from photochanger.domain.image import ImageRequirements
from photochanger.domain.job import Job, parse_job_id
from photochanger.domain.media import MediaId, MediaKind
from photochanger.domain.settings import BYTES_PER_MB


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredMedia:
    """An image on a public link: its id, the link's path, and when it ends."""

    media_id: MediaId
    path: str
    expires_at: datetime


class RegisterMedia:
    """Puts an image on a public link for as long as a photo may take. There is no way to extend it."""

    def __init__(
        self,
        *,
        registry: MediaRegistry,
        store: MediaStore,
        images: ImageEditor,
        jobs: JobRepository,
        audit: AuditLog,
        configuration: CurrentConfiguration,
    ) -> None:
        self._registry = registry
        self._store = store
        self._images = images
        self._jobs = jobs
        self._audit = audit
        self._configuration = configuration

    async def limit_bytes(self) -> int:
        """Return how large an image may be."""
        settings = (await self._configuration.get()).settings
        return settings.ingest.max_upload_mb * BYTES_PER_MB

    def receiving(self, limit_bytes: int) -> AbstractContextManager[ReceivedImage]:
        """Open a place for the image's bytes; raises `PayloadTooLarge` beyond `limit_bytes`."""
        return receiving(self._store, limit_bytes=limit_bytes)

    async def __call__(self, received: ReceivedImage, *, job_id: str | None, actor: Actor) -> RegisteredMedia:
        """Check the image, store it upright and without metadata, and make its link.

        The link lives as long as a photo may take: for the job's slot where a job is named, else in general.
        Raises `JobNotFound`, `JobFinalized` (nobody needs the link any more), `InvalidRequest` (no bytes),
        `UnsupportedMediaType` and `InvalidImage`.
        """
        job = None if job_id is None else await self._unfinished(job_id)
        media_id = new_media_id()
        ttl = await self._time_to_live(job)
        slot_id = None if job is None else job.slot_id
        async with (
            self._images.prepare(received.contents(), ImageRequirements()) as prepared,
            announced(self._registry, [(media_id, MediaKind.PROVIDER_LINK)], slot_id=slot_id, ttl=ttl),
        ):
            stored = await store_image(
                self._store, MediaKind.PROVIDER_LINK, media_id, prepared.file, prepared.info
            )
        await self._registry.offer(stored)
        entry = AuditEntry(action=AuditAction.MEDIA_REGISTERED, actor=actor, subject=media_id)
        await self._audit.add(entry)
        media = await self._registry.get(media_id)
        if media is None or media.expires_at is None:
            raise InternalError("A link was lost as soon as it was made")
        path = link_path(media_id, stored.info.image_type)
        return RegisteredMedia(media_id=media_id, path=path, expires_at=media.expires_at)

    async def _unfinished(self, job_id: str) -> Job:
        known = parse_job_id(job_id)
        reading = await self._jobs.get(known) if known else None
        if reading is None:
            raise JobNotFound
        if reading.job.is_finalized:
            raise JobFinalized
        return reading.job

    async def _time_to_live(self, job: Job | None) -> timedelta:
        settings = (await self._configuration.get()).settings
        own = None if job is None else job.configuration.sync_response_timeout_sec
        return timedelta(seconds=own or settings.ingest.sync_response_timeout_sec)

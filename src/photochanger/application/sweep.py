"""Ending what nobody ended, and deleting what nobody may keep."""

from dataclasses import dataclass

from photochanger.application.ports.storage import JobRepository, MediaRegistry, MediaStore
from photochanger.domain.errors import StorageUnavailable

BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one sweep did."""

    expired_jobs: int
    deleted_files: int


class Sweep:
    """Ends jobs whose deadline has passed while nobody held them, then deletes every doomed file.

    It may run in several processes at once, may be killed anywhere, and then simply runs again: a file is
    marked, deleted, and confirmed, in this order.
    """

    def __init__(self, *, jobs: JobRepository, registry: MediaRegistry, store: MediaStore) -> None:
        self._jobs = jobs
        self._registry = registry
        self._store = store

    async def __call__(self) -> Swept:
        """Do all there is to do now."""
        return Swept(expired_jobs=await self.expire_jobs(), deleted_files=await self.delete_files())

    async def expire_jobs(self) -> int:
        """End the overdue jobs that nobody else has ended; return how many."""
        count = 0
        while expired := await self._jobs.expire_overdue(limit=BATCH):
            count += len(expired)
        return count

    async def delete_files(self) -> int:
        """Delete what is condemned or expired; return how many files.

        A file that cannot be deleted keeps no other. Raises `StorageUnavailable` at the end where there
        was one.
        """
        count = undeleted = 0
        while doomed := await self._registry.doomed(limit=BATCH):
            clear = await self._store.delete([media.key for media in doomed])
            deleted = [media.media_id for media in doomed if media.key in clear]
            await self._registry.confirm_deleted(deleted)
            count += len(deleted)
            undeleted += len(doomed) - len(deleted)
        if undeleted:
            raise StorageUnavailable(f"Files that could not be deleted: {undeleted}")
        return count

"""What sweeping and verifying have to tell."""

from collections.abc import Sequence

from msgspec import Struct

from photochanger.application.ports.housekeeping import Due
from photochanger.application.sweep import Swept
from photochanger.domain.consistency import Discrepancy


class CleanupView(Struct, kw_only=True):
    """What a sweep did, or with `dry_run` what it would do.

    `stray_files` were in the media store without a row that expects them, and are deleted; `lost_files` are
    not where they were stored, and are written off. `forgotten_jobs` and `forgotten_files` are records whose
    time was over long ago. `not_compared` says why files and rows could not be compared, if so.
    """

    dry_run: bool
    ended_jobs: int
    deleted_files: dict[str, int]
    deleted_bytes: int
    undeleted_files: int = 0
    stray_files: int
    lost_files: int
    forgotten_jobs: int
    forgotten_files: int
    not_compared: str | None = None

    @classmethod
    def done(cls, swept: Swept) -> "CleanupView":
        """Return what was done."""
        return cls(
            dry_run=False,
            ended_jobs=swept.ended_jobs,
            deleted_files={kind.value: files for kind, files in sorted(swept.deleted_files.items())},
            deleted_bytes=swept.deleted_bytes,
            undeleted_files=swept.undeleted_files,
            stray_files=swept.stray_files,
            lost_files=swept.lost_files,
            forgotten_jobs=swept.forgotten_jobs,
            forgotten_files=swept.forgotten_files,
            not_compared=None if swept.not_compared is None else swept.not_compared.message,
        )

    @classmethod
    def to_do(cls, due: Due, *, stray_files: int, lost_files: int) -> "CleanupView":
        """Return what there is to do."""
        return cls(
            dry_run=True,
            ended_jobs=due.jobs,
            deleted_files={kind.value: files for kind, files in sorted(due.files.items())},
            deleted_bytes=due.size_bytes,
            stray_files=stray_files,
            lost_files=lost_files,
            forgotten_jobs=due.forgotten.jobs,
            forgotten_files=due.forgotten.files,
        )


class MediaAdoption(Struct, kw_only=True):
    """That the media store is this database's now.

    `previous_owner` says whose it was: `nobody`, `this_database` or `another_database`.
    """

    previous_owner: str


class DiscrepancyView(Struct, kw_only=True):
    """Something that may not be: what, and of which file, job or template."""

    code: str
    subject: str
    meaning: str

    @classmethod
    def of(cls, discrepancy: Discrepancy) -> "DiscrepancyView":
        """Return the discrepancy as it is shown."""
        code = discrepancy.code
        return cls(code=code.value, subject=discrepancy.subject, meaning=code.meaning)


class VerificationView(Struct, kw_only=True):
    """Whether database and media store agree with each other and with themselves."""

    clean: bool
    compared_files: int
    discrepancies: list[DiscrepancyView]

    @classmethod
    def of(cls, compared_files: int, discrepancies: Sequence[Discrepancy]) -> "VerificationView":
        """Return what was found."""
        return cls(
            clean=not discrepancies,
            compared_files=compared_files,
            discrepancies=[DiscrepancyView.of(each) for each in discrepancies],
        )

"""What may not be: records that contradict one another, or the files in the media store."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

JOB_OVERDUE_AFTER: Final = timedelta(seconds=10)
"""How long after its deadline a job that is not final is a discrepancy; somebody looks every two seconds."""

FILE_OVERDUE_AFTER: Final = timedelta(seconds=60)
"""How long after its end a file may be there."""


class Code(StrEnum):
    """What is wrong."""

    FILE_WITHOUT_ROW = "file_without_row"
    FILE_AFTER_DELETION = "file_after_deletion"
    ROW_WITHOUT_FILE = "row_without_file"
    FILE_CHANGED = "file_changed"
    FILE_OVERDUE = "file_overdue"
    FILE_WITHOUT_OWNER = "file_without_owner"
    JOB_OVERDUE = "job_overdue"
    PHOTO_MISSING = "photo_missing"
    PHOTO_LEFT = "photo_left"
    RESULT_MISSING = "result_missing"
    TEMPLATE_MISSING = "template_missing"

    @property
    def meaning(self) -> str:
        """What it means, as a sentence about the subject."""
        return _MEANINGS[self]


_MEANINGS: Final[Mapping[Code, str]] = {
    Code.FILE_WITHOUT_ROW: "The file is in the media store, and the database does not know it",
    Code.FILE_AFTER_DELETION: "The file is in the media store, and the database says that it was deleted",
    Code.ROW_WITHOUT_FILE: "The database says that the file is stored, and the media store does not have it",
    Code.FILE_CHANGED: "The file's bytes are not those that were stored",
    Code.FILE_OVERDUE: "The file's time was over more than a minute ago, and it is not deleted",
    Code.FILE_WITHOUT_OWNER: "The file is stored, and no job or template refers to it",
    Code.JOB_OVERDUE: "The job's deadline has passed, and it is not final",
    Code.PHOTO_MISSING: "The job is not final, and its photo is not stored",
    Code.PHOTO_LEFT: "The job is final, and its photo is still stored",
    Code.RESULT_MISSING: "The job's result has not expired, and its picture is not stored",
    Code.TEMPLATE_MISSING: "The template's image is not stored: remove the template, or add it again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """Something that may not be. The subject is a file's key, a job's id or a template's id."""

    code: Code
    subject: str

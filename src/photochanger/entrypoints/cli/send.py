"""`photochanger send`: a booth in the terminal."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from photochanger.domain.errors import DeadlineExceeded
from photochanger.domain.image import ImageType
from photochanger.entrypoints.cli.booth import Delivery, send_photo


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What a `send` came to: the picture's file, and what the server said of it."""

    file: Path
    delivery: Delivery

    def as_json(self) -> dict[str, object]:
        """Return what a script would want to know; times in milliseconds."""
        return {
            "file": str(self.file),
            "size_bytes": len(self.delivery.picture),
            "content_type": self.delivery.content_type,
            "job_id": self.delivery.job_id,
            "result_url": self.delivery.result_url,
            "result_expires_at": self.delivery.result_expires_at,
            "result_source": self.delivery.result_source,
            "replayed": self.delivery.replayed,
            "upload_ms": round(self.delivery.upload_sec * 1000),
            "total_ms": round(self.delivery.total_sec * 1000),
        }


def send(
    url: str, password: str, photo: Path, *, output: Path | None, timeout_sec: float, console: Console
) -> Sent:
    """Send `photo`, show the progress on `console`, and save the picture.

    Without `output` the picture goes beside the working folder's other files, named after the photo. Raises
    as `send_photo` does; a time-out is a `DeadlineExceeded`.
    """
    try:
        delivery = asyncio.run(_send_with_progress(url, password, photo, timeout_sec, console))
    except TimeoutError as error:
        raise DeadlineExceeded(f"No answer within {timeout_sec:g} seconds") from error
    file = output or Path(f"{photo.stem}-changed{_extension(delivery.content_type)}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(delivery.picture)
    return Sent(file=file, delivery=delivery)


async def _send_with_progress(
    url: str, password: str, photo: Path, timeout_sec: float, console: Console
) -> Delivery:
    size = photo.stat().st_size
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("Sending the photo", total=size)

        def show(sent: int) -> None:
            progress.update(task, completed=sent)
            if sent >= size:
                progress.update(task, description="Waiting for the picture")

        return await send_photo(url, password, photo, timeout_sec=timeout_sec, on_progress=show)


def _extension(content_type: str) -> str:
    try:
        return ImageType(content_type).extension
    except ValueError:
        return ".bin"

"""An installation in memory with something in it, and an administrator who may do everything."""

import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from photochanger.domain.permissions import Permission
from tests.system.administrator import as_update
from tests.system.http_server import (
    Answer,
    System,
    exchange,
    form,
    get,
    log_in_as,
    part,
    photo_form,
    picture,
    post,
    until,
    with_body,
    with_document,
)

PHOTO: Final = picture("JPEG", side=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A running installation with a result, a template and a link."""

    system: System
    port: int
    token: str
    job_id: str
    template_id: str
    media_id: str

    async def get(self, path: str, *, method: str = "GET", **headers: str) -> Answer:
        """Ask for a path, logged in; `If_Match` is the header If-Match."""
        known = {"Authorization": f"Bearer {self.token}"}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = get(path, method=method, headers=known | named)
        return await exchange(self.port, request, to_head=method == "HEAD")

    async def json(self, method: str, path: str, document: object) -> Answer:
        """Send a JSON document."""
        return await exchange(self.port, with_document(method, path, document, token=self.token))

    async def form(self, path: str, *parts: bytes, **headers: str) -> Answer:
        """Send a form."""
        known = {"Authorization": f"Bearer {self.token}"} | headers
        return await exchange(self.port, post(form(*parts), path, headers=known))

    async def raw(self, method: str, path: str, body: bytes, content_type: str) -> Answer:
        """Send any body."""
        request = with_body(method, path, body, content_type=content_type, token=self.token)
        return await exchange(self.port, request)

    async def read(self, path: str) -> dict[str, Any]:
        """Return the JSON that is there."""
        answer = await self.get(path)
        assert answer.status == 200, answer.body
        found: dict[str, Any] = json.loads(answer.body)
        return found

    async def settings(self, **changed: object) -> dict[str, Any]:
        """Return the document that would leave the settings as they are, but for `changed`."""
        found = await self.read("/api/settings")
        document = {name: found[name] for name in ("version", "results", "limits", "cleanup")}
        ingest = {name: value for name, value in found["ingest"].items() if "password" not in name}
        return document | {"ingest": ingest} | changed

    async def slot(self, **changed: object) -> dict[str, Any]:
        """Return the document that would leave the first slot as it is, but for `changed`."""
        return as_update(await self.read("/api/slots/slot-001")) | changed

    async def put_slot(self, **changed: object) -> Answer:
        """Store the first slot, with something changed."""
        return await self.json("PUT", "/api/slots/slot-001", await self.slot(**changed))

    async def waiting_job(self) -> str:
        """Wait until a job hangs, and return its id."""

        async def found() -> list[str]:
            jobs = (await self.read("/api/jobs?status=processing"))["items"]
            return [job["job_id"] for job in jobs]

        async def hangs() -> bool:
            return bool(await found())

        await until(hangs)
        [job_id] = await found()
        return job_id


Asking: TypeAlias = Callable[[Scene], Coroutine[Any, Any, Answer]]
"""A request, made in a scene."""


async def set_scene(system: System, port: int) -> Scene:
    """Log in, and make what the scene has in it."""
    token = await log_in_as(system, port, Permission)
    sent = await exchange(port, post(photo_form(PHOTO)))
    here = Scene(system=system, port=port, token=token, job_id=sent["x-job-id"], template_id="", media_id="")
    template = await here.form("/api/template-media/register", file_part(), part("name", "Рамка".encode()))
    link = await here.form("/api/media/register", file_part())
    return Scene(
        system=system,
        port=port,
        token=token,
        job_id=here.job_id,
        template_id=json.loads(template.body)["template_id"],
        media_id=json.loads(link.body)["media_id"],
    )


def file_part(content: bytes = PHOTO, *, name: str = "file") -> bytes:
    """Return the part of a form that is a file."""
    return part(name, content, file_name="x.jpg")


def code_of(answer: Answer) -> str:
    """Return the code of an answer that must be a problem."""
    assert answer["content-type"] == "application/problem+json", answer
    code: str = json.loads(answer.body)["code"]
    return code


def reads(path: str, *, method: str = "GET", **headers: str) -> Asking:
    """Return a request without a body; the ids of what the scene has in it are put into its path."""

    async def ask(scene: Scene) -> Answer:
        ids = {"job_id": scene.job_id, "template_id": scene.template_id, "media_id": scene.media_id}
        return await scene.get(path.format(**ids), method=method, **headers)

    return ask

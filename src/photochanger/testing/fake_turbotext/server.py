"""The server: its protocol, its queue, and what was received."""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import PurePosixPath
from types import TracebackType
from typing import ClassVar, Final, Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from PIL import Image, ImageOps

from photochanger.testing.fake_turbotext.faults import BODIES, PAGE, TRANSPORTS, with_status
from photochanger.testing.marks import mark_png


@dataclass(frozen=True, slots=True)
class Call:
    """A request to the API: its method, its form, and whether the key was right."""

    method: str
    form: Mapping[str, str]
    had_key: bool

    @property
    def do(self) -> str:
        """The step: `create_queue`, `get_result`."""
        return self.form.get("do", "")


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was got from a link in a form field."""

    field: str
    status: int
    content_type: str
    extension: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Download:
    """A request for a picture."""

    target: str
    had_key: bool


@dataclass(slots=True)
class _Job:
    number: int
    method: str
    form: Mapping[str, str]
    fault: str
    times: dict[str, int] = field(default_factory=dict)
    picture: bytes = b""
    error: str = ""
    work: asyncio.Task[None] | None = None

    def is_due(self, step: str) -> str | None:
        """Return what goes wrong at `step` this time, if anything does."""
        self.times[step] = self.times.get(step, 0) + 1
        at, _, what = self.fault.partition(":")
        what, _, often = what.partition(":")
        return what if at == step and self.times[step] <= int(often or 1_000_000) else None


class FakeTurbotext:
    """The server, an async context manager.

    Port 0 is any free one; `delay_sec` is how long a picture takes.
    """

    REQUIRED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "generate_image2image": ("url", "content"),
        "mix_images": ("url", "url_image_target"),
        "deepfake_photo": ("url", "url_image_target"),
    }

    def __init__(
        self,
        *,
        api_key: str = "turbotext-key-9f2c",
        script: Sequence[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        delay_sec: float = 0.0,
    ) -> None:
        """`gone_wrong` tells what was done of the script, `elsewhere` counts requests for nothing of ours."""
        self.api_key = api_key
        self.delay_sec = delay_sec
        self._at = host, port
        self.script = deque(script)
        self.by_prompt: dict[str, str] = {}
        """What happens to jobs with a certain prompt, whenever they come."""
        self.calls: list[Call] = []
        self.fetched: list[Fetched] = []
        self.downloads: list[Download] = []
        self.redirect_to = "/elsewhere"
        self.gone_wrong: list[str] = []
        self.elsewhere = 0
        self.base_url = ""
        self._jobs: dict[int, _Job] = {}
        self._ended = asyncio.Event()

    async def __aenter__(self) -> Self:
        # Made here: a server belongs to the loop that is running.
        server = web.Server(self._answer, access_log=None, handler_cancellation=True)
        self._runner = web.ServerRunner(server, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, *self._at).start()
        self.base_url = f"http://{self._at[0]}:{self._runner.addresses[0][1]}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True), timeout=aiohttp.ClientTimeout(total=5)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        work = [job.work for job in self._jobs.values() if job.work is not None]
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await self._session.close()
        await self._runner.cleanup()

    @property
    def created(self) -> int:
        """How often `create_queue` was called."""
        return sum(call.do == "create_queue" for call in self.calls)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith("/api_ai/"):
            return await self._api(request)
        if request.path.startswith(("/download.php", "/image/")):
            return await self._picture(request)
        self.elsewhere += 1
        return web.Response(status=404, text=PAGE, content_type="text/html")

    async def _api(self, request: web.BaseRequest) -> web.StreamResponse:
        method = request.path.removeprefix("/api_ai/")
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.calls.append(Call(method, form, self._has_key(request)))
        if not self._has_key(request):
            return _json({"success": False, "error": "Unauthorized"}, status=401)
        if request.method != "POST" or request.content_type != "application/x-www-form-urlencoded":
            return _json({"success": False, "error": "params_error"})
        match form.get("do"):
            case "create_queue":
                return await self._create(request, method, form)
            case "get_result":
                return await self._get_result(request, form)
        return _json({"success": False, "error": "params_error"})

    async def _create(
        self, request: web.BaseRequest, method: str, form: Mapping[str, str]
    ) -> web.StreamResponse:
        if problem := self._problem(method, form):
            return _json({"success": False, "error": problem})
        fault = self.by_prompt.get(form.get("content", "")) or (
            self.script.popleft() if self.script else "ok"
        )
        job = _Job(len(self._jobs) + 101, method, form, fault)
        self._jobs[job.number] = job
        as_text = job.fault in {"queueid_as_string", "numbers_as_strings"}
        answer = _json({"success": True, "queueid": str(job.number) if as_text else job.number})
        job.work = asyncio.create_task(self._work(job))
        what = job.is_due("create")
        return await self._wrong(request, what, answer, job) if what else answer

    def _problem(self, method: str, form: Mapping[str, str]) -> str | None:
        if method not in self.REQUIRED:
            return f"unknown method {method}"
        if missing := [name for name in self.REQUIRED[method] if not form.get(name)]:
            return f"params_error: {' '.join(missing)}"
        wrong = [name for name, is_right in _FORMS.items() if name in form and not is_right(form[name])]
        return f"params_error: {' '.join(wrong)}" if wrong else None

    async def _get_result(self, request: web.BaseRequest, form: Mapping[str, str]) -> web.StreamResponse:
        number = form.get("queueid", "")
        job = self._jobs.get(int(number)) if number.isdigit() else None
        if job is None or job.fault == "forgotten":
            return _json({"success": False, "error": "queueid not found"})
        what = job.is_due("result")
        answer = self._result(job)
        return await self._wrong(request, what, answer, job) if what else answer

    def _result(self, job: _Job) -> web.Response:
        reconnects = job.fault.partition(":")[2] if job.fault.startswith("reconnect") else "0"
        if reconnects == "for_ever" or job.times["result"] <= int(reconnects) or not _is_done(job):
            bare = job.fault.startswith("reconnect_bare")
            return _json({"action": "reconnect"} if bare else {"success": False, "action": "reconnect"})
        if job.error:
            return _json({"success": False, "error": job.error})
        answer = _json(_as_strings(self._done(job)) if job.fault == "numbers_as_strings" else self._done(job))
        if job.fault == "byte_order_mark":
            assert isinstance(answer.body, bytes)
            answer.body = b"\xef\xbb\xbf" + answer.body
        return answer

    def _done(self, job: _Job) -> dict[str, object]:
        """Return the final answer, in the form that the documentation shows for the method."""
        width, height = Image.open(BytesIO(job.picture)).size
        data: dict[str, object] = {"width": width, "height": height, "seed": 5443937701, "scale": 7.5}
        data["forbidden_content"] = job.fault == "forbidden_content"
        done: dict[str, object] = {"success": True, "error": "", "data": data, "limits": {"foto_limit": 123}}
        download = f"{self.base_url}/download.php?f={job.number}.png"
        relative = f"image/{job.method}_id{job.number}_0.png"
        usual = "image_relative" if job.method == "generate_image2image" else "top"
        place = job.fault.removeprefix("location:") if job.fault.startswith("location:") else usual
        if job.fault.startswith("location="):
            place, download = "top", job.fault.removeprefix("location=")
        match place:
            case "top":
                done["uploaded_image"] = download
                data["image"] = ["https://nowhere.invalid/not-to-be-used.png"]
            case "data":
                data["uploaded_image"] = download
            case "image_absolute":
                data["image"] = [f"{self.base_url}/{relative}"]
            case "image_relative":
                data["image"] = [relative]
        return done

    async def _work(self, job: _Job) -> None:
        """Fetch the images and make the picture, as the real one does, or note why it cannot be done."""
        images = {}
        for name in ("url", "url_image_target"):
            if name in job.form:
                link = f"{job.form[name]}x" if job.fault == "unreachable_photo" else job.form[name]
                fetched = await self._fetch(name, link)
                self.fetched.append(fetched)
                images[name] = fetched.body
        await asyncio.sleep(self.delay_sec)
        try:
            job.picture = _picture(images)
        except Exception:  # noqa: BLE001  # Pillow raises whatever it likes
            # The real one's texts are not known; they may well repeat what was sent, so this does.
            job.error = f"url_error {job.form['url']} {job.form.get('content', '')}"

    async def _fetch(self, name: str, link: str) -> Fetched:
        extension = PurePosixPath(urlsplit(link).path).suffix
        try:
            async with self._session.get(link) as response:
                body = await response.read() if response.status == 200 else b""
                return Fetched(name, response.status, response.content_type, extension, body)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return Fetched(name, 0, "", extension, b"")

    async def _picture(self, request: web.BaseRequest) -> web.StreamResponse:
        self.downloads.append(Download(request.path_qs, "Authorization" in request.headers))
        number = "".join(filter(str.isdigit, request.path_qs.rpartition("_id")[2].partition("_0.")[0]))
        job = self._jobs.get(int(number or 0))
        if job is None or not job.picture:
            return web.Response(status=404, text=PAGE, content_type="text/html")
        answer = web.Response(body=job.picture, content_type="image/png")
        what = job.is_due("download")
        return await self._wrong(request, what, answer, job) if what else answer

    def _has_key(self, request: web.BaseRequest) -> bool:
        return request.headers.get("Authorization") == f"Bearer {self.api_key}"

    async def _wrong(
        self, request: web.BaseRequest, what: str, answer: web.Response, job: _Job
    ) -> web.StreamResponse:
        """Answer wrongly; `answer` is what the right one would have been."""
        self.gone_wrong.append(what)
        if what == "needs_key":
            return answer if self._has_key(request) else web.Response(status=401)
        if what == "rejected":
            told = f"size_error {job.form['url']} {job.form.get('content', '')}"
            return _json({"success": False, "error": told})
        if what == "redirect":
            return web.Response(status=302, headers={"Location": self.redirect_to})
        if what in BODIES:
            return web.Response(body=BODIES[what], content_type="application/json")
        if what in TRANSPORTS:
            return await TRANSPORTS[what](request, answer, self._ended)
        return with_status(what, answer)


def _is_done(job: _Job) -> bool:
    return job.work is not None and job.work.done()


def _json(content: object, status: int = 200) -> web.Response:
    # PHP declares its JSON as a page unless told otherwise.
    return web.Response(body=json.dumps(content).encode(), content_type="text/html", status=status)


def _as_strings(content: object) -> object:
    if isinstance(content, dict):
        return {name: _as_strings(value) for name, value in content.items()}
    return str(content) if isinstance(content, int | float) else content


_FORMS: Final[Mapping[str, Callable[[str], bool]]] = {
    "strength": lambda text: 0 <= int(text) <= 80,
    "seed": lambda text: 1 <= int(text) <= 10**10,
    "scale": lambda text: 0.1 <= float(text) <= 20,
    "user_id": str.isdigit,
    "negative_prompt": lambda text: len(text.split()) <= 80,
    "face_restore": lambda text: text in {"True", "False"},
    "url": lambda text: text.startswith(("http://", "https://")),
    "url_image_target": lambda text: text.startswith(("http://", "https://")),
}


def _picture(images: Mapping[str, bytes]) -> bytes:
    """Return the first image as a negative, with the second one, where there is one, in its middle.

    It is full of metadata, none of which may reach a booth.
    """
    first, *more = (Image.open(BytesIO(data)).convert("RGB") for data in images.values())
    picture = ImageOps.invert(first)
    for other in more:
        width, height = max(1, picture.width // 2), max(1, picture.height // 2)
        picture.paste(other.resize((width, height)), (width // 2, height // 2))
    buffer = BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return mark_png(buffer.getvalue())

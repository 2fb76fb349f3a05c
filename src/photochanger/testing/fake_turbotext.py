"""Turbotext as a server on this machine, as far as it is known, with everything that may go wrong.

    async with FakeTurbotext() as turbotext:
        turbotext.script.append("download:404:1")
        provider = TurbotextProvider(api_key=turbotext.api_key, base_url=turbotext.base_url)

It really fetches the links that it is given, and makes its picture from them. Each `create_queue` takes the
next name from `script`; where there is none, all goes well. Protocol and answers are those of
https://www.turbotext.ru/photo_ai/docs/info and what is known beyond it.

A name says at which step something goes wrong, what, and how often: `create:500` answers `create_queue` with
a 500, `result:html:1` the first `get_result` with a page, `download:hang` no download ever. `FAULTS` lists
those that make sense, and what a provider has to make of them.
"""

import asyncio
import gzip
import json
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import PurePosixPath
from types import TracebackType
from typing import ClassVar, Final, Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from PIL import Image, ImageOps

from photochanger.domain.errors import (
    ProviderError,
    ProviderFault,
    ProviderMisconfigured,
    ProviderNoImage,
    ProviderQuotaExhausted,
    ProviderRefused,
    ProviderRejected,
)
from photochanger.testing.marks import mark_png
from photochanger.testing.provider_faults import Row

_PAGE: Final = "<!DOCTYPE html><html><title>Технические работы</title></html>"


def result_at(url: str) -> str:
    """Return the name of an answer that says the result is at `url`."""
    return f"location={url}"


def _rows(
    names: str, expected: type[ProviderFault] | None, *, billed: bool = True, all_time: bool = False
) -> Iterator[Row]:
    maybe_billed = expected is not None and billed
    for name in names.split():
        yield Row(name=name, expected=expected, maybe_billed=maybe_billed, takes_all_time=all_time)


FAULTS: Final[tuple[Row, ...]] = (
    *_rows("ok queueid_as_string numbers_as_strings", None),
    *_rows("reconnect:1 reconnect:5 reconnect_bare:1 reconnect_bare:5 byte_order_mark", None),
    *_rows("location:top location:data location:image_absolute location:image_relative", None),
    *_rows("create:slow result:slow download:slow", None),
    # before there is a place in the queue
    *_rows(
        "create:401 create:402 create:403 create:404 create:redirect", ProviderMisconfigured, billed=False
    ),
    *_rows("create:429 create:429_without_a_time", ProviderQuotaExhausted, billed=False),
    *_rows("create:400 create:413 create:rejected", ProviderRejected, billed=False),
    *_rows("create:408 create:500 create:502 create:503", ProviderError),
    *_rows("create:html create:empty create:not_utf8 create:list create:nan create:deep", ProviderError),
    *_rows("create:stray_bracket create:reconnect create:no_id create:asyncid create:huge_id", ProviderError),
    *_rows("create:cut_before_answer create:cut_in_answer create:oversize create:endless", ProviderError),
    *_rows("create:hang create:trickle", ProviderError, all_time=True),
    # while the result is asked for
    *_rows("result:429:1 result:500:1 result:502:1 result:503:1 result:404:1 result:redirect:1", None),
    *_rows("result:html:1 result:empty:1 result:not_utf8:1 result:list:1 result:nan:1 result:deep:1", None),
    *_rows("result:stray_bracket:1 result:cut_before_answer:1 result:cut_in_answer:1 result:hang:1", None),
    *_rows("result:oversize:1", None),
    *_rows(
        "result:500 result:html result:stray_bracket result:cut_before_answer", ProviderError, all_time=True
    ),
    *_rows("result:hang result:trickle reconnect:for_ever", ProviderError, all_time=True),
    *_rows("result:401 result:402 result:403", ProviderMisconfigured),
    *_rows("result:rejected forgotten unreachable_photo", ProviderRejected),
    *_rows("forbidden_content", ProviderRefused),
    *_rows("location:none", ProviderNoImage),
    # while the picture is downloaded
    *_rows(
        "download:404:1 download:500:1 download:503:1 download:429:1 download:html:1 download:empty:1", None
    ),
    *_rows("download:cut_before_answer:1 download:cut_in_answer:1 download:hang:1 download:needs_key", None),
    *_rows("download:html download:empty download:gzip download:redirect", ProviderError),
    *_rows("download:401 download:403 download:410 download:oversize download:endless", ProviderError),
    *_rows("download:404 download:500 download:cut_in_answer", ProviderError, all_time=True),
    *_rows("download:hang download:trickle", ProviderError, all_time=True),
    *_rows(result_at("https://127.0.0.1/x.png"), ProviderError),
)


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
        return web.Response(status=404, text=_PAGE, content_type="text/html")

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
            return web.Response(status=404, text=_PAGE, content_type="text/html")
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
        if what in _BODIES:
            return web.Response(body=_BODIES[what], content_type="application/json")
        if what in _TRANSPORTS:
            return await _TRANSPORTS[what](request, answer, self._ended)
        return _with_status(what, answer)


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

_BODIES: Final[Mapping[str, bytes]] = {
    "html": _PAGE.encode(),
    "empty": b"",
    "not_utf8": '{"success":true,"action":"готово"}'.encode("cp1251"),
    "list": b"[]",
    "nan": b'{"success":true,"queueid":NaN,"data":{"scale":Infinity}}',
    "deep": b'{"success":true,"data":' + b"[" * 200_000,
    "stray_bracket": '{"success":true,"error":"","data":{"prompt":"в стиле дисней"],"width":768}}'.encode(),
    "reconnect": b'{"action":"reconnect"}',
    "no_id": b'{"success":true}',
    "asyncid": b'{"success":true,"asyncid":12}',
    "huge_id": b'{"success":true,"queueid":' + b"9" * 5000 + b"}",
}


def _with_status(what: str, answer: web.Response) -> web.Response:
    if what == "gzip":
        assert isinstance(answer.body, bytes)
        body = gzip.compress(answer.body)
        return web.Response(body=body, headers={"Content-Encoding": "gzip"}, content_type="image/png")
    status = int(what.partition("_")[0])
    headers = {"Retry-After": "1"} if what == "429" else {}
    return web.Response(status=status, text=_PAGE, content_type="text/html", headers=headers)


_Transport = Callable[[web.BaseRequest, web.Response, asyncio.Event], Awaitable[web.StreamResponse]]


async def _cut_before_answer(
    request: web.BaseRequest, answer: web.Response, _ended: asyncio.Event
) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return answer


async def _cut_in_answer(
    request: web.BaseRequest, answer: web.Response, _ended: asyncio.Event
) -> web.StreamResponse:
    stream, body = await _begun(request, answer)
    await stream.write(body[: len(body) // 2])
    assert request.transport is not None
    request.transport.close()
    return stream


async def _slow(request: web.BaseRequest, answer: web.Response, _ended: asyncio.Event) -> web.StreamResponse:
    stream, body = await _begun(request, answer)
    piece = len(body) // 8 + 1
    for at in range(0, len(body), piece):
        await stream.write(body[at : at + piece])
        await asyncio.sleep(0.005)
    return stream


async def _hang(_request: web.BaseRequest, answer: web.Response, ended: asyncio.Event) -> web.StreamResponse:
    await ended.wait()
    return answer


async def _trickle(
    request: web.BaseRequest, _answer: web.Response, ended: asyncio.Event
) -> web.StreamResponse:
    """Send a byte now and then, for ever: never silent, never done."""
    stream = web.StreamResponse()
    await stream.prepare(request)
    with suppress(ConnectionError):
        while not ended.is_set():
            await stream.write(b" ")
            await asyncio.sleep(0.05)
    return stream


async def _oversize(
    request: web.BaseRequest, _answer: web.Response, ended: asyncio.Event
) -> web.StreamResponse:
    stream = web.StreamResponse(headers={"Content-Length": str(10**10)})
    await stream.prepare(request)
    await stream.write(b"{")
    await ended.wait()
    return stream


async def _endless(
    request: web.BaseRequest, _answer: web.Response, ended: asyncio.Event
) -> web.StreamResponse:
    """Send more and more, without having said how much, until the other side has had enough."""
    stream = web.StreamResponse()
    await stream.prepare(request)
    with suppress(ConnectionError):
        while not ended.is_set():
            await stream.write(bytes(1_000_000))
    return stream


async def _begun(request: web.BaseRequest, answer: web.Response) -> tuple[web.StreamResponse, bytes]:
    assert isinstance(answer.body, bytes)
    stream = web.StreamResponse(headers={"Content-Length": str(len(answer.body))})
    stream.content_type = answer.content_type
    await stream.prepare(request)
    return stream, answer.body


_TRANSPORTS: Final[Mapping[str, _Transport]] = {
    "cut_before_answer": _cut_before_answer,
    "cut_in_answer": _cut_in_answer,
    "slow": _slow,
    "hang": _hang,
    "trickle": _trickle,
    "oversize": _oversize,
    "endless": _endless,
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

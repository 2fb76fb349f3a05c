"""The server: routes, keys, the script of what goes wrong, and what was received."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from aiohttp import web

from photochanger.testing.fake_gemini import errors, pictures
from photochanger.testing.fake_gemini.errors import ApiError
from photochanger.testing.fake_gemini.faults import CUT_WHILE_SENDING, HTML, JSON, REPLIES, Canned, cut
from photochanger.testing.fake_gemini.requests import (
    MAX_BODY_BYTES,
    MODELS,
    SHUT_DOWN,
    ReceivedCall,
    read_call,
)

OK: Final = "ok"

Script: TypeAlias = Sequence[str] | Callable[[int], str]
"""Names of faults, one for each call in turn, then `ok`; or a function of the call's number, from 1 on."""

_IN_PROMPT: Final = re.compile(r"\[fault:([a-z0-9_]+)\]")


class FakeGemini:
    """Listens on this machine while its context is open.

    What goes wrong is in `script`, of which calls that are not right take nothing; a prompt with
    `[fault:overloaded]` in it names the fault of its own call, and `judge`, which sees the whole call, names
    one where the script says `ok`. `delay_sec` is how long an answer takes, always or for a call; `draw`
    makes the picture of a call, of the type `mime_type`. `further_keys` are taken as well as `api_key`:
    whoever gives each client a key of its own sees in a call's headers whose it is. The last three arguments
    choose how answers are written: all of it has to be understood.
    """

    def __init__(
        self,
        *,
        script: Script = (),
        judge: Callable[[ReceivedCall], str] = lambda _call: OK,
        api_key: str = "AQ.fake-key-of-a-fake-gemini",
        host: str = "127.0.0.1",
        port: int = 0,
        delay_sec: float | Callable[[ReceivedCall], float] = 0.0,
        draw: Callable[[ReceivedCall, str], bytes] = pictures.picture,
        further_keys: Container[str] = (),
        mime_type: str = "image/png",
        snake_case: bool = False,
        urlsafe: bool = False,
    ) -> None:
        self.api_key = api_key
        self.delay_sec = delay_sec
        self.calls: list[ReceivedCall] = []
        """The calls that were right, in the order of their arrival."""
        self.counts: Counter[str] = Counter()
        """How many requests there were of each outcome: `ok`, a fault's name, `invalid`, `abandoned`."""
        self.in_flight = 0
        self.most_in_flight = 0
        self._at = host, port
        self._draw, self._further_keys = draw, further_keys
        self._mime_type, self._snake_case, self._urlsafe = mime_type, snake_case, urlsafe
        self._script = script if callable(script) else _in_turn(script)
        self._judge = judge
        self._number = 0
        self._runner: web.AppRunner | None = None
        self._port = port

    @property
    def base_url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://{self._at[0]}:{self._port}"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=MAX_BODY_BYTES + 1)
        app.router.add_post("/{version:v1|v1beta}/models/{model:[^/:]+}:generateContent", self._generate)
        app.router.add_get("/{version:v1|v1beta}/models", self._list_models)
        app.router.add_get("/{version:v1|v1beta}/models/{model:[^/:]+}", self._get_model)
        app.router.add_route("*", "/{rest:.*}", _not_found)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, *self._at)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._answer(request)
        except ApiError as error:
            self.counts["invalid"] += 1
            return _error_response(error)
        except (asyncio.CancelledError, ConnectionError):
            self.counts["abandoned"] += 1
            raise
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self._check_access(request)
        model = self._model(request)
        _check_deadline(request)
        self._number = number = self._number + 1
        fault = self._script(number)
        if fault == CUT_WHILE_SENDING:
            self.counts[fault] += 1
            await request.content.readany()
            return await cut(request)
        body = await _body(request)
        call = read_call(body, number=number, model=model, headers=_headers(request.headers))
        self.calls.append(call)
        if found := _IN_PROMPT.search(call.prompt):
            fault = found[1]
        elif fault == OK:
            fault = self._judge(call)
        self.counts[fault] += 1
        await asyncio.sleep(self.delay_sec(call) if callable(self.delay_sec) else self.delay_sec)
        return await (self._picture(call) if fault == OK else _fail(fault, request))

    async def _picture(self, call: ReceivedCall) -> web.StreamResponse:
        return web.Response(body=await asyncio.to_thread(self._drawn, call), headers={"Content-Type": JSON})

    def _drawn(self, call: ReceivedCall) -> bytes:
        picture = self._draw(call, self._mime_type)
        document = pictures.answer(call, picture, self._mime_type, urlsafe=self._urlsafe)
        return pictures.as_json(document, snake_case=self._snake_case)

    async def _list_models(self, request: web.Request) -> web.StreamResponse:
        try:
            self._check_access(request)
        except ApiError as error:
            return _error_response(error)
        start = int(request.query.get("pageToken") or 0)
        end = start + int(request.query.get("pageSize") or 50)
        document: dict[str, Any] = {"models": [_resource(name) for name in list(MODELS)[start:end]]}
        if end < len(MODELS):
            document["nextPageToken"] = str(end)
        return _json_response(document)

    async def _get_model(self, request: web.Request) -> web.StreamResponse:
        try:
            self._check_access(request)
            return _json_response(_resource(self._model(request)))
        except ApiError as error:
            return _error_response(error)

    def _check_access(self, request: web.Request) -> None:
        key = request.headers.get("x-goog-api-key") or request.query.get("key")
        if not key:
            raise ApiError(
                403,
                "PERMISSION_DENIED",
                "Method doesn't allow unregistered callers (callers without established identity). Please "
                "use API Key or other form of API consumer identity to call this API.",
            )
        if key != self.api_key and key not in self._further_keys:
            raise errors.bad_key("API key not valid. Please pass a valid API key.")

    @staticmethod
    def _model(request: web.Request) -> str:
        model = request.match_info["model"]
        if model in SHUT_DOWN:
            raise errors.model_shut_down(model)
        if model not in MODELS:
            raise errors.no_such_model(model, request.match_info["version"])
        return model


def _in_turn(names: Sequence[str]) -> Callable[[int], str]:
    unknown = [name for name in names if name != OK and name not in REPLIES]
    if unknown:
        raise ValueError(f"no such faults: {', '.join(unknown)}")
    return lambda number: names[number - 1] if number <= len(names) else OK


async def _body(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise errors.invalid(f"Request payload size exceeds the limit: {MAX_BODY_BYTES} bytes.") from None


def _check_deadline(request: web.Request) -> None:
    timeout = request.headers.get("X-Server-Timeout")
    if timeout is not None and (not timeout.isdecimal() or int(timeout) < 10):
        raise errors.invalid(
            f"Manually set deadline {timeout}s is too short. Minimum allowed deadline is 10s."
        )


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


async def _fail(fault: str, request: web.Request) -> web.StreamResponse:
    reply = REPLIES.get(fault)
    if reply is None:
        raise errors.invalid(f"The fake has no fault of the name {fault}.")
    if not isinstance(reply, Canned):
        return await reply(request)
    headers = {"Content-Type": reply.content_type, **reply.headers}
    return web.Response(status=reply.status, body=reply.body, headers=headers)


def _json_response(document: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=pictures.as_json(document), headers={"Content-Type": JSON})


def _error_response(error: ApiError) -> web.Response:
    return _json_response(error.document, error.code)


async def _not_found(_request: web.Request) -> web.StreamResponse:
    page = b"<!DOCTYPE html><html><title>Error 404 (Not Found)!!1</title></html>"
    return web.Response(status=404, body=page, headers={"Content-Type": HTML})


def _resource(model: str) -> dict[str, Any]:
    return {
        "name": f"models/{model}",
        "version": "1.0",
        "displayName": MODELS[model].display_name,
        "description": "A model of the fake.",
        "inputTokenLimit": 65536,
        "outputTokenLimit": 32768,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
        "temperature": 1,
        "topP": 0.95,
        "topK": 64,
        "maxTemperature": 1,
        "thinking": bool(MODELS[model].levels),
    }

"""A whole PhotoChanger on a real socket: uvicorn, memory adapters, a worker; and a raw HTTP client."""

import asyncio
import contextlib
import json
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import pytest
from dependency_injector import providers
from litestar import Litestar
from PIL import Image

from photochanger.adapters.images import PillowImageEditor
from photochanger.adapters.jwt_tokens import JwtAccessTokens
from photochanger.adapters.memory import FastPasswordHasherForTests, MemoryAccountRepository, MemoryStorage
from photochanger.adapters.rehearsal import RehearsalProvider
from photochanger.adapters.system_clock import SystemClock
from photochanger.application.ports import Clock, ImageProvider, MediaStore
from photochanger.application.provider_links import ProviderLinks
from photochanger.application.worker import Worker
from photochanger.domain.account import Account
from photochanger.domain.operation import ParameterValue
from photochanger.domain.permissions import Permission
from photochanger.domain.slot import ProviderCall, Slot, SlotConfiguration, SlotId
from photochanger.entrypoints.container import Container
from photochanger.entrypoints.http.app import create_app
from photochanger.entrypoints.http.server import GuardedProtocol, make_server
from photochanger.entrypoints.settings import Environment
from photochanger.testing.harness import an_entry

PASSWORD = "booth-password-ü"
SLOT = SlotId("slot-001")


LOOPS = [
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
]
"""Both event loops, as the parameters of a fixture `anyio_backend`; see `loop_of`."""


def loop_of(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Return the loop that this run of a test is for, if it is there."""
    backend: tuple[str, dict[str, Any]] = request.param
    if backend[1]["use_uvloop"]:
        pytest.importorskip("uvloop")
    return backend


class System:
    """PhotoChanger as its composition root puts it together, but with memory in the place of what is stored.

    `accounts` are the administrators' (`log_in_as` makes them); passwords are hashed fast, and refused logins
    are answered at once.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        provider: ImageProvider | None = None,
        base_url: str | None = None,
        store: MediaStore | None = None,
    ) -> None:
        self.the_clock = clock or SystemClock()
        self.storage = MemoryStorage(self.the_clock)
        self.accounts = MemoryAccountRepository()
        self.images = PillowImageEditor()
        self.provider = provider or RehearsalProvider()
        self.store = store or self.storage.files
        self.container = self._put_together(Environment(public_base_url=base_url, workers=4))
        self.the_readiness = self.container.readiness()
        self.the_tracing = self.container.tracing()
        self.the_metrics = self.container.metrics()

    def _put_together(self, environment: Environment) -> Container:
        container = Container(environment=environment, database_url="")
        in_place: Mapping[str, object] = {
            "clock": self.the_clock,
            "hub": self.storage.signals,
            "signals": self.storage.signals,
            "jobs": self.storage.jobs,
            "registry": self.storage.media,
            "gate": self.storage.gate,
            "slots": self.storage.slots,
            "settings": self.storage.settings,
            "templates": self.storage.templates,
            "usage": self.storage.usage,
            "audit": self.storage.audit,
            "sessions": self.storage.sessions,
            "throttle": self.storage.throttle,
            "housekeeping": self.storage.housekeeping,
            "installation": self.storage.installation,
            "history": self.storage.history,
            "statistics": self.storage.statistics,
            "accounts": self.accounts,
            "store": self.store,
            "images": self.images,
            "hasher": FastPasswordHasherForTests(),
            "found_providers": {self.provider.description.name: self.provider},
            "tokens": JwtAccessTokens([secrets.token_urlsafe(32)]),
        }
        for name, value in in_place.items():
            getattr(container, name).override(providers.Object(value))
        container.log_in.add_kwargs(answer_after_sec=0.0)
        return container

    def provider_links(self) -> ProviderLinks:
        """Return what makes links for providers."""
        links: ProviderLinks = self.container.provider_links()
        return links

    def worker(self) -> Worker:
        """Return a worker on the same records."""
        worker: Worker = self.container.worker()
        return worker

    async def set_password(self, password: str = PASSWORD, *, deduplicate: bool = False) -> None:
        """Set the ingest password; photos may come faster than any test sends them."""
        settings = await self.storage.settings.get()
        stored = await FastPasswordHasherForTests().hash(password)
        ingest = replace(
            settings.ingest,
            password_hash=stored,
            deduplicate=deduplicate,
            rate_limit_rps=10_000,
            rate_limit_burst=100_000,
        )
        await self.storage.settings.save(replace(settings, ingest=ingest), entry=an_entry("test"))

    async def set_slot(
        self,
        slot_id: SlotId = SLOT,
        params: Mapping[str, ParameterValue] | None = None,
        *,
        is_active: bool = True,
        time_out_sec: int = 20,
        size_limit_mb: int = 50,
    ) -> None:
        """Set a slot up, past the domain's bounds where a test needs it."""
        stored = await self.storage.slots.get(slot_id)
        configuration = SlotConfiguration(
            call=ProviderCall(provider="rehearsal", operation=self._operation(), params=dict(params or {})),
            is_active=is_active,
            sync_response_timeout_sec=time_out_sec,
            size_limit_mb=size_limit_mb,
        )
        slot = Slot(slot_id=slot_id, configuration=configuration, version=stored.version)
        await self.storage.slots.save(slot, entry=an_entry("test"))

    def _operation(self) -> str:
        return self.provider.description.operations[0].name


@asynccontextmanager
async def served(
    app: Litestar, *, protocol: type[GuardedProtocol] = GuardedProtocol, kernel_holds_bytes: int | None = None
) -> AsyncIterator[int]:
    """Serve the application as the program does; give its port.

    `kernel_holds_bytes` bounds what the kernel keeps of an answer for a client that does not read it.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        if kernel_holds_bytes is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, kernel_holds_bytes)
        server = make_server(app, protocol=protocol)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            await serving


@asynccontextmanager
async def running(
    system: System,
    *,
    protocol: type[GuardedProtocol] = GuardedProtocol,
    kernel_holds_bytes: int | None = None,
) -> AsyncIterator[int]:
    """Run the system with a worker; give its port. The arguments are those of `served`."""
    await system.set_password()
    await system.set_slot()
    worker = system.worker()
    working = asyncio.create_task(worker.serve())
    try:
        app = create_app(system.container)
        async with served(app, protocol=protocol, kernel_holds_bytes=kernel_holds_bytes) as port:
            yield port
    finally:
        worker.stop()
        await working
        system.images.close()


@dataclass(frozen=True)
class Answer:
    """One answer, as it came over the socket."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: str) -> str:
        found = [value for key, value in self.headers if key == name.lower()]
        assert len(found) == 1, f"{name}: {found}"
        return found[0]

    def __contains__(self, name: str) -> bool:
        return any(key == name.lower() for key, _ in self.headers)


class Connection:
    """A raw connection: sends exactly the given bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @asynccontextmanager
    async def to(cls, port: int) -> AsyncIterator["Connection"]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        try:
            yield cls(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, *, to_head: bool = False, within_sec: float = 30) -> Answer:
        """Read one answer."""
        async with asyncio.timeout(within_sec):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(head[0].split(" ")[1])
            headers = [
                (name.lower(), value.strip())
                for name, _, value in (line.partition(":") for line in head[1:-2])
            ]
            length = next((int(value) for name, value in headers if name == "content-length"), 0)
            bodiless = to_head or status < 200 or status in (204, 304)
            body = b"" if bodiless else await self.reader.readexactly(length)
        return Answer(status, headers, body)

    async def ended(self) -> bool:
        """Wait until the server closes; say whether nothing more came."""
        async with asyncio.timeout(30):
            return await self.reader.read() == b""


async def exchange(port: int, request: bytes, *, to_head: bool = False, within_sec: float = 30) -> Answer:
    """Send a whole request, and return its answer."""
    async with Connection.to(port) as connection:
        await connection.send(request)
        return await connection.answer(to_head=to_head, within_sec=within_sec)


BOUNDARY = "------------090306000104030805010400"


def picture(kind: str = "JPEG", *, side: int = 64, color: str = "orange") -> bytes:
    """Return a small image."""
    with BytesIO() as file:
        Image.new("RGB", (side, side), color).save(file, kind)
        return file.getvalue()


def part(name: str, value: bytes, *, file_name: str | None = None, content_type: str | None = None) -> bytes:
    """Return one part of a form, without its boundary."""
    named = f'; filename="{file_name}"' if file_name is not None else ""
    typed = f"Content-Type: {content_type}\r\n" if content_type else ""
    return f'Content-Disposition: form-data; name="{name}"{named}\r\n{typed}\r\n'.encode() + value


def form(*parts: bytes, boundary: str = BOUNDARY) -> bytes:
    """Return a form of these parts."""
    opened = b"".join(b"--" + boundary.encode() + b"\r\n" + each + b"\r\n" for each in parts)
    return opened + b"--" + boundary.encode() + b"--\r\n"


def photo_form(photo: bytes, password: str | None = PASSWORD) -> bytes:
    """Return the smallest form that a booth could send."""
    fields = [] if password is None else [part("password", password.encode())]
    return form(*fields, part("fileToUpload", photo, file_name="IMG_0003.JPG", content_type="image/jpeg"))


def post(
    body: bytes,
    path: str = f"/ingest/{SLOT}",
    *,
    headers: Mapping[str, str] | None = None,
    content_type: str = f"multipart/form-data; boundary={BOUNDARY}",
) -> bytes:
    """Return a whole POST request."""
    lines = {"Host": "booth.test", "Content-Type": content_type, "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in (lines | dict(headers or {})).items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


def get(path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None) -> bytes:
    """Return a whole request without a body."""
    lines = {"Host": "booth.test"} | dict(headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1")


def with_body(
    method: str, path: str, body: bytes = b"", *, content_type: str, token: str | None = None
) -> bytes:
    """Return a whole request of an administrator's."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = post(body, path, headers=headers, content_type=content_type)
    return request.replace(b"POST", method.encode(), 1)


def with_document(method: str, path: str, document: object, *, token: str | None = None) -> bytes:
    """Return a whole request with a JSON body."""
    body = json.dumps(document).encode()
    return with_body(method, path, body, content_type="application/json", token=token)


async def log_in_as(
    system: System, port: int, permissions: Iterable[Permission], *, username: str = "igor"
) -> str:
    """Make an account that may do this and nothing else, log in over HTTP, and return the token."""
    password = f"the password of {username}"
    account = Account(
        username=username,
        password_hash=await FastPasswordHasherForTests().hash(password),
        permissions=frozenset(permissions),
    )
    await system.accounts.put(account)
    credentials = {"username": username, "password": password}
    answer = await exchange(port, with_document("POST", "/api/login", credentials))
    assert answer.status == 200, answer.body
    token: str = json.loads(answer.body)["access_token"]
    return token


async def until(condition: Callable[[], Awaitable[bool]], *, seconds: float = 10.0) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 -- what is waited for sends no signal
            await asyncio.sleep(0.01)

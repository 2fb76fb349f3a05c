"""A server as an office runs it: on PostgreSQL, all slots switched on, somebody logged in."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from photochanger.domain.account import Account
from photochanger.entrypoints.cli.booth import Delivery
from photochanger.entrypoints.cli.processes import ServeProcess
from photochanger.testing.photos import plain_jpeg
from tests.system.administrator import Administrator, as_update, initial_credentials, logged_in
from tests.system.installation import Installation

INGEST_PASSWORD: Final = "a-new-password"
"""The one in the contract's example of a rotation: it stays the same when that example is sent."""

REHEARSAL: Final = {
    "provider": "rehearsal",
    "operation": "photo_effect",
    "params": {"effect": "none"},
    "is_active": True,
    "public_gallery": True,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A server, and two logins: one that may do everything, and one that may end."""

    server: ServeProcess
    administrator: Administrator
    expendable_token: str

    @property
    def port(self) -> int:
        """The server's port."""
        return int(self.server.base_url.rpartition(":")[2])

    @property
    def headers(self) -> Mapping[str, str]:
        """What opens every door."""
        return {
            "Authorization": f"Bearer {self.administrator.token}",
            "X-Ingest-Password": INGEST_PASSWORD,
        }


@asynccontextmanager
async def opened_office(installation: Installation) -> AsyncIterator[Office]:
    """Start a server whose slots' provider answers at once, and that has a result to show.

    At the end the login must have lasted, and the server must run still and have logged no traceback.
    """
    server = installation.serve()
    credentials = initial_credentials(installation.folder)
    name, password = credentials["admin_username"], credentials["admin_password"]
    expendable = await _account(installation, "expendable")
    async with (
        logged_in(server.base_url, name, password) as administrator,
        logged_in(server.base_url, "expendable", expendable) as other,
    ):
        await _switch_on(administrator)
        photo = installation.folder / "photo.jpg"
        photo.write_bytes(plain_jpeg())
        assert isinstance(await installation.send(server, photo, password=INGEST_PASSWORD), Delivery)
        yield Office(server=server, administrator=administrator, expendable_token=other.token)
        assert await administrator.get("/api/me")
    assert server.exit_status is None
    assert "Traceback" not in installation.logs()


async def _account(installation: Installation, username: str) -> str:
    """Make an account that may do nothing but log in and out, and return its password."""
    password = f"the password of {username}"
    async with installation.container() as container:
        password_hash = await container.hasher().hash(password)
        account = Account(username=username, password_hash=password_hash, permissions=frozenset())
        await container.accounts().put(account)
    return password


async def _switch_on(administrator: Administrator) -> None:
    await administrator.set_ingest_password(INGEST_PASSWORD)
    for slot in await administrator.get("/api/slots"):
        document = as_update(slot) | REHEARSAL
        status, answer = await administrator.call("PUT", f"/api/slots/{slot['slot_id']}", document)
        assert status == 200, answer

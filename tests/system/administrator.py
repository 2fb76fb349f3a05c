"""An administrator at a running server: logged in over HTTP, sending and getting JSON."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp


class Administrator:
    """A login. Requests go out at the same time where the caller makes them so."""

    def __init__(self, session: aiohttp.ClientSession, token: str) -> None:
        self._session = session
        self.token = token

    async def call(self, method: str, path: str, document: Any = None) -> tuple[int, Any]:
        """Send a request; return the status, and the JSON of the answer."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with self._session.request(method, path, json=document, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def get(self, path: str) -> Any:
        """Return the JSON that is there."""
        status, found = await self.call("GET", path)
        assert status == 200, found
        return found

    async def set_ingest_password(self, password: str) -> None:
        """Set the ingest password anew, and leave all other settings as they are."""
        settings = await self.get("/api/settings")
        ingest = {name: value for name, value in settings["ingest"].items() if "password" not in name}
        document = {name: settings[name] for name in ("version", "results", "limits", "cleanup")}
        document["ingest"] = {**ingest, "dslr_password": password}
        status, answer = await self.call("PUT", "/api/settings", document)
        assert status == 200, answer


@asynccontextmanager
async def logged_in(base_url: str, username: str, password: str) -> AsyncIterator[Administrator]:
    """Log in; the login is left as it is at the end."""
    connector = aiohttp.TCPConnector(limit=100)
    async with aiohttp.ClientSession(base_url, connector=connector) as session:
        credentials = {"username": username, "password": password}
        async with session.post("/api/login", json=credentials) as answer:
            assert answer.status == 200, await answer.text()
            yield Administrator(session, (await answer.json())["access_token"])


def initial_credentials(folder: Path) -> dict[str, str]:
    """Return what the first start has made up: `admin_username`, `admin_password`, `ingest_password`."""
    found: dict[str, str] = json.loads((folder / "secrets" / "initial-credentials.json").read_text())
    return found


def as_update(slot: dict[str, Any]) -> dict[str, Any]:
    """Return a slot, as it was read, as the document that would leave it as it is."""
    told = {"slot_id", "effective_timeout_sec", "ingest_url", "ingest_password_is_set"}
    told |= {"updated_at", "updated_by", "recent_results"}
    return {name: value for name, value in slot.items() if name not in told}

"""Administrators, who clear slots, cancel jobs, try slots, make links, and change what can be changed."""

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from tests.crash.booths import TestRuns
from tests.crash.ledger import Template
from tests.crash.line import FORM_TYPE, form
from tests.crash.scenery import SLOTS, TEMPLATE_SLOT, Scenery, photo_of, settings_update
from tests.system.administrator import as_update

_BINDING_CALL: Final = {"provider": "gemini", "operation": "edit_image", "params": {"prompt": "as a comic"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    path: str
    expires_at: datetime


class Operator:
    """Clears slots, cancels jobs, tries slots, and makes temporary links."""

    def __init__(self, scenery: Scenery) -> None:
        self._scenery = scenery
        self._choices = scenery.choices("operator")
        self._test_runs = TestRuns(scenery)
        self._links: list[_Link] = []

    async def run(self) -> None:
        """Work until the load is over."""
        while await self._scenery.goes_on():
            [act] = self._choices.choices(
                [self._clear, self._cancel, self._test_runs.once, self._make_link, self._follow_link],
                [1, 4, 5, 3, 7],
            )
            await act()
            await asyncio.sleep(self._choices.uniform(0, 0.3))

    async def _clear(self) -> None:
        slot_id = self._choices.choice(list(SLOTS))
        ending = self._scenery.ledger.ending(slot_id)
        heard = await self._scenery.ask("POST", f"/api/slots/{slot_id}/cleanup")
        done = heard is not None and heard.status == 200
        self._scenery.ledger.ended(ending, acknowledged=done)
        self._scenery.ledger.counts["slots cleared"] += done

    async def _cancel(self) -> None:
        state = self._choices.choice(["pending", "processing"])
        heard = await self._scenery.ask("GET", f"/api/jobs?status={state}&limit=50")
        if heard is None or heard.status != 200 or not (jobs := heard.document["items"]):
            return
        job_id = self._choices.choice(jobs)["job_id"]
        heard = await self._scenery.ask("POST", f"/api/jobs/{job_id}/cancel")
        if heard is not None and heard.status == 200:
            self._scenery.ledger.cancelled.add(job_id)

    async def _make_link(self) -> None:
        photo = photo_of(self._choices.randrange(6), "link")
        heard = await self._scenery.line.ask(
            "POST",
            "/api/media/register",
            body=form(file=("file", photo)),
            headers=self._scenery.bearing | {"Content-Type": FORM_TYPE},
        )
        if heard is not None and heard.status == 201:
            self._scenery.ledger.counts["links"] += 1
            path = urlsplit(heard.document["public_url"]).path
            expires_at = datetime.fromisoformat(heard.document["expires_at"])
            self._links.append(_Link(path=path, expires_at=expires_at))

    async def _follow_link(self) -> None:
        if not self._links:
            return
        link = self._choices.choice(self._links[-30:])
        asked_at = datetime.now(UTC)
        heard = await self._scenery.line.ask("GET", link.path)
        if heard is None:
            return
        may_be = {200} if datetime.now(UTC) < link.expires_at else {200, 410}
        if asked_at >= link.expires_at:
            may_be = {410}
        if heard.status not in may_be:
            self._scenery.ledger.violated(f"a temporary link was answered {heard.status}, not {may_be}")


class Administrator:
    """Changes settings and slots, and adds and removes templates."""

    def __init__(self, scenery: Scenery) -> None:
        self._scenery = scenery
        self._choices = scenery.choices("administrator")

    async def run(self) -> None:
        """Work until the load is over."""
        while await self._scenery.goes_on():
            acts = [self._add_template, self._remove_template, self._change_settings, self._rename_slot]
            [act] = self._choices.choices(acts, [4, 3, 2, 2])
            async with self._scenery.editing:
                await act()
            await asyncio.sleep(self._choices.uniform(0, 0.3))

    async def _add_template(self) -> None:
        photo = photo_of(self._choices.randrange(8), f"template {self._choices.random()}")
        heard = await self._scenery.line.ask(
            "POST",
            "/api/template-media/register",
            body=form(("name", "Frame"), file=("file", photo)),
            headers=self._scenery.bearing | {"Content-Type": FORM_TYPE},
        )
        if heard is not None and heard.status == 201:
            self._scenery.ledger.counts["templates added"] += 1
            template_id = heard.document["template_id"]
            self._scenery.ledger.templates[template_id] = Template(
                template_id=template_id, sha256=hashlib.sha256(photo).hexdigest()
            )

    async def _remove_template(self) -> None:
        known = [each for each in self._scenery.ledger.templates.values() if each.is_there]
        if not known:
            return
        template = self._choices.choice(known)
        if self._choices.random() < 0.5:
            bound = [{"role": "object", "template_id": template.template_id}]
            await self._change(TEMPLATE_SLOT, _BINDING_CALL | {"template_media": bound})
        template.is_there = None
        heard = await self._scenery.ask("DELETE", f"/api/template-media/{template.template_id}?force=true")
        done = heard is not None and heard.status == 204
        template.is_there = False if done else None
        self._scenery.ledger.counts["templates removed"] += done

    async def _change_settings(self) -> None:
        heard = await self._scenery.ask("GET", "/api/settings")
        if heard is None or heard.status != 200:
            return
        size = self._choices.randint(1, 100)
        results = {**heard.document["results"], "gallery_size": size}
        document = settings_update(heard.document) | {"results": results}
        await self._put("/api/settings", document, "gallery_size", size)

    async def _rename_slot(self) -> None:
        name = f"{self._choices.random()}"
        slot_id = self._choices.choice(list(SLOTS))
        await self._change(slot_id, {"display_name": name}, "display_name", name)

    async def _change(
        self, slot_id: str, changes: dict[str, Any], name: str | None = None, value: object = None
    ) -> None:
        heard = await self._scenery.ask("GET", f"/api/slots/{slot_id}")
        if heard is None or heard.status != 200:
            return
        document = as_update(heard.document) | changes
        await self._put(f"/api/slots/{slot_id}", document, name and f"{slot_id} {name}", value)

    async def _put(self, path: str, document: object, name: str | None, value: object) -> None:
        change = self._scenery.ledger.change(name) if name else None
        if change:
            change.sent(value)
        heard = await self._scenery.ask("PUT", path, document)
        if change and heard is not None:
            (change.acknowledged if heard.status == 200 else change.refused)(value)
        if heard is not None:
            self._scenery.ledger.counts["slots and settings changed"] += heard.status == 200


async def look_at_template(scenery: Scenery, template: Template) -> None:
    """Download a template, and compare it with what was added."""
    expected = template.is_there
    heard = await scenery.line.ask(
        "GET", f"/api/template-media/{template.template_id}/content", headers=scenery.bearing
    )
    if heard is None or expected is not template.is_there:
        return
    if heard.status not in {200, 404} or (expected is not None and expected != (heard.status == 200)):
        scenery.ledger.violated(f"template {template.template_id} was answered {heard.status}")
    if heard.status == 200 and hashlib.sha256(heard.body).hexdigest() != template.sha256:
        scenery.ledger.violated(f"template {template.template_id} has other bytes than were added")
    template.is_there = heard.status == 200
    scenery.ledger.counts["templates compared"] += 1


async def see_changes(scenery: Scenery) -> None:
    """See that what was acknowledged to administrators is stored."""
    for name, change in list(scenery.ledger.changes.items()):
        slot_id, _, field = name.rpartition(" ")
        async with scenery.editing:
            heard = await scenery.ask("GET", f"/api/slots/{slot_id}" if slot_id else "/api/settings")
            if heard is None or heard.status != 200:
                continue
            found = heard.document[field] if slot_id else heard.document["results"][field]
            if not change.allows(found):
                scenery.ledger.violated(f"{name} is {found!r}: {change}")

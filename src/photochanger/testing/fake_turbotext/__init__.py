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

from photochanger.testing.fake_turbotext.faults import FAULTS, result_at
from photochanger.testing.fake_turbotext.server import FakeTurbotext

__all__ = ["FAULTS", "FakeTurbotext", "result_at"]

"""One call for many: what is asked at one time is asked together."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from typing import Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class Gathered(Generic[_K, _V]):
    """Asks for many things with one call: while one is under way, what else is wanted waits for the next.

    A thousand requests with one deadline would otherwise be a thousand statements in the same instant. Who
    asks gets the error of the call that asked for him, too.
    """

    def __init__(self, ask: Callable[[Collection[_K]], Awaitable[Mapping[_K, _V]]]) -> None:
        self._ask = ask
        self._waiting: dict[_K, list[asyncio.Future[_V | None]]] = {}
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, key: _K) -> _V | None:
        """Return what the next call says of `key`; None where it says nothing."""
        future: asyncio.Future[_V | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(future)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, {}
            call = asyncio.ensure_future(self._ask(batch.keys()))
            await asyncio.wait([call])
            error = call.exception()
            answers = {} if error else call.result()
            for key, futures in batch.items():
                for future in futures:
                    if future.done():
                        continue
                    if error:
                        future.set_exception(error)
                    else:
                        future.set_result(answers.get(key))

"""What a process opens before it can do anything, and closes in the reverse order."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, TypeVar

from photochanger.adapters.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError
from photochanger.adapters.postgres.migrations import is_current, migrate
from photochanger.domain.errors import DatabaseUnavailable
from photochanger.entrypoints.container import Container
from photochanger.entrypoints.settings import Environment

_T = TypeVar("_T")


@contextmanager
def embedded_database(environment: Environment) -> Iterator[str]:
    """Run PostgreSQL in the data folder during the context, and give its DSN.

    Raises `DatabaseUnavailable` with the way out where it cannot be run.
    """
    server = EmbeddedPostgres(environment.data_dir)
    try:
        dsn = server.start()
    except EmbeddedPostgresError as error:
        raise DatabaseUnavailable(str(error)) from error
    try:
        yield dsn
    finally:
        server.stop()


def has_database(environment: Environment) -> bool:
    """Say whether there is a database to open, or a new one would be made in the data folder."""
    return environment.database_url is not None or EmbeddedPostgres(environment.data_dir).exists()


@asynccontextmanager
async def opened(environment: Environment, *, whosever_media: bool = False) -> AsyncIterator[Container]:
    """Open what a process needs, and close it in the reverse order.

    Without a database URL, PostgreSQL is started in the data folder and migrated. A database that was given
    is not touched: where its schema is not the current one, `DatabaseUnavailable` says what to do. A media
    store that belongs to another database, or has lost its mark, is refused, unless `whosever_media` will do.
    """
    async with AsyncExitStack() as stack:
        environment.data_dir.mkdir(parents=True, exist_ok=True)
        dsn = environment.database_url
        if dsn is None:
            dsn = await _to_its_end(asyncio.to_thread(stack.enter_context, embedded_database(environment)))
            await asyncio.to_thread(migrate, dsn)
        elif not await asyncio.to_thread(is_current, dsn):
            raise DatabaseUnavailable("The database's schema is not this version's: run photochanger migrate")
        container = Container(environment=environment, database_url=dsn)
        container.tracing()  # made now, so that a mistake in its variables ends the start
        await asyncio.to_thread(container.media_folder().check)
        if environment.media_bucket is not None:
            await container.media_bucket().check()
        stack.push_async_callback(asyncio.to_thread, container.tracing().shutdown)
        await container.pool().open()
        stack.push_async_callback(container.pool().close)
        if not whosever_media:
            await container.check_media_owner()()
        await container.signals().start()
        stack.push_async_callback(container.signals().stop)
        stack.callback(container.configuration().close)
        stack.push_async_callback(_close_providers, container)
        yield container


async def _to_its_end(starting: Coroutine[Any, Any, _T]) -> _T:
    """Wait for what cannot be stopped half-way; who is cancelled meanwhile has it whole, to be undone."""
    task = asyncio.ensure_future(starting)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def _close_providers(container: Container) -> None:
    for provider in container.found_providers().values():
        await provider.close()

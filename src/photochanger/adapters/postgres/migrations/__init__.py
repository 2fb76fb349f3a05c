"""The schema's history: Alembic, with plain SQL, forward only."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
import sqlalchemy
from alembic import command, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from photochanger.adapters.postgres.errors import translate_errors

_LOCK_KEY: Final = 7_405_106_213
"""Any number, as long as it stays the same: it keeps two migrations apart."""

_LOCK_TIMEOUT: Final = "60s"


def migrate(dsn: str) -> list[str]:
    """Bring the schema up to date and return the revisions applied, in order; none where it already was.

    Safe to repeat, and to run in several processes at once: one works, the others wait for it. A revision is
    applied whole or not at all. Raises `DatabaseUnavailable`.
    """
    applied: list[str] = []
    with translate_errors(), _alone(dsn), _connection(dsn) as connection:
        config = _config()
        config.attributes["configure"] = {
            "connection": connection,
            "transaction_per_migration": True,
            "on_version_apply": lambda *, step, **_: applied.append(step.up_revision_id),
        }
        command.upgrade(config, "head")
    return applied


def current_revision(dsn: str) -> str | None:
    """Return the revision that the database is at; None where it was never migrated."""
    with translate_errors(), _connection(dsn) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def is_current(dsn: str) -> bool:
    """Say whether the database is at the newest revision that this program knows."""
    return current_revision(dsn) == ScriptDirectory.from_config(_config()).get_current_head()


def run_sql_beside(revision_file: str) -> None:
    """Run the SQL file that lies beside a revision's Python file and has its name."""
    sql = Path(revision_file).with_suffix(".sql").read_text(encoding="utf-8")
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(sql)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


@contextmanager
def _alone(dsn: str) -> Iterator[None]:
    with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as connection:
        connection.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK_KEY])
        yield


@contextmanager
def _connection(dsn: str) -> Iterator[sqlalchemy.Connection]:
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(dsn, connect_timeout=5),
        poolclass=sqlalchemy.pool.NullPool,
    )
    try:
        with engine.connect() as connection:
            yield connection
    except sqlalchemy.exc.DBAPIError as error:
        raise error.orig or error from None
    finally:
        engine.dispose()

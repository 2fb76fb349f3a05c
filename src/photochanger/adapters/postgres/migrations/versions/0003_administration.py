"""Sessions, the login throttle, the audit log, bound templates, and statistics."""

from photochanger.adapters.postgres.migrations import run_sql_beside

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Run the SQL file of the same name."""
    run_sql_beside(__file__)

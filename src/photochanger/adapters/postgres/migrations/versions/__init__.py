"""The revisions: each a SQL file and the few lines that Alembic wants. Only ever added to."""

"""What Alembic runs to apply revisions; `migrate` hands in the connection."""

from alembic import context

context.configure(**context.config.attributes["configure"])
context.run_migrations()

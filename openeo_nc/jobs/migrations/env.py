"""What Alembic runs to migrate; the connection comes from `Database.migrate`."""

from __future__ import annotations

from alembic import context

from openeo_nc.jobs.tables import Table

# transactional also on SQLite, whose DDL is; Alembic is careful by default
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()

"""Alembic's entry. The program hands its own connection over, a transaction open; `alembic -x url=...` is for development."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from orchestrator.db.engine import make_engine
from orchestrator.db.tables import Base


def run(connection: Connection) -> None:
    """Apply revisions on `connection`; SQLite rebuilds a table where it cannot alter it."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    engine = make_engine(context.get_x_argument(as_dictionary=True)["url"], has_foreign_keys=False)
    with engine.begin() as own:
        run(own)
    engine.dispose()

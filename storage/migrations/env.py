"""Run by Alembic for each command; the address comes from :mod:`storage.migrate`, never from a file."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Enum, create_engine, pool, text
from sqlalchemy.types import TypeDecorator

from storage.models import Base
from storage.urls import patience

_LOCK = 0x53616E687569  # "Sanhui": one migration at a time


def render_item(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Write plain column types into migrations: an old migration must not change when the models' own types do."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl!r}"
    if kind == "type" and isinstance(item, Enum):
        return f"sa.String(length={item.length})"
    return False


def run() -> None:
    """Open the database and run what was asked for in one transaction."""
    url = context.config.attributes["url"]
    engine = create_engine(url, poolclass=pool.NullPool, connect_args=patience(url))
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            # Kept in the file. Done here, when nobody else writes: a switch does not wait for a lock, it fails.
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            connection.rollback()
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_as_batch=connection.dialect.name == "sqlite",
            compare_type=True,
            render_item=render_item,
        )
        with context.begin_transaction():
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            context.run_migrations()
    engine.dispose()


run()

"""Run by Alembic for each command; the address comes from :mod:`storage.migrate`, never from a file."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection, Enum, create_engine, event, pool, text
from sqlalchemy.engine.interfaces import DBAPIConnection
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


def _prepare_sqlite(connection: DBAPIConnection, _record: object) -> None:
    # The driver begins no transaction before tables are changed: cut off there, they would be half of this revision
    # and half of the next for good. So transactions are begun by hand below.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        # Kept in the file. Done here, when nobody else writes: a switch does not wait for a lock, it fails.
        cursor.execute("PRAGMA journal_mode=WAL")
    finally:
        cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def run() -> None:
    """Open the database and run what was asked for in one transaction: all of it, or nothing."""
    url = context.config.attributes["url"]
    engine = create_engine(url, poolclass=pool.NullPool, connect_args=patience(url))
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            transactional_ddl=True,
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

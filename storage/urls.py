"""Addresses of databases: with the driver Sanhui uses, and without their password."""

from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from storage.errors import DatabaseAbsentError, DatabaseError


def database_url(url: str) -> URL:
    """``sqlite:///path`` or ``postgresql://…`` with the driver Sanhui uses. Raises ``DatabaseError`` for others."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # SQLAlchemy's message repeats the text, password and all.
        raise DatabaseError("the database address cannot be read", database="?") from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise DatabaseError("SQLite needs a file: sqlite:///path/to/file", database=safe_url(parsed))
        return parsed.set(drivername="sqlite+aiosqlite")
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise DatabaseError("the database must be sqlite or postgresql", database=safe_url(parsed))


def patience(url: URL) -> dict[str, int]:
    """``connect_args`` for whoever works on the schema: seconds to wait for a server, or for SQLite's lock."""
    return {"connect_timeout": 5} if url.get_backend_name() == "postgresql" else {"timeout": 15}


def require_file(url: str) -> None:
    """Raise ``DatabaseAbsentError`` for a SQLite database whose file is not there. Blocks."""
    parsed = database_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists():
        raise DatabaseAbsentError("there is no such file", database=str(parsed.database))


def safe_url(url: URL) -> str:
    """The address for people and logs: no password, no query."""
    return url.set(password=None, query={}).render_as_string()

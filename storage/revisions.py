"""Which revision a database's schema is at, and whether that is this version's. Synchronous.

What changes a schema (:mod:`storage.migrate`, and Alembic behind it) is loaded only where one has to be changed: it is
11 MB that a service which runs for months does not need.
"""

from functools import lru_cache
from pathlib import Path

from sqlalchemy import URL, create_engine, inspect, text

from storage.errors import DatabaseNewerError
from storage.repositories.base import typed_errors
from storage.urls import database_url, patience, safe_url

_VERSIONS = Path(__file__).parent / "migrations" / "versions"


@lru_cache(maxsize=1)
def _revisions() -> tuple[str, ...]:
    """All that this version knows, oldest first: a migration's file begins with its revision."""
    return tuple(sorted(path.name.partition("_")[0] for path in _VERSIONS.glob("[0-9]*_*.py")))


def head_revision() -> str:
    """The revision that this version of Sanhui needs."""
    return _revisions()[-1]


def require_known(revision: str | None) -> None:
    """Raise ``DatabaseNewerError`` for a revision that this version has never heard of."""
    if revision is not None and revision not in _revisions():
        raise DatabaseNewerError("a newer version made this schema", found=revision, needed=head_revision())


def sync_url(url: str) -> URL:
    """The address for an engine that is not asynchronous."""
    parsed = database_url(url)
    return parsed.set(drivername="sqlite") if parsed.get_backend_name() == "sqlite" else parsed


def current_revision(url: str) -> str | None:
    """The revision the database is at; None if it is empty. Raises ``DatabaseUnavailableError``."""
    parsed = sync_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        Path(parsed.database).absolute().parent.mkdir(parents=True, exist_ok=True)
    with typed_errors(safe_url(parsed)):
        engine = create_engine(parsed, connect_args=patience(parsed))
        try:
            with engine.connect() as connection:
                if not inspect(connection).has_table("alembic_version"):
                    return None
                return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        finally:
            engine.dispose()


def bring_to_head(url: str) -> None:
    """Create or upgrade the schema if it is not this version's. Safe to call at every start, and by several processes
    at once on PostgreSQL.

    Raises ``DatabaseUnavailableError``, ``DatabaseNewerError`` and other ``DatabaseError``.
    """
    found = current_revision(url)
    require_known(found)
    if found != head_revision():
        from storage.migrate import upgrade

        upgrade(url)

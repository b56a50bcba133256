"""The database: SQLite in a file, or PostgreSQL. The same code above, one unit of work at a time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL, Connection, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from storage.errors import DatabaseUnavailableError, MigrationNeededError
from storage.repositories import Repositories
from storage.repositories.base import typed_errors
from storage.revisions import head_revision, require_known
from storage.urls import database_url, safe_url

_BUSY_TIMEOUT_S = 15
_CONNECT_TIMEOUT_S = 5
_POOL_TIMEOUT_S = 10
_STATEMENT_TIMEOUT_MS = 60_000


class Database:
    """A pool of connections, open from ``async with`` to its end. Used from one event loop.

    ``async with database.transaction() as repos`` is a unit of work: committed at the end, rolled back on any
    exception; raises ``ConflictError`` or ``DatabaseUnavailableError``, at a statement or at the commit. After an
    error inside it the transaction is over: catch outside. ``async with database.read() as repos`` cannot write, and
    on SQLite does not wait for writers. A unit of work that takes longer than ``patience_s`` is given up as
    ``DatabaseUnavailableError``: a server that hangs must not hang who asks it.

    SQLite takes one writer at a time: writers queue here, in order, and only another process can make them wait for
    the file.
    """

    def __init__(self, url: str, *, pool_size: int = 5, patience_s: float = 90.0) -> None:
        self._url = database_url(url)
        self._pool_size = pool_size
        self._patience_s = patience_s
        self._sqlite = self._url.get_backend_name() == "sqlite"
        self._writers = asyncio.Lock()
        self._engine: AsyncEngine | None = None
        self._write_engine: AsyncEngine | None = None
        self._read_engine: AsyncEngine | None = None
        self.name = safe_url(self._url)

    async def __aenter__(self) -> Self:
        if self._sqlite:
            try:
                await asyncio.to_thread(_make_folder, self._url)
            except OSError as error:
                raise DatabaseUnavailableError("the database's folder cannot be made", database=self.name) from error
        self._engine = self._make_engine()
        self._write_engine = self._engine.execution_options(sanhui_begin="BEGIN IMMEDIATE")
        self._read_engine = self._engine.execution_options(sanhui_begin="BEGIN", postgresql_readonly=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._engine is not None:
            await self._engine.dispose()
        self._engine = self._write_engine = self._read_engine = None

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Repositories]:
        """A unit of work that may write."""
        if self._sqlite:
            async with self._writers, self._session(self._write_engine) as repositories:
                yield repositories
        else:
            async with self._session(self._write_engine) as repositories:
                yield repositories

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[Repositories]:
        """A unit of work that only reads."""
        async with self._session(self._read_engine) as repositories:
            yield repositories

    async def check(self) -> None:
        """Return if the database answers and its schema is this version's. Raises ``DatabaseUnavailableError``,
        ``MigrationNeededError``, ``DatabaseNewerError``."""
        if self._engine is None:
            raise DatabaseUnavailableError("the database is not open", database=self.name)
        needed = head_revision()
        with typed_errors(self.name):
            async with asyncio.timeout(_POOL_TIMEOUT_S), self._engine.connect() as connection:
                found = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar()
        if found != needed:
            require_known(found)
            raise MigrationNeededError("the schema is not the one needed", found=str(found), needed=needed)

    @contextlib.asynccontextmanager
    async def _session(self, engine: AsyncEngine | None) -> AsyncIterator[Repositories]:
        if engine is None:
            raise DatabaseUnavailableError("the database is not open", database=self.name)
        session = AsyncSession(engine, expire_on_commit=False, autoflush=False)
        limit = asyncio.timeout(self._patience_s)
        try:
            async with limit:
                try:
                    with typed_errors(self.name):
                        # Begun here, so that an unreachable database shows before the caller's first statement.
                        await session.connection()
                    yield Repositories.on(session, self.name)
                    with typed_errors(self.name):
                        await session.commit()
                except asyncio.CancelledError:
                    # A question is under way: nobody waits for its answer, nor for a rollback behind it.
                    await session.invalidate()
                    raise
                finally:
                    await session.close()
        except TimeoutError:
            if not limit.expired():
                raise
            raise DatabaseUnavailableError("the database does not answer in time", database=self.name) from None

    def _make_engine(self) -> AsyncEngine:
        options: dict[str, Any] = {
            "pool_size": self._pool_size,
            "pool_timeout": _POOL_TIMEOUT_S,
            # Else a traceback in a log would show what was to be written.
            "hide_parameters": True,
        }
        if self._sqlite:
            engine = create_async_engine(self._url, **options, connect_args={"timeout": _BUSY_TIMEOUT_S})
            event.listen(engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(engine.sync_engine, "begin", _begin_sqlite)
            event.listen(engine.sync_engine, "invalidate", _roll_back_sqlite)
            return engine
        return create_async_engine(
            self._url,
            **options,
            max_overflow=self._pool_size,
            pool_pre_ping=True,
            connect_args=server_arguments(),
        )


def server_arguments(options: str = "") -> dict[str, Any]:
    """How to connect to PostgreSQL; ``options`` for its session, beside our own."""
    return {
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "tcp_user_timeout": 10_000,
        # A server that has vanished while it owes an answer is missed within half a minute.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "options": f"-c statement_timeout={_STATEMENT_TIMEOUT_MS} -c timezone=utc {options}".rstrip(),
        "application_name": "sanhui",
    }


def _make_folder(url: URL) -> None:
    assert url.database is not None
    Path(url.database).absolute().parent.mkdir(parents=True, exist_ok=True)


def _prepare_sqlite(connection: DBAPIConnection, _record: object) -> None:
    # The driver's own BEGIN comes too late (before the first write only), so transactions are begun by hand below:
    # https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#enabling-non-legacy-sqlite-transactional-modes
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        for pragma in (
            "journal_mode=WAL",
            # FULL, not NORMAL: in WAL mode NORMAL may lose the newest commits in a power cut, and law 1 removes the
            # spool file on the strength of a commit.
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={_BUSY_TIMEOUT_S * 1000}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
    finally:
        cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE for writers: a transaction that reads first and asks for the write lock later is refused at once when
    # another process has written meanwhile, whatever the busy timeout.
    connection.exec_driver_sql(connection.get_execution_options().get("sanhui_begin", "BEGIN"))


def _roll_back_sqlite(connection: DBAPIConnection, _record: object, _error: BaseException | None) -> None:
    # SQLite does not close a connection while somebody still has a statement of it, as the traceback of what was cut
    # off has: the transaction, and with it the file's write lock, would last until the garbage is collected.
    with contextlib.suppress(Exception, asyncio.CancelledError):
        connection.rollback()

"""One service at a time on a PostgreSQL database: two would record each meeting, under the same numbers.

A SQLite database is a file of one machine, in the data folder as a rule, where the spool's own lock does the same.
"""

import asyncio
import contextlib
import logging
from secrets import token_hex
from types import TracebackType
from typing import Self

from sqlalchemy import pool, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from storage.database import server_arguments
from storage.errors import DatabaseError, DatabaseInUseError, DatabaseUnavailableError
from storage.repositories.base import typed_errors
from storage.urls import database_url, safe_url

_log = logging.getLogger(__name__)

_KEY = 0x53616E6875694F6E  # "SanhuiOn"
_TRY_LOCK = text("SELECT pg_try_advisory_lock(:key)")
# Ours of before the line was cut: the server has not heard of that yet, and keeps the lock for it.
_END_EARLIER = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name = :session AND pid <> pg_backend_pid()"
)
_LOOK_S = 5.0
_ANSWER_S = 10.0
# A machine that has vanished is missed within half a minute; its successor must not wait for hours.
_SERVER_KEEPALIVE = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"


class SoleService:
    """An async context manager: inside it this is the service that the database is for. Entering raises
    DatabaseInUseError while there is another, DatabaseUnavailableError.

    The lock is a session's, on a connection of its own: however the process ends, the server takes it back. Where the
    connection breaks, :meth:`keep` takes the lock anew; ``taken`` says that another service was quicker.
    """

    def __init__(self, url: str) -> None:
        self._url = database_url(url)
        self._name = safe_url(self._url)
        self._session = f"sanhui only {token_hex(8)}"
        self._engine: AsyncEngine | None = None
        self._connection: AsyncConnection | None = None
        self.taken = False

    async def __aenter__(self) -> Self:
        if self._url.get_backend_name() == "postgresql":
            arguments = {**server_arguments(_SERVER_KEEPALIVE), "application_name": self._session}
            self._engine = create_async_engine(
                self._url, poolclass=pool.NullPool, isolation_level="AUTOCOMMIT", connect_args=arguments
            )
            self._connection = await self._locked(self._engine)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._let_go()

    async def keep(self) -> None:
        """For as long as this is the service: look after the lock."""
        while self._engine is not None:
            await asyncio.sleep(_LOOK_S)
            try:
                if self._connection is None:
                    self._connection = await self._locked(self._engine)
                    self.taken = False
                await self._ask(self._connection)
            except DatabaseInUseError:
                if not self.taken:
                    _log.error("another service has taken the database %s while it was away", self._name)
                self.taken = True
            except DatabaseError:
                await self._let_go()

    async def _locked(self, engine: AsyncEngine) -> AsyncConnection:
        async with contextlib.AsyncExitStack() as stack:
            with typed_errors(self._name):
                connection = await stack.enter_async_context(engine.connect())
                ended = (await connection.execute(_END_EARLIER, {"session": self._session})).all()
                got = (await connection.execute(_TRY_LOCK, {"key": _KEY})).scalar_one()
            if not got and ended:
                raise DatabaseUnavailableError("our own earlier session is being ended", database=self._name)
            if not got:
                raise DatabaseInUseError("another service has the database", database=self._name)
            stack.pop_all()
        return connection

    async def _ask(self, connection: AsyncConnection) -> None:
        try:
            with typed_errors(self._name):
                async with asyncio.timeout(_ANSWER_S):
                    await connection.execute(text("SELECT 1"))
        except TimeoutError:
            raise DatabaseUnavailableError("the database does not answer in time", database=self._name) from None

    async def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # What is broken needs no good-bye.
            with contextlib.suppress(Exception):
                await connection.invalidate()
                await connection.close()

"""A store and a database that fail when told to, at a chosen step, before or after doing it."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from storage.database import Database
from storage.errors import DatabaseUnavailableError, StoreUnavailableError
from storage.objects import ObjectBody, ObjectStore, StoredObject
from storage.repositories import Repositories


class PowerCutError(BaseException):
    """The process is gone at this very step. Not an Exception: nothing may handle it."""


@dataclass
class Faults:
    """``away``: every call fails. ``steps``: names of steps as they are taken; ``strike`` may raise at any."""

    away: bool = False
    steps: list[str] = field(default_factory=list)
    strike: Callable[[str, int], None] | None = None

    def step(self, name: str) -> None:
        """A step is about to be taken, or was."""
        self.steps.append(name)
        if self.strike is not None:
            self.strike(name, len(self.steps))


class FaultyStore:
    """See ``storage.objects.ObjectStore``."""

    def __init__(self, store: ObjectStore, faults: Faults) -> None:
        self._store = store
        self._faults = faults
        self.name = "faulty"

    def _check(self) -> None:
        if self._faults.away:
            raise StoreUnavailableError("the test took it away", store=self.name)

    async def put(
        self, key: str, data: bytes | ObjectBody, metadata: Mapping[str, str] | None = None, content_type: str = ""
    ) -> StoredObject:
        """As told."""
        self._check()
        self._faults.step("before put")
        stored = await self._store.put(key, data, metadata, content_type)
        self._faults.step("after put")
        return stored

    async def head(self, key: str) -> StoredObject:
        """As told."""
        self._check()
        return await self._store.head(key)

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """As told."""
        self._check()
        return await self._store.get(key, offset, length)

    def stream(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """As told."""
        self._check()
        return self._store.stream(key, offset, length)

    async def delete(self, key: str) -> None:
        """As told."""
        self._check()
        await self._store.delete(key)

    def list(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """As told."""
        self._check()
        return self._store.list(prefix)

    async def check(self) -> None:
        """As told."""
        self._check()
        await self._store.check()


class FaultyDatabase(Database):
    """A real database behind a switch."""

    def __init__(self, database: Database, faults: Faults) -> None:
        self._inner = database
        self._faults = faults
        self.name = database.name

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Repositories]:
        """As told."""
        self._check()
        self._faults.step("before commit")
        async with self._inner.transaction() as repos:
            yield repos
        self._faults.step("after commit")

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[Repositories]:
        """As told."""
        self._check()
        async with self._inner.read() as repos:
            yield repos

    def _check(self) -> None:
        if self._faults.away:
            raise DatabaseUnavailableError("the test took it away", database=self.name)

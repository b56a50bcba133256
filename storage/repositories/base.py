"""What the repositories share: statements in, frozen records out, database errors made ours."""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from sqlalchemy import CTE, ColumnElement, Executable, Result, Select, exc, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from storage.errors import (
    ConflictError,
    DatabaseError,
    DatabaseUnavailableError,
    MigrationNeededError,
    RecordNotFoundError,
)
from storage.models import Base, OrganizationRow, RecordingRow

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    R = TypeVar("R", bound=DataclassInstance)
else:
    R = TypeVar("R")

_MISSING_SCHEMA = ("no such table", "no such column", "does not exist")


@contextlib.contextmanager
def typed_errors(database: str) -> Iterator[None]:
    """Turn SQLAlchemy's errors into ours. ``database`` is its address without password.

    Statements and their parameters stay out of the messages: they may hold what nobody should read in a log.
    """
    try:
        yield
    except exc.IntegrityError as error:
        raise ConflictError("the row breaks a rule of the schema", rule=_rule(error)) from None
    except exc.TimeoutError:
        raise DatabaseUnavailableError("no database connection came free in time", database=database) from None
    except exc.DBAPIError as error:
        text = str(error.orig)
        if any(sign in text for sign in _MISSING_SCHEMA):
            raise MigrationNeededError("the schema is not the one needed", found="?", needed="head") from error
        if error.connection_invalidated or isinstance(error, (exc.OperationalError, exc.InterfaceError)):
            raise DatabaseUnavailableError("the database does not answer", database=database) from error
        raise DatabaseError("the database refused a statement", database=database) from error
    except OSError as error:
        raise DatabaseUnavailableError("the database cannot be reached", database=database) from error


def _rule(error: exc.IntegrityError) -> str:
    diagnostics = getattr(error.orig, "diag", None)
    name = getattr(diagnostics, "constraint_name", None)
    if name:
        return str(name)
    # SQLite: "UNIQUE constraint failed: site.organization_id, site.name". Column names only, no values.
    return str(error.orig).split("\n", 1)[0][:200]


class Repository:
    """One subject's statements, inside the transaction that the caller holds open."""

    kind: ClassVar[str] = "record"

    def __init__(self, session: AsyncSession, database: str) -> None:
        self._session = session
        self._database = database

    async def _execute(
        self, statement: Executable, values: Mapping[str, Any] | None = None
    ) -> Result[*tuple[Any, ...]]:
        with typed_errors(self._database):
            return await self._session.execute(statement, values)

    async def _changed(self, statement: Executable, values: Mapping[str, Any] | None = None) -> int:
        """Run an UPDATE or DELETE; how many rows it met."""
        result = await self._execute(statement, values)
        count: int = getattr(result, "rowcount", 0)
        return count

    async def _changed_one(self, statement: Executable, key: str, values: Mapping[str, Any] | None = None) -> None:
        if await self._changed(statement, values) == 0:
            raise self._not_found(key)

    async def _number(self, statement: Executable) -> int:
        return int((await self._execute(statement)).scalar_one() or 0)

    async def _one(self, record: type[R], statement: Select[*tuple[Any, ...]], key: str) -> R:
        found = await self._first(record, statement)
        if found is None:
            raise self._not_found(key)
        return found

    async def _first(self, record: type[R], statement: Select[*tuple[Any, ...]]) -> R | None:
        row = (await self._execute(statement.limit(1))).scalars().first()
        return None if row is None else record_of(record, row)

    async def _all(self, record: type[R], statement: Select[*tuple[Any, ...]]) -> tuple[R, ...]:
        return tuple(record_of(record, row) for row in (await self._execute(statement)).scalars())

    def _not_found(self, key: str) -> RecordNotFoundError:
        return RecordNotFoundError(f"no {self.kind} {key!r}", kind=self.kind, id=key)


def record_of(record: type[R], row: Base) -> R:
    """The frozen record that ``row`` holds; columns and fields have the same names."""
    return record(**{name: getattr(row, name) for name in _names_of(record)})


@functools.cache
def _names_of(record: type["DataclassInstance"]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(record))


def values_of(record: "DataclassInstance", *, without: Sequence[str] = ()) -> dict[str, Any]:
    """A record's fields as column values. Nested records stay what they are: their column type writes them."""
    return {name: _plain(getattr(record, name)) for name in _names_of(type(record)) if name not in without}


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def chosen(meeting_id: str | None, since_utc_ns: int | None) -> tuple[ColumnElement[bool], ...]:
    """Conditions on recordings: those of a meeting, those that began at a time or later."""
    conditions = []
    if meeting_id is not None:
        conditions.append(RecordingRow.meeting_id == meeting_id)
    if since_utc_ns is not None:
        conditions.append(RecordingRow.started_utc_ns >= since_utc_ns)
    return tuple(conditions)


def subtree(root_id: str) -> CTE:
    """Ids of ``root_id`` and of all organizations below it."""
    tree = select(OrganizationRow.id).where(OrganizationRow.id == root_id).cte("subtree", recursive=True)
    child = aliased(OrganizationRow)
    return tree.union_all(select(child.id).join(tree, child.parent_id == tree.c.id))

"""Base of all tables, and the column types that SQLite and PostgreSQL share."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Enum, Integer, LargeBinary, MetaData, Text
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

E = TypeVar("E", bound=StrEnum)


class Base(DeclarativeBase):
    """Constraints have fixed names, so that migrations can name them on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


# SQLite numbers rows by itself only in a column declared INTEGER, which holds 64 bits there.
RowId = BigInteger().with_variant(Integer(), "sqlite")


def text_enum(kind: type[E]) -> Enum:
    """A column of a StrEnum's values, kept as text: a new value needs no migration."""
    return Enum(
        kind,
        native_enum=False,
        create_constraint=False,
        length=32,
        values_callable=lambda members: [member.value for member in members],
    )


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes in, aware UTC datetimes out. SQLite keeps no zone, so UTC is written there."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times rather than guess their zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a zone cannot be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give UTC back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class HexBytes(TypeDecorator[str]):
    """Hashes: hex in records, half as many raw bytes in the table."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        """Hex to bytes."""
        return None if value is None else bytes.fromhex(value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        """Bytes to lower-case hex."""
        return None if value is None else bytes(value).hex()


class CompactJson(TypeDecorator[Any]):
    """JSON kept as text without blanks: it is read whole and never searched."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """JSON text; Chinese stays readable."""
        if value is None:
            return None
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """What was given."""
        return None if value is None else json.loads(value)


class InitSegments(TypeDecorator[Mapping[int, bytes]]):
    """Init segments by track id, as JSON of base64: they are a few hundred bytes each."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Mapping[int, bytes] | None, dialect: Dialect) -> dict[str, str] | None:
        """Base64 by track id."""
        if value is None:
            return None
        return {str(track): base64.b64encode(data).decode("ascii") for track, data in value.items()}

    def process_result_value(self, value: dict[str, str] | None, dialect: Dialect) -> dict[int, bytes] | None:
        """Bytes by track id."""
        if value is None:
            return None
        return {int(track): base64.b64decode(data) for track, data in value.items()}


Id = 32
"""Length of ids, see ``storage.records.new_id``."""

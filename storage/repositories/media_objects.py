"""The index of stored objects: which there are, and what of a recording each holds."""

import asyncio
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, cast

from sqlalchemy import (
    LargeBinary,
    Row,
    Select,
    Table,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    tuple_,
    type_coerce,
    update,
)

from storage.errors import ConflictError
from storage.models import MediaObjectRow, RecordingRow
from storage.models.segments import unpacked_segments
from storage.records import MediaObject
from storage.repositories.base import Repository, chosen, values_of

_DECODED_ON_THE_LOOP = 20
_OBJECT_FIELDS = tuple(field.name for field in fields(MediaObject))
_OBJECT_COLUMNS = tuple(
    type_coerce(MediaObjectRow.segments, LargeBinary) if name == "segments" else getattr(MediaObjectRow, name)
    for name in _OBJECT_FIELDS
)
# Of the tables, and made once: an object is committed ten times a second, and building these cost more than the rest.
_INSERT = insert(cast(Table, MediaObjectRow.__table__))
_HEADS = RecordingRow.__table__.c
_END = bindparam("end_utc_ns", type_=_HEADS.last_utc_ns.type)
_MOVE_HEAD = (
    update(cast(Table, RecordingRow.__table__))
    .where(_HEADS.id == bindparam("recording_id"))
    .values(
        chain_head=bindparam("chain"),
        object_count=_HEADS.object_count + 1,
        object_bytes=_HEADS.object_bytes + bindparam("size"),
        first_utc_ns=func.coalesce(_HEADS.first_utc_ns, bindparam("start_utc_ns")),
        last_utc_ns=case(
            (or_(_HEADS.last_utc_ns.is_(None), _HEADS.last_utc_ns < _END), _END), else_=_HEADS.last_utc_ns
        ),
    )
)


class MediaObjectRepository(Repository):
    """The index of stored objects."""

    kind = "media object"

    async def add(self, media_object: MediaObject) -> bool:
        """Commit an object that the store has confirmed, and move the recording's chain head and totals to it.

        False if the very same row is there already (a crash came between the row and the spool); ``ConflictError``
        if another object has its number or key.
        """
        known = await self.find(media_object.recording_id, media_object.number)
        if known is not None:
            if known.sha256 != media_object.sha256 or known.chain != media_object.chain:
                raise ConflictError("another object has this number", rule="media_object.number")
            return False
        await self._execute(_INSERT, values_of(media_object))
        moved = {
            name: getattr(media_object, name)
            for name in ("recording_id", "chain", "size", "start_utc_ns", "end_utc_ns")
        }
        await self._changed_one(_MOVE_HEAD, media_object.recording_id, moved)
        return True

    async def find(self, recording_id: str, number: int) -> MediaObject | None:
        """That object, if there is one."""
        query = select(*_OBJECT_COLUMNS).where(
            MediaObjectRow.recording_id == recording_id, MediaObjectRow.number == number
        )
        return await self._first_object(query)

    async def last(self, recording_id: str) -> MediaObject | None:
        """The object of the highest number."""
        query = select(*_OBJECT_COLUMNS).where(MediaObjectRow.recording_id == recording_id)
        return await self._first_object(query.order_by(MediaObjectRow.number.desc()))

    async def of_recording(
        self, recording_id: str, start_utc_ns: int | None = None, end_utc_ns: int | None = None
    ) -> tuple[MediaObject, ...]:
        """Its objects in order of their number; only those that overlap [start, end) where given."""
        query = select(*_OBJECT_COLUMNS).where(MediaObjectRow.recording_id == recording_id)
        if start_utc_ns is not None:
            query = query.where(MediaObjectRow.end_utc_ns > start_utc_ns)
        if end_utc_ns is not None:
            query = query.where(MediaObjectRow.start_utc_ns < end_utc_ns)
        return await self._objects(query.order_by(MediaObjectRow.number))

    async def page(
        self,
        after: tuple[str, int] | None = None,
        limit: int = 200,
        *,
        meeting_id: str | None = None,
        since_utc_ns: int | None = None,
    ) -> tuple[MediaObject, ...]:
        """Rows in order of (recording, number), those after ``after``: for ``sanhui check``. ``since_utc_ns``: of
        recordings that began then or later."""
        query = select(*_OBJECT_COLUMNS)
        if after is not None:
            query = query.where(tuple_(MediaObjectRow.recording_id, MediaObjectRow.number) > tuple_(*after))
        wanted = chosen(meeting_id, since_utc_ns)
        if wanted:
            query = query.join(RecordingRow, RecordingRow.id == MediaObjectRow.recording_id).where(*wanted)
        query = query.order_by(MediaObjectRow.recording_id, MediaObjectRow.number).limit(limit)
        return await self._objects(query)

    async def keys(self, recording_id: str) -> frozenset[str]:
        """Keys of all its rows."""
        query = select(MediaObjectRow.key).where(MediaObjectRow.recording_id == recording_id)
        return frozenset((await self._execute(query)).scalars())

    async def any(self) -> bool:
        """Whether there is any row."""
        return (await self._execute(select(MediaObjectRow.key).limit(1))).first() is not None

    async def count(self, *, meeting_id: str | None = None, since_utc_ns: int | None = None) -> int:
        """How many rows :meth:`page` will give, as the recordings' totals say: to count ten years of them takes longer
        than a statement may."""
        return await self._number(select(func.sum(RecordingRow.object_count)).where(*chosen(meeting_id, since_utc_ns)))

    async def _first_object(self, query: Select[*tuple[Any, ...]]) -> MediaObject | None:
        found = await self._objects(query.limit(1))
        return found[0] if found else None

    async def _objects(self, query: Select[*tuple[Any, ...]]) -> tuple[MediaObject, ...]:
        rows = (await self._execute(query)).all()
        if len(rows) <= _DECODED_ON_THE_LOOP:
            return _decoded(rows)
        # The index of a six-hour meeting is ten thousand ranges: 50 ms that no packet should wait for.
        return await asyncio.to_thread(_decoded, rows)


def _decoded(rows: Sequence[Row[*tuple[Any, ...]]]) -> tuple[MediaObject, ...]:
    made = []
    for row in rows:
        values = dict(zip(_OBJECT_FIELDS, row, strict=True))
        values["segments"] = unpacked_segments(values["segments"])
        made.append(MediaObject(**values))
    return tuple(made)

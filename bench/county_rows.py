"""Rows of ten years of a county, as the recorder and the people leave them, straight into SQLite or PostgreSQL."""

import os
import random
import sqlite3
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from sqlalchemy import Boolean, Dialect, Table, make_url

from media.fmp4 import init_segment
from media.testloop import cached_loop
from media.unit import NS_PER_S
from recorder.facts import tracks_to_json
from storage.models import Base
from storage.records import MeetingKind, OrganizationLevel, StoredSegment, TrackRange
from streaming.simulator import LOOP, LOOP_S

TOWNS = 20
SEGMENT_S = 4
OBJECT_S = 32
"""The recorder closes an object at the first segment end after 30 s; segments are 4 s."""
MEETING_S = 5400
OBJECT_BYTES = 8_300_000
TITLES = {
    MeetingKind.THEME_DAY: "主题党日",
    MeetingKind.COMMITTEE: "支部委员会会议",
    MeetingKind.GROUP: "党小组会",
    MeetingKind.MEMBERS: "第{quarter}季度支部党员大会",
    MeetingKind.LECTURE: "党课：乡村治理中的党员作用",
    MeetingKind.VILLAGERS: "村民代表会议：讨论{topic}",
}
TOPICS = ("村集体经济收益分配", "低保评议", "高标准农田管护", "自来水改造", "村规民约修订", "乡村道路硬化")
_CHARS = "柳石杏桃李松竹梅兰菊泉溪河山岭沟坪湾塘桥"
PLAYED = 100
_POOL = 1_000
_KEPT = 30_000
_BATCH = 20_000


@dataclass(frozen=True)
class Held:
    """One meeting that was held and recorded."""

    id: str
    recording: str
    room: int
    kind: MeetingKind
    start: datetime

    @property
    def start_ns(self) -> int:
        """Unix nanoseconds."""
        return int(self.start.timestamp()) * NS_PER_S


@dataclass
class CountyRows:
    """``rooms`` rooms, four meetings of an hour and a half a month each (one on the theme day, when all meet), for
    ``years`` up to ``until``. ``share`` of the months have their objects' rows. Those of the ``played`` recordings are
    what the recorder would have written; the others have the size of it, but repeat each other."""

    years: int
    rooms: int
    share: float
    until: datetime
    held: list[Held] = field(default_factory=list)
    indexed: list[Held] = field(default_factory=list)
    played: list[Held] = field(default_factory=list)

    def __post_init__(self) -> None:
        dice = random.Random(2016)
        first = self.until.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        for month in range(self.years * 12):
            start = (first - timedelta(days=30.44 * month)).replace(day=1)
            for room in range(self.rooms):
                self.held += self._month(dice, start, room)
        self.held = sorted((item for item in self.held if item.start < self.until), key=lambda item: item.start)
        months = sorted({(item.start.year, item.start.month) for item in self.held})
        every = max(1, round(1 / self.share))
        chosen = set(months[every - 1 :: every] or months[-1:])
        self.indexed = [item for item in self.held if (item.start.year, item.start.month) in chosen]
        self.played = dice.sample(self.indexed, min(PLAYED, len(self.indexed)))

    def _month(self, dice: random.Random, month: datetime, room: int) -> Iterator[Held]:
        kinds = (MeetingKind.THEME_DAY, MeetingKind.COMMITTEE, MeetingKind.GROUP, dice.choice(list(TITLES)[3:]))
        for place, kind in enumerate(kinds):
            # 9 o'clock on the 5th in China for all; another day, another hour, for each of the rest.
            day, hour = (5, 1) if place == 0 else (dice.randrange(6, 29), dice.choice((0, 1, 2, 6, 7, 8)))
            start = month.replace(day=day, hour=hour, tzinfo=UTC)
            yield Held(_id(dice), _id(dice), room, kind, start)

    @property
    def hours(self) -> float:
        """Recorded hours."""
        return len(self.held) * MEETING_S / 3600

    @property
    def objects_each(self) -> int:
        """Objects of one recording."""
        return -(-MEETING_S // OBJECT_S)

    def village(self, room: int) -> str:
        """The name of a room's village."""
        return _name(room)

    def tables(self) -> Iterator[tuple[str, Sequence[str], Iterable[Sequence[Any]]]]:
        """Name, columns and rows of each table, in an order that satisfies foreign keys."""
        now = self.until
        places: list[tuple[Any, ...]] = [("county", None, OrganizationLevel.COUNTY, "云岭县委组织部", "", 0)]
        places += [(f"town{n}", "county", OrganizationLevel.TOWN, f"{_name(n)}镇党委", "", n) for n in range(TOWNS)]
        places += [
            (f"v{n}", f"town{n % TOWNS}", OrganizationLevel.VILLAGE, f"{_name(n)}村党支部", "", n)
            for n in range(self.rooms)
        ]
        yield "organization", ("id", "parent_id", "level", "name", "code", "position"), places
        yield (
            "site",
            ("id", "organization_id", "name", "address"),
            ((f"s{n}", f"v{n}", "党群服务中心会议室", "") for n in range(self.rooms)),
        )
        yield (
            "camera",
            (
                "id", "site_id", "name", "url", "sub_url", "username", "password_encrypted", "transport", "enabled",
                "position", "place_kind", "purpose", "legal_basis", "notice", "notice_photo_key", "filing_number",
                "retention_days", "supervision_allowed", "created_at", "updated_at",
            ),
            (
                (
                    f"c{n}", f"s{n}", "正面", f"rtsp://127.0.0.1:9/{n}", "", "", "", "tcp", True, 0, "meeting-room",
                    "", "", "", "", "", 30, True, now, now,
                )
                for n in range(self.rooms)
            ),
        )  # fmt: skip
        yield from self._meeting_tables(now)
        yield from self._recording_tables()

    def _meeting_tables(self, now: datetime) -> Iterator[tuple[str, Sequence[str], Iterable[Sequence[Any]]]]:
        yield (
            "meeting",
            (
                "id", "organization_id", "site_id", "camera_id", "kind", "title", "planned_start", "planned_end",
                "state", "started_utc_ns", "ended_utc_ns", "started_by", "ended_by", "record", "no_record_reason",
                "created_by", "created_at",
            ),
            chain(
                (
                    (
                        item.id, f"v{item.room}", f"s{item.room}", f"c{item.room}", item.kind, _title(item), item.start,
                        item.start + timedelta(seconds=MEETING_S), "ended", item.start_ns,
                        item.start_ns + MEETING_S * NS_PER_S, "plan", "plan", True, "", "", item.start,
                    )
                    for item in self.held
                ),
                (
                    (
                        _id(random.Random(n)), f"v{n % self.rooms}", f"s{n % self.rooms}", f"c{n % self.rooms}",
                        MeetingKind.THEME_DAY, "主题党日", now + timedelta(days=1 + n // self.rooms * 7),
                        now + timedelta(days=1 + n // self.rooms * 7, hours=1), "planned", None, None, "", "", True,
                        "", "", now,
                    )
                    for n in range(self.rooms * 4)
                ),
            ),
        )  # fmt: skip
        story = ("meeting-planned", "meeting-started", "recording-started", "meeting-ended")
        yield (
            "meeting_story",
            ("meeting_id", "at_utc_ns", "kind", "params"),
            ((item.id, item.start_ns + step, kind, {}) for item in self.held for step, kind in enumerate(story)),
        )

    def _recording_tables(self) -> Iterator[tuple[str, Sequence[str], Iterable[Sequence[Any]]]]:
        yield (
            "recording",
            (
                "id", "meeting_id", "camera_id", "state", "started_utc_ns", "ended_utc_ns", "chain_head",
                "object_count", "object_bytes", "first_utc_ns", "last_utc_ns",
            ),
            (
                (
                    item.recording, item.id, f"c{item.room}", "complete", item.start_ns,
                    item.start_ns + MEETING_S * NS_PER_S, os.urandom(32).hex(), self.objects_each,
                    self.objects_each * OBJECT_BYTES, item.start_ns, item.start_ns + MEETING_S * NS_PER_S,
                )
                for item in self.held
            ),
        )  # fmt: skip
        tracks, init = _camera()
        yield (
            "recording_period",
            ("recording_id", "number", "tracks", "init"),
            ((item.recording, 0, tracks, init) for item in self.held),
        )
        yield (
            "gap",
            ("recording_id", "start_utc_ns", "end_utc_ns", "cause", "packets", "detail"),
            (
                (
                    item.recording, item.start_ns + 60 * NS_PER_S, item.start_ns + 75 * NS_PER_S, "disconnected", 0,
                    "",
                )
                for item in self.held[::5]
            ),
        )  # fmt: skip
        yield (
            "media_object",
            (
                "recording_id", "number", "period", "key", "size", "sha256", "start_utc_ns", "end_utc_ns", "segments",
                "chain",
            ),
            self._objects(),
        )  # fmt: skip

    def _objects(self) -> Iterator[Sequence[Any]]:
        """Rooms that meet at the same hour store in turn, so that their rows lie among each other's."""
        played = {item.id for item in self.played}
        pool = [_segments(self.indexed[0].start_ns + n * OBJECT_S * NS_PER_S, n) for n in range(_POOL)]
        by_hour: dict[datetime, list[Held]] = {}
        for item in self.indexed:
            by_hour.setdefault(item.start, []).append(item)
        for together in by_hour.values():
            for number in range(self.objects_each):
                for item in together:
                    start_ns = item.start_ns + number * OBJECT_S * NS_PER_S
                    segments = _segments(start_ns, number) if item.id in played else pool[(item.room + number) % _POOL]
                    yield (
                        item.recording, number, 0, f"recordings/{item.recording}/{number:06d}.mp4", OBJECT_BYTES,
                        os.urandom(32).hex(), start_ns, start_ns + OBJECT_S * NS_PER_S, segments, segments[-1].chain,
                    )  # fmt: skip


def _segments(object_ns: int, number: int) -> tuple[StoredSegment, ...]:
    return tuple(_segment(object_ns, number, place) for place in range(OBJECT_S // SEGMENT_S))


def _segment(object_ns: int, number: int, place: int) -> StoredSegment:
    start_ns = object_ns + place * SEGMENT_S * NS_PER_S
    offset = 900 + place * 1_040_000
    at = number * OBJECT_S + place * SEGMENT_S
    return StoredSegment(
        sequence=start_ns // NS_PER_S,
        start_utc_ns=start_ns,
        duration_ns=SEGMENT_S * NS_PER_S,
        discontinuity=at == 0,
        ranges=(
            TrackRange(
                track_id=1, offset=offset, size=1_007_123, dts=at * 90_000, duration=SEGMENT_S * 90_000, samples=100,
                sha256=os.urandom(32).hex(),
            ),
            TrackRange(
                track_id=2, offset=offset + 1_007_123, size=32_877, dts=at * 8_000, duration=SEGMENT_S * 8_000,
                samples=100, sha256=os.urandom(32).hex(),
            ),
        ),
        chain=os.urandom(32).hex(),
    )  # fmt: skip


def _camera() -> tuple[Any, Mapping[int, bytes]]:
    """What the periods say of 1080p25 H.264 with G.711."""
    tracks = cached_loop(Path(tempfile.gettempdir()) / "sanhui-bench-loop.bin", LOOP, LOOP_S).tracks
    return tracks_to_json(tracks), {track.id: init_segment([track]) for track in tracks}


def _name(number: int) -> str:
    return _CHARS[number % 20] + _CHARS[number // 20 % 20] + ("" if number < 400 else _CHARS[number // 400])


def _title(item: Held) -> str:
    return TITLES[item.kind].format(quarter=(item.start.month + 2) // 3, topic=TOPICS[item.start_ns // NS_PER_S % 6])


def _id(dice: random.Random) -> str:
    return uuid.UUID(int=dice.getrandbits(128), version=4).hex


def load(url: str, tables: Iterable[tuple[str, Sequence[str], Iterable[Sequence[Any]]]]) -> None:
    """Write the rows into a database whose schema is there, through the models' own column types. Blocks."""
    if url.startswith("sqlite"):
        _load_sqlite(urlsplit(url).path, tables)
    else:
        _load_postgres(url, tables)


def _load_sqlite(path: str, tables: Iterable[tuple[str, Sequence[str], Iterable[Sequence[Any]]]]) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous=OFF")
    for name, columns, rows in tables:
        marks = ",".join("?" for _ in columns)
        statement = f"INSERT INTO {name} ({','.join(columns)}) VALUES ({marks})"
        written = _written(name, columns, rows, make_url("sqlite://").get_dialect()())
        while batch := list(islice(written, _BATCH)):
            connection.executemany(statement, batch)
        connection.commit()
    connection.execute("ANALYZE")
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _load_postgres(url: str, tables: Iterable[tuple[str, Sequence[str], Iterable[Sequence[Any]]]]) -> None:
    with psycopg.connect(url, autocommit=False) as connection:
        for name, columns, rows in tables:
            with connection.cursor().copy(f"COPY {name} ({','.join(columns)}) FROM STDIN".encode()) as copy:
                for row in _written(name, columns, rows, make_url("postgresql://").get_dialect()()):
                    copy.write_row(row)
            connection.commit()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def _once(writer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same value, many times over, is written once."""
    made: dict[int, tuple[Any, Any]] = {}

    def write(value: Any) -> Any:
        if id(value) in made:
            return made[id(value)][1]
        written = writer(value)
        if len(made) < _KEPT:
            made[id(value)] = value, written
        return written

    return write


def _written(
    name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], dialect: Dialect
) -> Iterator[tuple[Any, ...]]:
    """Rows as the driver takes them."""
    table: Table = Base.metadata.tables[name]
    writers = []
    for column in columns:
        kind = table.c[column].type
        plain = isinstance(kind, Boolean) and dialect.name == "postgresql"
        implementation: Any = kind.dialect_impl(dialect)
        writer = None if plain else implementation.bind_processor(dialect)
        writers.append(_once(writer) if writer is not None and column == "segments" else writer)
    for row in rows:
        yield tuple(value if writer is None else writer(value) for value, writer in zip(row, writers, strict=True))

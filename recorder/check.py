"""Is the archive whole and genuine: every row against its object, every hash, every link of every chain, every hole.

Read-only. What is found are findings with a code; the sentence for a person is looked up by it.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypedDict

from media.unit import NS_PER_S
from recorder.chain import chain_after
from recorder.manifest import build_manifest, manifest_key
from recorder.state import RecordingSettings
from storage.database import Database
from storage.errors import ObjectNotFoundError, StoreUnavailableError
from storage.objects import ObjectStore
from storage.records import (
    GENESIS_HASH,
    GapRecord,
    MediaObject,
    Recording,
    RecordingKind,
    RecordingPeriod,
    RecordingState,
)
from storage.repositories import Repositories

_HOLE_NS = int(RecordingSettings().tolerance_s * NS_PER_S)
"""Shorter holes are the unevenness of clocks, not missing media; the recorder takes no gap for them either."""
_PAGE = 100
_PREFIX = "recordings/"
_RECORDED = ("started_utc_ns", "ended_utc_ns", "periods", "objects", "gaps", "chain")
"""What of a manifest says the same as the rows, in whatever way they were written."""


class FindingCode(StrEnum):
    """What can be wrong."""

    OBJECT_MISSING = "object-missing"
    OBJECT_SIZE = "object-size"
    OBJECT_HASH = "object-hash"
    SEGMENT_HASH = "segment-hash"
    SEGMENT_RANGE = "segment-range"
    CHAIN_BROKEN = "chain-broken"
    CHAIN_HEAD = "chain-head"
    NUMBER_MISSING = "number-missing"
    PERIOD_MISSING = "period-missing"
    GAP_MISSING = "gap-missing"
    GAP_WRONG = "gap-wrong"
    MANIFEST_MISSING = "manifest-missing"
    MANIFEST_DIFFERS = "manifest-differs"
    ORPHAN_OBJECT = "orphan-object"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong: where, and (``detail``) what was found, for a person who looks closer."""

    code: FindingCode
    recording: str
    key: str = ""
    number: int | None = None
    sequence: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CheckProgress:
    """How far the check is. ``total`` is the number of objects to read."""

    objects: int
    total: int
    bytes: int
    findings: int


@dataclass(slots=True)
class CheckReport:
    """What was looked at and what was found."""

    objects: int = 0
    segments: int = 0
    bytes: int = 0
    recordings: int = 0
    gaps: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


@dataclass(slots=True)
class _Chain:
    """Where we are in one recording."""

    recording: str
    chain: str = GENESIS_HASH
    next_number: int = 0
    spans: list[tuple[int, int]] = field(default_factory=list)
    periods: set[int] = field(default_factory=set)


class _Chosen(TypedDict):
    """Which recordings; all where neither is given."""

    meeting_id: str | None
    since_utc_ns: int | None


async def check(
    database: Database,
    store: ObjectStore,
    progress: Callable[[CheckProgress], None] | None = None,
    *,
    meeting_id: str | None = None,
    since_utc_ns: int | None = None,
    concurrency: int = 4,
) -> CheckReport:
    """Check one meeting, recordings that began at a time or later, or everything. Reads every byte once; at most
    ``concurrency`` objects are in memory.

    Raises DatabaseError, StoreUnavailableError, StoreRefusedError: then nothing is said about the archive.
    """
    chosen = _Chosen(meeting_id=meeting_id, since_utc_ns=since_utc_ns)
    return await _Checker(database, store, progress, chosen, concurrency).run()


class _Checker:
    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        progress: Callable[[CheckProgress], None] | None,
        chosen: _Chosen,
        concurrency: int,
    ) -> None:
        self._database = database
        self._store = store
        self._progress = progress
        self._chosen = chosen
        self._slots = asyncio.Semaphore(concurrency)
        self._report = CheckReport()
        self._total = 0

    async def run(self) -> CheckReport:
        """Rows and their bytes first, then what each recording says as a whole, then what lies around."""
        async with self._database.read() as repos:
            self._total = await repos.objects.count(**self._chosen)
        checked: set[str] = set()
        async for rows in self._recordings():
            await self._recording(rows[0].recording_id, rows)
            checked.add(rows[0].recording_id)
        await self._empty_recordings(checked)
        if all(item is None for item in self._chosen.values()):
            await self._orphans(_PREFIX)
        else:
            async with self._database.read() as repos:
                ids = await repos.recordings.ids(**self._chosen)
            for recording_id in ids:
                await self._orphans(f"{_PREFIX}{recording_id}/")
        return self._report

    async def _recordings(self) -> AsyncIterator[list[MediaObject]]:
        """Each recording's rows in order of their number."""
        after: tuple[str, int] | None = None
        rows: list[MediaObject] = []
        while True:
            async with self._database.read() as repos:
                page = await repos.objects.page(after, _PAGE, **self._chosen)
            for row in page:
                if rows and rows[0].recording_id != row.recording_id:
                    yield rows
                    rows = []
                rows.append(row)
            if not page:
                break
            after = (page[-1].recording_id, page[-1].number)
        if rows:
            yield rows

    async def _recording(self, recording_id: str, rows: Sequence[MediaObject]) -> None:
        async with self._database.read() as repos:
            # Its row before what was stored since we looked, and all before hours of reading: it may be recorded now.
            recording = await repos.recordings.get(recording_id)
            if recording.chain_head != (rows[-1].chain if rows else GENESIS_HASH):
                rows = [*rows, *await _stored_since(repos, recording_id, rows)]
            periods = await repos.recordings.periods(recording_id)
            gaps = await repos.gaps.of_recording(recording_id)
        found = await asyncio.gather(*(self._object(row) for row in rows))
        for findings in found:
            self._report.findings.extend(findings)
        walk = _Chain(recording_id)
        for row in rows:
            self._link(walk, row)
        self._report.recordings += 1
        self._report.gaps += len(gaps)
        missing = walk.periods - {period.number for period in periods}
        for number in sorted(missing):
            self._find(FindingCode.PERIOD_MISSING, recording_id, detail=str(number))
        heads = {walk.chain}
        if recording.state is not RecordingState.COMPLETE:
            # PostgreSQL may show rows that came after the recording's own was read.
            heads |= {GENESIS_HASH, *(row.chain for row in rows)}
        if recording.chain_head not in heads:
            self._find(FindingCode.CHAIN_HEAD, recording_id, detail=recording.chain_head)
        if recording.kind is not RecordingKind.GUIDANCE:
            # Guidance is spoken now and then: between two turns nothing is missing.
            self._report.findings.extend(check_holes(recording, walk.spans, gaps))
        if recording.state is RecordingState.COMPLETE:
            await self._manifest(recording, rows, periods, gaps)

    async def _empty_recordings(self, checked: set[str]) -> None:
        """Recordings without an object have gaps and manifests to check all the same."""
        async with self._database.read() as repos:
            ids = await repos.recordings.ids(**self._chosen)
        for recording_id in ids:
            if recording_id not in checked:
                await self._recording(recording_id, ())

    async def _object(self, row: MediaObject) -> list[Finding]:
        async with self._slots:
            try:
                data = await self._store.get(row.key)
            except ObjectNotFoundError:
                findings = [_of(row, FindingCode.OBJECT_MISSING)]
                data = b""
            except StoreUnavailableError as error:
                if error.params.get("reason") != "EIO":
                    raise
                # A bad spot on the disk: this object is damaged, and the others are to be looked at all the same.
                findings = [_of(row, FindingCode.OBJECT_HASH, None, "EIO")]
                data = b""
            else:
                findings = await asyncio.to_thread(check_bytes, row, data)
        self._report.objects += 1
        self._report.segments += len(row.segments)
        self._report.bytes += len(data)
        if self._progress is not None:
            self._progress(
                CheckProgress(self._report.objects, self._total, self._report.bytes, len(self._report.findings))
            )
        return findings

    def _link(self, walk: _Chain, row: MediaObject) -> None:
        if row.number != walk.next_number:
            self._find(
                FindingCode.NUMBER_MISSING, row.recording_id, number=walk.next_number, detail=f"next is {row.number}"
            )
        for segment in row.segments:
            expected = chain_after(walk.chain, row.recording_id, row.period, segment)
            if segment.chain != expected:
                self._report.findings.append(_of(row, FindingCode.CHAIN_BROKEN, segment.sequence, segment.chain))
            walk.chain = segment.chain
            walk.spans.append((segment.start_utc_ns, segment.end_utc_ns))
        if row.chain != walk.chain:
            self._report.findings.append(_of(row, FindingCode.CHAIN_BROKEN, None, row.chain))
        walk.next_number = row.number + 1
        walk.periods.add(row.period)

    async def _manifest(
        self,
        recording: Recording,
        rows: Sequence[MediaObject],
        periods: Sequence[RecordingPeriod],
        gaps: Sequence[GapRecord],
    ) -> None:
        key = manifest_key(recording.id)
        try:
            data = await self._store.get(key)
        except ObjectNotFoundError:
            self._find(FindingCode.MANIFEST_MISSING, recording.id, key=key)
            return
        async with self._database.read() as repos:
            notes = await repos.notes.of_meetings([recording.meeting_id])
            talks = await repos.talks.of_meeting(recording.meeting_id)
        try:
            manifest = json.loads(data)
            listed = {name: manifest[name] for name in _RECORDED}
            written = [(item["id"], item["text"], item["at_utc_ns"]) for item in manifest.get("notes", ())]
            spoken = [(item["id"], item["name"], item["started_utc_ns"]) for item in manifest.get("talks", ())]
        except (ValueError, KeyError, TypeError, AttributeError):
            listed, written, spoken = {}, [], []
        expected = json.loads(await asyncio.to_thread(build_manifest, recording, periods, rows, gaps))
        said = [(talk.id, talk.talker_name, talk.started_utc_ns) for talk in talks]
        if (
            listed != {name: expected[name] for name in _RECORDED}
            or spoken != said
            or written != [(n.id, n.text, n.at_utc_ns) for n in notes]
        ):
            self._find(FindingCode.MANIFEST_DIFFERS, recording.id, key=key)

    async def _orphans(self, prefix: str) -> None:
        """Objects without a row. A recorder at work stores first and commits then, so suspects are looked up again."""
        suspects: list[str] = []
        known: frozenset[str] = frozenset()
        current = ""
        async for stored in self._store.list(prefix):
            recording_id = stored.key.removeprefix(_PREFIX).split("/", 1)[0]
            if recording_id != current:
                current, known = recording_id, await self._keys(recording_id)
            if stored.key not in known:
                suspects.append(stored.key)
        for key in suspects:
            recording_id = key.removeprefix(_PREFIX).split("/", 1)[0]
            if key not in await self._keys(recording_id):
                self._find(FindingCode.ORPHAN_OBJECT, recording_id, key=key)

    async def _keys(self, recording_id: str) -> frozenset[str]:
        async with self._database.read() as repos:
            keys = await repos.objects.keys(recording_id)
            exists = await repos.recordings.exists(recording_id)
        return keys | {manifest_key(recording_id)} if exists else keys

    def _find(
        self, code: FindingCode, recording_id: str, *, key: str = "", number: int | None = None, detail: str = ""
    ) -> None:
        self._report.findings.append(Finding(code=code, recording=recording_id, key=key, number=number, detail=detail))


async def _stored_since(repos: Repositories, recording_id: str, rows: Sequence[MediaObject]) -> list[MediaObject]:
    """Rows of a recording that came after ``rows``."""
    found: list[MediaObject] = []
    after = rows[-1].number if rows else -1
    while True:
        page = await repos.objects.page((recording_id, after), _PAGE)
        found += [row for row in page if row.recording_id == recording_id]
        if not page or page[-1].recording_id != recording_id:
            return found
        after = page[-1].number


def check_bytes(row: MediaObject, data: bytes) -> list[Finding]:
    """An object's bytes against its row: length, SHA-256, and SHA-256 of each segment's range of each track."""
    findings = []
    if len(data) != row.size:
        findings.append(_of(row, FindingCode.OBJECT_SIZE, None, f"{len(data)} instead of {row.size}"))
    found = hashlib.sha256(data).hexdigest()
    if found != row.sha256:
        findings.append(_of(row, FindingCode.OBJECT_HASH, None, found))
    view = memoryview(data)
    for segment in row.segments:
        for part in segment.ranges:
            if part.offset < 0 or part.offset + part.size > row.size:
                findings.append(_of(row, FindingCode.SEGMENT_RANGE, segment.sequence, f"track {part.track_id}"))
            elif hashlib.sha256(view[part.offset : part.offset + part.size]).hexdigest() != part.sha256:
                findings.append(_of(row, FindingCode.SEGMENT_HASH, segment.sequence, f"track {part.track_id}"))
    return findings


def check_holes(recording: Recording, spans: Iterable[tuple[int, int]], gaps: Sequence[GapRecord]) -> list[Finding]:
    """Each hole in the media must be covered by gaps, and each gap make sense. ``spans`` are segments in order."""
    findings = []
    over = recording.state is RecordingState.COMPLETE and recording.ended_utc_ns is not None
    for gap in gaps:
        wrong = ""
        if gap.end_utc_ns is None:
            wrong = "open though the recording is over" if over else ""
        elif gap.end_utc_ns < gap.start_utc_ns:
            wrong = "ends before it begins"
        if wrong:
            detail = f"gap {gap.id} {wrong}"
            findings.append(Finding(code=FindingCode.GAP_WRONG, recording=recording.id, detail=detail))
    edges = list(spans)
    if over and recording.ended_utc_ns is not None:
        edges.append((recording.ended_utc_ns, recording.ended_utc_ns))
    covered = recording.started_utc_ns
    for start, end in edges:
        if start - covered > _HOLE_NS and not _covers(gaps, covered, start):
            findings.append(
                Finding(
                    code=FindingCode.GAP_MISSING,
                    recording=recording.id,
                    detail=f"{covered}..{start} ({(start - covered) / NS_PER_S:.1f} s)",
                )
            )
        covered = max(covered, end)
    return findings


def _covers(gaps: Sequence[GapRecord], start: int, end: int) -> bool:
    at = start
    for gap in sorted(gaps, key=lambda gap: gap.start_utc_ns):
        if gap.start_utc_ns - at <= _HOLE_NS:
            at = max(at, end if gap.end_utc_ns is None else gap.end_utc_ns)
    return end - at <= _HOLE_NS


def _of(row: MediaObject, code: FindingCode, sequence: int | None = None, detail: str = "") -> Finding:
    return Finding(
        code=code, recording=row.recording_id, key=row.key, number=row.number, sequence=sequence, detail=detail
    )

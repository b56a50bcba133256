"""Recordings made at once: units cut into segments, objects stored, rows committed, as the recorder leaves them."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from media.fmp4 import init_segment
from media.fmp4_read import read_fragments
from media.segmenter import Segmenter, SegmenterSettings
from media.segments import Part, Period, SegmentEnd, SegmentEvent, SegmentStart
from media.unit import StreamItem
from recorder.chain import chain_after
from recorder.facts import tracks_to_json
from recorder.sample_table import table_of, tables_box
from storage.database import Database
from storage.objects import ObjectStore
from storage.records import (
    GENESIS_HASH,
    MediaObject,
    Meeting,
    Recording,
    RecordingPeriod,
    RecordingState,
    StoredSegment,
    TrackRange,
)
from tests.support.rows import SampleCounty, recording


@dataclass
class _Segment:
    period: Period
    start: SegmentStart
    tracks: dict[int, list[bytes]] = field(default_factory=dict)
    dts: dict[int, int] = field(default_factory=dict)
    durations: dict[int, int] = field(default_factory=dict)
    samples: dict[int, int] = field(default_factory=dict)
    duration_ns: int = 0


def cut(items: Iterable[StreamItem], settings: SegmenterSettings | None = None, first: int = 1000) -> list[_Segment]:
    """Whole segments of some units."""
    segmenter = Segmenter(settings or SegmenterSettings(), first)
    events: list[SegmentEvent] = [event for item in items for event in segmenter.push(item)]
    events += segmenter.flush()
    found: list[_Segment] = []
    for event in events:
        if isinstance(event, SegmentStart):
            found.append(_Segment(event.period, event))
        elif isinstance(event, Part):
            for track_id, chunk in event.chunks.items():
                now = found[-1]
                now.tracks.setdefault(track_id, []).append(chunk.data)
                now.dts.setdefault(track_id, chunk.dts)
                now.durations[track_id] = chunk.dts + chunk.duration - now.dts[track_id]
                now.samples[track_id] = now.samples.get(track_id, 0) + chunk.samples
        elif isinstance(event, SegmentEnd):
            found[-1].duration_ns = event.duration_ns
    return found


@dataclass
class RecordedMeeting:
    """What was recorded. ``segments`` are the stored ones, in order, with ``data`` by (sequence, track id)."""

    meeting: Meeting
    recording: Recording
    segments: list[StoredSegment]
    data: Mapping[tuple[int, int], bytes]
    periods: list[RecordingPeriod] = field(default_factory=list)


async def record(
    database: Database,
    store: ObjectStore,
    county: SampleCounty,
    stretches: Sequence[Iterable[StreamItem]],
    *,
    per_object: int = 3,
    state: RecordingState = RecordingState.COMPLETE,
    tables: bool = True,
    store_only: int | None = None,
    beside: RecordedMeeting | None = None,
) -> RecordedMeeting:
    """Record ``stretches`` as one meeting, or by another camera ``beside`` one that is recorded. Each stretch is cut by
    a segmenter of its own, as after a restart.

    Only the first ``store_only`` segments are stored, if that is given; the others are in the result alone.
    """
    meeting = county.meeting() if beside is None else beside.meeting
    row = recording(meeting, state=state)
    if beside is not None:
        row = replace(row, camera_id=county.cameras[1].id, started_utc_ns=row.started_utc_ns + 1)
    cuts = [segment for n, items in enumerate(stretches) for segment in cut(items, first=1000 + 1000 * n)]
    async with database.transaction() as repos:
        if beside is None:
            await repos.meetings.add(meeting)
        await repos.recordings.add(row)
    result = RecordedMeeting(meeting, row, [], {})
    data: dict[tuple[int, int], bytes] = {}
    chain, number = GENESIS_HASH, 0
    for period_number, (period, groups) in enumerate(_objects(cuts, store_only or per_object)):
        result.periods.append(_period_row(row.id, period_number, period))
        for group in groups:
            storing = store_only is None or len(result.segments) < store_only
            made = _assembled(group, period, tables=tables)
            data |= made.data
            stored = []
            for facts in made.segments:
                chain = chain_after(chain, row.id, period_number, facts)
                stored.append(facts._replace(chain=chain))
            result.segments += stored
            if storing:
                await _keep(database, store, result.periods[-1], number, made.body, stored)
                number += 1
    result.data = data
    return result


def _objects(cuts: Sequence[_Segment], per_object: int) -> Iterator[tuple[Period, list[list[_Segment]]]]:
    """Each period with its segments, so many an object."""
    for _, run in groupby(cuts, key=lambda segment: id(segment.period)):
        segments = list(run)
        groups = [segments[n : n + per_object] for n in range(0, len(segments), per_object)]
        yield segments[0].period, groups


def _period_row(recording_id: str, number: int, period: Period) -> RecordingPeriod:
    return RecordingPeriod(
        recording_id=recording_id, number=number, tracks=tracks_to_json(period.tracks), init=dict(period.init)
    )


@dataclass
class _Assembled:
    """An object, and its segments without their place in the chain, with their ``data`` by (sequence, track id)."""

    body: bytearray
    segments: list[StoredSegment] = field(default_factory=list)
    data: dict[tuple[int, int], bytes] = field(default_factory=dict)


def _assembled(group: Sequence[_Segment], period: Period, *, tables: bool) -> _Assembled:
    made = _Assembled(bytearray(init_segment(period.tracks)))
    for item in group:
        ranges = []
        for track_id in sorted(item.tracks):
            octets = b"".join(item.tracks[track_id])
            ranges.append(
                TrackRange(
                    track_id=track_id,
                    offset=len(made.body),
                    size=len(octets),
                    dts=item.dts[track_id],
                    duration=item.durations[track_id],
                    samples=item.samples[track_id],
                    sha256=hashlib.sha256(octets).hexdigest(),
                )
            )
            made.data[item.start.sequence, track_id] = octets
            made.body += octets
        made.segments.append(
            StoredSegment(
                sequence=item.start.sequence,
                start_utc_ns=item.start.start_utc_ns,
                duration_ns=item.duration_ns,
                discontinuity=item.start.discontinuity,
                ranges=tuple(ranges),
                chain="",
            )
        )
    if tables:
        made.body += tables_box(
            (sequence, track_id, table_of(read_fragments(octets, track_id)))
            for (sequence, track_id), octets in made.data.items()
        )
    return made


async def _keep(
    database: Database,
    store: ObjectStore,
    period: RecordingPeriod,
    number: int,
    body: bytearray,
    segments: Sequence[StoredSegment],
) -> None:
    """Store an object, and commit its row and its period's."""
    key = f"recordings/{period.recording_id}/{number:06d}.mp4"
    await store.put(key, bytes(body), {}, "video/mp4")
    async with database.transaction() as repos:
        await repos.recordings.add_period(period)
        await repos.objects.add(
            MediaObject(
                recording_id=period.recording_id,
                number=number,
                period=period.number,
                key=key,
                size=len(body),
                sha256=hashlib.sha256(body).hexdigest(),
                start_utc_ns=segments[0].start_utc_ns,
                end_utc_ns=segments[-1].end_utc_ns,
                segments=tuple(segments),
                chain=segments[-1].chain,
            )
        )

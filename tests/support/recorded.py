"""Recordings made at once: units cut into segments, objects stored, rows committed, as the recorder leaves them."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

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
                now.durations[track_id] = now.durations.get(track_id, 0) + chunk.duration
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
    periods: list[Period] = []
    result = RecordedMeeting(meeting, row, [], {})
    data: dict[tuple[int, int], bytes] = {}
    chain, number = GENESIS_HASH, 0
    while cuts:
        storing = store_only is None or len(result.segments) < store_only
        if store_only is not None:
            per_object = store_only
        period = cuts[0].period
        group = [cuts.pop(0)]
        while cuts and cuts[0].period is period and len(group) < per_object:
            group.append(cuts.pop(0))
        if not any(known is period for known in periods):
            periods.append(period)
            result.periods.append(
                RecordingPeriod(
                    recording_id=row.id,
                    number=len(periods) - 1,
                    tracks=tracks_to_json(period.tracks),
                    init=dict(period.init),
                )
            )
        body = bytearray(init_segment(period.tracks))
        stored = []
        for item in group:
            ranges = []
            for track_id in sorted(item.tracks):
                octets = b"".join(item.tracks[track_id])
                ranges.append(
                    TrackRange(
                        track_id=track_id,
                        offset=len(body),
                        size=len(octets),
                        dts=item.dts[track_id],
                        duration=item.durations[track_id],
                        samples=item.samples[track_id],
                        sha256=hashlib.sha256(octets).hexdigest(),
                    )
                )
                data[item.start.sequence, track_id] = octets
                body += octets
            facts = StoredSegment(
                sequence=item.start.sequence,
                start_utc_ns=item.start.start_utc_ns,
                duration_ns=item.duration_ns,
                discontinuity=item.start.discontinuity,
                ranges=tuple(ranges),
                chain="",
            )
            chain = chain_after(chain, row.id, len(periods) - 1, facts)
            stored.append(facts._replace(chain=chain))
        if tables:
            body += tables_box(
                (facts.sequence, track_id, table_of(read_fragments(data[facts.sequence, track_id], track_id)))
                for facts in stored
                for track_id in (1, 2)
                if (facts.sequence, track_id) in data
            )
        result.segments += stored
        if not storing:
            continue
        key = f"recordings/{row.id}/{number:06d}.mp4"
        await store.put(key, bytes(body), {}, "video/mp4")
        async with database.transaction() as repos:
            await repos.recordings.add_period(result.periods[-1])
            await repos.objects.add(
                MediaObject(
                    recording_id=row.id,
                    number=number,
                    period=len(periods) - 1,
                    key=key,
                    size=len(body),
                    sha256=hashlib.sha256(body).hexdigest(),
                    start_utc_ns=stored[0].start_utc_ns,
                    end_utc_ns=stored[-1].end_utc_ns,
                    segments=tuple(stored),
                    chain=chain,
                )
            )
        number += 1
    result.data = data
    return result

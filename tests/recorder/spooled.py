"""Spool files for tests: a header, what is fed to a file, and what it should then hold."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from media.segments import Part, SegmentEnd, SegmentEvent, SegmentStart
from media.unit import GapCause
from recorder.spool import OpenSpoolFile, Spool
from recorder.spool_format import (
    SpooledSegment,
    SpoolFile,
    SpoolHeader,
    segment_bytes,
)
from recorder.state import SpoolSettings
from storage.records import GENESIS_HASH
from tests.support.events import PERIOD, SOUND, VIDEO, segments


def header(number: int = 1, recording: str = "rec1") -> SpoolHeader:
    return SpoolHeader(
        recording=recording,
        meeting="meeting1",
        camera="camera1",
        number=number,
        period=0,
        tracks=(VIDEO, SOUND),
        init=b"ftyp+moov of both",
        track_init=PERIOD.init,
        metadata={"title": "支部党员大会"},
        chain=GENESIS_HASH,
    )


def feed(file: OpenSpoolFile, events: Iterable[SegmentEvent]) -> list[GapCause]:
    refused = []
    for event in events:
        if isinstance(event, SegmentStart):
            file.start_segment(event.sequence, event.start_utc_ns, discontinuity=event.discontinuity)
        elif isinstance(event, Part):
            cause = file.part(event)
            if cause is not None:
                refused.append(cause)
        elif isinstance(event, SegmentEnd):
            file.end_segment(event.duration_ns)
    return refused


def segment_size(item: SpooledSegment) -> int:
    return segment_bytes(item.facts)


async def closed(file: OpenSpoolFile) -> SpoolFile:
    result = await asyncio.wait_for(file.close(), 10)
    assert result is not None
    return result


def media_of(events: Iterable[SegmentEvent], sequence: int, track: int) -> bytes:
    return b"".join(
        event.chunks[track].data for event in events if isinstance(event, Part) and event.sequence == sequence
    )


async def written(directory: Path, count: int = 3, **options: int) -> SpoolFile:
    async with Spool(directory, SpoolSettings()) as spool:
        file = spool.open(header())
        feed(file, segments(count, **options))
        return await closed(file)

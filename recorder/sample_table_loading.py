"""Finds the sample tables of recorded segments: at the ends of objects, or from the fragments themselves."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import Executor
from itertools import groupby

from media.errors import ContainerError
from media.fmp4_read import read_fragments
from media.unit import AUDIO_TRACK_ID, VIDEO_TRACK_ID
from recorder.recorded import Recorded, RecordedMeetings, RecordedSegment
from recorder.sample_table import TAIL_BYTES, SampleTable, read_tables, table_of, tables_size

_AT_A_TIME = 8


async def load_tables(
    meetings: RecordedMeetings, executor: Executor, recorded: Recorded, places: range, *, sound: bool
) -> Mapping[tuple[int, int], SampleTable]:
    """Tables by (sequence, track id) of video, and of sound if asked for. One small read per object where it ends with
    its tables; else all of the segment is read, one at a time per object."""
    track_ids = (VIDEO_TRACK_ID, AUDIO_TRACK_ID) if sound else (VIDEO_TRACK_ID,)
    slots = asyncio.Semaphore(_AT_A_TIME)
    tables: dict[tuple[int, int], SampleTable] = {}
    loop = asyncio.get_running_loop()

    async def of_object(segments: list[RecordedSegment]) -> None:
        async with slots:
            found: Mapping[tuple[int, int], SampleTable] = {}
            if segments[0].key is not None:
                tail = await meetings.read_tail(segments[0], TAIL_BYTES)
                size = tables_size(tail)
                if size is not None and size > len(tail):
                    tail = await meetings.read_tail(segments[0], size)
                if size is not None:
                    found = await loop.run_in_executor(executor, _read, tail[-size:])
            for segment in segments:
                for track_id in track_ids:
                    key = (segment.sequence, track_id)
                    if key in found:
                        tables[key] = found[key]
                    elif segment.range(track_id) is not None:
                        data = await meetings.read(recorded, segment, track_id)
                        tables[key] = await loop.run_in_executor(executor, _table, data, track_id)

    wanted = [recorded.segments[place] for place in places]
    try:
        async with asyncio.TaskGroup() as group:
            for _, segments in groupby(wanted, key=lambda segment: segment.key):
                group.create_task(of_object(list(segments)))
    except BaseExceptionGroup as errors:
        # Whoever asks knows the store's errors, and no groups of them.
        raise errors.exceptions[0] from None
    return tables


def _table(data: bytes, track_id: int) -> SampleTable:
    return table_of(read_fragments(data, track_id))


def _read(box: bytes) -> Mapping[tuple[int, int], SampleTable]:
    try:
        return read_tables(box) or {}
    except ContainerError:
        # Damaged, while the media may be whole: it says the same.
        return {}

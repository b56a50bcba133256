"""Reads a recording straight on: a whole object at a time, once it is clear that all of it is wanted."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Mapping

from recorder.recorded import Recorded, RecordedMeetings

_MOST_BYTES = 16 * 1024 * 1024
_RUNS_KEPT = 3
_READS_ON = 8


class RunReader:
    """Bytes of segments that are asked for in order. The first read takes one segment, each further one twice as many
    of the same object: who jumps about in a file fetches little for nothing, who takes all of it asks the store seldom.

    At most three runs of 16 MiB (or one segment, where that is longer) are held. Close it when done.
    """

    def __init__(self, meetings: RecordedMeetings, recorded: Recorded) -> None:
        self._meetings = meetings
        self._recorded = recorded
        self._runs: OrderedDict[range, asyncio.Task[list[Mapping[int, bytes]]]] = OrderedDict()
        self._next_length = 1

    @property
    def reads_on(self) -> bool:
        """Whether so much was read straight on that it looks as if all of it were wanted."""
        return self._next_length > _READS_ON

    async def read(self, place: int) -> Mapping[int, bytes]:
        """A segment's bytes by track id. Raises SegmentGoneError, StorageError members."""
        for run, task in self._runs.items():
            if place in run:
                return (await task)[place - run.start]
        run = self._run(place)
        task = asyncio.create_task(self._fetch(run), name="run of segments")
        self._runs[run] = task
        self._next_length *= 2
        while len(self._runs) > _RUNS_KEPT:
            self._runs.popitem(last=False)
        return (await task)[place - run.start]

    async def close(self) -> None:
        """Give up what is on its way."""
        tasks = list(self._runs.values())
        self._runs.clear()
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, run: range) -> list[Mapping[int, bytes]]:
        return list(await self._meetings.read_run(self._recorded, run))

    def _run(self, place: int) -> range:
        segments = self._recorded.segments
        key, size, stop = segments[place].key, 0, place
        while stop < len(segments) and stop - place < self._next_length and segments[stop].key == key:
            size += sum(item.size for item in segments[stop].facts.ranges)
            if stop > place and (size > _MOST_BYTES or key is None):
                break
            stop += 1
        return range(place, stop)

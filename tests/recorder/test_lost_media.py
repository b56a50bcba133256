"""What the disk refused is on record, and only that: whatever order the loop hears of its files in, no gap names media
that is there, and none hides what is not."""

import errno
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from media.unit import NS_PER_S, GapCause
from recorder.service import RecorderService
from recorder.spool_writer import Report, SpoolWriter
from tests.recorder.house import FAST, START_NS, House, feed, house, until, whole

EACH_SEGMENT = replace(FAST, recording=replace(FAST.recording, object_s=2.0))
"""Each segment of two seconds is an object."""


Telling = Callable[[list[Report], int], None]


class Disk:
    """The writer's disk: files in order of their making, ``refused`` ones cannot be made; and what it has to tell
    waits while ``held``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refused: set[int] = set()
        self.sync_fails = False
        self._count = itertools.count()
        self._held: list[tuple[Telling, list[Report], int]] | None = None
        self._patch(monkeypatch)

    def _patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        create, fdatasync = os.open, os.fdatasync

        def opened(path: str | Path, flags: int, mode: int = 0o777) -> int:
            if flags & os.O_CREAT and str(path).endswith(".spool") and next(self._count) in self.refused:
                raise OSError(errno.EMFILE, "Too many open files")
            return create(path, flags, mode)

        def synced(fd: int) -> None:
            if self.sync_fails:
                raise OSError(errno.EIO, "Input/output error")
            fdatasync(fd)

        def writer(tell: Telling) -> SpoolWriter:
            return SpoolWriter(lambda reports, written: self._tell(tell, reports, written))

        monkeypatch.setattr("recorder.spool_files.os.open", opened)
        monkeypatch.setattr("recorder.spool_files.os.fdatasync", synced)
        monkeypatch.setattr("recorder.spool.SpoolWriter", writer)

    def _tell(self, tell: Telling, reports: list[Report], written: int) -> None:
        if self._held is None:
            tell(reports, written)
        else:
            self._held.append((tell, reports, written))

    @contextmanager
    def held(self) -> Iterator[None]:
        """The loop hears nothing of the disk until the end of the context; then of all at once, and before it does
        anything else what the camera has sent by then is due."""
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            for tell, reports, written in held:
                tell(reports, written)

    @property
    def told(self) -> int:
        """Octets whose writing waits to be told."""
        return sum(written for _, _, written in self._held or ())


async def gaps_of(home: House, meeting: str) -> list[tuple[float, float, str]]:
    """From and to, seconds of the meeting, and why."""
    gaps = await home.gaps(meeting)
    return [
        ((gap.start_utc_ns - START_NS) / NS_PER_S, ((gap.end_utc_ns or 0) - START_NS) / NS_PER_S, gap.cause)
        for gap in gaps
    ]


async def segments_of(home: House, meeting: str) -> list[float]:
    """Where each segment on record begins, seconds of the meeting."""
    return [
        (segment.start_utc_ns - START_NS) / NS_PER_S for row in await home.objects(meeting) for segment in row.segments
    ]


@asynccontextmanager
async def recorded(home: House) -> AsyncIterator[tuple[RecorderService, str]]:
    """A recorder, and a meeting whose first two seconds it records; the meeting ends with the context, and what is on
    record then is whole."""
    meeting = await home.plan()
    home.camera.connect()
    async with home.service() as recorder:
        await until(lambda: recorder.live_state(meeting) is not None, "the recording starts")
        await feed(home, recorder, 2.0)
        yield recorder, meeting
        await recorder.end_meeting(meeting, "user1")
    await whole(home, meeting)


async def taken_unheard(home: House, recorder: RecorderService, disk: Disk, seconds: float) -> None:
    """So much is taken and written, and the loop has not heard of it. To be called with the disk held."""
    await feed(home, recorder, seconds)
    await until(lambda: disk.told == recorder.metrics.spool_pending_bytes > 0, "the writer has written it")


async def until_tried_again(home: House, recorder: RecorderService) -> None:
    """The meeting goes on until the disk has been tried again, and beyond."""
    for _ in range(9):
        await feed(home, recorder, 2.0)


async def test_what_is_on_disk_between_two_refusals_is_in_no_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    disk.refused = {1, 3}
    async with house(tmp_path, EACH_SEGMENT) as home:
        async with recorded(home) as (recorder, meeting):
            with disk.held():
                await taken_unheard(home, recorder, disk, 5.0)
            await until(lambda: recorder.metrics.gaps[GapCause.STORAGE_LOST] == 1, "the first is known")
            await until_tried_again(home, recorder)
        there = await segments_of(home, meeting)
        assert there[:2] == [0.0, 4.0]
        assert await gaps_of(home, meeting) == [(2.0, 4.0, "storage-lost"), (6.0, there[2], "storage-lost")]


async def test_a_refusal_heard_before_what_was_kept_before_it_names_none_of_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    disk.refused = {2, 3}
    async with house(tmp_path, EACH_SEGMENT) as home:
        async with recorded(home) as (recorder, meeting):
            with disk.held():
                await taken_unheard(home, recorder, disk, 5.0)
            await until_tried_again(home, recorder)
        there = await segments_of(home, meeting)
        assert there[:2] == [0.0, 2.0]
        assert await gaps_of(home, meeting) == [(4.0, there[2], "storage-lost")]


async def test_what_the_disk_loses_while_the_camera_is_away_is_on_record_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    async with house(tmp_path, EACH_SEGMENT) as home:
        async with recorded(home) as (recorder, meeting):
            await feed(home, recorder, 1.6)
            await until(lambda: recorder.metrics.spool_pending_bytes == 0, "written")
            disk.sync_fails = True
            home.clock.now_ns += 2 * NS_PER_S
            await until(lambda: "disk-fails" in recorder.warnings, "the disk fails")
            disk.sync_fails = False
            home.clock.now_ns += 20 * NS_PER_S
            home.camera.lose(22.4)
            await feed(home, recorder, 6.0)
        assert (await segments_of(home, meeting))[:2] == [0.0, 26.0]
        lost, away = await gaps_of(home, meeting)
        assert (lost[0], lost[2]) == (2.0, GapCause.STORAGE_LOST)
        assert (away[0], away[1], away[2]) == (lost[1], 26.0, GapCause.DISCONNECTED)
        assert lost[1] == pytest.approx(3.5)


async def test_a_gap_between_media_that_was_lost_keeps_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    disk.refused = {1}
    async with house(tmp_path, EACH_SEGMENT) as home:
        async with recorded(home) as (recorder, meeting):
            home.camera.lose(10.0)
            with disk.held():
                await taken_unheard(home, recorder, disk, 4.5)
            await feed(home, recorder, 4.0)
        assert await gaps_of(home, meeting) == [(2.0, 12.0, "disconnected"), (12.0, 14.0, "storage-lost")]


async def test_the_operator_is_told_of_a_refusal_that_is_over_when_it_is_heard_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    disk.refused = {1}
    async with house(tmp_path, EACH_SEGMENT) as home:
        async with recorded(home) as (recorder, _):
            with disk.held():
                await taken_unheard(home, recorder, disk, 7.0)
            await until(lambda: recorder.metrics.gaps[GapCause.STORAGE_LOST] == 1, "heard of")
            await until(lambda: recorder.metrics.objects_stored >= 3, "all is heard of")
            assert recorder.warnings == ("files-exhausted",)
            await until_tried_again(home, recorder)
            await until(lambda: recorder.warnings == (), "over")

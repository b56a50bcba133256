"""Store away, database away, disk full, reader overrun: nothing is lost, or what is lost is on record."""

import errno
import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from media.fanout import ReaderLimits
from media.unit import NS_PER_S, GapCause
from recorder.state import SpoolSettings
from storage.errors import DatabaseUnavailableError, StoreUnavailableError
from tests.recorder.house import FAST, START_NS, feed, house, until, whole
from tests.support.faults import Faults, FaultyDatabase, FaultyStore


async def test_store_away_the_spool_holds_and_drains_when_it_is_back(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        faults = Faults()
        async with home.recorded(store=FaultyStore(home.store, faults)) as (recorder, meeting):
            faults.away = True
            await feed(home, recorder, 30.0)
            await until(lambda: recorder.metrics.upload_queue >= 3, "objects wait")
            await until(lambda: "store-away" in recorder.warnings, "the operator is told")
            state = recorder.live_state(meeting)
            assert state is not None
            assert state.spool_lag_s > 20
            assert state.warnings == ("store-away",)
            assert recorder.metrics.upload_retries > 0
            assert await home.objects(meeting) == ()
            faults.away = False
            await until(lambda: recorder.metrics.upload_queue == 0, "the spool drains")
            assert recorder.warnings == ()
        await whole(home, meeting)
        assert await home.gaps(meeting) == []


async def test_a_fault_that_takes_several_shapes_in_turn_is_one_line_each(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fails = True

    def strike(name: str, count: int) -> None:
        if fails and name == "before put":
            raise StoreUnavailableError("gone") if count % 2 else OSError(errno.EMFILE, "Too many open files")

    async with house(tmp_path) as home:
        async with home.recorded(store=FaultyStore(home.store, Faults(strike=strike))) as (recorder, meeting):
            await feed(home, recorder, 10.0)
            await until(lambda: recorder.metrics.upload_retries >= 8, "tried again and again")
            fails = False
        await whole(home, meeting)
    lines = [record.getMessage() for record in caplog.records if record.name == "recorder.uploader"]
    assert sorted(lines) == ["files-exhausted: Too many open files", "store-away: store-unavailable"]


async def test_database_away_the_spool_holds_gaps_too(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        faults = Faults()
        async with home.recorded(database=FaultyDatabase(home.database, faults)) as (recorder, meeting):
            faults.away = True
            await feed(home, recorder, 10.0)
            home.camera.lose(5.0)
            await feed(home, recorder, 10.0)
            await until(lambda: recorder.warnings == ("database-away",), "the operator is told")
            with pytest.raises(DatabaseUnavailableError):
                await recorder.end_meeting(meeting, "user1")
            assert recorder.live_state(meeting) is not None, "what cannot be ended goes on"
            await feed(home, recorder, 4.0)
            faults.away = False
            await until(lambda: recorder.warnings == (), "back")
        await whole(home, meeting)
        (gap,) = await home.gaps(meeting)
        assert (gap.cause, gap.end_utc_ns) == (GapCause.DISCONNECTED, START_NS + 17 * NS_PER_S)


async def test_at_the_bound_of_the_spool_new_media_is_refused_and_that_is_a_gap(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        faults = Faults(away=True)
        settings = replace(FAST, spool=SpoolSettings(max_bytes=600_000))
        async with home.recorded(store=FaultyStore(home.store, faults), settings=settings) as (recorder, meeting):
            while "spool-half-full" not in recorder.warnings:
                assert recorder.metrics.parts_refused == 0, "the warning comes first"
                await feed(home, recorder, 2.0)
            while recorder.metrics.parts_refused == 0:
                await feed(home, recorder, 2.0)
            await feed(home, recorder, 4.0)
            assert "spool-full" in recorder.warnings
            assert recorder.metrics.spool_bytes <= 600_000
            faults.away = False
            # What waits for the disk is written, stored and gone.
            await until(lambda: "spool-full" not in recorder.warnings, "the spool drains")
            await feed(home, recorder, 6.0)
            assert "spool-full" not in recorder.warnings
        await whole(home, meeting)
        (gap,) = await home.gaps(meeting)
        assert gap.cause == GapCause.STORAGE_LOST
        segments = [segment for row in await home.objects(meeting) for segment in row.segments]
        holes = [
            (left.end_utc_ns, right.start_utc_ns)
            for left, right in itertools.pairwise(segments)
            if right.start_utc_ns - left.end_utc_ns > NS_PER_S
        ]
        assert [gap.end_utc_ns for gap in [gap]] == [right for _, right in holes]
        assert gap.start_utc_ns == pytest.approx(holes[0][0], abs=1000)
        assert (await home.story(meeting)).count("media-lost") == 1


async def test_a_reader_overrun_is_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan()
        home.camera.connect()
        stream = home.camera.stream
        assert stream is not None
        read = stream.read_segments
        monkeypatch.setattr(
            stream, "read_segments", lambda name, _, **more: read(name, ReaderLimits(max_items=30), **more)
        )
        async with home.service() as recorder:
            await home.runs(recorder, meeting)
            await feed(home, recorder, 4.0)
            home.camera.feed(30.0)
            await until(lambda: recorder.metrics.overflows > 0, "overrun")
            await feed(home, recorder, 4.0)
            await recorder.end_meeting(meeting, "user1")
        await whole(home, meeting)
        (gap,) = await home.gaps(meeting)
        assert gap.cause == GapCause.OVERLOADED
        assert gap.end_utc_ns is not None
        assert gap.end_utc_ns - gap.start_utc_ns > 10 * NS_PER_S


async def test_an_open_segment_larger_than_a_readers_queue_is_recorded_from_its_beginning(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan(start_s=3600)
        home.camera.connect()
        stream = home.camera.stream
        assert stream is not None
        with stream.read_segments("viewer"):
            home.camera.feed(1.8)
            picture = next(unit for unit in reversed(home.camera.sent) if unit.track.id == 1)
            for index in range(1, 6):
                step = index * picture.track.clock_rate // 2
                stream.publish(
                    replace(
                        picture,
                        dts=picture.dts + step,
                        pts=picture.pts + step,
                        utc_ns=picture.utc_ns + index * NS_PER_S // 2,
                        data=bytes(6 * 1024 * 1024),
                        keyframe=False,
                    )
                )
            async with home.service() as recorder:
                await recorder.start_meeting(meeting, "user1")
                await until(lambda: recorder.metrics.parts >= 6, "the open segment is taken")
                await recorder.end_meeting(meeting, "user1")
        assert recorder.metrics.overflows == 0
        await whole(home, meeting)


async def test_a_disk_that_takes_no_more_is_a_gap_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = False
    real = os.writev

    def writev(fd: int, buffers: Sequence[bytes]) -> int:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, buffers)

    monkeypatch.setattr("recorder.spool_files.os.writev", writev)
    async with house(tmp_path) as home:
        async with home.recorded() as (recorder, meeting):
            await feed(home, recorder, 11.0)
            await until(lambda: recorder.metrics.spool_pending_bytes == 0)
            full = True
            for _ in range(16):
                await feed(home, recorder, 2.0)
                await until(lambda: recorder.metrics.spool_pending_bytes == 0)
            assert recorder.metrics.gaps[GapCause.STORAGE_LOST] == 1, "one gap however often it is tried again"
            full = False
            for _ in range(14):
                await feed(home, recorder, 2.0)
        await whole(home, meeting)
        (gap,) = await home.gaps(meeting)
        assert gap.cause == GapCause.STORAGE_LOST
        segments = [segment for row in await home.objects(meeting) for segment in row.segments]
        (hole,) = [
            (left.end_utc_ns, right.start_utc_ns)
            for left, right in itertools.pairwise(segments)
            if right.start_utc_ns - left.end_utc_ns > NS_PER_S
        ]
        assert gap.start_utc_ns == pytest.approx(hole[0], abs=1000)
        assert gap.end_utc_ns == hole[1]

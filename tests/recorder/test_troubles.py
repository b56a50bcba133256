"""Store away, database away, disk full, reader overrun, camera gone: nothing is lost, or what is lost is on record."""

import errno
import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from media.fanout import ReaderLimits
from media.unit import NS_PER_S, Gap, GapCause
from recorder.check import check
from recorder.service import RecorderService
from recorder.state import SpoolSettings
from storage.errors import DatabaseUnavailableError, StoreUnavailableError
from storage.records import MeetingState, RecordingState
from tests.recorder.house import FAST, START_NS, House, house, until
from tests.support.faults import Faults, FaultyDatabase, FaultyStore


async def whole(home: House, meeting: str) -> None:
    """Complete, and nothing wrong with it."""
    await home.complete(meeting)
    await home.verify(meeting)
    report = await check(home.database, home.store)
    assert report.findings == []


async def feed(home: House, recorder: RecorderService, seconds: float) -> None:
    """Send so much and wait until it has been taken."""
    before = recorder.metrics.parts + recorder.metrics.parts_refused
    home.camera.feed(seconds)
    wanted = before + round(seconds * 2) - 2
    await until(lambda: recorder.metrics.parts + recorder.metrics.parts_refused >= wanted, f"{seconds} s taken")


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


async def test_a_camera_that_never_comes_is_one_gap_from_start_to_end(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan()
        async with home.service() as recorder:
            await until(lambda: recorder.live_state(meeting) is not None, "running")
            home.clock.now_ns += 60 * NS_PER_S
            await until(lambda: recorder.metrics.gaps[GapCause.NOT_STARTED] == 1, "noticed")
            await recorder.end_meeting(meeting, "user1")
        (gap,) = await home.gaps(meeting)
        assert (gap.start_utc_ns, gap.end_utc_ns, gap.cause) == (START_NS, START_NS + 60 * NS_PER_S, "not-started")
        await whole(home, meeting)


async def test_a_camera_that_comes_late(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan()
        async with home.service() as recorder:
            await until(lambda: recorder.live_state(meeting) is not None, "running")
            home.camera.second += 30
            home.clock.now_ns += 30 * NS_PER_S
            home.camera.connect()
            home.camera.feed(2.0)
            await until(lambda: recorder.metrics.parts > 0, "media")
            await feed(home, recorder, 4.0)
            await recorder.end_meeting(meeting, "user1")
        await whole(home, meeting)
        (gap,) = await home.gaps(meeting)
        assert (gap.start_utc_ns, gap.end_utc_ns, gap.cause) == (START_NS, START_NS + 30 * NS_PER_S, "not-started")


async def test_a_stall_in_the_middle_of_a_segment_ends_with_the_media_after_it(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        async with home.recorded() as (recorder, meeting):
            await feed(home, recorder, 2.8)
            home.clock.now_ns += 2 * NS_PER_S
            await until(lambda: recorder.metrics.gaps[GapCause.DISCONNECTED] == 1, "absence noticed")
            # It was only the network: what had been on its way comes now, in the same segment.
            parts = recorder.metrics.parts
            home.camera.feed(1.1)
            await until(lambda: recorder.metrics.parts > parts, "media again")
            state = recorder.live_state(meeting)
            assert state is not None
            assert not state.recordings[0].away
        await whole(home, meeting)
        gap = (await home.gaps(meeting))[0]
        assert gap.end_utc_ns is not None
        assert 0 <= gap.end_utc_ns - gap.start_utc_ns <= 0.6 * NS_PER_S


async def test_a_clock_that_is_set_back_is_on_record(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        home.camera.second += 4000
        home.clock.now_ns += 4000 * NS_PER_S
        async with home.recorded() as (recorder, meeting):
            await feed(home, recorder, 4.0)
            home.camera.second -= 3600
            home.clock.now_ns -= 3600 * NS_PER_S
            home.camera.epoch += 1
            assert home.camera.stream is not None
            home.camera.stream.publish(Gap(home.clock.now_ns, home.clock.now_ns, GapCause.CLOCK_JUMP))
            await feed(home, recorder, 4.0)
        await whole(home, meeting)
        (gap,) = await home.gaps(meeting)
        assert (gap.cause, gap.start_utc_ns) == (GapCause.CLOCK_JUMP, START_NS + 406 * NS_PER_S)
        before, after = await home.objects(meeting)
        assert before.start_utc_ns < before.end_utc_ns
        assert after.start_utc_ns < after.end_utc_ns < before.start_utc_ns


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


async def test_many_lost_packets_are_one_gap(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        async with home.recorded() as (recorder, meeting):
            assert home.camera.stream is not None
            for index in range(100):
                start = home.clock.now_ns + index * NS_PER_S // 100
                home.camera.stream.publish(Gap(start, start + 1000, GapCause.PACKETS_LOST, packets=2))
            await feed(home, recorder, 2.0)
        await whole(home, meeting)
        (gap,) = await home.gaps(meeting)
        assert (gap.cause, gap.packets) == (GapCause.PACKETS_LOST, 200)


async def test_the_plan_ends_a_meeting(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan(length_s=8.0)
        home.camera.connect()
        async with home.service() as recorder:
            await home.runs(recorder, meeting)
            await feed(home, recorder, 6.0)
            await home.complete(meeting)
        row = await home.meeting(meeting)
        assert (row.state, row.ended_by) == (MeetingState.ENDED, "plan")
        assert row.ended_utc_ns == START_NS + 8 * NS_PER_S
        await whole(home, meeting)


async def test_a_meeting_that_must_not_be_recorded_runs_without(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan(record=False)
        home.camera.connect()
        async with home.service() as recorder:
            home.camera.feed(4.0)
            for _ in range(3):
                await recorder.reconcile()
            assert (await home.meeting(meeting)).state is MeetingState.RUNNING
            assert recorder.live_state(meeting) is None
            await recorder.end_meeting(meeting, "user1")
        async with home.database.read() as repos:
            assert await repos.recordings.of_meeting(meeting) == ()
        assert await home.story(meeting) == ["meeting-started", "not-recorded", "meeting-ended"]
        assert not list(home.spool_dir.rglob("*.spool"))


async def test_running_and_reachable_yet_not_recorded_is_recorded_and_reported(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan(start_s=3600)
        async with home.database.transaction() as repos:
            await repos.meetings.start(meeting, START_NS, "somebody")
        home.camera.connect()
        async with home.service() as recorder:
            await home.runs(recorder, meeting)
            await feed(home, recorder, 4.0)
            await recorder.end_meeting(meeting, "user1")
        assert "recorded-late" in await home.story(meeting)
        await whole(home, meeting)


async def test_what_was_missed_before_a_late_start_is_on_record(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan()
        home.clock.now_ns += 60 * NS_PER_S
        home.camera.second += 60
        home.camera.connect()
        async with home.service() as recorder:
            await home.runs(recorder, meeting)
            await feed(home, recorder, 4.0)
            await recorder.end_meeting(meeting, "user1")
        (gap,) = await home.gaps(meeting)
        assert (gap.start_utc_ns, gap.end_utc_ns, gap.cause) == (START_NS, START_NS + 60 * NS_PER_S, "not-started")
        assert "meeting-started-late" in await home.story(meeting)
        await whole(home, meeting)


async def test_a_meeting_whose_time_has_passed_was_missed(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan(length_s=60.0)
        endless = await home.plan(length_s=None)
        home.clock.now_ns += 24 * 3600 * NS_PER_S
        async with home.service() as recorder:
            await recorder.reconcile()
        assert (await home.meeting(meeting)).state is MeetingState.MISSED
        assert (await home.meeting(endless)).state is MeetingState.MISSED
        assert await home.story(meeting) == ["meeting-missed"]


async def test_stopped_in_peace_and_started_again_goes_on(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan()
        home.camera.connect()
        async with home.service() as recorder:
            await home.runs(recorder, meeting)
            await feed(home, recorder, 6.0)
        first = len(await home.objects(meeting))
        assert first >= 1
        assert not list(home.spool_dir.rglob("*.spool")), "what could be stored was stored"
        home.camera.lose(20.0)
        home.camera.connect()
        async with home.service() as recorder:
            await home.runs(recorder, meeting)
            await feed(home, recorder, 6.0)
            await recorder.end_meeting(meeting, "user1")
        await whole(home, meeting)
        gaps = await home.gaps(meeting)
        assert [gap.cause for gap in gaps] == [GapCause.SERVICE_DOWN]
        assert gaps[0].end_utc_ns == START_NS + 28 * NS_PER_S
        rows = await home.objects(meeting)
        assert [row.period for row in rows] == [0] * first + [1] * (len(rows) - first)
        assert rows[first].segments[0].discontinuity
        assert "recording-resumed" in await home.story(meeting)


async def test_a_meeting_that_ended_while_the_service_was_down_is_completed(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan(length_s=30.0)
        home.camera.connect()
        async with home.service() as recorder:
            await home.runs(recorder, meeting)
            await feed(home, recorder, 6.0)
        home.clock.now_ns += int(timedelta(hours=1).total_seconds()) * NS_PER_S
        async with home.service():
            await home.complete(meeting)
        row = await home.meeting(meeting)
        assert row.ended_utc_ns == START_NS + 30 * NS_PER_S
        assert (await home.recording(meeting)).state is RecordingState.COMPLETE
        (gap,) = await home.gaps(meeting)
        assert (gap.cause, gap.end_utc_ns) == (GapCause.SERVICE_DOWN, row.ended_utc_ns)
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

"""A meeting begins and ends by its plan, also where the service comes late, goes on later or was not there."""

from datetime import timedelta
from pathlib import Path

from media.unit import NS_PER_S, GapCause
from storage.records import MeetingState, RecordingState
from tests.recorder.house import START_NS, feed, house, whole


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


async def test_a_clock_that_is_hours_ahead_after_a_power_cut_ends_no_meeting(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan()
        home.camera.connect()
        async with home.service() as recorder:
            await home.runs(recorder, meeting)
            await feed(home, recorder, 6.0)
        # The hardware clock has local time; nobody has set the machine's yet.
        home.camera.lose(60.0)
        home.up_since_ns = home.clock.now_ns
        home.clock.step_ns = 8 * 3600 * NS_PER_S
        home.camera.connect()
        async with home.service() as recorder:
            for _ in range(3):
                await recorder.reconcile()
            assert (await home.meeting(meeting)).state is MeetingState.RUNNING
            assert recorder.live_state(meeting) is None, "by the only clock there is, it is over"
            home.clock.step_ns = 0
            await home.runs(recorder, meeting)
            await feed(home, recorder, 6.0)
            await recorder.end_meeting(meeting, "user1")
        await whole(home, meeting)
        (gap,) = await home.gaps(meeting)
        assert gap.cause == GapCause.SERVICE_DOWN


async def test_a_clock_that_is_a_day_ahead_after_a_power_cut_calls_no_meeting_missed(tmp_path: Path) -> None:
    """One without a planned end would be for good: nothing tells later that its time has not passed."""
    async with house(tmp_path) as home:
        endless = await home.plan(start_s=600.0, length_s=None)
        bounded = await home.plan(start_s=600.0, length_s=3600.0)
        home.up_since_ns = home.clock.now_ns
        home.clock.step_ns = 26 * 3600 * NS_PER_S
        home.camera.connect()
        async with home.service() as recorder:
            for _ in range(3):
                await recorder.reconcile()
            home.clock.step_ns = 0
            home.clock.now_ns += 601 * NS_PER_S
            home.camera.second += 601
            await home.runs(recorder, endless)
            for meeting in (endless, bounded):
                assert (await home.meeting(meeting)).state is MeetingState.RUNNING
                assert "meeting-missed" not in await home.story(meeting)


async def test_a_meeting_that_is_over_after_a_power_cut_ends_when_the_clock_has_been_set(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan(length_s=30.0)
        home.camera.connect()
        async with home.service() as recorder:
            await home.runs(recorder, meeting)
            await feed(home, recorder, 6.0)
        home.clock.now_ns += 3600 * NS_PER_S
        home.up_since_ns = home.clock.now_ns
        async with home.service() as recorder:
            await recorder.reconcile()
            assert (await home.meeting(meeting)).state is MeetingState.RUNNING
            home.clock.now_ns += int(home.settings.settle_s) * NS_PER_S
            await home.complete(meeting)
        assert (await home.meeting(meeting)).ended_utc_ns == START_NS + 30 * NS_PER_S
        await whole(home, meeting)


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

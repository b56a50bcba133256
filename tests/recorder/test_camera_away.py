"""A camera that never comes, comes late, stalls or jumps in time: what is missing is one gap, and the right one."""

from pathlib import Path

from media.unit import NS_PER_S, Gap, GapCause
from tests.recorder.house import START_NS, feed, house, until, whole


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

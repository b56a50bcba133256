"""The supervisor: reconnecting, gaps, changes of what is wanted, and nothing left behind."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from media.clock import SystemClock
from media.stream import LiveStream, Pace, Quality, StreamId
from media.unit import NS_PER_S, GapCause
from streaming.camera_session import Backoff, ReconnectSettings
from streaming.camera_status import CameraStatus
from streaming.cameras import CameraSource, CameraState, CameraSupervisor, SupervisorSettings
from streaming.directory import LocalStream, RemoteNode, StreamDirectory
from streaming.rtsp.client import RtspClient
from streaming.rtsp.settings import RtspSettings
from streaming.secret import Secret
from tests.streaming.watching import GUARD, QUICK, Collector, source, until
from tests.support.fake_camera import Behaviour, fake_camera

SETTINGS = SupervisorSettings(
    sample_s=0.1,
    reconnect=ReconnectSettings(first_s=0.05, longest_s=0.2, slow_s=30.0, steady_s=5.0, unread_s=0.3),
    rtsp=QUICK,
)


@asynccontextmanager
async def supervisor(*sources: CameraSource) -> AsyncIterator[CameraSupervisor]:
    async with CameraSupervisor(SystemClock(), GUARD, SETTINGS) as cameras:
        await cameras.apply(sources)
        yield cameras


@asynccontextmanager
async def collecting(stream: LiveStream) -> AsyncIterator[Collector]:
    seen = Collector()

    async def read() -> None:
        with stream.read_units("test") as reader:
            while items := await reader.take():
                for item in items:
                    seen.publish(item)

    task = asyncio.create_task(read())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.wait((task,))


def state(cameras: CameraSupervisor, camera: str = "hall") -> CameraState | None:
    status = cameras.status(camera)
    return status.state if status is not None else None


def the_stream(cameras: CameraSupervisor, camera: str = "hall") -> LiveStream:
    stream = cameras.stream(StreamId(camera))
    assert stream is not None
    return stream


async def test_a_camera_that_comes_back_goes_on_later_with_a_gap_on_record() -> None:
    async with fake_camera() as camera, supervisor(source(camera.url)) as cameras:
        stream = the_stream(cameras)
        async with collecting(stream) as seen:
            await until(lambda: len(seen.pictures) > 10)
            await camera.stop()
            await until(lambda: state(cameras) is CameraState.OFFLINE)
            await asyncio.sleep(0.5)
            await camera.start()
            await until(lambda: state(cameras) is CameraState.ONLINE)
            await until(lambda: seen.units[-1].epoch > 0 and len(seen.gaps) == 1)
            await until(lambda: len([unit for unit in seen.pictures if unit.epoch > 0]) > 10)
        assert the_stream(cameras) is stream
        before = [unit for unit in seen.units if unit.epoch == 0]
        after = [unit for unit in seen.units if unit.epoch > 0]
        gap = seen.gaps[0]
        assert gap.cause is GapCause.DISCONNECTED
        assert gap.start_utc_ns == max(unit.utc_ns for unit in before)
        assert gap.end_utc_ns == after[0].utc_ns
        assert gap.end_utc_ns - gap.start_utc_ns > 0.5 * NS_PER_S
        # The timeline went on later by what was missed.
        last = before[-1] if before[-1].track.id == 1 else [unit for unit in before if unit.track.id == 1][-1]
        first = next(unit for unit in after if unit.track.id == 1)
        missed_s = (first.pts - last.pts) / 90_000
        assert missed_s == pytest.approx((first.utc_ns - last.utc_ns) / NS_PER_S, abs=0.05)
        status = cameras.status("hall")
        assert status is not None
        assert status.reconnects == 1
        assert status.problem is None


class SteppedClock(SystemClock):
    """The machine's clocks, the wall clock with an offset that a test may change."""

    offset_ns = 0

    def utc_ns(self) -> int:
        return super().utc_ns() + self.offset_ns


async def test_a_wall_clock_set_back_loses_no_media() -> None:
    clock = SteppedClock()
    async with fake_camera() as camera, CameraSupervisor(clock, GUARD, SETTINGS) as cameras:
        await cameras.apply([source(camera.url)])
        async with collecting(the_stream(cameras)) as seen:
            await until(lambda: len(seen.pictures) > 5)
            await camera.stop()
            await until(lambda: state(cameras) is CameraState.OFFLINE)
            clock.offset_ns = -600 * NS_PER_S
            await camera.start()
            await until(lambda: len([unit for unit in seen.pictures if unit.epoch > 0]) > 10)
        assert [gap.cause for gap in seen.gaps] == [GapCause.CLOCK_JUMP]
        assert seen.units[-1].utc_ns < seen.units[0].utc_ns


@pytest.mark.parametrize("step_s", [-2 * 3600, 600])
async def test_a_wall_clock_that_is_set_begins_media_time_anew(step_s: int) -> None:
    clock = SteppedClock()
    async with fake_camera() as camera, CameraSupervisor(clock, GUARD, SETTINGS) as cameras:
        await cameras.apply([source(camera.url)])
        async with collecting(the_stream(cameras)) as seen:
            await until(lambda: len(seen.pictures) > 5)
            clock.offset_ns = step_s * NS_PER_S
            await until(lambda: len([unit for unit in seen.pictures if unit.epoch > 0]) > 5)
        after = [unit for unit in seen.pictures if unit.epoch > 0]
        assert [gap.cause for gap in seen.gaps][-1] is GapCause.CLOCK_JUMP
        assert after[0].utc_ns == pytest.approx(clock.utc_ns(), abs=30 * NS_PER_S)
        # Back to before the stream's first use, and its decode times are still those of ISO/IEC 14496-12.
        assert all(unit.dts >= 0 for unit in after)


async def test_a_silent_camera_is_left_and_tried_again() -> None:
    behaviour = Behaviour()
    async with fake_camera(behaviour) as camera, supervisor(source(camera.url)) as cameras:
        async with collecting(the_stream(cameras)) as seen:
            await until(lambda: len(seen.pictures) > 5)
            behaviour.silent = True
            await until(lambda: state(cameras) is CameraState.SILENT)
            # Tries that run into silence again keep the state, and the cause on record stays the first one.
            await until(lambda: camera.connections >= 3)
            assert state(cameras) is CameraState.SILENT
            behaviour.silent = False
            await until(lambda: len(seen.gaps) == 1)
        assert seen.gaps[0].cause is GapCause.SILENT
        assert seen.gaps[0].detail == "camera-silent"


async def test_state_changes_are_told_in_order() -> None:
    told: list[CameraStatus] = []
    async with fake_camera() as camera, supervisor() as cameras:

        async def follow() -> None:
            async for status in cameras.changes():
                if status.state is not CameraState.CONNECTING:
                    told.append(status)

        follower = asyncio.create_task(follow())
        broken: list[CameraStatus] = []

        def listener(status: CameraStatus) -> None:
            broken.append(status)
            raise ZeroDivisionError

        with cameras.listening(listener):
            await cameras.apply([source(camera.url)])
            await until(lambda: [status.state for status in told] == [CameraState.ONLINE])
            await camera.stop()
            await until(lambda: len(told) == 2 and told[1].state is CameraState.OFFLINE)
            problem = told[1].problem
            assert problem is not None
            assert problem.code == "camera-disconnected"
            await until(lambda: len(told) == 3)
            problem = told[2].problem
            assert problem is not None
            assert (problem.code, problem.params["reason"]) == ("camera-unreachable", "refused")
            assert told[2].since_utc_ns == told[1].since_utc_ns
            await camera.start()
            await until(lambda: told[-1].state is CameraState.ONLINE)
        assert len(broken) == len(told)
        follower.cancel()
        await asyncio.wait((follower,))


async def test_what_is_wanted_is_applied_and_the_rest_left_alone() -> None:
    async with fake_camera() as first, fake_camera() as second, supervisor() as cameras:
        a, b = source(first.url, camera="a"), source(second.url, camera="b")
        await cameras.apply([a, b])
        await until(lambda: state(cameras, "a") is CameraState.ONLINE and state(cameras, "b") is CameraState.ONLINE)
        kept, ended = the_stream(cameras, "a"), the_stream(cameras, "b")
        with ended.read_units("test") as reader:
            await cameras.apply([a])
            while await reader.take():
                pass
        assert cameras.stream(StreamId("b")) is None
        assert cameras.status("b") is None
        assert the_stream(cameras, "a") is kept
        assert first.connections == 1
        # A new address for the same camera: the stream stays, with the time in between on record.
        async with collecting(kept) as seen:
            await cameras.apply([source(second.url, camera="a")])
            await until(lambda: len(seen.gaps) == 1 and seen.units[-1].epoch == 1)
        assert the_stream(cameras, "a") is kept
        with pytest.raises(ValueError, match="two sources"):
            await cameras.apply([a, a])


async def test_both_qualities_of_a_camera() -> None:
    async with fake_camera() as camera:
        main = source(camera.url)
        sub = CameraSource("hall", camera.url, quality=Quality.SUB)
        async with supervisor(main, sub) as cameras:
            await until(lambda: online(cameras, Quality.MAIN) and online(cameras, Quality.SUB))
            assert the_stream(cameras) is not cameras.stream(StreamId("hall", Quality.SUB))


def online(cameras: CameraSupervisor, quality: Quality) -> bool:
    return {status.state for status in cameras.statuses(quality)} == {CameraState.ONLINE}


async def test_a_stream_on_demand_is_connected_while_somebody_reads_it() -> None:
    async with fake_camera() as camera:
        sub = CameraSource("hall", camera.url, quality=Quality.SUB, on_demand=True)
        async with supervisor(sub) as cameras:
            stream = cameras.stream(sub.stream_id)
            assert stream is not None
            await asyncio.sleep(0)
            assert camera.connections == 0
            for times in (1, 2):
                async with collecting(stream) as seen:
                    await until(lambda: len(seen.pictures) > 2)
                await until(lambda: not online(cameras, Quality.SUB))
                # What nobody has read for a while is not handed to the next reader as if it were live.
                assert stream.last_keyframe is None
                assert camera.connections == times


async def test_rates_are_sampled() -> None:
    async with fake_camera() as camera, supervisor(source(camera.url)) as cameras:

        def measured() -> bool:
            status = cameras.status("hall")
            return status is not None and 10 < status.fps < 50 and status.bitrate_bps > 50_000

        await until(measured)
        status = cameras.status("hall")
        assert status is not None
        assert [track.id for track in status.tracks] == [1, 2]
        assert status.packets_lost == 0
        assert status.last_media_utc_ns is not None
        assert status.last_keyframe_utc_ns is not None


async def test_a_fault_of_ours_is_one_cameras_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    describe = RtspClient.describe

    async def broken(client: RtspClient) -> object:
        if client.source.camera_id == "bad":
            raise ZeroDivisionError
        return await describe(client)

    monkeypatch.setattr(RtspClient, "describe", broken)
    async with fake_camera() as camera:
        bad, good = source(camera.url, camera="bad"), source(camera.url, camera="good")
        async with supervisor(bad, good) as cameras:
            await until(lambda: state(cameras, "good") is CameraState.ONLINE)
            await until(lambda: state(cameras, "bad") is CameraState.OFFLINE)
            status = cameras.status("bad")
            assert status is not None
            assert status.problem is not None
            assert status.problem.code == "camera-internal"
            monkeypatch.undo()
            await until(lambda: state(cameras, "bad") is CameraState.ONLINE)


async def test_a_slow_retry_can_be_hastened() -> None:
    behaviour = Behaviour(statuses={"DESCRIBE": 404})
    async with fake_camera(behaviour) as camera, supervisor(source(camera.url)) as cameras:
        await until(lambda: state(cameras) is CameraState.MISCONFIGURED)
        status = cameras.status("hall")
        assert status is not None
        assert status.next_try_utc_ns is not None
        assert status.next_try_utc_ns - SystemClock().utc_ns() > 10 * NS_PER_S
        behaviour.statuses = {}
        cameras.retry_now("hall")
        await until(lambda: state(cameras) is CameraState.ONLINE)


async def test_dead_cameras_leave_nothing_behind() -> None:
    clients: list[weakref.ref[RtspClient]] = []
    init = RtspClient.__init__

    def counted(self: RtspClient, *args: object, **options: object) -> None:
        init(self, *args, **options)  # type: ignore[arg-type]
        clients.append(weakref.ref(self))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RtspClient, "__init__", counted)
        async with supervisor(source("rtsp://127.0.0.1:1/dead")) as cameras:
            await until(lambda: len(clients) > 12)
            tasks = len(asyncio.all_tasks())
            await until(lambda: len(clients) > 18)
            assert len(asyncio.all_tasks()) == tasks
            gc.collect()
            assert len([client for client in clients if client() is not None]) <= 1
            assert state(cameras) is CameraState.OFFLINE


async def test_leaving_ends_everything() -> None:
    before = asyncio.all_tasks()
    async with fake_camera() as camera:
        async with supervisor(source(camera.url)) as cameras:
            stream = the_stream(cameras)
            await until(lambda: state(cameras) is CameraState.ONLINE)
        with stream.read_units("late") as reader:
            while await reader.take():
                pass
        await until(lambda: len(camera.asked("TEARDOWN")) == 1)
    assert asyncio.all_tasks() == before


def test_waits_double_to_a_bound_with_jitter_below() -> None:
    longest = Backoff(ReconnectSettings(), lambda low, high: high)
    assert [longest.next_s(CameraState.OFFLINE) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    longest.succeeded()
    assert longest.next_s(CameraState.OFFLINE) == 1
    assert longest.next_s(CameraState.MISCONFIGURED) == 60
    for failures in (0, 5, 100_000):
        backoff = Backoff(ReconnectSettings())
        for _ in range(min(failures, 50)):
            backoff.next_s(CameraState.OFFLINE)
        waits = [backoff.next_s(CameraState.UNSUPPORTED) for _ in range(20)]
        assert all(30 <= wait <= 60 for wait in waits)
        assert len(set(waits)) > 10


def test_a_refused_password_is_tried_ever_less_often_until_there_is_hope() -> None:
    longest = Backoff(ReconnectSettings(), lambda low, high: high)
    for _ in range(8):
        longest.next_s(CameraState.OFFLINE)
    refused = [longest.next_s(CameraState.REFUSED) for _ in range(7)]
    assert refused == [60, 120, 240, 480, 960, 1800, 1800]
    # Many cameras lock an account for half an hour after a handful of wrong log-ins within as long.
    assert sum(refused[:5]) > 1800
    longest.succeeded()
    assert longest.next_s(CameraState.REFUSED) == 60


async def test_the_directory_answers_local_remote_or_nowhere() -> None:
    here = LiveStream(StreamId("here"), SystemClock())
    nobody: dict[StreamId, LiveStream] = {}
    directory = StreamDirectory(
        nobody.get,
        {StreamId("here"): here}.get,
        remote=lambda stream_id: "https://node2" if stream_id.camera == "there" else None,
    )
    assert directory.locate(StreamId("here")) == LocalStream(here)
    assert directory.stream(StreamId("here")) is here
    assert directory.locate(StreamId("there")) == RemoteNode("https://node2")
    assert directory.stream(StreamId("there")) is None
    assert directory.locate(StreamId("nowhere")) is None


def test_a_source_shows_no_password() -> None:
    camera = CameraSource("hall", "rtsp://h/", "admin", Secret("p@ss:w/rd汉字"))
    assert "p@ss" not in repr(camera)
    assert "geheim" not in repr(CameraSource("hall", "rtsp://h/user=a&password=geheim&channel=1"))
    assert camera == CameraSource("hall", "rtsp://h/", "admin", Secret("p@ss:w/rd汉字"))
    assert camera != CameraSource("hall", "rtsp://h/", "admin", Secret("other"))


async def test_a_stream_that_somebody_talks_through_is_read_the_moment_it_comes() -> None:
    # At this pace nothing would come while the test lasts.
    hurried = Pace.HURRIED
    slow = SupervisorSettings(read_interval_s=3600, reconnect=SETTINGS.reconnect, rtsp=RtspSettings(silence_s=60))
    async with fake_camera() as camera, CameraSupervisor(SystemClock(), GUARD, slow) as cameras:
        await cameras.apply([source(camera.url)])
        stream = the_stream(cameras)
        await until(lambda: bool(camera.asked("PLAY")))
        with stream.read_units("talk", pace=hurried) as first, stream.read_units("talk", pace=hurried):
            assert await first.take()
        assert stream.pace is Pace.CALM
        await asyncio.sleep(0)
        with stream.read_units("watch", from_gop=False) as second:
            # What was already on its way may still come; then nothing does.
            with contextlib.suppress(TimeoutError):
                while await asyncio.wait_for(second.take(), 0.5):
                    pass
        with stream.read_units("talk again", from_gop=False, pace=hurried) as third:
            assert await third.take()

"""Our RTSP server and simulated cameras with other people's clients, and with ours."""

import asyncio
import contextlib
import io
import json
import sys
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from media.clock import SystemClock
from media.testloop import make_loop
from media.testsource import TestSourceSettings, read_clock
from media.unit import NS_PER_S, AccessUnit, Codec, VideoTrack
from streaming.errors import CredentialsRefusedError, PathNotFoundError
from streaming.rtsp.auth import ServerAuthenticator
from streaming.rtsp.server import RtspServer
from streaming.secret import Secret
from streaming.simulator import SimulatedCamera, looped_streams
from streaming.source import Transport
from tests.streaming.watching import playing, source, until
from tests.support import live555_player
from tests.support.content import clocks_of, examine
from tests.support.gstreamer import require_gstreamer

USER, PASSWORD = "观看 者", "p@s:s/w%20rd汉字"
USER_IN_URL, PASSWORD_IN_URL = "%E8%A7%82%E7%9C%8B%20%E8%80%85", "p%40s%3As%2Fw%2520rd%E6%B1%89%E5%AD%97"
WIDTH, HEIGHT = 480, 272
KINDS = {
    "h264-pcma": TestSourceSettings(Codec.H264, Codec.PCMA, WIDTH, HEIGHT, 25, 400_000, gop_s=1.0),
    "h265-aac": TestSourceSettings(Codec.H265, Codec.AAC, WIDTH, HEIGHT, 20, 300_000, gop_s=1.0),
    "h264-opus": TestSourceSettings(Codec.H264, Codec.OPUS, WIDTH, HEIGHT, 20, 300_000, gop_s=1.0),
    "h264": TestSourceSettings(Codec.H264, None, WIDTH, HEIGHT, 20, 300_000, gop_s=1.0),
}


@contextlib.asynccontextmanager
async def serving(kind: str, *, algorithms: tuple[str, ...] = ("MD5", "SHA-256")) -> AsyncIterator[str]:
    """A camera of a kind behind a server with log-in; its URL without credentials."""
    clock = SystemClock()
    authenticator = ServerAuthenticator(
        "村", lambda user: Secret(PASSWORD) if user == USER else None, clock, algorithms=algorithms
    )
    async with SimulatedCamera("one", KINDS[kind], clock) as camera:
        await camera.ready()
        provider = {"/live/一": camera.stream}.get
        async with RtspServer("127.0.0.1", 0, provider, authenticator, clock) as server:
            yield f"rtsp://127.0.0.1:{server.port}/live/%E4%B8%80"


def with_log_in(url: str, password: str = PASSWORD_IN_URL) -> str:
    return url.replace("rtsp://", f"rtsp://{USER_IN_URL}:{password}@", 1)


async def run(*command: str | Path, seconds: float = 40) -> tuple[int, bytes, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, out, err.decode("utf-8", "replace")


GSTREAMER_TAKES = {
    "h264-pcma": ("rtph264depay ! h264parse ! avdec_h264", "rtppcmadepay"),
    "h265-aac": ("rtph265depay ! h265parse ! avdec_h265", "rtpmp4gdepay"),
}


async def run_until(enough: Callable[[], bool], *command: str | Path, seconds: float = 40) -> None:
    """Run a program that would go on for ever until ``enough``. AssertionError if it ends by itself before."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(seconds):
            while process.returncode is None and not enough():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        running = process.returncode is None
        if running:
            process.kill()
        _, complaints = await process.communicate()
    assert running, complaints.decode("utf-8", "replace")


def ffmpeg(url: str, transport: str) -> list[str]:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "warning", "-rtsp_transport", transport]
    return [*command, "-i", url, "-t", "3.5", "-c", "copy", "-f", "matroska", "-"]


def check_clocks(shown: list[int], fps: int, *, at_least: int, before_ns: int) -> None:
    """Every picture, in order, from a little before now on."""
    assert len(shown) >= at_least
    steps = set(np.diff(shown).tolist())
    assert steps == {1000 // fps}
    assert before_ns // 1_000_000 - 3000 < shown[0] < SystemClock().utc_ns() // 1_000_000


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("kind", ["h264-pcma", "h265-aac", "h264-opus", "h264"])
async def test_ffmpeg_sees_and_hears(kind: str, transport: str) -> None:
    before_ns = SystemClock().utc_ns()
    async with serving(kind) as url:
        status, media, complaints = await run(*ffmpeg(with_log_in(url), transport))
    assert status == 0, complaints
    content = await asyncio.to_thread(examine, io.BytesIO(media))
    assert content.unreadable == 0
    check_clocks([shown for _, shown in content.clocks], KINDS[kind].fps, at_least=50, before_ns=before_ns)
    assert len(content.flashes) >= 2
    if KINDS[kind].audio is not None:
        errors = content.sync_errors()
        assert len(errors) >= 2
        assert max(abs(error) for error in errors) < 0.1


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("kind", list(KINDS))
async def test_live555_sees_and_hears(kind: str, transport: str) -> None:
    before_ns = SystemClock().utc_ns()
    async with serving(kind) as url:
        # It takes the log-in from the address, or from who uses it.
        if transport == "tcp":
            played = await live555_player.play(with_log_in(url), "--tcp", "--pictures", "60")
        else:
            played = await live555_player.play(url, "--user", USER, "--password", PASSWORD, "--pictures", "60")
    assert played.code == 0, (played.steps, played.log)
    tracks = 1 if KINDS[kind].audio is None else 2
    steps = ["OPTIONS", "DESCRIBE", *["SETUP"] * tracks, "PLAY", "GET_PARAMETER", "TEARDOWN"]
    assert played.steps == [(step, 0) for step in steps]
    content = await asyncio.to_thread(played.content)
    assert content.unreadable == 0
    check_clocks([shown for _, shown in content.clocks], KINDS[kind].fps, at_least=50, before_ns=before_ns)
    # By our sender reports it knows when each picture was taken.
    assert max(abs(time * 1000 - shown) for time, shown in content.clocks) < 1
    assert len(content.flashes) >= 2
    if KINDS[kind].audio is not None:
        errors = content.sync_errors()
        assert len(errors) >= 2
        assert max(abs(error) for error in errors) < 0.1


async def test_live555_with_a_wrong_password_is_refused() -> None:
    async with serving("h264") as url:
        played = await live555_player.play(with_log_in(url, "wrong"))
    assert (played.code, played.steps, played.frames) == (1, [("OPTIONS", 0), ("DESCRIBE", 401)], [])


@pytest.mark.gstreamer
@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("kind", ["h264-pcma", "h265-aac"])
async def test_gstreamer_sees(kind: str, transport: str, tmp_path: Path) -> None:
    require_gstreamer()
    before_ns = SystemClock().utc_ns()
    raw = tmp_path / "pictures"
    video, audio = GSTREAMER_TAKES[kind]
    async with serving(kind) as url:
        command = ["gst-launch-1.0", "-q", "rtspsrc", f"location={url}", f"protocols={transport}", "latency=100"]
        command += [f"user-id={USER}", f"user-pw={PASSWORD}", "name=camera"]
        command += f"camera. ! {video} ! queue ! videoconvert".split()
        command += "! video/x-raw,format=GRAY8 ! filesink buffer-mode=unbuffered sync=false".split()
        command.append(f"location={raw}")
        # Sound that nobody takes stops the source with "not-linked" if its first packet comes before the picture's.
        command += f"camera. ! {audio} ! queue ! fakesink sync=false async=false".split()
        await run_until(lambda: raw.exists() and raw.stat().st_size > 61 * WIDTH * HEIGHT, *command)
    size = WIDTH * HEIGHT
    data = np.frombuffer(raw.read_bytes(), np.uint8)
    pictures = data[: len(data) // size * size].reshape(-1, HEIGHT, WIDTH)
    shown = [read_clock(picture) for picture in pictures]
    assert None not in shown
    check_clocks([value for value in shown if value is not None], KINDS[kind].fps, at_least=40, before_ns=before_ns)


@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.parametrize("kind", ["h264-pcma", "h265-aac"])
async def test_our_client_gets_the_time_the_picture_shows(kind: str, transport: Transport) -> None:
    async with serving(kind) as url:
        camera = source(url, user=USER, password=PASSWORD, transport=transport)
        async with playing(camera) as (client, seen, _):
            await until(lambda: len(seen.pictures) > 60 and len(seen.sounds) > 40)
            assert client.receiver is not None
            for counters in client.receiver.counters:
                assert counters is not None
                assert counters.lost == 0
                assert counters.clock_offset_ns is not None
                assert abs(counters.clock_offset_ns) < NS_PER_S // 2
    assert not seen.gaps
    assert [unit.utc_ns // 1_000_000 for unit in seen.pictures] == clocks_of(seen.pictures)
    sound = [unit for unit in seen.sounds if unit.utc_ns > seen.pictures[0].utc_ns]
    ends = {unit.utc_ns + unit.duration * NS_PER_S // unit.track.clock_rate for unit in sound}
    assert all(min(abs(unit.utc_ns - end) for end in ends) < 1_000_000 for unit in sound[1:])


@pytest.mark.parametrize("algorithms", [("MD5",), ("SHA-256",), ("MD5", "SHA-256"), ()])
async def test_log_in_by_every_way_and_wrong_passwords(algorithms: tuple[str, ...]) -> None:
    async with serving("h264", algorithms=algorithms) as url:
        async with playing(source(url, user=USER, password=PASSWORD)) as (_, seen, _):
            await until(lambda: len(seen.pictures) > 2)
        with pytest.raises(CredentialsRefusedError):
            async with playing(source(url, user=USER, password=PASSWORD + "x")):
                pass
        with pytest.raises(PathNotFoundError):
            async with playing(source(url + "2", user=USER, password=PASSWORD)):
                pass


async def test_ffmpeg_with_a_wrong_password_is_refused() -> None:
    async with serving("h264") as url:
        status, media, complaints = await run(*ffmpeg(with_log_in(url, "wrong"), "tcp"))
    assert status != 0
    assert media == b""
    assert "401" in complaints


async def test_simulated_cameras_as_a_process_of_their_own() -> None:
    command = [sys.executable, "-m", "streaming.simulator", "--count", "3", "--user", "u", "--with-parent"]
    process = await asyncio.create_subprocess_exec(
        *command, "--password", PASSWORD, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(40):
            lines = [json.loads(await process.stdout.readline()) for _ in range(3)]
        assert [line["codecs"] for line in lines] == [["h264", "pcma"], ["h265", "aac"], ["h264"]]
        assert PASSWORD not in json.dumps(lines, ensure_ascii=False)
        for line in lines:
            camera = source(line["url"], user="u", password=PASSWORD)
            async with playing(camera) as (_, seen, _):
                await until(lambda seen=seen: len(seen.pictures) > 10)  # type: ignore[misc]
                assert bool(seen.sounds) == (len(line["codecs"]) == 2)
            assert clocks_of(seen.pictures) == [unit.utc_ns // 1_000_000 for unit in seen.pictures]
    finally:
        process.terminate()
        await process.wait()
    assert process.returncode == 0


async def test_a_loop_under_many_names_goes_on_growing() -> None:
    clock = SystemClock()
    loop = make_loop(TestSourceSettings(Codec.H264, Codec.PCMA, 320, 180, 25, 200_000, gop_s=0.4), 1)
    async with looped_streams(loop, 2, clock) as streams:
        paths = {f"/camera/{number}": streams[number % 2] for number in range(4)}
        async with RtspServer("127.0.0.1", 0, paths.get, None, clock) as server:
            async with contextlib.AsyncExitStack() as stack:
                views = [
                    (await stack.enter_async_context(playing(source(f"rtsp://127.0.0.1:{server.port}{path}"))))[1]
                    for path in paths
                ]
                await until(lambda: all(len(seen.pictures) > 80 for seen in views))
                assert server.viewers == 4
    for seen in views:
        assert not seen.gaps
        pictures: list[AccessUnit] = seen.pictures
        assert {later.pts - earlier.pts for earlier, later in pairwise(pictures)} == {3600}
        assert all(isinstance(unit.track, VideoTrack) for unit in pictures)

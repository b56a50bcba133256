"""Other people's players with recorded meetings over RTSP: ffmpeg, GStreamer, and live555, which VLC plays by."""

import asyncio
import json
from itertools import pairwise
from pathlib import Path

import av
import imageio_ffmpeg
import pytest

from media.unit import NS_PER_S
from tests.support import live555_player
from tests.support.encoded import ORIGIN_NS, picture_number
from tests.support.gstreamer import SYSTEM_PYTHON, require_gstreamer
from tests.web.rtsp_wall import utc, wall

PLAYER = Path(__file__).parents[1] / "support" / "gst_player.py"


async def test_ffmpeg_seeks_plays_over_the_gap_and_ends_by_itself(tmp_path: Path) -> None:
    async with wall(tmp_path) as here:
        sought, to_the_end = await asyncio.gather(
            numbers(here.with_log_in(), tmp_path / "a.mkv", "tcp", "-ss", "10.5", seconds=4),
            numbers(here.with_log_in(query="?t=16.5"), tmp_path / "b.mkv", "udp"),
        )
    assert sought[:1] <= [250]
    # A gap of five seconds takes none: the next picture is 425.
    assert sought[: sought.index(425)] == list(range(250, 300))
    assert len(sought) >= 95
    assert to_the_end == list(range(525, 625))


async def numbers(url: str, target: Path, transport: str, *options: str, seconds: float = 0) -> list[int]:
    """Numbers of the pictures that ffmpeg gets, to the end or for some seconds."""
    bound = ["-t", f"{seconds:g}"] if seconds else []
    process = await asyncio.create_subprocess_exec(
        imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "warning", "-rtsp_transport", transport, *options,
        "-i", url, *bound, "-c", "copy", str(target), stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            _, log = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode == 0, log.decode()

    def read() -> list[int]:
        with av.open(str(target)) as container:
            return [picture_number(frame) for frame in container.decode(video=0)]

    return await asyncio.to_thread(read)


@pytest.mark.gstreamer
async def test_gstreamer_plays_seeks_and_ends(tmp_path: Path) -> None:
    require_gstreamer()
    async with wall(tmp_path) as here:
        process = await asyncio.create_subprocess_exec(
            SYSTEM_PYTHON, str(PLAYER), here.with_log_in(), "--seek", "15.0", stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(60):
                out, log = await process.communicate()
        except TimeoutError:
            process.kill()
            out, log = await process.communicate()
            raise AssertionError(f"GStreamer does not end: {out.decode()} {log.decode()}") from None
    assert process.returncode == 0, log.decode()
    told = json.loads(out.splitlines()[-1])
    assert abs(told["duration_s"] - 20) < 0.5
    before, after = told["before"], told["after"]
    assert before[0] == 0
    assert after[-1] >= 620
    assert 350 + 125 <= after[0] <= 375 + 125
    assert told["ended"]


@pytest.mark.parametrize("options", [("--tcp", "--pause"), ()], ids=["tcp, paused to seek", "udp, sought at once"])
async def test_live555_begins_at_t_seeks_plays_over_the_gap_and_ends(tmp_path: Path, options: tuple[str, ...]) -> None:
    async with wall(tmp_path) as here:
        played = await live555_player.play(
            here.with_log_in(query="?t=2"), *options, "--seek", "8.3", "--seek-after", "25"
        )
    assert played.code == 0, (played.steps, played.log)
    assert all(code == 0 for _, code in played.steps)
    assert ("PAUSE" in dict(played.steps)) == ("--pause" in options)
    # 20 s are there, less the two that t leaves out; a seek goes back to the keyframe before.
    (start, end), (sought, sought_end) = played.ranges
    assert (start, sought) == (0.0, 8.0)
    assert 17.5 < end == sought_end <= 18.5
    assert sorted(played.byes) == [0, 1]
    pictures = await asyncio.to_thread(played.pictures)
    numbers_seen = [picture_number(picture.frame) for picture in pictures]
    # A gap of five seconds takes none: the next picture is 425.
    assert numbers_seen == [*range(50, numbers_seen.index(250) + 50), *range(250, 300), *range(425, 625)]
    assert numbers_seen.index(250) >= 25
    # What RTP-Info says of each picture's place, and the sender's clock, go on without a step over the gap.
    before, after = pictures[: numbers_seen.index(250)], pictures[numbers_seen.index(250) :]
    for era, first in ((before, start), (after, sought)):
        known = [(n, picture) for n, picture in enumerate(era) if picture.synced]
        assert len(known) >= len(era) - 5
        assert max(abs(picture.npt - first - n / 25) for n, picture in known) < 0.02
        assert max(abs(b.time - a.time - 0.04) for (_, a), (_, b) in pairwise(known)) < 0.001
    heard = [frame.npt for frame, _ in await asyncio.to_thread(played.sound) if frame.npt > 5]
    assert abs(heard[0] - 8.0) < 0.2
    assert abs(heard[-1] - 18.0) < 0.2


async def test_live555_seeks_by_the_clock_on_the_wall(tmp_path: Path) -> None:
    async with wall(tmp_path) as here:
        moment = utc(ORIGIN_NS // NS_PER_S + 120)
        played = await live555_player.play(here.with_log_in(), "--tcp", "--seek", moment, "--pictures", "30")
    assert played.code == 0, (played.steps, played.log)
    after = [picture_number(picture.frame) for picture in played.pictures() if picture.era == 1]
    assert after[:30] == list(range(475, 505))

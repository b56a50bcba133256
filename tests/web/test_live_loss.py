"""Players go on by themselves after a camera was away for some seconds: ffmpeg and GStreamer. hls.js does so in
:mod:`tests.web.test_live_browser`."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import imageio_ffmpeg
import pytest

from media.unit import VIDEO_TRACK_ID, StreamItem
from tests.recorder.recordings import stretch
from tests.support.encoded import ORIGIN_NS, picture_number
from tests.support.gstreamer import SYSTEM_PYTHON, require_gstreamer
from tests.support.live_feed import gap, live_stream, until
from tests.support.media_site import from_site, media_site

PLAYER = Path(__file__).parents[1] / "support" / "gst_player.py"
AWAY_S = 4.0
JUMP = round(AWAY_S * 25) + 1


def with_loss(lose: asyncio.Event) -> Iterator[StreamItem]:
    """A minute in which the camera is away for four seconds, from the first keyframe on after ``lose``. Pictures carry
    their number, 25 for each second of the wall clock."""
    away_from: float | None = None
    for unit in stretch(100.0, 60.0):
        at = unit.dts / unit.track.clock_rate
        if away_from is None and lose.is_set() and unit.track.id == VIDEO_TRACK_ID and unit.keyframe:
            away_from = at
            yield gap(at, at + AWAY_S, ORIGIN_NS)
        if away_from is None:
            yield unit
        elif at >= away_from + AWAY_S:
            yield replace(unit, epoch=1)


@asynccontextmanager
async def losing_site() -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """A site, and what makes its camera be away for a while."""
    lose = asyncio.Event()
    async with live_stream(with_loss(lose), ahead_s=3.0) as stream, media_site(lambda _: stream) as site:
        await until(lambda: stream.last_keyframe is not None)
        # Nobody has to log in at this one: GStreamer's player sends no headers of ours.
        site.gate.open = True
        yield site.url, lose.set


def went_on(numbers: list[int]) -> None:
    """Pictures from before the loss and after it, in their order, none of them missing beside the loss."""
    jumps = [
        (number, after - before) for number, (before, after) in enumerate(pairwise(numbers)) if after != before + 1
    ]
    assert [jump for _, jump in jumps] == [JUMP], jumps
    assert len(numbers) - jumps[0][0] > 75


async def plays(*command: str) -> bytes:
    """What a player says that plays to its end."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(80):
            out, log = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, log.decode()
    return out


async def test_ffmpeg_goes_on(tmp_path: Path) -> None:
    async with losing_site() as (url, lose):
        asyncio.get_running_loop().call_later(2, lose)
        seen = await asyncio.gather(
            by_ffmpeg(f"{url}/live/camera/index.m3u8", tmp_path / "fmp4.mkv"),
            by_ffmpeg(f"{url}/live/camera/ts.m3u8", tmp_path / "ts.mkv"),
        )
    for numbers in seen:
        went_on(numbers)


async def by_ffmpeg(url: str, target: Path) -> list[int]:
    """The numbers of ten seconds of pictures."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", *from_site(url), "-map", "0:v"]
    await plays(*command, "-frames:v", "250", "-fps_mode", "passthrough", "-c:v", "ffv1", str(target))

    def read() -> list[int]:
        with av.open(str(target)) as container:
            return [picture_number(frame) for frame in container.decode(video=0)]

    return await asyncio.to_thread(read)


@pytest.mark.gstreamer
@pytest.mark.parametrize("playlist", ["ts.m3u8", "index.m3u8"])
async def test_gstreamer_goes_on(playlist: str) -> None:
    require_gstreamer()
    async with losing_site() as (url, lose):
        asyncio.get_running_loop().call_later(3, lose)
        out = await plays(SYSTEM_PYTHON, str(PLAYER), f"{url}/live/camera/{playlist}", "--pictures", "250")
    went_on(json.loads(out.splitlines()[-1])["after"])

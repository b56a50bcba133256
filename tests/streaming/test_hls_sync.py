"""Flash and beep stay together in live windows, in fMP4 and in TS."""

import asyncio
import io
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile

import pytest

from media.clock import SystemClock
from media.fmp4 import init_segment
from media.fmp4_read import read_init
from media.segmenter import SegmenterSettings
from media.stream import LiveStream, StreamId
from media.testsource import TestSource, TestSourceSettings
from media.unit import NS_PER_S, AccessUnit, Codec, Track
from streaming.hls.window import LiveWindow
from streaming.hls.windows import LiveWindows
from tests.support.content import examine

START_NS = 1_800_000_000 * NS_PER_S


def filmed(video: Codec, sound: Codec) -> list[AccessUnit]:
    """Thirteen seconds of the test source."""
    source = TestSource(TestSourceSettings(video=video, audio=sound, width=640, height=360, gop_s=2.0))
    units = source.units(START_NS, origin_utc_ns=START_NS - 1_000 * NS_PER_S)
    return list(takewhile(lambda unit: unit.utc_ns < START_NS + 13 * NS_PER_S, units))


async def one_file(window: LiveWindow) -> bytes:
    """Both renditions as one fragmented file, as a player's buffers hold them."""
    media = b""
    tracks: list[Track] = []
    for name in ("video", "sound"):
        text = await window.media_playlist("video" if name == "video" else "sound")
        init = await window.init("video" if name == "video" else "sound", int(re.findall(r"init-(\d+)", text)[0]))
        tracks += read_init(init)
        for msn in re.findall(rf"^{name}/(\d+)\.m4s$", text, re.MULTILINE):
            media += await window.segment("video" if name == "video" else "sound", int(msn))
    return init_segment(tracks) + media


@pytest.mark.parametrize(("video", "sound"), [(Codec.H264, Codec.PCMA), (Codec.H265, Codec.AAC)])
async def test_flash_and_beep_are_together(video: Codec, sound: Codec) -> None:
    units = await asyncio.to_thread(filmed, video, sound)
    stream = LiveStream(StreamId("camera"), SystemClock(), SegmenterSettings(stagger=0))
    with ThreadPoolExecutor(2) as executor:
        async with LiveWindows(lambda _: stream, SystemClock(), executor) as windows:
            window = await windows.window(StreamId("camera"))
            for unit in units:
                stream.publish(unit)
                await asyncio.sleep(0)
            await window.master_playlist()
            count = len(re.findall("EXTINF", await window.media_playlist("video")))
            async with asyncio.timeout(20):
                while len(re.findall("EXTINF", await window.ts_playlist())) < count:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            text = await window.ts_playlist()
            ts = [await window.ts_segment(int(msn)) for msn in re.findall(r"^ts/(\d+)\.ts$", text, re.MULTILINE)]
            whole = await one_file(window)
    for data in (b"".join(ts), whole):
        content = await asyncio.to_thread(examine, io.BytesIO(data))
        assert content.unreadable == 0
        assert len(content.clocks) >= 275
        errors = content.sync_errors()
        assert len(errors) >= 10
        assert max(abs(error) for error in errors) < 0.1, errors

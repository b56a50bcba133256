"""Flash and beep stay together, and clocks tell the true time, in everything that is made of a recording."""

import asyncio
import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from itertools import takewhile
from pathlib import Path

import pytest

from media.testsource import TestSource, TestSourceSettings
from media.unit import NS_PER_S, AccessUnit, Codec, StreamItem
from tests.recorder.recordings import Archive, archive, record
from tests.support.content import Content, examine
from tests.support.live_feed import gap
from tests.support.recorded import RecordedMeeting

START_NS = 1_800_000_000 * NS_PER_S
ORIGIN_NS = START_NS - 1_000 * NS_PER_S
KINDS = [(Codec.H264, Codec.PCMA, 0), (Codec.H265, Codec.AAC, 0), (Codec.H264, Codec.PCMU, 2)]


@cache
def filmed(video: Codec, sound: Codec, b_frames: int, start_s: float, epoch: int) -> tuple[AccessUnit, ...]:
    """Eight seconds of the test source."""
    source = TestSource(
        TestSourceSettings(video=video, audio=sound, width=640, height=360, gop_s=2.0, b_frames=b_frames)
    )
    start_ns = START_NS + round(start_s * NS_PER_S)
    units = source.units(start_ns, origin_utc_ns=ORIGIN_NS, epoch=epoch)
    return tuple(takewhile(lambda unit: unit.utc_ns < start_ns + 8 * NS_PER_S, units))


@asynccontextmanager
async def filmed_meeting(
    folder: Path, kind: tuple[Codec, Codec, int]
) -> AsyncIterator[tuple[Archive, RecordedMeeting]]:
    """Eight seconds, a camera away for 4.4, eight seconds more."""
    items: list[StreamItem] = [
        *await asyncio.to_thread(filmed, *kind, 0.0, 0),
        gap(1_008.0, 1_012.4, ORIGIN_NS),
        *await asyncio.to_thread(filmed, *kind, 12.4, 1),
    ]
    async with archive(folder) as home:
        yield home, await record(home.database, home.store, home.county, [items])


def judge(content: Content, pictures: int, flashes: int) -> None:
    """Every clock readable, every flash with its beep within 100 ms."""
    assert content.unreadable == 0
    assert abs(len(content.clocks) - pictures) <= 2
    errors = content.sync_errors()
    assert len(errors) >= flashes
    assert max(abs(error) for error in errors) < 0.1, errors


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind[0]}-{kind[1]}-{kind[2]}")
async def test_the_mp4_is_in_sync_and_keeps_the_wall_clock_over_a_gap(
    tmp_path: Path, kind: tuple[Codec, Codec, int]
) -> None:
    async with filmed_meeting(tmp_path, kind) as (home, made):
        mp4 = await home.export().open(made.meeting.id)
        data = b"".join([piece async for piece in mp4.read()])
    content = await asyncio.to_thread(examine, io.BytesIO(data))
    judge(content, 400, 14)
    offsets = [shown / 1000 - time for time, shown in content.clocks]
    assert max(offsets) - min(offsets) < 0.06


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind[0]}-{kind[1]}-{kind[2]}")
async def test_ts_segments_are_in_sync_on_both_sides_of_a_gap(tmp_path: Path, kind: tuple[Codec, Codec, int]) -> None:
    async with filmed_meeting(tmp_path, kind) as (home, made):
        playback = home.playback()
        text = await playback.ts_playlist(made.meeting.id)
        for side in re.split("#EXT-X-DISCONTINUITY\n", text):
            numbers = re.findall(r"^ts/(\d+)\.ts$", side, re.MULTILINE)
            data = b"".join([await playback.ts_segment(made.meeting.id, int(number)) for number in numbers])
            content = await asyncio.to_thread(examine, io.BytesIO(data))
            judge(content, 200, 6)
            dated = re.search(r"PROGRAM-DATE-TIME:\S+?:(\d+\.\d+)Z", side)
            assert dated is not None
            assert abs(float(dated[1]) - content.clocks[0][1] / 1000 % 60) < 0.1

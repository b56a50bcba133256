"""What the recorder leaves behind plays: while it runs, over a gap, across a restart, and when it is over."""

import asyncio
import io
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import av
import pytest

from recorder.export import Mp4Export
from recorder.playback import Playback
from recorder.recorded import RecordedMeetings
from recorder.service import RecorderService
from storage.records import RecordingState
from tests.recorder.house import House, house, until
from tests.support import playlist_rules
from tests.support.encoded import picture_number


async def pictures(playback: Playback, meeting: str) -> int:
    """How many pictures the recording shows, segment by segment."""
    text = await playback.media_playlist(meeting, "video")
    playlist_rules.check(text)
    shown = 0
    init = b""
    for line in text.splitlines():
        if found := re.search(r"init-(\d+)", line):
            init = await playback.init(meeting, "video", int(found[1]))
        elif found := re.search(r"^video/(\d+)\.m4s$", line):
            data = await playback.segment(meeting, "video", int(found[1]))
            with av.open(io.BytesIO(init + data), "r") as container:
                shown += sum(1 for _ in container.decode(video=0))
            assert await playback.segment(meeting, "sound", int(found[1]))
            assert await playback.ts_segment(meeting, int(found[1]))
    return shown


async def fed(home: House, recorder: RecorderService, seconds: float) -> None:
    """Send so much, and wait until nearly all of it has come to the recorder."""
    before = recorder.metrics.parts
    home.camera.feed(seconds)
    await until(lambda: recorder.metrics.parts >= before + 2 * seconds - 2, "parts arrive")


async def test_a_meeting_plays_while_it_runs_and_after_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as executor:
        async with house(tmp_path) as home:
            meeting = await home.plan()
            home.camera.connect()
            async with home.service() as recorder:
                await home.runs(recorder, meeting)
                await fed(home, recorder, 12.0)
                recording = (await home.recording(meeting)).id
                async with asyncio.timeout(20):
                    while len(await recorder.spooled.spooled_segments(recording)) < 2:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                running = await pictures(Playback(home.database, home.store, recorder.spooled, executor), meeting)
                assert 20 <= running <= 140
                home.camera.lose(5.0)
                await fed(home, recorder, 6.0)
                await recorder.end_meeting(meeting, "user1")
                playback = Playback(home.database, home.store, recorder.spooled, executor)
                # All but the part that was open at the end.
                shown = await pictures(playback, meeting)
                assert 195 <= shown <= 200
                text = await playback.media_playlist(meeting, "video")
                assert text.count("#EXT-X-DISCONTINUITY\n") == 1
                assert "#EXT-X-ENDLIST" in text
                mp4 = await Mp4Export(playback, executor).open(meeting)
                data = b"".join([piece async for piece in mp4.read()])
    with av.open(io.BytesIO(data), "r") as container:
        frames = list(container.decode(video=0))
        assert len(frames) == shown
        assert picture_number(frames[0]) == 0
        assert float(frames[-1].time or 0) - float(frames[0].time or 0) == pytest.approx(24.9, abs=0.51)


async def test_a_recording_across_a_restart_is_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as executor:
        async with house(tmp_path) as home:
            meeting = await home.plan()
            home.camera.connect()
            async with home.service() as recorder:
                await home.runs(recorder, meeting)
                await fed(home, recorder, 6.0)
            home.camera.lose(10.0)
            home.camera.connect()
            async with home.service() as recorder:
                await home.runs(recorder, meeting)
                await fed(home, recorder, 6.0)
                await recorder.end_meeting(meeting, "user1")
                playback = Playback(home.database, home.store, recorder.spooled, executor)
                assert await pictures(playback, meeting) >= 130
                assert "#EXT-X-DISCONTINUITY\n" in await playback.media_playlist(meeting, "video")
                mp4 = await Mp4Export(playback, executor).open(meeting)
                data = b"".join([piece async for piece in mp4.read()])
    with av.open(io.BytesIO(data), "r") as container:
        times = [float(frame.time or 0) for frame in container.decode(video=0)]
    # Eight seconds, ten without a camera, eight more; what was cut off at the stop is less than a part.
    before, after = max(pairwise(times), key=lambda pair: pair[1] - pair[0])
    assert after - times[0] == pytest.approx(18.0, abs=0.01)
    assert before - times[0] == pytest.approx(7.9, abs=0.6)
    assert times[-1] - times[0] == pytest.approx(25.9, abs=0.6)


async def test_a_recording_is_not_over_before_its_last_part_is_there(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan()
        home.camera.connect()
        async with home.service() as recorder:
            await home.runs(recorder, meeting)
            await fed(home, recorder, 8.0)
            recording = (await home.recording(meeting)).id
            async with asyncio.timeout(20):
                while len(await recorder.spooled.spooled_segments(recording)) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            seen = []

            async def look(_: str) -> None:
                meetings = RecordedMeetings(home.database, home.store, recorder.spooled, home.clock)
                recorded = await meetings.load(meeting)
                seen.append((recorded.recording.state, recorded.over))

            recorder.on_end.append(look)
            await recorder.end_meeting(meeting, "user1")
            assert seen == [(RecordingState.FINISHING, False)]
            await look(meeting)
            assert seen[-1][1]

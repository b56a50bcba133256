"""A meeting that a phone sends (H.264 and Opus, as WHIP brings them) is recorded and played like a camera's."""

import io
import re
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from media.receiver import StreamReceiver
from media.stream import LiveStream, StreamId
from media.testsource import TestSourceSettings
from media.unit import NS_PER_S, AccessUnit, AudioTrack, Codec
from recorder.check import check
from recorder.export import Mp4Export
from recorder.playback import Playback
from streaming.stream_session import ORIGIN_LEAD_NS
from tests.recorder.house import House, house, until
from tests.support.content import Content, examine
from tests.support.rtp_feed import START_NS, Camera, description, make_units, receive

SECONDS = 9
PHONE = TestSourceSettings(Codec.H264, Codec.OPUS, 320, 180, 20, 300_000, gop_s=1.0)


async def recorded(home: House) -> str:
    """Nine seconds of a phone's RTP, from packets on."""
    home.clock.now_ns = START_NS
    meeting = await home.plan()
    units = make_units(PHONE, SECONDS)
    tracks = tuple({unit.track.id: unit.track for unit in units}.values())
    tracks = tuple(sorted(tracks, key=lambda track: track.id))
    receiver = StreamReceiver(
        [description(track) for track in tracks], home.clock, reorder=True, origin_utc_ns=START_NS - ORIGIN_LEAD_NS
    )
    items = receive(receiver, Camera(tracks).arrivals(units))
    sound = next(item.track for item in items if isinstance(item, AccessUnit) and isinstance(item.track, AudioTrack))
    assert (sound.codec, sound.clock_rate) == (Codec.OPUS, 48_000)
    home.camera.stream = stream = LiveStream(StreamId("cam"), home.clock)
    async with home.service() as recorder:
        await until(lambda: recorder.live_state(meeting) is not None, "the recording starts")
        for item in items:
            stream.publish(item)
        home.clock.now_ns = START_NS + SECONDS * NS_PER_S
        await until(lambda: recorder.metrics.parts >= 2 * SECONDS - 2, "parts arrive")
        await recorder.end_meeting(meeting, None)
    return meeting


def holds(content: Content, pictures: int) -> None:
    """All pictures are there, each beep with its flash."""
    assert len(content.clocks) == pictures
    assert content.unreadable == 0
    errors = content.sync_errors()
    assert len(errors) >= SECONDS - 2
    assert abs(statistics.median(errors)) < 0.03
    assert max(abs(error) for error in errors) < 0.06


async def sound_of(playback: Playback, meeting: str) -> bytes:
    """The sound rendition as one file."""
    text = await playback.media_playlist(meeting, "sound")
    data = await playback.init(meeting, "sound", 0)
    for number in re.findall(r"^sound/(\d+)\.m4s$", text, re.MULTILINE):
        data += await playback.segment(meeting, "sound", int(number))
    return data


async def test_it_records_plays_and_checks_like_a_cameras(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await recorded(home)
        objects = await home.verify(meeting)
        assert await home.gaps(meeting) == []
        assert (await check(home.database, home.store)).ok
        # The archive's own object is a file with Opus as it came, which a player plays.
        pictures = 0
        for row in objects:
            data = await home.store.get(row.key)
            content = examine(io.BytesIO(data))
            pictures += len(content.clocks)
            assert max((abs(error) for error in content.sync_errors()), default=0) < 0.06
            assert b"Opus" in data[:4096]
            assert b"dOps" in data[:4096]
        assert pictures >= (SECONDS - 1) * PHONE.fps
        with ThreadPoolExecutor(1) as executor:
            playback = Playback(home.database, home.store, None, executor)
            assert "mp4a.40.2" in await playback.master_playlist(meeting)
            text = await playback.ts_playlist(meeting)
            numbers = [int(number) for number in re.findall(r"^ts/(\d+)\.ts$", text, re.MULTILINE)]
            ts = b"".join([await playback.ts_segment(meeting, number) for number in numbers])
            holds(examine(io.BytesIO(ts)), pictures)
            mp4 = await Mp4Export(playback, executor).open(meeting)
            holds(examine(io.BytesIO(b"".join([piece async for piece in mp4.read()]))), pictures)
            sound = examine(io.BytesIO(await sound_of(playback, meeting)))
            assert len(sound.beeps) >= SECONDS - 1

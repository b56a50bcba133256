"""Meetings through the whole recorder: real media, real database, real store."""

import asyncio
import hashlib
import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import pytest

from media.fmp4 import init_segment
from media.fmp4_read import read_fragments, read_init
from media.unit import NS_PER_S, Codec, GapCause, Track
from recorder.chain import chain_after
from recorder.check import check
from recorder.errors import MeetingStateError
from storage.records import GENESIS_HASH, MeetingState, RecordingState
from tests.recorder.house import FAST, START_NS, House, house, until
from tests.support.faults import Faults, FaultyStore


async def recorded(home: House, seconds: float = 12.0) -> str:
    """A meeting of so many seconds, started by plan, ended by hand."""
    async with home.recorded() as (recorder, meeting):
        home.camera.feed(seconds - 2.0)
        await until(lambda: recorder.metrics.parts >= (seconds - 1) * 2, "parts arrive")
    return meeting


async def test_a_planned_meeting_records_itself_and_every_hash_agrees(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await recorded(home)
        row = await home.meeting(meeting)
        assert (row.state, row.started_by, row.ended_by) == (MeetingState.ENDED, "plan", "user1")
        recording = await home.recording(meeting)
        assert recording.state is RecordingState.COMPLETE
        objects = await home.verify(meeting)
        assert len(objects) == 2, "8 s and the rest"
        chain = GENESIS_HASH
        for item in objects:
            for segment in item.segments:
                chain = chain_after(chain, recording.id, item.period, segment)
                assert segment.chain == chain
        assert recording.chain_head == chain
        assert await home.gaps(meeting) == []
        assert await home.story(meeting) == ["meeting-started", "recording-runs", "meeting-ended"]
        assert not list(home.spool_dir.rglob("*.spool"))


async def test_the_first_object_alone_is_shorter_so_that_a_county_does_not_store_at_once(tmp_path: Path) -> None:
    staggered = replace(FAST, recording=replace(FAST.recording, stagger=0.75))
    async with house(tmp_path, staggered) as home:
        meeting = await recorded(home, 24.0)
        share = 1 - 0.75 * (zlib.crc32((await home.recording(meeting)).id.encode()) % 1000) / 1000
        objects = await home.verify(meeting)
        lengths = [len(item.segments) for item in objects]
    assert lengths[0] == math.ceil(8 * share / 2), "whole segments of 2 s that reach the recording's own share of 8 s"
    assert sum(lengths) == 12
    assert set(lengths[1:-1]) == {4}


async def test_an_object_is_a_file_that_plays_and_its_ranges_are_segments(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await recorded(home)
        shown = 0
        for item in await home.objects(meeting):
            data = await home.store.get(item.key)
            with av.open(io.BytesIO(data), "r") as container:
                assert {stream.type for stream in container.streams} == {"video", "audio"}
                frames = len(list(container.decode(video=0)))
            with av.open(io.BytesIO(data), "r") as container:
                sounds = sum([frame.samples for frame in container.decode(audio=0)])
            in_ranges = 0
            for segment in item.segments:
                for part in segment.ranges:
                    samples = read_fragments(data[part.offset : part.offset + part.size], part.track_id)
                    assert len(samples) == part.samples
                    assert samples[0].dts == part.dts
                    assert sum(sample.duration for sample in samples) == part.duration
                    if part.track_id == 1:
                        assert samples[0].keyframe
                        in_ranges += len(samples)
            assert frames == in_ranges
            shown += frames
            seconds = (item.end_utc_ns - item.start_utc_ns) / NS_PER_S
            assert sounds / 8_000 == pytest.approx(seconds, abs=0.6)
        # Nothing came any more when the meeting was ended, so its last part, of half a second at most, stayed open.
        assert 115 <= shown <= 120


async def test_the_archive_can_be_read_without_the_database(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await recorded(home)
        recording = await home.recording(meeting)
        stored = await home.store.head(f"recordings/{recording.id}/000000.mp4")
        assert stored.metadata["title"] == "支部党员大会"
        assert stored.metadata["site"] == "村委会议室"
        assert stored.metadata["meeting"] == meeting
        assert stored.metadata["camera"] == "cam"
        assert stored.metadata["start"].startswith("2027-01-15T08:01:4")
        assert stored.metadata["sha256"] == stored.sha256
        manifest = await home.store.get(f"recordings/{recording.id}/manifest.json")
        assert b"000001.mp4" in manifest
        assert recording.chain_head.encode() in manifest


async def test_a_lost_camera_is_a_gap_from_its_beginning_and_ends_when_it_is_back(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan()
        home.camera.connect()
        async with home.service() as recorder:
            await home.runs(recorder, meeting)
            home.camera.feed(2.0)
            await until(lambda: recorder.metrics.parts >= 7, "first media")
            home.clock.now_ns += 2 * NS_PER_S
            await until(lambda: recorder.metrics.gaps[GapCause.DISCONNECTED] == 1, "absence noticed")
            state = recorder.live_state(meeting)
            assert state is not None
            assert state.recordings[0].away
            async with asyncio.timeout(20):
                while not (gaps := await home.gaps(meeting)):  # noqa: ASYNC110 - a row
                    await asyncio.sleep(0.01)
            assert gaps[0].end_utc_ns is None
            home.camera.lose(5.0, GapCause.SILENT)
            home.camera.feed(4.0)
            await until(lambda: recorder.metrics.parts >= 14, "media again")
            await recorder.end_meeting(meeting, None)
        (gap,) = await home.gaps(meeting)
        assert gap.cause == GapCause.SILENT
        assert gap.start_utc_ns == pytest.approx(START_NS + 4 * NS_PER_S, abs=0.6 * NS_PER_S)
        assert gap.end_utc_ns == START_NS + 9 * NS_PER_S
        objects = await home.verify(meeting)
        segments = [segment for item in objects for segment in item.segments]
        assert [segment.discontinuity for segment in segments].count(True) == 2
        kinds = await home.story(meeting)
        assert kinds.count("media-lost") == kinds.count("media-back") == 1


async def test_starting_twice_or_ending_what_does_not_run_is_refused(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan(start_s=600)
        async with home.service() as recorder:
            with pytest.raises(MeetingStateError) as caught:
                await recorder.end_meeting(meeting, "user1")
            assert caught.value.params["state"] == "planned"
            await recorder.start_meeting(meeting, "user1")
            with pytest.raises(MeetingStateError):
                await recorder.start_meeting(meeting, "user1")
            assert (await home.meeting(meeting)).started_by == "user1"
            await recorder.end_meeting(meeting, "user1")
        assert await home.gaps(meeting) == []


async def test_the_end_waits_for_the_part_that_covers_it(tmp_path: Path) -> None:
    async with house(tmp_path, replace(FAST, last_part_s=20.0)) as home:
        meeting = await home.plan()
        home.camera.connect()
        async with home.service() as recorder:
            await home.runs(recorder, meeting)
            home.camera.feed(2.3)
            ending = asyncio.create_task(recorder.end_meeting(meeting, "user1"))
            async with asyncio.timeout(20):
                while (await home.meeting(meeting)).state is MeetingState.RUNNING:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            home.camera.feed(1.0)
            await asyncio.wait_for(ending, 10)
        ended = (await home.meeting(meeting)).ended_utc_ns
        assert ended == START_NS + 4.3 * NS_PER_S
        assert (await home.objects(meeting))[-1].end_utc_ns >= ended
        assert await home.gaps(meeting) == []


async def test_what_is_still_in_the_spool_can_be_played(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan()
        home.camera.connect()
        faults = Faults(away=True)
        async with home.service(store=FaultyStore(home.store, faults)) as recorder:
            await home.runs(recorder, meeting)
            home.camera.feed(18.0)
            await until(lambda: recorder.metrics.parts >= 38, "parts arrive")
            recording = (await home.recording(meeting)).id
            await until(lambda: recorder.metrics.upload_queue == 2, "two objects closed")
            spooled = await recorder.spooled.spooled_segments(recording)
            assert len(spooled) >= 8
            (period,) = await recorder.spooled.spooled_periods(recording)
            assert {number for number, _ in spooled} == {period.number}
            for _, segment in spooled:
                for part in segment.ranges:
                    media = await recorder.spooled.read_spooled(recording, segment.sequence, part.track_id)
                    assert media is not None
                    assert hashlib.sha256(media).hexdigest() == part.sha256
                    assert read_fragments(media, part.track_id)[0].dts == part.dts
            assert await recorder.spooled.read_spooled(recording, 1, 1) is None
            faults.away = False
            await recorder.end_meeting(meeting, "user1")
            assert await recorder.spooled.spooled_segments(recording) == ()
            assert await recorder.spooled.read_spooled(recording, spooled[0][1].sequence, 1) is None
        stored = {segment.sequence: segment for row in await home.verify(meeting) for segment in row.segments}
        for _, segment in spooled:
            assert stored[segment.sequence] == segment


async def test_a_recording_that_fails_is_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def fails_once(tracks: Sequence[Track]) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise ValueError("a fault in our own code")
        return init_segment(tracks)

    monkeypatch.setattr("recorder.plan.init_segment", fails_once)
    async with house(tmp_path) as home:
        async with home.recorded() as (recorder, meeting):
            home.camera.feed(10.0)
            await until(lambda: calls == 3, "it goes on")
            home.camera.feed(10.0)
            await until(lambda: recorder.metrics.segments >= 9, "and records")
        await home.verify(meeting)
        causes = {gap.cause for gap in await home.gaps(meeting)}
        assert causes <= {GapCause.SERVICE_DOWN}
        assert "recording-resumed" in await home.story(meeting)
        assert (await check(home.database, home.store)).findings == []


@pytest.mark.parametrize(("video", "sound"), [(Codec.H265, Codec.AAC), (Codec.H264, None)])
async def test_other_codecs_and_no_sound(tmp_path: Path, video: Codec, sound: Codec | None) -> None:
    async with house(tmp_path) as home:
        home.camera.video, home.camera.sound = video, sound
        meeting = await recorded(home)
        (row, *_) = await home.verify(meeting)
        data = await home.store.get(row.key)
        with av.open(io.BytesIO(data), "r") as container:
            assert container.streams.video[0].codec_context.name == {Codec.H265: "hevc", Codec.H264: "h264"}[video]
            assert len(container.streams.audio) == (0 if sound is None else 1)
            frames = len(list(container.decode(video=0)))
        assert frames == sum(part.samples for item in row.segments for part in item.ranges if part.track_id == 1)
        assert (await check(home.database, home.store)).findings == []


async def test_new_tracks_begin_a_new_period_and_a_new_object(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        async with home.recorded() as (recorder, meeting):
            home.camera.feed(4.0)
            home.camera.lose(3.0)
            home.camera.feed(4.0)
            home.camera.lose(3.0)
            home.camera.size = (320, 180)
            home.camera.sound = Codec.AAC
            home.camera.feed(4.0)
            await until(lambda: recorder.metrics.parts >= 24, "parts arrive")
        rows = await home.verify(meeting)
        # A reconnect with the same tracks is a discontinuity, not a period.
        assert [row.period for row in rows] == [0, 0, 1]
        async with home.database.read() as repos:
            periods = await repos.recordings.periods((await home.recording(meeting)).id)
        assert [period.tracks[0]["width"] for period in periods] == [160, 320]
        for row in rows:
            init = (await home.store.get(row.key))[: row.segments[0].ranges[0].offset]
            assert [track.id for track in read_init(init)] == [1, 2]
            for track_id, alone in periods[row.period].init.items():
                assert [track.id for track in read_init(alone)] == [track_id]
        assert [gap.cause for gap in await home.gaps(meeting)] == [GapCause.DISCONNECTED] * 2
        assert (await check(home.database, home.store)).findings == []

"""Recorded HLS: playlists over gaps and codec changes, and segments that join."""

import io
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pytest

from media.fmp4_read import read_fragments, read_init
from media.unit import Codec
from recorder.errors import NothingRecordedError, SegmentGoneError
from recorder.facts import tracks_to_json
from recorder.playback import Playback
from storage.records import RecordingPeriod, RecordingState, StoredSegment
from tests.recorder.recordings import archive, record, stretch, with_codec_change, with_gap
from tests.support import playlist_rules
from tests.support.encoded import ORIGIN_NS, picture_number
from tests.support.recorded import RecordedMeeting, cut
from tests.support.rows import media_object, recording

SECOND = 1_000_000_000


def numbers(text: str) -> list[int]:
    """Sequence numbers of a playlist's segments."""
    return [int(found) for found in re.findall(r"^\w+/(\d+)\.(?:m4s|ts)$", text, re.MULTILINE)]


async def fetched(playback: Playback, meeting: str, name: Literal["video", "sound"]) -> list[Any]:
    """Every frame of a rendition, decoded stretch by stretch as a player does at each init segment."""
    text = await playback.media_playlist(meeting, name)
    stretches: list[bytes] = []
    for line in text.splitlines():
        if line.startswith("#EXT-X-DISCONTINUITY") and "SEQUENCE" not in line:
            stretches.append(b"")
        if found := re.search(r"init-(\d+)", line):
            init = await playback.init(meeting, name, int(found[1]))
            stretches = stretches or [b""]
        elif found := re.search(r"^\w+/(\d+)\.m4s$", line):
            stretches[-1] = (stretches[-1] or init) + await playback.segment(meeting, name, int(found[1]))
    frames: list[Any] = []
    for data in stretches:
        with av.open(io.BytesIO(data), "r") as container:
            frames += container.decode(container.streams[0])
    return frames


@pytest.mark.parametrize("sound", [Codec.PCMA, Codec.PCMU, Codec.AAC, Codec.OPUS])
async def test_a_gap_is_a_discontinuity_and_everything_beside_it_plays(tmp_path: Path, sound: Codec) -> None:
    async with archive(tmp_path) as home:
        made = await record(home.database, home.store, home.county, [with_gap(sound)])
        playback = home.playback()
        master = playlist_rules.check(await playback.master_playlist(made.meeting.id))
        assert master.variants[0][0]["CODECS"].strip('"').split(",")[1] == "mp4a.40.2"
        for name in ("video", "sound"):
            playlist = playlist_rules.check(await playback.media_playlist(made.meeting.id, name))
            assert [s.discontinuity for s in playlist.segments].count(True) == 1
            after = next(s for s in playlist.segments if s.discontinuity)
            assert after.date_time is not None
            assert abs(after.date_time.timestamp() - (ORIGIN_NS / 1e9 + 117.0)) < 0.07
            assert playlist.values("EXT-X-PLAYLIST-TYPE") == ["VOD"]
        pictures = await fetched(playback, made.meeting.id, "video")
        assert [picture_number(frame) for frame in pictures] == [*range(300), *range(425, 625)]
        frames = await fetched(playback, made.meeting.id, "sound")
        heard = sum(frame.samples / frame.sample_rate for frame in frames)
        assert abs(heard - 20.0) < 0.2


async def test_a_codec_change_brings_another_init_segment(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        made = await record(home.database, home.store, home.county, [with_codec_change()])
        playback = home.playback()
        master = playlist_rules.check(await playback.master_playlist(made.meeting.id))
        assert [c.split(".")[0] for c in master.variants[0][0]["CODECS"].strip('"').split(",")] == [
            "avc1", "hvc1", "mp4a",
        ]  # fmt: skip
        text = await playback.media_playlist(made.meeting.id, "video")
        playlist_rules.check(text)
        inits = re.findall(r'EXT-X-MAP:URI="video/init-(\d+)\.mp4"', text)
        codecs = [read_init(await playback.init(made.meeting.id, "video", int(n)))[0].codec for n in inits]
        assert codecs == [Codec.H264, Codec.H265]
        assert len(await fetched(playback, made.meeting.id, "video")) == 400
        assert sum(f.samples / f.sample_rate for f in await fetched(playback, made.meeting.id, "sound")) > 15.8


async def test_derived_sound_of_segments_made_apart_has_no_seam(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        made = await record(home.database, home.store, home.county, [stretch(100.0, 12.0)])
        text = await home.playback().media_playlist(made.meeting.id, "sound")
        pieces: list[bytes] = []
        for number in reversed(numbers(text)):
            # A playback of its own for each: nothing is carried over.
            pieces.insert(0, await home.playback().segment(made.meeting.id, "sound", number))
        init = await home.playback().init(made.meeting.id, "sound", 0)
        times = [sample.dts for piece in pieces for sample in read_fragments(piece)]
        assert times == list(range(times[0], times[0] + 1024 * len(times), 1024))
        with av.open(io.BytesIO(init + b"".join(pieces)), "r") as container:
            wave = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    inner = wave[4096:-4096].astype(float)
    spectrum = np.abs(np.fft.rfft(inner * np.hanning(len(inner)))) ** 2
    near = np.abs(np.fft.rfftfreq(len(inner), 1 / 16_000) - 440) < 25
    assert spectrum[~near].sum() / spectrum.sum() < 1e-3


async def test_a_camera_without_sound_has_no_sound_rendition(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        made = await record(home.database, home.store, home.county, [stretch(100.0, 8.0, sound=None)])
        playback = home.playback()
        master = playlist_rules.check(await playback.master_playlist(made.meeting.id))
        assert not master.media
        assert len(await fetched(playback, made.meeting.id, "video")) == 200


async def test_short_segments_may_be_the_busiest(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        parts = [stretch(100.0, 4.0, sound=None), *(stretch(110.0 + n, 0.2, sound=None, epoch=n + 1) for n in range(4))]
        made = await record(home.database, home.store, home.county, parts)
        # Its rules have that no average is above the peak.
        master = playlist_rules.check(await home.playback().master_playlist(made.meeting.id))
        assert master.variants


async def test_sound_that_starts_later_is_silence_before(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        parts = [stretch(100.0, 8.0, sound=None), stretch(108.0, 8.0, epoch=1)]
        made = await record(home.database, home.store, home.county, [[*parts[0], *parts[1]]])
        playback = home.playback()
        frames = await fetched(playback, made.meeting.id, "sound")
        levels = [float(np.abs(frame.to_ndarray()).max()) for frame in frames]
        assert max(levels[:100]) < 0.01
        assert min(levels[-100:-4]) > 0.3


async def test_a_restart_of_the_service_starts_a_new_timeline(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        before = stretch(100.0, 8.0)
        # The same wall clock ten seconds later, counted from another zero.
        after = [replace(unit, utc_ns=unit.utc_ns + 10 * SECOND) for unit in before]
        made = await record(home.database, home.store, home.county, [before, after])
        playlist = playlist_rules.check(await home.playback().media_playlist(made.meeting.id, "video"))
        assert [s.discontinuity for s in playlist.segments] == [False, False, True, False]
        dates = [s.date_time.timestamp() - ORIGIN_NS / 1e9 for s in playlist.segments if s.date_time]
        assert dates == [100, 104, 110, 114]


async def test_a_span_holds_the_segments_that_overlap_it(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        made = await record(home.database, home.store, home.county, [with_gap()])
        start = ORIGIN_NS + 105 * SECOND
        text = await home.playback().media_playlist(made.meeting.id, "video", start, ORIGIN_NS + 118 * SECOND)
        assert numbers(text) == [s.sequence for s in made.segments[1:4]]
        playlist_rules.check(text)
        master = await home.playback().master_playlist(made.meeting.id, query="?start=1")
        assert "video.m3u8?start=1" in master
        assert "sound.m3u8?start=1" in master


class FakeSpool:
    """A recorder whose newest segments are not stored yet."""

    def __init__(self, made: RecordedMeeting, kept: Sequence[StoredSegment]) -> None:
        self.made = made
        self.kept = kept

    def grows(self, recording_id: str) -> bool:
        assert recording_id == self.made.recording.id
        return False

    async def spooled_segments(self, recording_id: str) -> Sequence[tuple[int, StoredSegment]]:
        assert recording_id == self.made.recording.id
        return [(0, facts) for facts in self.kept]

    async def spooled_periods(self, recording_id: str) -> Sequence[RecordingPeriod]:
        return self.made.periods

    async def read_spooled(self, recording_id: str, sequence: int, track_id: int) -> bytes | None:
        return self.made.data.get((sequence, track_id)) if sequence in {s.sequence for s in self.kept} else None


async def test_what_is_still_spooled_plays_as_if_it_were_stored(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        units = stretch(100.0, 20.0)
        whole = await record(home.database, home.store, home.county, [units])
        expected = await fetched(home.playback(), whole.meeting.id, "sound")
        made = await record(
            home.database, home.store, home.county, [units], state=RecordingState.RECORDING, store_only=2
        )
        playback = home.playback(FakeSpool(made, made.segments[1:]))
        text = await playback.media_playlist(made.meeting.id, "video")
        assert "#EXT-X-PLAYLIST-TYPE:EVENT" in text
        assert "ENDLIST" not in text
        playlist_rules.check(text)
        # The newest waits for the one after it; the others are all there, once each.
        assert numbers(text) == [s.sequence for s in made.segments[:-1]]
        frames = await fetched(playback, made.meeting.id, "sound")
        got = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        wanted = np.concatenate([frame.to_ndarray()[0] for frame in expected])
        assert np.array_equal(got, wanted[: len(got)])
        assert len(await fetched(playback, made.meeting.id, "video")) == 25 * 16


async def test_a_span_that_has_not_come_yet_is_an_empty_playlist(tmp_path: Path) -> None:
    later = ORIGIN_NS + 3600 * SECOND
    async with archive(tmp_path) as home:
        for state in (RecordingState.RECORDING, RecordingState.COMPLETE):
            made = await record(home.database, home.store, home.county, [stretch(100.0, 12.0)], state=state)
            playback = home.playback()
            for text in (
                await playback.media_playlist(made.meeting.id, "video", later),
                await playback.media_playlist(made.meeting.id, "sound", later),
                await playback.ts_playlist(made.meeting.id, later),
            ):
                assert numbers(text) == []
                assert ("#EXT-X-ENDLIST" in text) == (state is RecordingState.COMPLETE)


async def test_ts_segments_hold_both(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        made = await record(home.database, home.store, home.county, [with_gap()])
        playback = home.playback()
        text = await playback.ts_playlist(made.meeting.id)
        playlist_rules.check(text)
        assert "#EXT-X-VERSION:3" in text
        data = b"".join([await playback.ts_segment(made.meeting.id, n) for n in numbers(text)[:3]])
        with av.open(io.BytesIO(data), "r", "mpegts") as container:
            shown = [picture_number(frame) for frame in container.decode(video=0)]
        assert shown == list(range(300))
        with av.open(io.BytesIO(data), "r", "mpegts") as container:
            times = np.array([float(frame.time or 0) for frame in container.decode(audio=0)])
        assert np.allclose(np.diff(times), 0.064, atol=0.001)


async def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        playback = home.playback()
        with pytest.raises(NothingRecordedError):
            await playback.master_playlist("nowhere")
        made = await record(home.database, home.store, home.county, [stretch(100.0, 8.0)])
        for name in ("video", "sound"):
            with pytest.raises(SegmentGoneError):
                await playback.segment(made.meeting.id, name, 1)
            with pytest.raises(SegmentGoneError):
                await playback.init(made.meeting.id, name, 9)
        async with home.database.read() as repos:
            rows = await repos.objects.of_recording(made.recording.id)
        await home.store.delete(rows[0].key)
        with pytest.raises(SegmentGoneError):
            await playback.segment(made.meeting.id, "video", made.segments[0].sequence)


async def test_a_two_hour_playlist_opens_fast(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        meeting = home.county.meeting()
        row = recording(meeting, state=RecordingState.COMPLETE)
        (period,) = {id(s.period): s.period for s in cut(stretch(100.0, 8.0))}.values()
        async with home.database.transaction() as repos:
            await repos.meetings.add(meeting)
            await repos.recordings.add(row)
            await repos.recordings.add_period(
                RecordingPeriod(
                    recording_id=row.id, number=0, tracks=tracks_to_json(period.tracks), init=dict(period.init)
                )
            )
            for number in range(257):
                await repos.objects.add(media_object(row, number))
        took = []
        for _ in range(4):
            playback = home.playback()
            began = time.process_time()
            text = await playback.media_playlist(meeting.id, "video")
            took.append(time.process_time() - began)
            assert len(numbers(text)) == 257 * 7
            assert len(numbers(await playback.media_playlist(meeting.id, "sound"))) == 257 * 7
        # Processor time, nothing cached: 50 ms on a quiet machine; a busy one's caches are cold.
        assert min(took) < 0.15


async def test_a_clock_that_is_set_back_does_not_shuffle_what_was_recorded(tmp_path: Path) -> None:
    back = [replace(unit, utc_ns=unit.utc_ns - 9 * SECOND) for unit in stretch(112.0, 8.0, epoch=1)]
    async with archive(tmp_path) as home:
        made = await record(home.database, home.store, home.county, [stretch(100.0, 12.0), back])
        text = await home.playback().media_playlist(made.meeting.id, "video")
        assert numbers(text) == [segment.sequence for segment in made.segments]
        assert text.count("#EXT-X-DISCONTINUITY\n") == 1
        assert len(await fetched(home.playback(), made.meeting.id, "video")) == 25 * 20

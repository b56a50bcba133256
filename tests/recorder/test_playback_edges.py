"""Recorded HLS where recordings are odd: moments long, without a picture for a while, still growing, by two cameras."""

from pathlib import Path

from media.unit import Codec
from recorder.playout import open_playout
from storage.records import RecordingState
from tests.recorder.recordings import archive, record, stretch
from tests.recorder.test_playback import SECOND, FakeSpool, fetched, numbers
from tests.support import playlist_rules
from tests.support.encoded import ORIGIN_NS, video_units


async def test_what_is_shorter_than_a_frame_of_sound_is_a_gap_of_the_sound(tmp_path: Path) -> None:
    """A camera on a bad line: it comes back for one picture, and is gone again."""
    flicker = [unit for at in range(5) for unit in video_units(frames=1, start_s=110.0 + at * 2.03, epoch=at + 1)]
    async with archive(tmp_path) as home:
        items = [*stretch(100.0, 8.0), *flicker, *stretch(124.0, 8.0, epoch=6)]
        made = await record(home.database, home.store, home.county, [items])
        playback = home.playback()
        text = await playback.media_playlist(made.meeting.id, "sound")
        sound = playlist_rules.check(text)
        assert len(sound.segments) == len(made.segments) == 9
        gaps = [segment for segment in sound.segments if segment.gap]
        assert 0 < len(gaps) <= 5
        for number, segment in zip(numbers(text), sound.segments, strict=True):
            if not segment.gap:
                assert await playback.segment(made.meeting.id, "sound", number)
        assert len(await fetched(playback, made.meeting.id, "video")) == 405


async def test_a_stretch_without_picture_names_no_init_segment_that_is_not_there(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        parts = [stretch(100.0, 8.0), stretch(110.0, 8.0, video=None, epoch=1), stretch(120.0, 8.0, epoch=2)]
        made = await record(home.database, home.store, home.county, [[unit for part in parts for unit in part]])
        playback = home.playback()
        video = playlist_rules.check(await playback.media_playlist(made.meeting.id, "video"))
        assert [segment.gap for segment in video.segments].count(True) >= 2
        for entry in video.values("EXT-X-MAP"):
            number = int(entry.rpartition("-")[2].partition(".")[0])
            assert await playback.init(made.meeting.id, "video", number)


async def test_a_span_of_a_running_meeting_is_over_only_when_more_has_come(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        made = await record(
            home.database, home.store, home.county, [stretch(100.0, 20.0)], state=RecordingState.RECORDING
        )
        playback = home.playback()
        for end_s, over in ((104, True), (112, True), (118, False), (3_600, False)):
            text = await playback.media_playlist(made.meeting.id, "video", None, ORIGIN_NS + end_s * SECOND)
            assert ("#EXT-X-ENDLIST" in text, "PLAYLIST-TYPE:VOD" in text) == (over, over), end_s
            playlist_rules.check(text)


async def test_a_growing_playlist_has_room_for_segments_of_twelve_and_a_half_seconds(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        pictures = video_units(frames=1_200, fps=24, gop=300)
        made = await record(home.database, home.store, home.county, [pictures], state=RecordingState.RECORDING)
        playlist = playlist_rules.check(await home.playback().media_playlist(made.meeting.id, "video"))
        assert {segment.duration for segment in playlist.segments} == {12.5}


async def test_the_camera_that_is_played_stays_when_another_comes_late(tmp_path: Path) -> None:
    """The one that was to record first was away; it comes while somebody watches the other."""
    async with archive(tmp_path) as home:
        away = await record(
            home.database, home.store, home.county, [stretch(130.0, 20.0)],
            state=RecordingState.RECORDING, store_only=1, per_object=1,
        )  # fmt: skip
        there = await record(
            home.database, home.store, home.county, [stretch(100.0, 12.0)],
            state=RecordingState.RECORDING, beside=away,
        )  # fmt: skip
        meeting = away.meeting.id
        before = await home.playback().media_playlist(meeting, "video")
        playout = await open_playout(home.playback().meetings, meeting, home.executor)
        assert playout.wall_clock(0) == there.segments[0].start_utc_ns
        after = await home.playback(TwoSpools(away, away.segments[1:])).media_playlist(meeting, "video")
        assert before == after
        assert numbers(after) == [segment.sequence for segment in there.segments[:-1]]


class TwoSpools(FakeSpool):
    """Only one of the two has something in the spool."""

    def grows(self, recording_id: str) -> bool:
        return True

    async def spooled_segments(self, recording_id: str):  # type: ignore[no-untyped-def]
        return await super().spooled_segments(recording_id) if recording_id == self.made.recording.id else []

    async def spooled_periods(self, recording_id: str):  # type: ignore[no-untyped-def]
        return self.made.periods if recording_id == self.made.recording.id else []


async def test_sound_alone_can_be_played(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        made = await record(home.database, home.store, home.county, [stretch(100.0, 8.0, video=None, sound=Codec.AAC)])
        frames = await fetched(home.playback(), made.meeting.id, "sound")
        assert sum(frame.samples / frame.sample_rate for frame in frames) > 7.8

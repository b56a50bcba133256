"""Recorded HLS: playlists over any span of a meeting, across gaps and codec changes, and the segments behind them.

A gap takes no time in a playlist: EXT-X-DISCONTINUITY stands where it is, and EXT-X-PROGRAM-DATE-TIME goes on at the
true time. While the meeting runs the playlist is of type EVENT and grows; after it, VOD.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Literal

from media.clock import Clock, SystemClock
from media.fmp4 import codec_string, fragment, init_segment
from media.fmp4_read import read_fragments
from media.mpegts import mux_segment
from media.playlist import (
    AudioRendition,
    InitMap,
    MediaPlaylist,
    PlaylistType,
    SegmentEntry,
    Variant,
    master_playlist,
    media_playlist,
)
from media.transcode import AAC_FRAME, AacSettings, aac_track
from media.unit import AUDIO_TRACK_ID, NS_PER_S, VIDEO_TRACK_ID, AudioTrack, Codec, VideoTrack
from recorder.errors import SegmentGoneError
from recorder.guidance import GuidanceSound
from recorder.recorded import Recorded, RecordedMeetings, RecordedPeriod, RecordedSegment, Spooled
from recorder.sound import RecordedSound
from storage.database import Database
from storage.objects import ObjectStore

RenditionName = Literal["video", "sound"]


class Playback:
    """Plays recordings from rows, stored objects and what still lies in the spool.

    Addresses in playlists are relative to the playlist: ``video/{sequence}.m4s``, ``video/init-{period}.mp4``, the same
    below ``sound/``, and ``ts/{sequence}.ts``; ``query`` (``"?…"``) is put behind the names of media playlists.
    ``camera_id`` names one of a meeting's cameras; without it, the first that recorded something is played.
    """

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        spooled: Spooled | None,
        executor: Executor,
        aac: AacSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._executor = executor
        self._aac = aac or AacSettings()
        self.meetings = RecordedMeetings(database, store, spooled, clock or SystemClock())
        self.sound = RecordedSound(self.meetings, executor, self._aac)
        self.guidance = GuidanceSound(self.meetings, executor, self._aac)

    # Playlists

    async def master_playlist(self, meeting_id: str, *, query: str = "", camera_id: str | None = None) -> str:
        """Multivariant playlist of the meeting's recording (so far). Raises NothingRecordedError."""
        recorded = await self.meetings.load(meeting_id, camera_id=camera_id)
        periods = _periods(recorded)
        video = next((period.video for period in periods if period.video is not None), None)
        sound = [self._played(period.audio) for period in periods if period.audio is not None]
        codecs: dict[str, str] = {}
        for track in [*(period.video for period in periods), *sound]:
            if track is not None:
                text = codec_string(track)
                # One of each kind: players choose decoders by it, and take the rest from the init segments.
                codecs.setdefault(text.partition(".")[0], text)
        peak, average = _bandwidth(recorded)
        audio = [AudioRendition(f"sound.m3u8{query}", "sound", "sound", sound[0].channels)] if video and sound else []
        variant = Variant(
            uri=f"{'video' if video else 'sound'}.m3u8{query}",
            bandwidth=peak,
            codecs=tuple(codecs.values()),
            average_bandwidth=average,
            resolution=(video.width, video.height) if video is not None else None,
            audio_group="sound" if audio else None,
        )
        return master_playlist([variant], audio, independent_segments=False)

    async def media_playlist(
        self,
        meeting_id: str,
        name: RenditionName,
        start_utc_ns: int | None = None,
        end_utc_ns: int | None = None,
        *,
        camera_id: str | None = None,
    ) -> str:
        """fMP4 media playlist of all, or of the segments that overlap [start, end). Raises NothingRecordedError."""
        recorded = await self.meetings.load(meeting_id, camera_id=camera_id)
        places = recorded.span(start_utc_ns, end_utc_ns)
        entry = self._video_entry if name == "video" else self._sound_entry
        return self._text(recorded, [entry(recorded, place, place == places.start) for place in places], end_utc_ns)

    async def ts_playlist(
        self,
        meeting_id: str,
        start_utc_ns: int | None = None,
        end_utc_ns: int | None = None,
        *,
        camera_id: str | None = None,
    ) -> str:
        """Version 3 playlist of MPEG-TS segments, sound and picture together. Raises NothingRecordedError."""
        recorded = await self.meetings.load(meeting_id, camera_id=camera_id)
        places = recorded.span(start_utc_ns, end_utc_ns)
        entries = [
            SegmentEntry(
                uri=f"ts/{recorded.segments[place].sequence}.ts",
                duration_s=_shown_s(recorded.segments[place]),
                start_utc_ns=recorded.segments[place].facts.start_utc_ns,
                discontinuity=place > places.start and not recorded.joins[place],
            )
            for place in places
        ]
        return self._text(recorded, entries, end_utc_ns)

    def _text(self, recorded: Recorded, entries: Sequence[SegmentEntry], end_utc_ns: int | None) -> str:
        over = recorded.over or end_utc_ns is not None
        return media_playlist(
            MediaPlaylist(
                segments=entries,
                playlist_type=PlaylistType.VOD if over else PlaylistType.EVENT,
                ended=over,
                independent_segments=False,
                # A growing playlist's target should stay as it is (RFC 8216, 6.2.1).
                target_duration_s=None if over else max(10, *(round(entry.duration_s) for entry in entries)),
                start_offset_s=None if over else 0.0,
            )
        )

    def _video_entry(self, recorded: Recorded, place: int, first: bool) -> SegmentEntry:
        segment = recorded.segments[place]
        return SegmentEntry(
            uri=f"video/{segment.sequence}.m4s",
            duration_s=_shown_s(segment),
            start_utc_ns=segment.facts.start_utc_ns,
            map=InitMap(f"video/init-{segment.period.number}.mp4"),
            discontinuity=not first and not recorded.joins[place],
            gap=segment.video is None,
        )

    def _sound_entry(self, recorded: Recorded, place: int, first: bool) -> SegmentEntry:
        segment = recorded.segments[place]
        derived = self._derives(segment.period)
        if derived:
            start = self.sound.frame_numbers(recorded, place).start * AAC_FRAME / self._aac.rate
            duration = self.sound.duration_s(recorded, place)
        else:
            start = segment.sound_start / segment.sound_rate
            duration = segment.audio.duration / segment.sound_rate if segment.audio else _shown_s(segment)
        return SegmentEntry(
            uri=f"sound/{segment.sequence}.m4s",
            duration_s=duration,
            start_utc_ns=segment.timeline_offset_ns + round(start * NS_PER_S),
            map=InitMap(f"sound/init-{segment.period.number}.mp4"),
            discontinuity=not first and not recorded.joins[place],
            gap=not derived and segment.audio is None,
        )

    # Media

    async def init(self, meeting_id: str, name: RenditionName, period: int, *, camera_id: str | None = None) -> bytes:
        """Init segment of a period. Raises SegmentGoneError."""
        recorded = await self.meetings.load(meeting_id, camera_id=camera_id)
        found = next((item for item in _periods(recorded) if item.number == period), None)
        if found is None:
            raise SegmentGoneError("no such period", sequence=period)
        if name == "sound" and self._derives(found):
            return init_segment([aac_track(self._aac)])
        track = found.video if name == "video" else found.audio
        if track is None:
            raise SegmentGoneError("no such rendition", sequence=period)
        return found.init[track.id]

    async def segment(
        self, meeting_id: str, name: RenditionName, sequence: int, *, camera_id: str | None = None
    ) -> bytes:
        """A segment's bytes: the archive's own, or AAC derived from them. Raises SegmentGoneError, StorageError."""
        recorded = await self.meetings.load(meeting_id, camera_id=camera_id, sequence=sequence)
        place = recorded.place(sequence)
        segment = recorded.segments[place]
        if name == "sound" and self._derives(segment.period):
            frames = await self.sound.frames(recorded, place)
            data = fragment(sequence & 0xFFFFFFFF, AUDIO_TRACK_ID, frames) if frames else b""
        else:
            track_id = VIDEO_TRACK_ID if name == "video" else AUDIO_TRACK_ID
            data = await self.meetings.read(recorded, segment, track_id)
        if not data:
            raise SegmentGoneError("the segment has nothing of this rendition", sequence=sequence)
        return data

    async def ts_segment(self, meeting_id: str, sequence: int, *, camera_id: str | None = None) -> bytes:
        """A segment as MPEG-TS. Raises as :meth:`segment`."""
        recorded = await self.meetings.load(meeting_id, camera_id=camera_id, sequence=sequence)
        place = recorded.place(sequence)
        segment = recorded.segments[place]
        video = await self.meetings.read(recorded, segment, VIDEO_TRACK_ID)
        if self._derives(segment.period):
            audio: tuple[AudioTrack | None, bytes | None] = (aac_track(self._aac), None)
            frames = await self.sound.frames(recorded, place)
        else:
            audio = (segment.period.audio, await self.meetings.read(recorded, segment, AUDIO_TRACK_ID))
            frames = []

        def mux() -> bytes:
            sound = read_fragments(audio[1], AUDIO_TRACK_ID) if audio[1] else frames
            pictures = read_fragments(video, VIDEO_TRACK_ID) if video else ()
            return mux_segment(segment.period.video, pictures, audio[0], sound)

        return await asyncio.get_running_loop().run_in_executor(self._executor, mux)

    def _derives(self, period: RecordedPeriod) -> bool:
        """Whether a period's sound is derived; one without sound gets silence, so that every rendition is whole."""
        return period.audio is None or period.audio.codec is not Codec.AAC

    def _played(self, track: AudioTrack) -> AudioTrack:
        return track if track.codec is Codec.AAC else aac_track(self._aac)


def _periods(recorded: Recorded) -> list[RecordedPeriod]:
    """The periods in order of their first segment."""
    return list({id(segment.period): segment.period for segment in recorded.segments}.values())


def _shown_s(segment: RecordedSegment) -> float:
    """Seconds that a segment's picture lasts; without picture, its sound."""
    if segment.video is not None and isinstance(segment.period.video, VideoTrack):
        return segment.video.duration / segment.period.video.clock_rate
    return segment.facts.duration_ns / NS_PER_S


def _bandwidth(recorded: Recorded) -> tuple[int, int]:
    """Peak and average bits per second."""
    sizes = [sum(item.size for item in segment.facts.ranges) * 8 for segment in recorded.segments]
    times = [max(segment.facts.duration_ns / NS_PER_S, 0.001) for segment in recorded.segments]
    long = [size / time for size, time in zip(sizes, times, strict=True) if time >= 1]
    average = sum(sizes) / sum(times)
    return round(max(long, default=average)) + 1, round(average) + 1

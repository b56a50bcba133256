"""Recorded HLS: playlists over any span of a meeting, across gaps and codec changes, and the segments behind them.

A gap takes no time in a playlist: EXT-X-DISCONTINUITY stands where it is, and EXT-X-PROGRAM-DATE-TIME goes on at the
true time. While the meeting runs the playlist is of type EVENT and grows; after it, VOD.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
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

_SHORTEST_NS = NS_PER_S // 1000


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
        periods = recorded.periods
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
        entries = (self._video_entries if name == "video" else self._sound_entries)(recorded, places)
        return self._text(recorded, entries, end_utc_ns)

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
        entries = _dated(entries)
        return media_playlist(
            MediaPlaylist(
                segments=entries,
                playlist_type=PlaylistType.VOD if over else PlaylistType.EVENT,
                ended=over,
                independent_segments=False,
                # A growing playlist's target should stay as it is (RFC 8216, 6.2.1).
                target_duration_s=None if over else max((10, *(round(entry.duration_s) for entry in entries))),
                start_offset_s=None if over else 0.0,
            )
        )

    def _video_entries(self, recorded: Recorded, places: range) -> list[SegmentEntry]:
        maps = _maps("video", recorded)
        segments, joins = recorded.segments, recorded.joins
        return [
            SegmentEntry(
                f"video/{segment.sequence}.m4s",
                _shown_s(segment),
                segment.facts.start_utc_ns,
                maps[segment.period.number],
                None,
                place != places.start and not joins[place],
                segment.video is None,
            )
            for place, segment in zip(places, segments[places.start : places.stop], strict=True)
        ]

    def _sound_entries(self, recorded: Recorded, places: range) -> list[SegmentEntry]:
        maps = _maps("sound", recorded)
        derives = {period.number: self._derives(period) for period in recorded.periods}
        rate, entries = self._aac.rate, []
        for place in places:
            segment = recorded.segments[place]
            derived = derives[segment.period.number]
            if derived:
                numbers = self.sound.frame_numbers(recorded, place)
                start, duration = numbers.start * AAC_FRAME / rate, len(numbers) * AAC_FRAME / rate
            else:
                start = segment.sound_start / segment.sound_rate
                duration = segment.audio.duration / segment.sound_rate if segment.audio else _shown_s(segment)
            entries.append(
                SegmentEntry(
                    f"sound/{segment.sequence}.m4s",
                    duration,
                    segment.timeline_offset_ns + round(start * NS_PER_S),
                    maps[segment.period.number],
                    None,
                    place != places.start and not recorded.joins[place],
                    not derived and segment.audio is None,
                )
            )
        return entries

    # Media

    async def init(self, meeting_id: str, name: RenditionName, period: int, *, camera_id: str | None = None) -> bytes:
        """Init segment of a period. Raises SegmentGoneError."""
        recorded = await self.meetings.load(meeting_id, camera_id=camera_id)
        found = next((item for item in recorded.periods if item.number == period), None)
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


def _dated(entries: Sequence[SegmentEntry]) -> Sequence[SegmentEntry]:
    """Without dates that run backwards, where a clock was set back: players count on from the last one."""
    newest, found = 0, []
    for entry in entries:
        start = entry.start_utc_ns or 0
        found.append(entry if start >= newest - NS_PER_S else replace(entry, start_utc_ns=None))
        newest = max(newest, start)
    return found


def _maps(name: RenditionName, recorded: Recorded) -> dict[int, InitMap]:
    """Where each period's init segment is, by the period's number."""
    return {period.number: InitMap(f"{name}/init-{period.number}.mp4") for period in recorded.periods}


def _shown_s(segment: RecordedSegment) -> float:
    """Seconds that a segment's picture lasts; without picture, its sound."""
    if segment.video is not None and isinstance(segment.period.video, VideoTrack):
        return segment.video.duration / segment.period.video.clock_rate
    return segment.facts.duration_ns / NS_PER_S


def _bandwidth(recorded: Recorded) -> tuple[int, int]:
    """Peak and average bits per second."""
    size = duration_ns = peak = 0
    for segment in recorded.segments:
        bits = 8 * ((segment.video.size if segment.video else 0) + (segment.audio.size if segment.audio else 0))
        lasts_ns = max(segment.facts.duration_ns, _SHORTEST_NS)
        size += bits
        duration_ns += lasts_ns
        # A short one says little of what a line must carry.
        if lasts_ns >= NS_PER_S:
            peak = max(peak, bits * NS_PER_S // lasts_ns)
    average = size * NS_PER_S // duration_ns
    # Where the short ones are many, or the busiest, they make the average.
    return max(peak, average) + 1, average + 1

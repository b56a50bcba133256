"""Recorded HLS: playlists over any span of a meeting, across gaps and codec changes, and the segments behind them.

A gap takes no time in a playlist: EXT-X-DISCONTINUITY stands where it is, and EXT-X-PROGRAM-DATE-TIME goes on at the
true time. While the meeting runs the playlist is of type EVENT and grows; after it, VOD.
"""

import asyncio
from collections.abc import Iterable
from concurrent.futures import Executor
from typing import Literal

from media.clock import Clock, SystemClock
from media.fmp4 import codec_string, fragment, init_segment
from media.fmp4_read import read_fragments
from media.mpegts import mux_segment
from media.playlist import AudioRendition, InitMap, SegmentEntry, Variant, master_playlist
from media.transcode import AAC_FRAME, AacSettings, aac_track
from media.unit import AUDIO_TRACK_ID, NS_PER_S, VIDEO_TRACK_ID, AudioTrack, Codec, VideoTrack
from recorder.errors import SegmentGoneError
from recorder.guidance import GuidanceSound
from recorder.recorded import Recorded, RecordedMeetings, RecordedPeriod, RecordedSegment, Spooled
from recorder.recorded_playlist import recorded_playlist
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
        return recorded_playlist(entries, over=recorded.ends_with(places))

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
        return recorded_playlist(entries, over=recorded.ends_with(places))

    def _video_entries(self, recorded: Recorded, places: range) -> list[SegmentEntry]:
        maps = _maps("video", [period.number for period in recorded.periods if period.video is not None])
        segments, joins = recorded.segments, recorded.joins
        return [
            SegmentEntry(
                f"video/{segment.sequence}.m4s",
                _shown_s(segment),
                segment.facts.start_utc_ns,
                maps.get(segment.period.number),
                None,
                place != places.start and not joins[place],
                segment.video is None,
            )
            for place, segment in zip(places, segments[places.start : places.stop], strict=True)
        ]

    def _sound_entries(self, recorded: Recorded, places: range) -> list[SegmentEntry]:
        derives = {period.number: self._derives(period) for period in recorded.periods}
        maps = _maps("sound", derives)
        rate, entries = self._aac.rate, []
        for place in places:
            segment = recorded.segments[place]
            start, duration, gap = segment.sound_start / segment.sound_rate, _shown_s(segment), True
            # One picture between two losses may be shorter than a frame of sound.
            if derives[segment.period.number] and (numbers := self.sound.frame_numbers(recorded, place)):
                start, duration, gap = numbers.start * AAC_FRAME / rate, len(numbers) * AAC_FRAME / rate, False
            elif segment.audio is not None and not derives[segment.period.number]:
                duration, gap = segment.audio.duration / segment.sound_rate, False
            entries.append(
                SegmentEntry(
                    f"sound/{segment.sequence}.m4s",
                    duration,
                    segment.timeline_offset_ns + round(start * NS_PER_S),
                    maps[segment.period.number],
                    None,
                    place != places.start and not recorded.joins[place],
                    gap,
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


def _maps(name: RenditionName, periods: Iterable[int]) -> dict[int, InitMap]:
    """Where the init segments of these periods are, by the period's number."""
    return {number: InitMap(f"{name}/init-{number}.mp4") for number in periods}


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

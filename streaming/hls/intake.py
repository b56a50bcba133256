"""From the archive's segment events to the segments of a window: numbers, cuts, discontinuities, init segments."""

from collections.abc import Mapping
from dataclasses import dataclass

from media.segments import Chunk, Part, Period, SegmentEnd, SegmentEvent, SegmentStart
from media.unit import AUDIO_TRACK_ID, NS_PER_S, VIDEO_TRACK_ID, Track
from streaming.hls.rendition import HOLE_S, PART_SLACK, Rendition, WindowPart

_SOUND_SLACK = 2.0


@dataclass(frozen=True, slots=True)
class CutSettings:
    """No segment is longer than ``target_s``, of parts up to ``part_s``; the first ones end at the first part that
    makes them as long as ``first_segments_s`` says."""

    part_s: float
    target_s: int
    first_segments_s: tuple[float, ...]


class Intake:
    """Fills the video and the raw sound rendition, which have the same numbers. Owned by the window's reading task.

    ``next_msn`` is the number that the next segment to open gets; ``inits`` are the periods in use, by the number in
    their init segments' addresses.
    """

    def __init__(self, video: Rendition, sound: Rendition, settings: CutSettings, first_msn: int) -> None:
        self.next_msn = first_msn
        self._video = video
        self._sound = sound
        self._settings = settings
        self._inits: dict[int, Period] = {}
        self._opened = 0
        # The archive's number of the open segment, or of the one that comes next.
        self._archive_sequence: int | None = None
        self._period: Period | None = None
        self._discontinuity = False
        self._open = False
        self._open_s = 0.0
        self._timeline_utc_ns = 0
        # What is told reaches up to here; of a part that comes late, only what is after it takes time.
        self._told_utc_ns = 0

    @property
    def inits(self) -> Mapping[int, Period]:
        """Periods by number."""
        return self._inits

    def take(self, event: SegmentEvent) -> None:
        """The next event of the stream. A gap shows by the discontinuity after it."""
        if isinstance(event, SegmentStart):
            self.end_segment()
            # A reader that was cut to a later segment has lost what was between.
            lost = self._archive_sequence is not None and event.sequence != self._archive_sequence
            self._archive_sequence = event.sequence
            self._period = event.period
            self._discontinuity = self._opened > 0 and (event.discontinuity or lost)
        elif isinstance(event, Part):
            if self._period is not None:
                self._add(event, self._period)
        elif isinstance(event, SegmentEnd):
            self._archive_sequence = event.sequence + 1
            self.end_segment()

    def end_segment(self) -> None:
        """Close the open segment, if there is one."""
        if self._open:
            self._video.end(self._open_s)
            self._sound.end(self._open_s)
            self._open = False

    def _add(self, part: Part, period: Period) -> None:
        ends_utc_ns = part.start_utc_ns + part.duration_ns
        if self._discontinuity or not self._opened:
            self._told_utc_ns = part.start_utc_ns
        lasts_s = max(0, ends_utc_ns - self._told_utc_ns) / NS_PER_S
        # A picture that stood, because those after it were lost: a segment by itself, so that no part before it is
        # shorter than it may be, and no whole segment lists one that is longer. Sound alone is cut less finely.
        slack = PART_SLACK if VIDEO_TRACK_ID in part.chunks else _SOUND_SLACK
        stood = lasts_s > self._video.longest_part_s * slack
        if stood:
            self.end_segment()
        if not self._open:
            lead = min(part.chunks)
            rate = next(track.clock_rate for track in period.tracks if track.id == lead)
            self._timeline_utc_ns = part.start_utc_ns - part.chunks[lead].dts * NS_PER_S // rate
            late = abs(self._told_utc_ns - part.start_utc_ns) > HOLE_S * NS_PER_S
            self._begin(period, self._told_utc_ns if late else part.start_utc_ns)
        self._append(part)
        self._open_s += lasts_s
        self._told_utc_ns = max(self._told_utc_ns, ends_utc_ns)
        self._cut(period, lasts_s, stood=stood)

    def _append(self, part: Part) -> None:
        for track_id, rendition in ((VIDEO_TRACK_ID, self._video), (AUDIO_TRACK_ID, self._sound)):
            chunk = part.chunks.get(track_id)
            segment = rendition.segments[-1]
            if chunk is None or segment.track is None:
                continue
            if not segment.parts:
                segment.media_utc_ns = self._utc_ns(chunk, segment.track)
                # Where a segment's sound begins is settled with what is made of it.
                late_ns = abs(segment.media_utc_ns - segment.start_utc_ns)
                if track_id == VIDEO_TRACK_ID and late_ns <= HOLE_S * NS_PER_S:
                    segment.start_utc_ns = segment.media_utc_ns
            independent = part.independent or track_id == AUDIO_TRACK_ID
            lasts_s = chunk.duration / segment.track.clock_rate
            rendition.append(WindowPart(chunk.data, chunk.dts, lasts_s, independent))

    def _cut(self, period: Period, lasts_s: float, *, stood: bool) -> None:
        """End the segment where it is long enough; what is too long for one has nothing in the others."""
        settings = self._settings
        while stood and self._open_s > settings.target_s:
            beyond_s = self._open_s - settings.target_s
            self._open_s = float(settings.target_s)
            self.end_segment()
            self._begin(period, self._told_utc_ns - round(beyond_s * NS_PER_S))
            self._open_s = beyond_s
        first = settings.first_segments_s
        short = self._opened <= len(first) and self._open_s >= first[self._opened - 1]
        if stood or short or self._open_s + max(settings.part_s, lasts_s) > settings.target_s:
            self.end_segment()

    def _begin(self, period: Period, start_utc_ns: int) -> None:
        tracks = {track.id: track for track in period.tracks}
        init = next((number for number, known in self._inits.items() if known is period), None)
        if init is None:
            init = self.next_msn
            self._inits[init] = period
        for rendition, track_id in ((self._video, VIDEO_TRACK_ID), (self._sound, AUDIO_TRACK_ID)):
            rendition.begin(
                self.next_msn,
                init=init,
                track=tracks.get(track_id),
                start_utc_ns=start_utc_ns,
                discontinuity=self._discontinuity,
            )
        used = {segment.init for segment in self._video.segments}
        self._inits = {number: known for number, known in self._inits.items() if number in used}
        self._discontinuity = False
        self._open = True
        self._open_s = 0.0
        self._opened += 1
        self.next_msn += 1

    def _utc_ns(self, chunk: Chunk, track: Track) -> int:
        return self._timeline_utc_ns + chunk.dts * NS_PER_S // track.clock_rate

"""Access units in, CMAF parts and segments out. Runs on the event loop, once per unit: nothing here decodes or waits.

Where there is video it leads: parts and segments end between two pictures, and sound goes with the pictures of its
time. The newest picture is held until the next one tells how long it is shown. Sound that comes late goes into the part
that is open; ``tfdt`` says when it is from.
"""

from dataclasses import dataclass
from typing import Final

from media.fmp4 import init_segment
from media.gathering import Gathering
from media.open_segment import OpenSegment
from media.runs import PictureRun, SoundRun
from media.segments import Chunk, Period, SegmentEvent
from media.unit import AUDIO_TRACK_ID, NS_PER_S, VIDEO_TRACK_ID, AccessUnit, AudioTrack, Gap, StreamItem, VideoTrack

# Bounds for streams whose clock stands still, where no part would ever be long enough.
_MAX_PART_UNITS: Final = 1_000
_MAX_PART_BYTES: Final = 16 * 1024 * 1024
# Sound of a new kind waits for the next keyframe, but not for ever.
_MAX_WAITING_SOUNDS: Final = 4_000
# Timestamps rounded to milliseconds must not make every other part or segment shorter or longer than the rest.
_PART_SLACK: Final = 0.01
_SEGMENT_SLACK: Final = 0.025
_END_OF_TIME: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class SegmenterSettings:
    """``part_s``: longest part. ``segment_s``: a segment ends at the first keyframe at or past this length. A
    stream's first is shorter by up to ``stagger`` of that, each by its own share: a county begins together.

    Past ``max_segment_s`` or ``max_segment_bytes`` a segment is cut without a keyframe, so that none grows for ever.
    ``track_wait_s``: how long the first segment waits for a second track and for a keyframe. ``sound_lead_s``: how far
    sound may run ahead of video before parts are cut by sound alone. ``max_step_back_s``: pictures that go back in
    time by more begin a new segment, discontinuous; by less, they count as shown at once.
    """

    part_s: float = 0.5
    segment_s: float = 4.0
    stagger: float = 1.0
    max_segment_s: float = 40.0
    max_segment_bytes: int = 32 * 1024 * 1024
    track_wait_s: float = 1.0
    sound_lead_s: float = 1.0
    max_step_back_s: float = 1.0

    @property
    def part_target_s(self) -> float:
        """What no part exceeds while pictures come at an even pace: EXT-X-PART-INF's PART-TARGET for video."""
        return self.part_s * (1 + 2 * _PART_SLACK)


class Segmenter:
    """Cuts one stream. Owned by the task that feeds the stream; no I/O, no waiting.

    Events come in the order SegmentStart, Part…, SegmentEnd; a Gap passes through at once, wherever it comes. Tracks
    that differ from the period's begin a new period, and a new ``epoch`` a segment marked ``discontinuity``.
    """

    def __init__(self, settings: SegmenterSettings, first_sequence: int, first_share: float = 1.0) -> None:
        self._settings = settings
        self._segment = OpenSegment(first_sequence)
        self._segment_s, self._next_s = settings.segment_s, settings.segment_s * first_share
        self._fragments = 0
        self._gathering: Gathering | None = None
        # Of the epoch: None before its tracks are known.
        self._epoch: int | None = None
        self._period: Period | None = None
        self._video: VideoTrack | None = None
        self._sound: AudioTrack | None = None
        self._pictures = PictureRun(1)
        self._sounds = SoundRun(1)
        self._awaiting_keyframe = True
        # Sound whose track is not the period's: it begins the next one.
        self._next_sounds: list[AccessUnit] = []
        # Ticks: sound from then on does not wait for pictures, a keyframe from then on ends the segment.
        self._sound_limit = 0
        self._keyframe_cuts_at = 0
        self._part_ticks = self._max_step = self._max_back = 0
        self._sound_part_ticks = self._lead_ticks = 0

    @property
    def next_sequence(self) -> int:
        """The number that the next segment to open gets."""
        return self._segment.sequence + 1

    def push(self, item: StreamItem) -> list[SegmentEvent]:
        """Take the next unit or gap; the events it completes.

        Raises UnsupportedCodecError or BitstreamError for a track of which no init segment can be made.
        """
        if isinstance(item, Gap):
            self._segment.note(item)
            return [item]
        track = item.track
        if item.epoch == self._epoch:
            if track is self._sound:
                units = self._sounds.units
                units.append(item)
                if item.dts < self._sound_limit and len(units) < _MAX_PART_UNITS:
                    return []
                return self._sound_is_due(item)
            if track is self._video:
                held = self._pictures.held
                return self._picture(held, item) if held is not None else self._first_picture(item)
        return self._unusual(item)

    def open_segment(self) -> list[SegmentEvent]:
        """The open segment so far (its SegmentStart, gaps and Parts), for a reader that comes late."""
        return list(self._segment.replay)

    def flush(self) -> list[SegmentEvent]:
        """The stream ends or pauses: close the open segment. A later unit opens a new one, discontinuous."""
        events: list[SegmentEvent] = []
        if self._gathering is not None and self._gathering.units:
            events += self._begin(self._gathering)
        self._gathering = None
        if self._segment.is_open:
            self._close_segment(events)
            if self._next_sounds:
                first = self._next_sounds[0]
                self._enter(self._make_period(self._video, self._next_sound_track()))
                self._open_segment(events, first, first.dts * NS_PER_S // first.track.clock_rate, discontinuity=True)
                self._close_segment(events)
        self._epoch = None
        self._segment.forget()
        return events

    def _picture(self, held: AccessUnit, unit: AccessUnit) -> list[SegmentEvent]:
        pictures = self._pictures
        dts = unit.dts
        duration = dts - pictures.held_dts
        if not 0 < duration <= self._max_step:
            if duration > 0 or -duration > self._max_back:
                return self._leap(unit)
            duration, dts = 1, pictures.held_dts + 1
        events: list[SegmentEvent] = []
        if dts - pictures.start > self._part_ticks and len(pictures):
            self._close_part(events)
        pictures.add(held, unit, dts)
        if unit.keyframe and (dts >= self._keyframe_cuts_at or not self._segment.independent):
            self._cut(events, unit, dts * NS_PER_S // pictures.rate)
        elif (
            dts - pictures.start + duration > self._part_ticks
            or pictures.size > _MAX_PART_BYTES
            or len(pictures) >= _MAX_PART_UNITS
        ):
            self._close_part(events)
            if self._past_cap():
                self._cut(events, unit, dts * NS_PER_S // pictures.rate)
        return events

    def _first_picture(self, unit: AccessUnit) -> list[SegmentEvent]:
        """The first of an epoch, or the first after video stood still for longer than a segment may last."""
        events: list[SegmentEvent] = []
        if self._awaiting_keyframe and not unit.keyframe:
            return events
        self._awaiting_keyframe = False
        if unit.keyframe and not self._segment.independent:
            self._cut(events, unit, unit.dts * NS_PER_S // self._pictures.rate)
        self._pictures.begin(unit)
        self._aim()
        return events

    def _leap(self, unit: AccessUnit) -> list[SegmentEvent]:
        """Time leaps within an epoch. Pictures still build on each other, so none is left out."""
        events: list[SegmentEvent] = []
        self._close_segment(events)
        self._start_with(events, unit)
        return events

    def _sound_is_due(self, unit: AccessUnit) -> list[SegmentEvent]:
        """No picture has ended the part in time: there is no video, or it stands still, or sound runs far ahead."""
        events: list[SegmentEvent] = []
        sounds = self._sounds
        if self._pictures.held is not None:
            # At least a part's worth, though all of it may be far ahead.
            self._close_part(events, max(self._sound_limit - self._lead_ticks, sounds.units[0].dts) + 1)
            if self._past_cap():
                self._pictures.finish()
                self._close_part(events, 0)
                self._cut_at_sound(events, unit)
            return events
        first = sounds.units[0]
        if (
            0 <= unit.dts + 2 * unit.duration - first.dts <= self._sound_part_ticks
            and len(sounds.units) < _MAX_PART_UNITS
        ):
            self._aim()
            return events
        # A unit that a hole keeps apart from the others belongs to the next part.
        apart = unit.dts - first.dts > self._sound_part_ticks
        self._close_part(events, unit.dts if apart else unit.dts + 1)
        slack = self._settings.part_s / 2
        if self._segment.end_ns - self._segment.start_ns >= (self._segment_s - slack) * NS_PER_S:
            self._cut_at_sound(events, unit)
        return events

    def _unusual(self, unit: AccessUnit) -> list[SegmentEvent]:
        """A unit of an epoch or of a track that is not the one that came last."""
        events: list[SegmentEvent] = []
        track = unit.track
        if unit.epoch != self._epoch:
            if self._gathering is None or unit.epoch != self._gathering.epoch:
                events += self.flush()
                self._gathering = Gathering(unit.epoch, self._settings.track_wait_s)
            if self._gathering.add(unit):
                events += self._begin(self._gathering)
        elif isinstance(track, VideoTrack):
            if track == self._video:
                self._video = track
                return self.push(unit)
            if self._video is None and not unit.keyframe:
                return events
            self._change_video(events, track, unit)
        elif track == self._sound:
            self._sound = track
            return self.push(unit)
        else:
            changed_again = bool(self._next_sounds) and track != self._next_sounds[-1].track
            if changed_again:
                self._cut(events, unit, unit.dts * NS_PER_S // track.clock_rate)
            self._next_sounds.append(unit)
            self._keyframe_cuts_at = 0
            if self._pictures.held is None or len(self._next_sounds) > _MAX_WAITING_SOUNDS:
                self._cut(events, unit, unit.dts * NS_PER_S // track.clock_rate)
        return events

    def _change_video(self, events: list[SegmentEvent], track: VideoTrack, unit: AccessUnit) -> None:
        """New parameter sets, or video where there was none: a new period begins with ``unit``."""
        # First of all, because it may raise.
        period = self._make_period(track, self._next_sound_track())
        pictures = self._pictures
        if pictures.held is not None and 0 < unit.dts - pictures.held_dts <= self._max_step:
            pictures.finish(unit.dts)
        else:
            pictures.finish()
        start_ns = unit.dts * NS_PER_S // track.clock_rate
        self._close_part(events, self._sounds.ticks(start_ns))
        events.append(self._segment.end(start_ns))
        self._enter(period)
        self._start_with(events, unit)

    def _begin(self, gathering: Gathering) -> list[SegmentEvent]:
        """The tracks are known: open the first segment of the epoch."""
        events: list[SegmentEvent] = []
        self._gathering = None
        period = self._period
        if period is None or period.tracks != gathering.tracks:
            period = self._make_period(gathering.video, gathering.sound)
        self._enter(period)
        # Whether a track is the one at hand is asked by identity first.
        self._video, self._sound = gathering.video, gathering.sound
        self._epoch = gathering.epoch
        self._awaiting_keyframe = True
        keyframe = gathering.keyframe
        if keyframe is not None:
            self._start_with(events, keyframe)
        else:
            first = gathering.units[0]
            start_ns = first.dts * NS_PER_S // first.track.clock_rate
            self._open_segment(events, first, start_ns, discontinuity=True)
        for unit in gathering.units:
            if unit is not keyframe:
                events += self.push(unit)
        return events

    def _next_sound_track(self) -> AudioTrack | None:
        if self._next_sounds and isinstance(self._next_sounds[-1].track, AudioTrack):
            return self._next_sounds[-1].track
        return self._sound

    def _make_period(self, video: VideoTrack | None, sound: AudioTrack | None) -> Period:
        tracks = tuple(track for track in (video, sound) if track is not None)
        init = {track.id: init_segment((track,)) for track in tracks}
        return Period(0 if self._period is None else self._period.number + 1, tracks, init)

    def _enter(self, period: Period) -> None:
        """Go on with this period's tracks; sound that has waited for it is now its own."""
        settings = self._settings
        video = next((track for track in period.tracks if isinstance(track, VideoTrack)), None)
        sound = next((track for track in period.tracks if isinstance(track, AudioTrack)), None)
        if video is not None:
            if self._pictures.held is None:
                self._pictures = PictureRun(video.clock_rate)
            self._part_ticks = round(settings.part_s * (1 + _PART_SLACK) * video.clock_rate)
            self._max_step = round(settings.max_segment_s * video.clock_rate)
            self._max_back = round(settings.max_step_back_s * video.clock_rate)
        if sound is not None and (sound != self._sound or self._next_sounds):
            self._sounds = SoundRun(sound.clock_rate)
            self._sounds.units = [unit for unit in self._next_sounds if unit.track == sound]
            self._sound_part_ticks = round(settings.part_s * sound.clock_rate)
            self._lead_ticks = round(settings.sound_lead_s * sound.clock_rate)
        self._next_sounds = []
        self._period, self._video, self._sound = period, video, sound

    def _start_with(self, events: list[SegmentEvent], unit: AccessUnit) -> None:
        """Open a segment with this picture as its first."""
        self._awaiting_keyframe = False
        self._open_segment(events, unit, unit.dts * NS_PER_S // unit.track.clock_rate, discontinuity=True)
        self._pictures.begin(unit)
        self._aim()

    def _open_segment(
        self, events: list[SegmentEvent], unit: AccessUnit, start_ns: int, *, discontinuity: bool
    ) -> None:
        """Begin a segment at ``start_ns`` of the timeline; ``unit`` is from about then and tells the wall clock."""
        assert self._period is not None
        independent = self._video is None or (unit.keyframe and unit.track is self._video)
        utc_ns = unit.utc_ns + start_ns - unit.dts * NS_PER_S // unit.track.clock_rate
        start = self._segment.begin(
            self._period, start_ns, utc_ns, discontinuity=discontinuity, independent=independent
        )
        self._keyframe_cuts_at = 0
        self._segment_s, self._next_s = self._next_s, self._settings.segment_s
        if self._video is not None:
            rate = self._video.clock_rate
            length = round(self._segment_s * (1 - _SEGMENT_SLACK) * rate)
            self._keyframe_cuts_at = start_ns * rate // NS_PER_S + length
        events.append(start)

    def _close_segment(self, events: list[SegmentEvent]) -> None:
        """Give out everything, the held picture and all sound, and end the segment."""
        pictures = self._pictures
        pictures.finish()
        self._close_part(events)
        while self._sounds.units:
            self._close_part(events)
        self._sounds.end = 0
        segment = self._segment
        end_ns = pictures.held_dts * NS_PER_S // pictures.rate if self._video is not None else segment.end_ns
        events.append(segment.end(end_ns if end_ns > segment.start_ns else segment.end_ns))

    def _cut(self, events: list[SegmentEvent], unit: AccessUnit, start_ns: int) -> None:
        """End the segment and begin the next at ``unit``, which is a picture, or sound of a new kind."""
        new_sound = bool(self._next_sounds)
        self._close_part(events)
        while new_sound and self._sounds.units:
            self._close_part(events, _END_OF_TIME)
        events.append(self._segment.end(start_ns))
        if new_sound:
            self._enter(self._make_period(self._video, self._next_sound_track()))
        self._open_segment(events, unit, start_ns, discontinuity=new_sound)
        self._aim()

    def _cut_at_sound(self, events: list[SegmentEvent], unit: AccessUnit) -> None:
        start_ns = self._sounds.end * NS_PER_S // self._sounds.rate
        events.append(self._segment.end(start_ns))
        self._open_segment(events, unit, start_ns, discontinuity=False)
        self._aim()

    def _past_cap(self) -> bool:
        settings, segment = self._settings, self._segment
        return (
            segment.end_ns - segment.start_ns >= settings.max_segment_s * NS_PER_S
            or segment.size >= settings.max_segment_bytes
        )

    def _close_part(self, events: list[SegmentEvent], before: int | None = None) -> None:
        """Make a part of the pictures that are complete and of the sound that starts before them (or before tick
        ``before`` of its own)."""
        pictures, sounds = self._pictures, self._sounds
        chunks: dict[int, Chunk] = {}
        independent = self._video is None
        start_ns = end_ns = -1
        self._fragments += 1
        if len(pictures):
            independent = pictures.starts_with_keyframe
            chunk = pictures.chunk(self._fragments, VIDEO_TRACK_ID)
            chunks[VIDEO_TRACK_ID] = chunk
            start_ns = chunk.dts * NS_PER_S // pictures.rate
            end_ns = (chunk.dts + chunk.duration) * NS_PER_S // pictures.rate
        if sounds.units:
            if before is None and pictures.held is not None:
                before = -(-pictures.held_dts * sounds.rate // pictures.rate)
            sound = sounds.chunk(self._fragments, AUDIO_TRACK_ID, before)
            if sound is not None:
                chunks[AUDIO_TRACK_ID] = sound
                if start_ns < 0:
                    start_ns = sound.dts * NS_PER_S // sounds.rate
                    end_ns = sounds.end * NS_PER_S // sounds.rate
        self._aim()
        if chunks:
            part = self._segment.add(start_ns, end_ns, chunks, independent=independent)
            if part is not None:
                events.append(part)

    def _aim(self) -> None:
        """Set the tick from which sound makes a part by itself."""
        sounds = self._sounds
        if self._pictures.held is not None:
            base = max(self._pictures.start * sounds.rate // self._pictures.rate, sounds.end)
            self._sound_limit = base + self._sound_part_ticks + self._lead_ticks
        elif sounds.units:
            first, last = sounds.units[0], sounds.units[-1]
            self._sound_limit = first.dts + self._sound_part_ticks - 2 * last.duration + 1
        else:
            self._sound_limit = 0

"""One live stream: a camera in one quality, as everything above the network sees it.

Owned by the task that feeds it (a camera session, a WHIP ingest). That task alone calls :meth:`LiveStream.publish`
and :meth:`LiveStream.end`; everyone else opens readers.
"""

import contextlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum

from media.clock import Clock
from media.fanout import Fanout, Reader, ReaderLimits
from media.gop import GopCache
from media.segmenter import Segmenter, SegmenterSettings
from media.segments import Part, SegmentEvent, SegmentStart
from media.unit import NS_PER_S, VIDEO_TRACK_ID, AccessUnit, AudioTrack, StreamItem, Track


class Quality(StrEnum):
    """Main is what is recorded; sub is for walls of pictures and thin lines."""

    MAIN = "main"
    SUB = "sub"


class Pace(Enum):
    """How soon after its coming a reader wants media; what may come later comes in larger batches, and costs less."""

    CALM = "calm"
    """Nobody looks: a few tenths of a second later. A recording, say."""
    STEADY = "steady"
    """Somebody looks on: less than a tenth later."""
    HURRIED = "hurried"
    """Somebody talks through the camera: each packet the moment it comes."""


@dataclass(frozen=True, slots=True)
class StreamId:
    """Which camera, in which quality."""

    camera: str
    quality: Quality = Quality.MAIN


def _unit_size(item: StreamItem) -> int:
    return len(item.data) if isinstance(item, AccessUnit) else 0


def _event_size(event: SegmentEvent) -> int:
    return event.size if isinstance(event, Part) else 0


class LiveStream:
    """Access units in; access units and CMAF parts out, each to any number of bounded readers.

    Segments are cut only while somebody reads them. The first reader starts at the cached GOP, so that it need not
    wait for the next keyframe.
    """

    def __init__(self, stream_id: StreamId, clock: Clock, settings: SegmenterSettings | None = None) -> None:
        self.id = stream_id
        self.announced: AudioTrack | None = None
        """What a stream of sound alone will bring, known before it does: a voice that is listened to ahead."""
        self.pace_changed: Callable[[], None] | None = None
        """For whoever feeds the stream: called when :attr:`pace` has changed."""
        self.reader_opened: Callable[[], None] | None = None
        """For whoever feeds the stream on demand: called when somebody begins to read it."""
        self._steady = 0
        self._hurried = 0
        self._clock = clock
        self._settings = settings or SegmenterSettings()
        self._first_share = 1 - self._settings.stagger * (zlib.crc32(stream_id.camera.encode()) % 1000) / 1000
        self._gop = GopCache()
        self._units = Fanout[StreamItem](_unit_size, self._starts_here)
        self._segments = Fanout[SegmentEvent](_event_size, lambda event: isinstance(event, SegmentStart))
        self._segmenter: Segmenter | None = None
        self._next_sequence = 0

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks that have brought media in the current epoch, video first."""
        return self._gop.tracks

    @property
    def last_keyframe(self) -> AccessUnit | None:
        """The newest keyframe, for a still picture."""
        return self._gop.last_keyframe

    @property
    def begins_utc_ns(self) -> int | None:
        """From when that is with which a reader of now begins, Unix nanoseconds; None while nothing is cached."""
        units = self._gop.units()
        return units[0].utc_ns if units else None

    @property
    def overflows(self) -> int:
        """How often readers have fallen behind and been cut to the next start."""
        return self._units.overflows + self._segments.overflows

    @property
    def watched(self) -> bool:
        """Whether anybody reads the stream."""
        return bool(self._units.readers or self._segments.readers)

    @property
    def pace(self) -> Pace:
        """How soon after its coming media is wanted: as soon as the reader who cannot wait longest wants it."""
        if self._hurried:
            return Pace.HURRIED
        return Pace.STEADY if self._steady else Pace.CALM

    @contextlib.contextmanager
    def _at(self, pace: Pace) -> Iterator[None]:
        self._wanted(pace, 1)
        try:
            yield
        finally:
            self._wanted(pace, -1)

    def _wanted(self, pace: Pace, change: int) -> None:
        before = self.pace
        if pace is Pace.HURRIED:
            self._hurried += change
        elif pace is Pace.STEADY:
            self._steady += change
        if before is not self.pace and self.pace_changed is not None:
            self.pace_changed()

    def _starts_here(self, item: StreamItem) -> bool:
        """Where a reader that fell behind may go on: at a keyframe; anywhere if there is only sound."""
        if not isinstance(item, AccessUnit) or not item.keyframe:
            return False
        return item.track.id == VIDEO_TRACK_ID or not self._gop.has_video

    def publish(self, item: StreamItem) -> None:
        """Hand one item on. Never waits."""
        if isinstance(item, AccessUnit):
            self._gop.push(item)
        self._units.publish(item)
        if self._segmenter is not None:
            for event in self._segmenter.push(item):
                self._segments.publish(event)

    @contextlib.contextmanager
    def read_units(
        self, name: str, limits: ReaderLimits | None = None, *, from_gop: bool = True, pace: Pace = Pace.STEADY
    ) -> Iterator[Reader[StreamItem]]:
        """A reader of access units, by default from the newest keyframe on, who wants them at a pace."""
        with self._at(pace), self._units.reader(name, limits) as reader:
            if from_gop:
                self._units.catch_up(reader, self._gop.units())
            self._opened()
            yield reader

    @contextlib.contextmanager
    def read_segments(
        self, name: str, limits: ReaderLimits | None = None, *, pace: Pace = Pace.STEADY
    ) -> Iterator[Reader[SegmentEvent]]:
        """A reader of segment events, who wants them at a pace. It starts with the segment that is open, from that
        segment's beginning."""
        with self._at(pace), self._segments.reader(name, limits) as reader:
            try:
                self._segments.catch_up(reader, self._open_segment())
                self._opened()
                yield reader
            finally:
                if self._segments.readers == (reader,) and self._segmenter is not None:
                    self._next_sequence = self._segmenter.next_sequence
                    self._segmenter = None

    def _open_segment(self) -> Sequence[SegmentEvent]:
        """The open segment so far. Nobody has cut any yet: it begins with the cached GOP."""
        if self._segmenter is not None:
            return self._segmenter.open_segment()
        # Wall-clock seconds as first number: numbers go on growing when the service starts anew (RFC 8216, 6.2.2).
        # Within one life they do so even if the clock is set back, or segments are shorter than a second.
        first = max(self._clock.utc_ns() // NS_PER_S, self._next_sequence)
        self._segmenter = Segmenter(self._settings, first, first_share=self._first_share)
        return [event for unit in self._gop.units() for event in self._segmenter.push(unit)]

    def _opened(self) -> None:
        if self.reader_opened is not None:
            self.reader_opened()

    def rest(self) -> None:
        """Nothing comes until somebody reads again: forget the cached GOP, which nobody may take for live then."""
        self._gop = GopCache()

    def pause(self) -> None:
        """Nothing comes for a while, and nothing is missing: close the open segment, forget what is cached."""
        self.break_off()
        self._gop = GopCache()

    def break_off(self) -> None:
        """What feeds the stream has gone; what comes next is another epoch. The open segment is closed, so that readers
        have the last picture though nothing comes to end it."""
        if self._segmenter is not None:
            for event in self._segmenter.flush():
                self._segments.publish(event)

    def end(self) -> None:
        """The stream is over for good: close the open segment, let readers finish."""
        self.break_off()
        self._units.end()
        self._segments.end()

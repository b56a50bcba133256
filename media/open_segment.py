"""The segment that is being made: where it begins, what of it has been given out, how long and how large it is."""

from collections.abc import Mapping

from media.segments import Chunk, Part, Period, SegmentEnd, SegmentEvent, SegmentStart
from media.unit import Gap


class OpenSegment:
    """One after the other, numbered from ``first_sequence`` on. Owned by its segmenter.

    ``start_ns`` and ``end_ns`` are nanoseconds of the stream's timeline: where the segment begins, and how far its
    parts reach. ``size`` is their bytes. ``independent`` is true if it begins with a keyframe, or has no video.
    ``replay`` is what it consists of so far, for readers that come late.
    """

    __slots__ = ("_begun", "_index", "_start", "end_ns", "independent", "replay", "sequence", "size", "start_ns")

    def __init__(self, first_sequence: int) -> None:
        self.sequence = first_sequence - 1
        self.start_ns = 0
        self.end_ns = 0
        self.size = 0
        self.independent = False
        self.replay: list[SegmentEvent] = []
        self._start: SegmentStart | None = None
        self._index = 0
        self._begun = False

    @property
    def is_open(self) -> bool:
        """Whether one is being made."""
        return self._start is not None

    def begin(
        self, period: Period, start_ns: int, utc_ns: int, *, discontinuity: bool, independent: bool
    ) -> SegmentStart:
        """Open the next one at ``start_ns``, which was ``utc_ns`` on the wall clock."""
        self.sequence += 1
        self.start_ns = self.end_ns = start_ns
        self.size = self._index = 0
        self.independent = independent
        # Nothing comes before the first segment that it could be discontinuous with.
        after_another, self._begun = self._begun, True
        start = SegmentStart(self.sequence, utc_ns, period, discontinuity and after_another)
        self._start = start
        self.replay = [start]
        return start

    def add(self, start_ns: int, end_ns: int, chunks: Mapping[int, Chunk], *, independent: bool) -> Part | None:
        """The next part, of ``chunks`` that span ``start_ns`` to ``end_ns``; None while no segment is open."""
        if self._start is None:
            return None
        utc_ns = self._start.start_utc_ns + start_ns - self.start_ns
        part = Part(self.sequence, self._index, utc_ns, end_ns - start_ns, independent, chunks)
        self._index += 1
        self.size += part.size
        self.end_ns = max(self.end_ns, end_ns)
        self.replay.append(part)
        return part

    def note(self, gap: Gap) -> None:
        """A gap that comes while it is open is told to late readers too."""
        if self._start is not None:
            self.replay.append(gap)

    def end(self, end_ns: int) -> SegmentEnd:
        """What tells that it is whole, and lasts until ``end_ns``."""
        return SegmentEnd(self.sequence, max(0, end_ns - self.start_ns))

    def forget(self) -> None:
        """None is open any more."""
        self._start = None
        self.replay = []

"""What the CMAF segmenter emits. The same bytes are played live, hashed and archived (ISO/IEC 23000-19).

A *period* is a stretch with one set of tracks and init segments. A *segment* runs from keyframe to keyframe, about
four seconds. A *part* is at most a second of it: for each track one ``moof`` + ``mdat``. A track's bytes of a segment
are its parts' bytes joined.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from media.unit import Gap, Track


@dataclass(frozen=True, slots=True)
class Period:
    """One set of tracks. ``number`` counts from 0 in a stream's life; ``init`` holds each track's init segment
    (``ftyp`` + ``moov`` with that track alone) by track id."""

    number: int
    tracks: tuple[Track, ...]
    init: Mapping[int, bytes]


# Chunks and parts are made twice a second for every camera: compiled, a written-out constructor takes a fifth of what
# dataclass makes.
@dataclass(init=False, slots=True)
class Chunk:
    """One track's share of a part: :attr:`data` is ``moof`` + ``mdat`` of ``size`` bytes; ``dts`` (= tfdt) and
    ``duration`` in ticks of the track's clock rate.

    ``pieces`` are the same bytes as they lie in memory: the samples are the access units' own, which the GOP cache
    has too, and are put together only by who needs them in one.
    """

    pieces: Sequence[bytes]
    dts: int
    duration: int
    samples: int
    size: int

    def __init__(self, pieces: Sequence[bytes], dts: int, duration: int, samples: int, size: int) -> None:
        self.pieces = pieces
        self.dts = dts
        self.duration = duration
        self.samples = samples
        self.size = size

    @property
    def data(self) -> bytes:
        """The pieces joined, anew each time."""
        return b"".join(self.pieces)


@dataclass(frozen=True, slots=True)
class SegmentStart:
    """A segment begins. ``sequence`` grows for the whole life of a stream and over restarts of the service.

    ``discontinuity`` is true where time or tracks do not run on from the segment before (EXT-X-DISCONTINUITY).
    """

    sequence: int
    start_utc_ns: int
    period: Period
    discontinuity: bool


@dataclass(init=False, slots=True)
class Part:
    """A part of the open segment. ``independent`` is true if it starts with a keyframe. ``chunks`` is by track id; a
    track with nothing in this part is absent."""

    sequence: int
    index: int
    start_utc_ns: int
    duration_ns: int
    independent: bool
    chunks: Mapping[int, Chunk]

    def __init__(
        self,
        sequence: int,
        index: int,
        start_utc_ns: int,
        duration_ns: int,
        independent: bool,
        chunks: Mapping[int, Chunk],
    ) -> None:
        self.sequence = sequence
        self.index = index
        self.start_utc_ns = start_utc_ns
        self.duration_ns = duration_ns
        self.independent = independent
        self.chunks = chunks

    @property
    def size(self) -> int:
        """Bytes of all chunks."""
        return sum([chunk.size for chunk in self.chunks.values()])


@dataclass(frozen=True, slots=True)
class SegmentEnd:
    """The open segment is whole. ``duration_ns`` is what its longest track (video, where there is one) shows."""

    sequence: int
    duration_ns: int


SegmentEvent = SegmentStart | Part | SegmentEnd | Gap

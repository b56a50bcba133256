"""Segment events of made-up bytes, for tests of what does not look into the media."""

import random
from collections.abc import Iterator

from media.segments import Chunk, Part, Period, SegmentEnd, SegmentEvent, SegmentStart
from media.unit import NS_PER_S, AudioTrack, Codec, VideoTrack

VIDEO = VideoTrack(Codec.H264, (b"\x67sps", b"\x68pps"), 640, 360)
SOUND = AudioTrack(Codec.PCMA, 8_000, 1)
PERIOD = Period(0, (VIDEO, SOUND), {1: b"video-init", 2: b"sound-init"})
START_NS = 1_760_000_000 * NS_PER_S


def segment(
    sequence: int,
    start_utc_ns: int,
    *,
    parts: int = 4,
    part_bytes: int = 200,
    discontinuity: bool = False,
    period: Period = PERIOD,
) -> Iterator[SegmentEvent]:
    """One segment of ``parts`` parts of half a second, each with ``part_bytes`` of video and 40 of sound."""
    noise = random.Random(sequence)
    yield SegmentStart(sequence, start_utc_ns, period, discontinuity)
    for index in range(parts):
        at = start_utc_ns + index * NS_PER_S // 2
        ticks = (at - START_NS) // 1000 * 90_000 // 1_000_000
        sound = (at - START_NS) // 1000 * 8_000 // 1_000_000
        chunks = {
            1: Chunk((noise.randbytes(part_bytes),), ticks, 45_000, 12, part_bytes),
            2: Chunk((noise.randbytes(40),), sound, 4_000, 25, 40),
        }
        yield Part(sequence, index, at, NS_PER_S // 2, index == 0, chunks)
    yield SegmentEnd(sequence, parts * NS_PER_S // 2)


def segments(count: int, *, first: int = 100, parts: int = 4, part_bytes: int = 200) -> Iterator[SegmentEvent]:
    """``count`` segments that run on."""
    for index in range(count):
        start = START_NS + index * parts * NS_PER_S // 2
        yield from segment(first + index, start, parts=parts, part_bytes=part_bytes, discontinuity=index == 0)

"""Units without content, the segmenter, and what comes out of it."""

from collections.abc import Iterable

from media.fmp4 import Sample
from media.fmp4_read import read_fragments
from media.segmenter import Segmenter, SegmenterSettings
from media.segments import Part, SegmentEnd, SegmentEvent, SegmentStart
from media.unit import NS_PER_S, AccessUnit, AudioTrack, Codec, StreamItem, VideoTrack
from tests.support.encoded import ORIGIN_NS

SETTINGS = SegmenterSettings()
VIDEO = VideoTrack(Codec.H264, (b"\x67\x42\x00\x1f", b"\x68\xce"), 320, 180)
SOUND = AudioTrack(Codec.PCMA, 8_000, 1)
OTHER_SOUND = AudioTrack(Codec.PCMU, 8_000, 1)


def run(
    items: Iterable[StreamItem], settings: SegmenterSettings = SETTINGS, *, flush: bool = True
) -> list[SegmentEvent]:
    """What a segmenter makes of ``items``; sequences begin at 1,000."""
    segmenter = Segmenter(settings, 1_000)
    events = [event for item in items for event in segmenter.push(item)]
    return events + (segmenter.flush() if flush else [])


def check_order(events: list[SegmentEvent]) -> None:
    """SegmentStart, Parts counted from 0, SegmentEnd; sequences without holes."""
    open_sequence, index, last = None, 0, None
    for event in events:
        if isinstance(event, SegmentStart):
            assert open_sequence is None
            assert last is None or event.sequence == last + 1
            open_sequence, index = event.sequence, 0
        elif isinstance(event, Part):
            assert (event.sequence, event.index) == (open_sequence, index)
            assert event.chunks
            assert event.duration_ns > 0
            index += 1
        elif isinstance(event, SegmentEnd):
            assert event.sequence == open_sequence
            assert event.duration_ns >= 0
            open_sequence, last = None, event.sequence


def samples_of(events: list[SegmentEvent], track_id: int) -> list[Sample]:
    """The samples of a track, in order."""
    data = [event.chunks[track_id].data for event in events if isinstance(event, Part) and track_id in event.chunks]
    return read_fragments(b"".join(data), track_id)


def starts(events: list[SegmentEvent]) -> list[SegmentStart]:
    """The segments' beginnings."""
    return [event for event in events if isinstance(event, SegmentStart)]


def parts(events: list[SegmentEvent]) -> list[Part]:
    """The parts."""
    return [event for event in events if isinstance(event, Part)]


def durations(events: list[SegmentEvent]) -> list[float]:
    """How long the segments are, seconds."""
    return [event.duration_ns / NS_PER_S for event in events if isinstance(event, SegmentEnd)]


def pictures(
    seconds: float, *, fps: float = 25, gop: int = 50, start_s: float = 100, track: VideoTrack = VIDEO, epoch: int = 0
) -> list[AccessUnit]:
    """Pictures without content; each one's data tell its number."""
    units = []
    for number in range(round(seconds * fps)):
        dts = round((start_s + number / fps) * 90_000)
        utc_ns = ORIGIN_NS + dts * 100_000 // 9
        data = number.to_bytes(4, "big")
        units.append(AccessUnit(track, dts, dts, utc_ns, data, number % gop == 0, 0, epoch))
    return units


def sounds(
    seconds: float, *, start_s: float = 100, track: AudioTrack = SOUND, epoch: int = 0, step: int = 320
) -> list[AccessUnit]:
    """Frames of sound without content, ``step`` samples each; each one's data tell its time."""
    start = round(start_s * track.clock_rate)
    units = []
    for at in range(start, start + round(seconds * track.clock_rate), step):
        utc_ns = ORIGIN_NS + at * NS_PER_S // track.clock_rate
        units.append(AccessUnit(track, at, at, utc_ns, at.to_bytes(8, "big"), True, step, epoch))
    return units

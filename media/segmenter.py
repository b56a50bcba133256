"""Access units in, CMAF parts and segments out. Runs on the event loop, once per unit: nothing here decodes or waits."""

from dataclasses import dataclass

from media.segments import SegmentEvent
from media.unit import StreamItem


@dataclass(frozen=True, slots=True)
class SegmenterSettings:
    """``part_s``: longest part. ``segment_s``: a segment ends at the first keyframe at or past this length.

    Past ``max_segment_s`` or ``max_segment_bytes`` a segment is cut without a keyframe, so that none grows for ever.
    ``track_wait_s``: how long the first segment waits for a second track and for a keyframe. ``sound_lead_s``: how far
    sound may run ahead of video before parts are cut by sound alone.
    """

    part_s: float = 0.5
    segment_s: float = 4.0
    max_segment_s: float = 40.0
    max_segment_bytes: int = 32 * 1024 * 1024
    track_wait_s: float = 1.0
    sound_lead_s: float = 1.0


class Segmenter:
    """Cuts one stream. Owned by the task that feeds the stream; no I/O, no waiting.

    Events come in the order SegmentStart, Part…, SegmentEnd; a Gap passes through at once, wherever it comes.
    """

    def __init__(self, settings: SegmenterSettings, first_sequence: int) -> None:
        self._settings = settings
        self._sequence = first_sequence

    def push(self, item: StreamItem) -> list[SegmentEvent]:
        """Take the next unit or gap; the events it completes."""
        raise NotImplementedError

    def open_segment(self) -> list[SegmentEvent]:
        """The open segment so far (its SegmentStart, gaps and Parts), for a reader that comes late."""
        raise NotImplementedError

    def flush(self) -> list[SegmentEvent]:
        """The stream ends or pauses: close the open segment. A later unit opens a new one, discontinuous."""
        raise NotImplementedError

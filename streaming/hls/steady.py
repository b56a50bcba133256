"""AAC at one pace: what a line has lost of it is silence, so that parts have their number of frames wherever they are.

Players count what they have played, and a playlist adds up what it has told: neither may fall behind the time that it
is. The same silence stands in for lost frames in a recording's MP4 (:mod:`recorder.mp4_layout`).
"""

from collections.abc import Iterator

from media.fmp4 import Sample
from media.transcode import AAC_FRAME

_SLEW = AAC_FRAME // 8
"""How far a part may begin from where the one before it ended. Camera clocks are uneven, and none is wrong by more than
this in half a second."""


class SteadySound:
    """Where each frame of one track goes. All times are ticks of its sampling rate.

    ``silence`` is a silent frame that fits among the track's. Holes longer than ``longest`` are leaps of the clock.
    """

    def __init__(self, silence: bytes, longest: int) -> None:
        self._silence = silence
        self._longest = longest
        self._end: int | None = None

    def resume(self, at: int) -> None:
        """Sound is told to begin at ``at``; what has been given out already stays as it is, and goes on if it ended
        there."""
        if self._end is None or 2 * (at - self._end) >= AAC_FRAME:
            self._end = at

    def filled(self, dts: int) -> Iterator[Sample]:
        """Silence for what is missing before the frame of ``dts``, to the nearest frame."""
        while self._end is not None and AAC_FRAME <= 2 * (dts - self._end) and dts - self._end <= self._longest:
            start, self._end = self._end, self._end + AAC_FRAME
            yield Sample(start, AAC_FRAME, 0, True, self._silence)

    def place(self, frame: Sample, *, begins_part: bool) -> None:
        """Give a frame its place: behind the one before it, unless time has leapt."""
        off = 0 if self._end is None else frame.dts - self._end
        if self._end is None or abs(off) > self._longest:
            self._end = frame.dts
        elif begins_part:
            self._end += max(-_SLEW, min(off, _SLEW))
        frame.dts, frame.duration = self._end, AAC_FRAME
        self._end += AAC_FRAME

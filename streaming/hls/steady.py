"""AAC at one pace: what a line has lost of it is silence, so that parts have their number of frames wherever they are.

Players count what they have played, and a playlist adds up what it has told: neither may fall behind the time that it
is. The same silence stands in for lost frames in a recording's MP4 (:mod:`recorder.mp4_layout`).
"""

from collections.abc import Callable, Iterator, Sequence

from media.fmp4 import Sample
from media.transcode import AAC_FRAME

_SLEW = AAC_FRAME // 8
"""How far a part may begin from where the one before it ended, while sound comes nearer to its time."""
_UNEVEN_S = 0.04
"""Many cameras stamp their frames no better than this, and so near to its time nobody hears that sound is off it."""
_WITNESSES_S = 0.1
"""Whether frames are missing is told by the next ones that last as long together: one alone may be stamped wrong."""


class SteadySound:
    """Where each frame of one track goes. All times are ticks of its sampling ``rate``.

    ``silence`` is a silent frame that fits among the track's. Holes longer than ``longest`` are leaps of the clock.
    """

    def __init__(self, silence: bytes, rate: int, longest: int) -> None:
        self._silence = silence
        self._longest = longest
        self._uneven = max(AAC_FRAME // 2, round(_UNEVEN_S * rate))
        self._witnesses = -(-round(_WITNESSES_S * rate) // AAC_FRAME)
        self._end: int | None = None

    def resume(self, at: int) -> None:
        """Sound is told to begin at ``at``; what has been given out already stays as it is, and goes on if it ended
        there."""
        if self._end is None or 2 * (at - self._end) >= AAC_FRAME:
            self._end = at

    def placed(self, frames: Sequence[Sample], begins_part: Callable[[], bool]) -> Iterator[Sample]:
        """The frames, each behind the one before it unless time has leapt, with silence for what is missing before
        them, to the nearest frame. ``begins_part`` tells whether the next one does.

        Frames whose time has been told already are left out: time went back, or goes more slowly than the sound. With
        them all that comes would be late.
        """
        for number, frame in enumerate(frames):
            off = self._off(frames, number)
            if off < 0:
                continue
            for _ in range((2 * off + AAC_FRAME) // (2 * AAC_FRAME)):
                yield self._next(Sample(0, AAC_FRAME, 0, True, self._silence))
            self._come_nearer(frame.dts, begins_part=begins_part())
            yield self._next(frame)

    def _off(self, frames: Sequence[Sample], number: int) -> int:
        """How far from where they would go that frame and those behind it are, each at least; 0 where that is little,
        or too much."""
        if self._end is None or abs(frames[number].dts - self._end) < self._uneven:
            return 0
        ahead = frames[number : number + self._witnesses]
        offs = [frame.dts - self._end - n * AAC_FRAME for n, frame in enumerate(ahead)]
        off = max(0, min(offs)) if offs[0] > 0 else min(0, max(offs))
        # Where those behind it are not known yet, the few must be the surer.
        little = self._uneven * (1 + self._witnesses - len(ahead))
        return off if little <= abs(off) <= self._longest else 0

    def _come_nearer(self, dts: int, *, begins_part: bool) -> None:
        off = 0 if self._end is None else dts - self._end
        if self._end is None or abs(off) > self._longest:
            self._end = dts
        elif begins_part:
            self._end += max(-_SLEW, min(off, _SLEW))

    def _next(self, frame: Sample) -> Sample:
        assert self._end is not None
        frame.dts, frame.duration = self._end, AAC_FRAME
        self._end += AAC_FRAME
        return frame

"""Decoding times for pictures that come with times of presentation alone, as RTP brings them."""


class DecodeTimes:
    """Decoding times for pictures that come in decoding order with times of presentation (B-frames).

    With reordering depth ``n`` the decoding time is the presentation time ``n`` places earlier in sorted order: never
    later than its own, always growing. The depth grows by itself where parameter sets do not tell it.
    """

    MAX_DEPTH = 16

    def __init__(self, depth: int = 0) -> None:
        self._depth = min(depth, self.MAX_DEPTH)
        self._waiting: list[int] = []
        self._last: int | None = None

    def deepen(self, depth: int) -> None:
        """The parameter sets ask for at least this depth."""
        self._depth = max(self._depth, min(depth, self.MAX_DEPTH))

    def restart(self) -> None:
        """Time does not run on evenly here: do not mix what was before with what comes."""
        self._waiting.clear()

    def dts(self, pts: int, frame_ticks: int) -> int:
        """The decoding time of the picture shown at ``pts``; ``frame_ticks`` is about one picture's duration."""
        waiting = self._waiting
        last = self._last
        if self._depth == 0:
            if last is None or pts > last:
                self._last = pts
                return pts
            self._depth = 1
        elif last is not None and pts <= last and self._depth < self.MAX_DEPTH:
            self._depth += 1
        waiting.append(pts)
        waiting.sort()
        if len(waiting) > self._depth:
            dts = waiting[-self._depth - 1]
            del waiting[: -self._depth]
        else:
            dts = waiting[0] - (self._depth - len(waiting) + 1) * frame_ticks
        if last is not None and dts <= last:
            dts = last + 1
        self._last = dts
        return dts

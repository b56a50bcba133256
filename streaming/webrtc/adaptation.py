"""Which of a camera's streams a viewer's line carries: down quickly, up again carefully, never by encoding anew."""

from dataclasses import dataclass

from media.clock import Clock
from media.stream import Quality
from media.unit import NS_PER_S


@dataclass(frozen=True, slots=True)
class AdaptationSettings:
    """A viewer goes to the sub stream when ``bad_reports`` reports in a row tell of more than ``loss`` lost, or when
    its estimate stays below ``too_little`` of the stream's rate for ``patience_s``. Estimates are not believed in the
    first ``settle_s``. It is tried on the main stream again after ``first_retry_s``, twice as long after each failure
    up to ``longest_retry_s``; a try that lasts ``steady_s`` forgets the failures."""

    loss: float = 0.10
    bad_reports: int = 3
    too_little: float = 0.7
    patience_s: float = 3.0
    settle_s: float = 6.0
    first_retry_s: float = 20.0
    longest_retry_s: float = 300.0
    steady_s: float = 60.0


class Adaptation:
    """One viewer's. Told of its line, it knows which stream it should have."""

    def __init__(self, clock: Clock, settings: AdaptationSettings | None = None) -> None:
        self._clock = clock
        self._settings = settings or AdaptationSettings()
        self.wanted = Quality.MAIN
        self.stream_bps = 0
        """What the stream that the viewer has now takes."""
        self.moves = 0
        self._since_ns = clock.monotonic_ns()
        self._bad = 0
        self._little_ns: int | None = None
        self._failures = 0
        self._loss_ns = 0

    def loss(self, fraction: float) -> None:
        """A report of packets lost, 0 to 1."""
        now = self._clock.monotonic_ns()
        if fraction > self._settings.loss:
            self._bad += 1
            self._loss_ns = now
            if self._bad >= self._settings.bad_reports:
                self._down(now)
        else:
            self._bad = 0

    def bitrate(self, bps: int) -> None:
        """The viewer's own estimate (REMB)."""
        now = self._clock.monotonic_ns()
        enough = bps >= self._settings.too_little * self.stream_bps
        if enough or now - self._since_ns < self._settings.settle_s * NS_PER_S:
            self._little_ns = None
        elif self._little_ns is None:
            self._little_ns = now
        elif now - self._little_ns >= self._settings.patience_s * NS_PER_S:
            self._down(now)

    def look(self) -> Quality:
        """What the viewer should have now."""
        now = self._clock.monotonic_ns()
        settings = self._settings
        since = now - self._since_ns
        if self.wanted is Quality.SUB:
            wait_s = min(settings.longest_retry_s, settings.first_retry_s * 2.0 ** min(self._failures - 1, 16))
            if since > wait_s * NS_PER_S and now - self._loss_ns > settings.first_retry_s / 2 * NS_PER_S:
                self._move(Quality.MAIN, now)
        elif self._failures and since > settings.steady_s * NS_PER_S:
            self._failures = 0
        return self.wanted

    def _down(self, now: int) -> None:
        if self.wanted is Quality.MAIN:
            self._failures += 1
            self._move(Quality.SUB, now)

    def _move(self, quality: Quality, now: int) -> None:
        self.wanted = quality
        self.moves += 1
        self._since_ns = now
        self._bad = 0
        self._little_ns = None

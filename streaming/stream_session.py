"""What feeds a LiveStream for as long as it is wanted, by one connection after another: state, rates, gaps.

A camera is called by us (:mod:`streaming.camera_session`); a page that sends its own picture calls us
(:mod:`streaming.pushed_session`).
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

from media.clock import Clock
from media.errors import MediaError
from media.receiver import StreamReceiver
from media.stream import LiveStream
from media.unit import NS_PER_S, AccessUnit, Gap, GapCause
from streaming.camera_status import Advice, CameraState, CameraStatus, Problem, state_after
from streaming.errors import CameraSilentError, StreamingError, WallClockSteppedError
from streaming.publishing import Publisher
from streaming.source import CameraSource, Transport

ORIGIN_LEAD_NS = 3600 * NS_PER_S
"""The timeline's zero lies this long before the stream's first use: a camera may begin with pictures it took before
it was asked, and decode times must not be negative (ISO/IEC 14496-12, 8.8.12)."""

NO_PICTURE_NS = 8 * NS_PER_S
"""A stream that brings sound and, for this long, no picture is one of sound alone. Not before: a camera may begin its
sound at once, and its picture with the next keyframe."""

_CAUSES: dict[type[Exception], GapCause] = {
    CameraSilentError: GapCause.SILENT,
    WallClockSteppedError: GapCause.CLOCK_JUMP,
}


@dataclass(slots=True)
class _Totals:
    packets: int = 0
    lost: int = 0
    bytes: int = 0
    pictures: int = 0


@dataclass(slots=True)
class _Rates:
    at_ns: int = 0
    totals: _Totals = field(default_factory=_Totals)
    bitrate_bps: int = 0
    fps: float = 0.0


class StreamSession(ABC):
    """Feeds one LiveStream for ever. All of it is owned by the task that runs :meth:`run`; others read the status.

    ``changed`` is called when the state changes.
    """

    def __init__(
        self, source: CameraSource, stream: LiveStream, clock: Clock, changed: Callable[[CameraStatus], None]
    ) -> None:
        self.source = source
        self.stream = stream
        self._clock = clock
        self._changed = changed
        # The timeline's zero: fixed for the stream's life, so time goes on over reconnects; earlier if our clock is set
        # back.
        self._origin_utc_ns = clock.utc_ns() - ORIGIN_LEAD_NS
        self._epoch = -1
        self._publisher = Publisher(stream, self._came)
        self._missing_cause = GapCause.DISCONNECTED
        self._connections = 0
        self._state = CameraState.CONNECTING
        self._since_utc_ns = clock.utc_ns()
        self._problem: Problem | None = None
        self._next_try_utc_ns: int | None = None
        self._before = _Totals()
        self._rates = _Rates()
        self._pictures_seen = 0
        self._pictured_ns = 0

    @abstractmethod
    async def run(self) -> None:
        """Feed the stream until cancelled."""

    @abstractmethod
    def retry_now(self) -> None:
        """Do not wait any longer."""

    @abstractmethod
    def _receiver(self) -> StreamReceiver | None:
        """What receives now."""

    @abstractmethod
    def _pictures(self) -> int:
        """Pictures that :meth:`_receiver` has put together."""

    def _transport(self) -> Transport | None:
        """How RTP comes; None where it does not come by RTSP."""
        return None

    def _advice(self) -> Advice | None:
        """What should be changed of a camera that works."""
        return None

    @property
    def source_in_use(self) -> CameraSource:
        """The source as it is called now, which may be otherwise than it was set."""
        return self.source

    def reconfigure(self, source: CameraSource) -> None:
        """Use another source for the same stream. Only while :meth:`run` is not running."""
        self.source = source
        if self._state is CameraState.ONLINE:
            self._missing_cause = GapCause.DISCONNECTED
        self._enter(CameraState.CONNECTING, None)

    def status(self) -> CameraStatus:
        """What is known now."""
        totals = self._totals()
        keyframe = self.stream.last_keyframe
        online = self._state is CameraState.ONLINE
        picture_missing = online and self._picture_missing(totals)
        advice = Advice("sound-only") if picture_missing else self._advice()
        return CameraStatus(
            camera_id=self.source.camera_id,
            quality=self.source.quality,
            state=self._state,
            since_utc_ns=self._since_utc_ns,
            problem=self._problem,
            tracks=self.stream.tracks if online else (),
            bitrate_bps=self._rates.bitrate_bps if online else 0,
            fps=self._rates.fps if online else 0.0,
            packets=totals.packets,
            packets_lost=totals.lost,
            reconnects=self._connections - 1 if self._connections else 0,
            clock_offset_ns=self._clock_offset_ns(),
            last_media_utc_ns=self._publisher.newest_utc_ns or None,
            last_keyframe_utc_ns=keyframe.utc_ns if keyframe is not None else None,
            next_try_utc_ns=self._next_try_utc_ns,
            tls_pin=self.source.tls_pin,
            transport=self._transport() if online else None,
            advice=advice if online else None,
            picture_missing=picture_missing,
        )

    def sample(self) -> None:
        """Work out the rates since the last sample."""
        now_ns = self._clock.monotonic_ns()
        totals = self._totals()
        self._picture_missing(totals)
        last = self._rates
        elapsed_s = (now_ns - last.at_ns) / NS_PER_S
        if last.at_ns and elapsed_s > 0:
            bitrate = round((totals.bytes - last.totals.bytes) * 8 / elapsed_s)
            fps = round((totals.pictures - last.totals.pictures) / elapsed_s, 1)
            self._rates = _Rates(now_ns, totals, max(bitrate, 0), max(fps, 0.0))
        else:
            self._rates = _Rates(now_ns, totals)

    def _picture_missing(self, totals: _Totals) -> bool:
        """Whether pictures have not come for a while. Looked at often: it is how the last one's time is known."""
        now_ns = self._clock.monotonic_ns()
        if totals.pictures != self._pictures_seen:
            self._pictures_seen, self._pictured_ns = totals.pictures, now_ns
        return now_ns - self._pictured_ns >= NO_PICTURE_NS

    def _came(self, first: AccessUnit) -> None:
        if self._publisher.newest_utc_ns:
            set_back = first.utc_ns < self._publisher.newest_utc_ns
            self.stream.publish(
                Gap(
                    start_utc_ns=min(first.utc_ns, self._publisher.newest_utc_ns),
                    end_utc_ns=first.utc_ns,
                    cause=GapCause.CLOCK_JUMP if set_back else self._missing_cause,
                    detail=self._problem.code if self._problem is not None else "",
                )
            )
        self._publisher.newest_utc_ns = first.utc_ns
        self._connections += 1
        self._enter(CameraState.ONLINE, None)

    def _failed(self, error: StreamingError | MediaError) -> None:
        state = state_after(error)
        if self._state is CameraState.ONLINE:
            # What broke the picture is the cause on record; what the tries in between ran into is not.
            self._missing_cause = _CAUSES.get(type(error), GapCause.DISCONNECTED)
        self._enter(state, Problem(error.code, dict(error.params)))

    def _enter(self, state: CameraState, problem: Problem | None) -> None:
        changed = state is not self._state or (problem and problem.code) != (self._problem and self._problem.code)
        self._problem = problem
        self._next_try_utc_ns = None
        if state is not self._state:
            self._state = state
            self._publisher.online = state is CameraState.ONLINE
            self._pictured_ns = self._clock.monotonic_ns()
            self._since_utc_ns = self._clock.utc_ns()
        if changed:
            self._changed(self.status())

    def _totals(self) -> _Totals:
        totals = dataclasses.replace(self._before)
        receiver = self._receiver()
        for counters in receiver.counters if receiver is not None else ():
            if counters is not None:
                totals.packets += counters.packets
                totals.lost += counters.lost
                totals.bytes += counters.bytes
        if receiver is not None:
            totals.pictures += self._pictures()
        return totals

    def _clock_offset_ns(self) -> int | None:
        receiver = self._receiver()
        if receiver is None:
            return None
        return next((c.clock_offset_ns for c in receiver.counters if c and c.clock_offset_ns is not None), None)

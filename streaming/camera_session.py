"""One stream of one camera, for as long as it is wanted: connect, feed the LiveStream, wait, connect again."""

import asyncio
import contextlib
import dataclasses
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from media.clock import Clock
from media.errors import MediaError
from media.stream import LiveStream
from media.unit import NS_PER_S, AccessUnit, Gap, GapCause, StreamItem
from streaming.addresses import AddressGuard
from streaming.camera_status import SLOW_STATES, CameraState, CameraStatus, Problem, state_after
from streaming.errors import CameraSilentError, InternalCameraError, StreamingError, WallClockSteppedError
from streaming.rtsp.client import RtspClient, RtspSettings
from streaming.rtsp.pacing import ReadPacer
from streaming.source import CameraSource

log = logging.getLogger(__name__)

ORIGIN_LEAD_NS = 3600 * NS_PER_S
"""The timeline's zero lies this long before the stream's first use: a camera may begin with pictures it took before
it was asked, and decode times must not be negative (ISO/IEC 14496-12, 8.8.12)."""

MAX_CLOCK_STEP_NS = 2 * NS_PER_S
"""A wall clock that goes this much otherwise than the monotonic one, from one second to the next, was set."""


class _NobodyReadsError(Exception):
    """A stream that is taken on demand has had no reader for a while."""


_CAUSES: dict[type[Exception], GapCause] = {
    CameraSilentError: GapCause.SILENT,
    WallClockSteppedError: GapCause.CLOCK_JUMP,
}


@dataclass(frozen=True, slots=True)
class ReconnectSettings:
    """Waits between tries, in seconds. The wait doubles from ``first_s`` to ``longest_s``; ``slow_s`` is for states
    in which waiting is all that is left to do. A connection that lasted ``steady_s`` starts the waits anew. A stream on
    demand is let go after ``unread_s`` without a reader."""

    first_s: float = 1.0
    longest_s: float = 30.0
    slow_s: float = 60.0
    steady_s: float = 20.0
    unread_s: float = 15.0


class Backoff:
    """How long to wait before the next try. Jitter keeps 300 cameras behind one failed switch from returning in step.

    ``uniform`` is ``random.uniform`` or a stand-in.
    """

    def __init__(self, settings: ReconnectSettings, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._settings = settings
        self._uniform = uniform
        self._failures = 0

    def succeeded(self) -> None:
        """A connection has been steady."""
        self._failures = 0

    def next_s(self, *, slow: bool) -> float:
        """Seconds to wait after one more failure: between half of the full wait and all of it."""
        settings = self._settings
        # The exponent is bounded so that years of failures do not overflow it.
        full = min(settings.longest_s, settings.first_s * 2.0 ** min(self._failures, 16))
        self._failures += 1
        if slow:
            full = max(full, settings.slow_s)
        return self._uniform(full / 2, full)


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


class CameraSession:
    """Feeds one LiveStream for ever. All of it is owned by the task that runs :meth:`run`; others read the status.

    ``gate`` bounds how many cameras begin a session at the same time. ``changed`` is called when the state changes.
    """

    def __init__(
        self,
        source: CameraSource,
        stream: LiveStream,
        clock: Clock,
        guard: AddressGuard,
        gate: asyncio.Semaphore,
        changed: Callable[[CameraStatus], None],
        reconnect: ReconnectSettings,
        rtsp: RtspSettings,
        pacer: ReadPacer | None = None,
    ) -> None:
        self.source = source
        self.stream = stream
        self._clock = clock
        self._guard = guard
        self._gate = gate
        self._changed = changed
        self._reconnect = reconnect
        self._rtsp = rtsp
        self._pacer = pacer
        self._backoff = Backoff(reconnect)
        self._retry = asyncio.Event()
        self._client: RtspClient | None = None
        # The timeline's zero: fixed for the stream's life, so time goes on over reconnects; earlier if our clock is set
        # back.
        self._origin_utc_ns = clock.utc_ns() - ORIGIN_LEAD_NS
        self._wall_lead_ns = clock.utc_ns() - clock.monotonic_ns()
        self._epoch = -1
        self._newest_utc_ns = 0
        self._missing_cause = GapCause.DISCONNECTED
        self._connections = 0
        self._state = CameraState.CONNECTING
        self._since_utc_ns = clock.utc_ns()
        self._problem: Problem | None = None
        self._next_try_utc_ns: int | None = None
        self._read_ns = 0
        self._before = _Totals()
        self._rates = _Rates()

    async def run(self) -> None:
        """Connect and reconnect until cancelled."""
        while True:
            if self.source.on_demand:
                await self._until_read()
            started_ns = self._clock.monotonic_ns()
            try:
                await self._connect_and_feed()
            except _NobodyReadsError:
                self.stream.rest()
                self._enter(CameraState.CONNECTING, None)
                continue
            except (StreamingError, MediaError) as error:
                self._failed(error)
            except Exception:
                # A fault of ours in one camera's data must not stop its reconnecting, nor a sibling.
                log.exception("camera %s: internal fault", self.source.camera_id)
                self._failed(InternalCameraError("internal fault"))
            if self._clock.monotonic_ns() - started_ns >= self._reconnect.steady_s * NS_PER_S:
                self._backoff.succeeded()
            await self._wait()

    async def _until_read(self) -> None:
        opened = asyncio.Event()
        self.stream.reader_opened = opened.set
        try:
            if not self.stream.watched:
                await opened.wait()
        finally:
            self.stream.reader_opened = None
        self._read_ns = self._clock.monotonic_ns()

    def reconfigure(self, source: CameraSource) -> None:
        """Use another source for the same stream. Only while :meth:`run` is not running."""
        self.source = source
        self._backoff.succeeded()
        if self._state is CameraState.ONLINE:
            self._missing_cause = GapCause.DISCONNECTED
        self._enter(CameraState.CONNECTING, None)

    def retry_now(self) -> None:
        """Do not wait any longer."""
        self._retry.set()

    def status(self) -> CameraStatus:
        """What is known now."""
        totals = self._totals()
        keyframe = self.stream.last_keyframe
        online = self._state is CameraState.ONLINE
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
            last_media_utc_ns=self._newest_utc_ns or None,
            last_keyframe_utc_ns=keyframe.utc_ns if keyframe is not None else None,
            next_try_utc_ns=self._next_try_utc_ns,
        )

    def sample(self) -> None:
        """Work out the rates since the last sample."""
        now_ns = self._clock.monotonic_ns()
        totals = self._totals()
        last = self._rates
        elapsed_s = (now_ns - last.at_ns) / NS_PER_S
        if last.at_ns and elapsed_s > 0:
            bitrate = round((totals.bytes - last.totals.bytes) * 8 / elapsed_s)
            fps = round((totals.pictures - last.totals.pictures) / elapsed_s, 1)
            self._rates = _Rates(now_ns, totals, max(bitrate, 0), max(fps, 0.0))
        else:
            self._rates = _Rates(now_ns, totals)

    async def _connect_and_feed(self) -> None:
        now_ns = self._clock.utc_ns()
        self._wall_lead_ns = now_ns - self._clock.monotonic_ns()
        self._origin_utc_ns = min(self._origin_utc_ns, now_ns - ORIGIN_LEAD_NS)
        async with RtspClient(self.source, self._clock, self._guard, self._rtsp, self._wanted_pacer()) as client:
            self._client = client
            self.stream.hurry_changed = lambda: client.pace(self._wanted_pacer())
            try:
                # Outside of the gate: a camera that is away must not hold up one that is there.
                await client.connect()
                async with self._gate:
                    await client.describe()
                    self._epoch += 1
                    await client.play(
                        self._publish,
                        epoch=self._epoch,
                        origin_utc_ns=self._origin_utc_ns,
                        # Our clock may have been set back: then what comes now is not old, it is now.
                        after_utc_ns=min(self._newest_utc_ns, self._clock.utc_ns()),
                    )
                await client.run(self._tick)
            finally:
                self._before = self._totals()
                self._client = None
                self.stream.hurry_changed = None

    def _wanted_pacer(self) -> ReadPacer | None:
        return None if self.stream.hurried else self._pacer

    def _tick(self) -> None:
        """About once a second while connected."""
        self._watch_wall_clock()
        if self.source.on_demand:
            now_ns = self._clock.monotonic_ns()
            if self.stream.watched:
                self._read_ns = now_ns
            elif now_ns - self._read_ns > self._reconnect.unread_s * NS_PER_S:
                raise _NobodyReadsError

    def _watch_wall_clock(self) -> None:
        """Media's times follow our wall clock. Where that was set to another time they begin anew, as a new epoch:
        slewing them by an hour would bend every picture's length for a day. Raises WallClockSteppedError."""
        lead_ns = self._clock.utc_ns() - self._clock.monotonic_ns()
        step_ns, self._wall_lead_ns = lead_ns - self._wall_lead_ns, lead_ns
        if abs(step_ns) > MAX_CLOCK_STEP_NS:
            raise WallClockSteppedError("our wall clock was set", seconds=round(step_ns / NS_PER_S, 1))

    def _publish(self, item: StreamItem) -> None:
        if isinstance(item, AccessUnit):
            if self._state is not CameraState.ONLINE:
                self._came(item)
            if item.utc_ns > self._newest_utc_ns:
                self._newest_utc_ns = item.utc_ns
        self.stream.publish(item)

    def _came(self, first: AccessUnit) -> None:
        if self._newest_utc_ns:
            set_back = first.utc_ns < self._newest_utc_ns
            self.stream.publish(
                Gap(
                    start_utc_ns=min(first.utc_ns, self._newest_utc_ns),
                    end_utc_ns=first.utc_ns,
                    cause=GapCause.CLOCK_JUMP if set_back else self._missing_cause,
                    detail=self._problem.code if self._problem is not None else "",
                )
            )
        self._newest_utc_ns = first.utc_ns
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
            self._since_utc_ns = self._clock.utc_ns()
        if changed:
            self._changed(self.status())

    async def _wait(self) -> None:
        seconds = self._backoff.next_s(slow=self._state in SLOW_STATES)
        self._next_try_utc_ns = self._clock.utc_ns() + int(seconds * NS_PER_S)
        self._retry.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._retry.wait()
        self._next_try_utc_ns = None

    def _totals(self) -> _Totals:
        totals = dataclasses.replace(self._before)
        receiver = self._client.receiver if self._client is not None else None
        for counters in receiver.counters if receiver is not None else ():
            if counters is not None:
                totals.packets += counters.packets
                totals.lost += counters.lost
                totals.bytes += counters.bytes
        if receiver is not None and self._client is not None:
            totals.pictures += self._client.pictures
        return totals

    def _clock_offset_ns(self) -> int | None:
        receiver = self._client.receiver if self._client is not None else None
        if receiver is None:
            return None
        return next((c.clock_offset_ns for c in receiver.counters if c and c.clock_offset_ns is not None), None)

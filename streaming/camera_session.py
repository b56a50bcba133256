"""One stream of one camera, for as long as it is wanted: connect, feed the LiveStream, wait, connect again."""

import asyncio
import contextlib
import dataclasses
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from media.clock import Clock
from media.errors import MediaError
from media.receiver import StreamReceiver
from media.stream import LiveStream, Pace
from media.unit import NS_PER_S
from streaming.addresses import AddressGuard
from streaming.camera_status import SLOW_STATES, Advice, CameraState, CameraStatus, transport_advice
from streaming.errors import (
    DatagramsMissingError,
    InternalCameraError,
    StreamingError,
    TransportRefusedError,
    WallClockSteppedError,
)
from streaming.rtsp.client import RtspClient
from streaming.rtsp.pacing import ReadPacer
from streaming.rtsp.settings import RtspSettings
from streaming.source import CameraSource, TlsTrust, Transport
from streaming.stream_session import ORIGIN_LEAD_NS, StreamSession

log = logging.getLogger(__name__)

MAX_CLOCK_STEP_NS = 2 * NS_PER_S
"""A wall clock that goes this much otherwise than the monotonic one, from one second to the next, was set."""


_SETTLE_NS = 10 * NS_PER_S


class _NobodyReadsError(Exception):
    """A stream that is taken on demand has had no reader for a while."""


@dataclass(frozen=True, slots=True)
class ReconnectSettings:
    """Waits between tries, in seconds. The wait doubles from ``first_s`` to ``longest_s``; ``slow_s`` is for states
    in which waiting is all that is left to do. Where the log-in is refused it doubles from there to ``refused_s``: a
    camera that locks the account for half an hour after a handful of wrong tries would otherwise stay locked when the
    password is right again. A connection that lasted ``steady_s`` starts the waits anew. A stream on demand is let go
    after ``unread_s`` without a reader."""

    first_s: float = 1.0
    longest_s: float = 30.0
    slow_s: float = 60.0
    refused_s: float = 1800.0
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
        self._refusals = 0

    def succeeded(self) -> None:
        """A connection has been steady, or there is reason to hope anew."""
        self._failures = self._refusals = 0

    def next_s(self, state: CameraState) -> float:
        """Seconds to wait after one more failure, which has led to a state: between half of the full wait and all of
        it."""
        settings = self._settings
        # The exponent is bounded so that years of failures do not overflow it.
        full = min(settings.longest_s, settings.first_s * 2.0 ** min(self._failures, 16))
        self._failures += 1
        if state is CameraState.REFUSED:
            full = max(full, min(settings.refused_s, settings.slow_s * 2.0 ** min(self._refusals, 16)))
            self._refusals += 1
        elif state in SLOW_STATES:
            full = max(full, settings.slow_s)
        return self._uniform(full / 2, full)


class CameraSession(StreamSession):
    """A camera that is called over RTSP, again and again.

    ``gate`` bounds how many cameras begin a session at the same time. A camera that is set to UDP and of which nothing
    arrives is asked for TCP at once, and from then on, until it is set anew or TCP does not work either.
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
        pacers: Mapping[Pace, ReadPacer],
    ) -> None:
        super().__init__(source, stream, clock, changed)
        self._guard = guard
        self._gate = gate
        self._reconnect = reconnect
        self._rtsp = rtsp
        self._pacers = pacers
        self._playing_ns: int | None = None
        self._backoff = Backoff(reconnect)
        self._retry = asyncio.Event()
        self._client: RtspClient | None = None
        self._wall_lead_ns = clock.utc_ns() - clock.monotonic_ns()
        self._read_ns = 0
        self._datagrams_blocked = False

    async def run(self) -> None:
        """Connect and reconnect until cancelled."""
        while True:
            if self.source.on_demand:
                await self._until_read()
            started_ns, connections = self._clock.monotonic_ns(), self._connections
            try:
                await self._connect_and_feed()
            except _NobodyReadsError:
                self.stream.rest()
                self._enter(CameraState.CONNECTING, None)
                continue
            except (StreamingError, MediaError) as error:
                came = self._connections != connections
                over_tcp = self._goes_on_over_tcp(error, came=came)
                if came or not over_tcp:
                    self._failed(error)
                if over_tcp:
                    continue
            except Exception:
                # A fault of ours in one camera's data must not stop its reconnecting, nor a sibling.
                problem = self.status().problem
                if problem is None or problem.code != InternalCameraError.code:
                    log.exception("camera %s: internal fault", self.source.camera_id)
                self._failed(InternalCameraError("internal fault"))
            finally:
                self.stream.break_off()
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

    @property
    def source_in_use(self) -> CameraSource:
        """Over TCP where datagrams do not arrive."""
        return dataclasses.replace(self.source, transport=Transport.TCP) if self._datagrams_blocked else self.source

    def reconfigure(self, source: CameraSource) -> None:
        """As :meth:`StreamSession.reconfigure`; the waits begin anew, and UDP has its chance."""
        self._backoff.succeeded()
        self._datagrams_blocked = False
        super().reconfigure(source)

    def retry_now(self) -> None:
        """Do not wait any longer."""
        self._retry.set()

    def _goes_on_over_tcp(self, error: StreamingError | MediaError, *, came: bool) -> bool:
        """Whether the next try is to be over TCP, at once. ``came``: whether the try that has ended brought media."""
        if self._datagrams_blocked:
            if not came and (self._playing_ns is not None or isinstance(error, TransportRefusedError)):
                # TCP is no way either: as it was set, then.
                self._datagrams_blocked = False
            return False
        self._datagrams_blocked = isinstance(error, DatagramsMissingError) and self.source.transport is Transport.UDP
        return self._datagrams_blocked

    async def _connect_and_feed(self) -> None:
        now_ns = self._clock.utc_ns()
        self._wall_lead_ns = now_ns - self._clock.monotonic_ns()
        self._origin_utc_ns = min(self._origin_utc_ns, now_ns - ORIGIN_LEAD_NS)
        self._playing_ns = None
        pacer = self._wanted_pacer()
        async with RtspClient(self.source_in_use, self._clock, self._guard, self._rtsp, pacer) as client:
            self._client = client
            self.stream.pace_changed = lambda: client.pace(self._wanted_pacer())
            try:
                # Outside of the gate: a camera that is away must not hold up one that is there.
                await client.connect()
                self._remember(client.certificate)
                async with self._gate:
                    await client.describe()
                    self._epoch += 1
                    await client.play(
                        self._publisher.publish,
                        epoch=self._epoch,
                        origin_utc_ns=self._origin_utc_ns,
                        # Our clock may have been set back: then what comes now is not old, it is now.
                        after_utc_ns=min(self._publisher.newest_utc_ns, self._clock.utc_ns()),
                    )
                self._playing_ns = self._clock.monotonic_ns()
                await client.run(lambda: self._tick(client))
            finally:
                self._before = self._totals()
                self._client = None
                self.stream.pace_changed = None

    def _remember(self, certificate: str) -> None:
        """The first certificate met is the only one from now on. The register learns it from the status, and then has
        the same source as this session."""
        if certificate and self.source.tls_trust is TlsTrust.PIN and not self.source.tls_pin:
            self.source = dataclasses.replace(self.source, tls_pin=certificate)

    def _wanted_pacer(self) -> ReadPacer | None:
        pace = self.stream.pace
        if pace is Pace.CALM and not self._settled():
            pace = Pace.STEADY
        return self._pacers.get(pace)

    def _settled(self) -> bool:
        """Whether the camera's clocks are known: until then what comes is looked at closely."""
        since_ns = self._playing_ns
        return since_ns is not None and self._clock.monotonic_ns() - since_ns > _SETTLE_NS

    def _tick(self, client: RtspClient) -> None:
        """About once a second while connected."""
        self._watch_wall_clock()
        client.pace(self._wanted_pacer())
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

    async def _wait(self) -> None:
        seconds = self._backoff.next_s(self._state)
        self._next_try_utc_ns = self._clock.utc_ns() + int(seconds * NS_PER_S)
        self._retry.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._retry.wait()
        self._next_try_utc_ns = None

    def _transport(self) -> Transport | None:
        return self._client.transport if self._client is not None else None

    def _advice(self) -> Advice | None:
        if self._datagrams_blocked:
            return Advice("udp-blocked")
        return next(iter(transport_advice(self.source, self._transport())), None)

    def _receiver(self) -> StreamReceiver | None:
        return self._client.receiver if self._client is not None else None

    def _pictures(self) -> int:
        return self._client.pictures if self._client is not None else 0

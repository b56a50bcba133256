"""All cameras of this node: what is wanted is applied, and everything wanted is kept connected for ever.

    async with CameraSupervisor(clock, guard) as cameras:
        await cameras.apply([CameraSource("hall", "rtsp://192.168.1.64/Streaming/Channels/101", "admin", password)])
        stream = cameras.stream(StreamId("hall"))

One task per stream; one more samples the rates of all. No camera can hold up another.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from media.clock import Clock
from media.segmenter import SegmenterSettings
from media.stream import LiveStream, Pace, Quality, StreamId
from media.tasks import Failures, lasting
from streaming.addresses import AddressGuard
from streaming.camera_session import CameraSession, ReconnectSettings
from streaming.camera_status import CameraState, CameraStatus, Problem
from streaming.pushed_session import PUSHED_URL, PushedSession
from streaming.rtsp.pacing import ReadPacer
from streaming.rtsp.settings import RtspSettings
from streaming.source import CameraSource, Transport
from streaming.stream_session import StreamSession

__all__ = [
    "CameraSource",
    "CameraState",
    "CameraStatus",
    "CameraSupervisor",
    "Problem",
    "ReconnectSettings",
    "RtspSettings",
    "SupervisorSettings",
    "Transport",
]

log = logging.getLogger(__name__)

MAX_CHANGES_QUEUED = 1_000


@dataclass(frozen=True, slots=True)
class SupervisorSettings:
    """``starts_at_once`` bounds how many sessions begin at the same time (a county's power returns at one moment);
    ``sample_s`` is how often rates are worked out, in seconds.

    ``read_interval_s`` is how often the connections of cameras that somebody looks at are read, all together, and
    ``calm_interval_s`` how often those of all others (see streaming/rtsp/pacing.py and :class:`media.stream.Pace`):
    that saves most of the wake-ups, and delays media by half of it, as a rule, and by all of it at most. Neither is a
    multiple or part of a usual time between pictures: so of every camera some packets are read the moment they come,
    and arrival goes on telling its clock's true delay. A ``read_interval_s`` of 0 reads whenever something comes; so is
    a single stream read while somebody talks through it.
    """

    starts_at_once: int = 32
    sample_s: float = 2.0
    read_interval_s: float = 0.073
    calm_interval_s: float = 0.197
    reconnect: ReconnectSettings = field(default_factory=ReconnectSettings)
    rtsp: RtspSettings = field(default_factory=RtspSettings)
    segmenter: SegmenterSettings = field(default_factory=SegmenterSettings)

    def pacers(self) -> dict[Pace, ReadPacer]:
        """What reads at each pace; at one that is not there, and with an interval of 0, whenever something comes."""
        intervals = {
            Pace.STEADY: self.read_interval_s,
            Pace.CALM: max(self.read_interval_s, self.calm_interval_s),
        }
        return {pace: ReadPacer(interval) for pace, interval in intervals.items() if self.read_interval_s > 0}


@dataclass(slots=True)
class _Running:
    session: StreamSession
    task: asyncio.Task[None]


class CameraSupervisor:
    """Keeps every wanted stream connected. An async context manager: leaving it ends all sessions and streams.
    ``failures`` is told of faults of ours, after which a session is begun anew."""

    def __init__(
        self,
        clock: Clock,
        guard: AddressGuard,
        settings: SupervisorSettings | None = None,
        failures: Failures | None = None,
    ) -> None:
        self._clock = clock
        self._guard = guard
        self._settings = settings or SupervisorSettings()
        self._gate = asyncio.Semaphore(self._settings.starts_at_once)
        self._applying = asyncio.Lock()
        self._running: dict[StreamId, _Running] = {}
        self._listeners: list[Callable[[CameraStatus], None]] = []
        self._sampler: asyncio.Task[None] | None = None
        self._failures = failures or Failures(clock)
        self._pacers = self._settings.pacers()

    async def __aenter__(self) -> Self:
        work = lasting("camera rates", self._sample, self._failures)
        self._sampler = asyncio.create_task(work, name="camera rates")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sampler is not None:
            self._sampler.cancel()
            await asyncio.wait((self._sampler,))
        await self.apply(())
        for pacer in self._pacers.values():
            pacer.close()

    async def apply(self, sources: Iterable[CameraSource]) -> None:
        """Make ``sources`` all that is wanted. A stream whose source is the same goes on untouched; one whose source
        changed is connected anew, its LiveStream staying the same object; one no longer wanted ends.

        Raises ValueError if two sources name the same stream.
        """
        wanted: dict[StreamId, CameraSource] = {}
        for source in sources:
            if source.stream_id in wanted:
                raise ValueError(f"two sources for {source.stream_id}")
            wanted[source.stream_id] = source
        async with self._applying:
            gone = [self._running.pop(stream_id) for stream_id in list(self._running) if stream_id not in wanted]
            changed = [
                running
                for stream_id, source in wanted.items()
                if (running := self._running.get(stream_id)) is not None and running.session.source != source
            ]
            await _stop([running.task for running in (*gone, *changed)])
            for running in gone:
                running.session.stream.end()
            for running in changed:
                source = wanted[running.session.source.stream_id]
                if (source.url == PUSHED_URL) is (running.session.source.url == PUSHED_URL):
                    running.session.reconfigure(source)
                else:
                    running.session = self._session(source, running.session.stream)
                running.task = self._start(running.session)
            for stream_id, source in wanted.items():
                if stream_id not in self._running:
                    session = self._session(source)
                    self._running[stream_id] = _Running(session, self._start(session))

    def stream(self, stream_id: StreamId) -> LiveStream | None:
        """The stream of a wanted camera, connected or not; None if nobody wants it."""
        running = self._running.get(stream_id)
        return running.session.stream if running is not None else None

    def source(self, camera_id: str) -> CameraSource | None:
        """Where the camera's main stream comes from, by the way it comes now; None if nobody wants it."""
        running = self._running.get(StreamId(camera_id))
        return running.session.source_in_use if running is not None else None

    def pushed(self, stream_id: StreamId) -> PushedSession | None:
        """Where a publisher's media goes; None unless the stream is one that is sent to us."""
        running = self._running.get(stream_id)
        return running.session if running is not None and isinstance(running.session, PushedSession) else None

    def status(self, camera_id: str, quality: Quality = Quality.MAIN) -> CameraStatus | None:
        """What is known of one stream; None if nobody wants it."""
        running = self._running.get(StreamId(camera_id, quality))
        return running.session.status() if running is not None else None

    def statuses(self, quality: Quality = Quality.MAIN) -> list[CameraStatus]:
        """What is known of all streams of a quality. Sub streams rest while nobody reads them."""
        running = self._running.items()
        return [item.session.status() for stream_id, item in running if stream_id.quality is quality]

    def retry_now(self, camera_id: str) -> None:
        """Let all streams of a camera that wait for their next try, try now."""
        for stream_id, running in self._running.items():
            if stream_id.camera == camera_id:
                running.session.retry_now()

    @contextlib.contextmanager
    def listening(self, changed: Callable[[CameraStatus], None]) -> Iterator[None]:
        """Have ``changed`` called at each change of a state or problem. It must not block."""
        self._listeners.append(changed)
        try:
            yield
        finally:
            self._listeners.remove(changed)

    async def changes(self) -> AsyncIterator[CameraStatus]:
        """Each change of a state or problem, beginning with how things stand now. A slow reader loses the oldest."""
        queue: deque[CameraStatus] = deque(self.statuses(), maxlen=MAX_CHANGES_QUEUED)
        arrived = asyncio.Event()

        def enqueue(status: CameraStatus) -> None:
            queue.append(status)
            arrived.set()

        with self.listening(enqueue):
            while True:
                while queue:
                    yield queue.popleft()
                arrived.clear()
                await arrived.wait()

    def _session(self, source: CameraSource, stream: LiveStream | None = None) -> StreamSession:
        stream = stream or LiveStream(source.stream_id, self._clock, self._settings.segmenter)
        if source.url == PUSHED_URL:
            return PushedSession(source, stream, self._clock, self._tell)
        return CameraSession(
            source,
            stream,
            self._clock,
            self._guard,
            self._gate,
            self._tell,
            self._settings.reconnect,
            self._settings.rtsp,
            self._pacers,
        )

    def _start(self, session: StreamSession) -> asyncio.Task[None]:
        work = lasting("camera", session.run, self._failures)
        return asyncio.create_task(work, name=f"camera {session.source.camera_id}")

    def _tell(self, status: CameraStatus) -> None:
        problem = status.problem.code if status.problem is not None else "-"
        log.info("camera %s %s: %s (%s)", status.camera_id, status.quality, status.state, problem)
        for listener in tuple(self._listeners):
            try:
                listener(status)
            except Exception:
                # A listener's fault must not reach the camera that brought the news.
                log.exception("listener of camera states failed")

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(self._settings.sample_s)
            for running in tuple(self._running.values()):
                running.session.sample()


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)

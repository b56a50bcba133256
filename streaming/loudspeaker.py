"""Rooms hear a talk from their camera's own loudspeaker: opened when somebody talks, paced, remembered per camera."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from media.clock import Clock
from media.fanout import Reader
from media.speaker_encode import SpeakerEncoder
from media.stream import LiveStream
from media.unit import NS_PER_S, AccessUnit, AudioTrack, StreamItem
from streaming.addresses import AddressGuard
from streaming.errors import SessionLostError, StreamingError, TransportRefusedError
from streaming.rtsp.backchannel import Backchannel, BackchannelOptions
from streaming.rtsp.settings import RtspSettings
from streaming.source import CameraSource
from streaming.talk_errors import BackchannelMissingError

log = logging.getLogger(__name__)

_REMEMBERED = 4_000
_NEWEST_UNITS = 15


@dataclass(frozen=True, slots=True)
class LoudspeakerSettings:
    """Times in seconds. ``lead_s`` is kept in hand against jitter; past ``behind_s`` the oldest sound is left out;
    ``missing_s`` is how long a camera without back-channel is not asked again; ``retry_s`` between tries."""

    lead_s: float = 0.04
    behind_s: float = 0.3
    missing_s: float = 3600.0
    retry_s: float = 2.0
    rtsp: RtspSettings = field(default_factory=RtspSettings)


class PacedSender:
    """Hands units on at the pace of their own length: cameras play what comes and overrun when it comes in bursts."""

    def __init__(self, send: Callable[[AccessUnit], None], settings: LoudspeakerSettings) -> None:
        self.dropped = 0
        self._send = send
        self._settings = settings
        self._queue: deque[AccessUnit] = deque()
        self._queued_s = 0.0
        self._arrived = asyncio.Event()

    def push(self, unit: AccessUnit) -> None:
        """Queue a unit. What is more than ``behind_s`` late is left out, the oldest first."""
        self._queue.append(unit)
        self._queued_s += _seconds(unit)
        while self._queued_s > self._settings.behind_s and len(self._queue) > 1:
            self._queued_s -= _seconds(self._queue.popleft())
            self.dropped += 1
        self._arrived.set()

    async def run(self) -> None:
        """Send until cancelled."""
        loop = asyncio.get_running_loop()
        due = 0.0
        while True:
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
                due = max(due, loop.time() + self._settings.lead_s)
            await asyncio.sleep(max(0.0, due - loop.time()))
            unit = self._queue.popleft()
            self._queued_s -= _seconds(unit)
            self._send(unit)
            due = max(due, loop.time() - self._settings.behind_s) + _seconds(unit)


def _refuses(error: StreamingError) -> bool:
    """Whether the camera does not want a session of this kind, with its picture or without: not merely this time."""
    status = error.params.get("status", 0)
    return isinstance(error, SessionLostError | TransportRefusedError) or 400 <= int(status) < 500


def _seconds(unit: AccessUnit) -> float:
    return unit.duration / unit.track.clock_rate


@dataclass(slots=True)
class _Memory:
    """What is known of one camera's loudspeaker. ``source`` tells whether it still is the same camera."""

    source: CameraSource
    missing_until_ns: int = 0
    with_media: bool = True


class Loudspeakers:
    """The cameras' loudspeakers of this node. ``executor`` encodes. Owned by one event loop."""

    def __init__(
        self, clock: Clock, guard: AddressGuard, executor: Executor, settings: LoudspeakerSettings | None = None
    ) -> None:
        self._clock = clock
        self._guard = guard
        self._executor = executor
        self._settings = settings or LoudspeakerSettings()
        self._known: dict[str, _Memory] = {}
        self._open: set[str] = set()

    def is_open(self, camera_id: str) -> bool:
        """Whether sound goes to this camera now."""
        return camera_id in self._open

    def is_missing(self, source: CameraSource) -> bool:
        """Whether the camera is known to have no loudspeaker that we can feed."""
        known = self._known.get(source.camera_id)
        return known is not None and known.source == source and known.missing_until_ns > self._clock.monotonic_ns()

    async def speak(self, source: CameraSource, stream: LiveStream) -> None:
        """Send the stream's sound to the camera until the stream ends or this is cancelled; tries again when the
        session breaks. The picture's session is not touched.

        Raises BackchannelMissingError if the camera has no back-channel: at once, for an hour after it said so.
        """
        if self.is_missing(source):
            raise BackchannelMissingError("the camera has no back-channel", reason="remembered")
        memory = self._memory(source)
        failures = 0
        with stream.read_units("loudspeaker", from_gop=False) as reader:
            while True:
                options = BackchannelOptions(memory.with_media, source.transport)
                heard = False
                try:
                    async with Backchannel(source, self._clock, self._guard, self._settings.rtsp, options) as channel:
                        track = await channel.open()
                        heard = True
                        await self._feed(source.camera_id, channel, track, reader)
                        return
                except BackchannelMissingError:
                    memory.missing_until_ns = self._clock.monotonic_ns() + int(self._settings.missing_s * NS_PER_S)
                    raise
                except StreamingError as error:
                    log.info("loudspeaker of camera %s: %s", source.camera_id, error.code)
                    if not heard:
                        failures += 1
                        if _refuses(error) or failures % 2 == 0:
                            # The next try takes the other way; whichever works is kept.
                            memory.with_media = not memory.with_media
                await asyncio.sleep(self._settings.retry_s)

    def _memory(self, source: CameraSource) -> _Memory:
        known = self._known.get(source.camera_id)
        if known is None or known.source != source:
            known = self._known[source.camera_id] = _Memory(source)
            while len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]
        return known

    async def _feed(self, camera_id: str, channel: Backchannel, track: AudioTrack, reader: Reader[StreamItem]) -> None:
        """Until the stream ends; raises what ends the session."""
        sender = PacedSender(channel.send, self._settings)
        self._open.add(camera_id)
        tasks = [
            asyncio.create_task(channel.run()),
            asyncio.create_task(sender.run()),
            asyncio.create_task(self._encode(track, reader, sender)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
        finally:
            self._open.discard(camera_id)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _encode(self, track: AudioTrack, reader: Reader[StreamItem], sender: PacedSender) -> None:
        """Sound from the talk to the sender, encoded in a thread, until the stream ends."""
        encoder = SpeakerEncoder(track)
        loop = asyncio.get_running_loop()
        while items := await reader.take():
            units = [item for item in items if isinstance(item, AccessUnit) and isinstance(item.track, AudioTrack)]
            # What was said before the loudspeaker was there would only be late for ever.
            units = units[-_NEWEST_UNITS:]
            if not units:
                continue
            job = loop.run_in_executor(self._executor, encoder.push, units)
            try:
                made = await asyncio.shield(job)
            except asyncio.CancelledError:
                # The thread still holds the encoder.
                await asyncio.wait((job,))
                raise
            for unit in made:
                sender.push(unit)

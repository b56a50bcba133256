"""From one live stream to all its WebRTC viewers.

A relay reads its stream once while somebody looks, in a hurry, makes each access unit into packets once, and hands the
same batch to every viewer. Which viewer gets what is the viewer's business; a slow one costs the others nothing.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from media.clock import Clock
from media.opus_live import OpusTranscoders
from media.stream import LiveStream, Pace
from media.unit import NS_PER_S, AccessUnit, AudioTrack, StreamItem, VideoTrack
from streaming.webrtc.audience import Audience, Turns
from streaming.webrtc.errors import StreamAwayError
from streaming.webrtc.relay_track import Batch, RelayTrack
from streaming.webrtc.viewer import Viewer

log = logging.getLogger(__name__)

_REPORT_NS = 4 * NS_PER_S
_SOUND_S = 0.5
"""So long after a stream's first picture its sound may begin."""

_OPUS_AGAIN_S = 2.0


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """Seconds: that a relay without viewers stays open (people flip back), and that a stream may take to bring its
    first keyframe, a sub stream being connected only then."""

    idle_s: float = 5.0
    first_keyframe_s: float = 8.0


class Relay:
    """One stream's packets to its viewers. Owned by :class:`Relays`; used from its event loop only."""

    def __init__(
        self, stream: LiveStream, clock: Clock, transcoders: OpusTranscoders | None, turns: Turns | None = None
    ) -> None:
        self._turns = turns or Turns()
        self.stream = stream
        self.video: RelayTrack | None = None
        self.audio: RelayTrack | None = None
        self.opus: RelayTrack | None = None
        self.ended = False
        self._clock = clock
        self._transcoders = transcoders
        self._watching = Audience(self._turns, pictures=True)
        self._listening = Audience(self._turns, pictures=False)
        self._listening_opus = Audience(self._turns, pictures=False)
        self._opus_task: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._decodable = asyncio.Event()
        self._heard = asyncio.Event()
        # Keyframes taken: in its first GOP a stream shows whether it has B-frames.
        self._gops = 0
        self._reported_ns = 0
        # Right behind a keyframe none of the stream's sound is cached.
        known = next((track for track in stream.tracks if isinstance(track, AudioTrack)), stream.announced)
        if known is not None:
            self.audio = RelayTrack(known, secrets.randbits(14))
        if stream.tracks or known is not None:
            self._heard.set()
        if stream.announced is not None:
            self._decodable.set()

    @property
    def viewers(self) -> int:
        """How many are sent pictures."""
        return len(self._watching)

    async def ready(self, seconds: float) -> None:
        """Wait for a keyframe; not where sound alone is announced. Raises StreamAwayError if none comes in time, or the
        stream is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._decodable.wait()
        if self.stream.announced is not None and not self.ended:
            return
        if self.ended or self.video is None or not self.video.backlog:
            raise StreamAwayError("no pictures come", camera=self.stream.id.camera)

    async def sounding(self) -> None:
        """Wait a moment for the sound of a stream that has only just begun to bring pictures."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SOUND_S):
                await self._heard.wait()
        self._heard.set()

    def watch(self, viewer: Viewer) -> None:
        """Send pictures to a viewer from now on, beginning with the newest keyframe."""
        self._watching.add(viewer)
        viewer.rejoin = lambda: self._begin(viewer)
        self._begin(viewer)

    def unwatch(self, viewer: Viewer) -> None:
        """No more pictures."""
        self._watching.remove(viewer)

    def listen(self, viewer: Viewer, *, opus: bool) -> None:
        """Send sound to a viewer from now on; ``opus`` where the stream's own codec is not what was agreed on."""
        if not opus:
            self._listening.add(viewer)
            return
        self._listening_opus.add(viewer)
        if self._opus_task is None and self._transcoders is not None:
            self._opus_task = asyncio.create_task(
                self._relay_opus(self._transcoders), name=f"webrtc opus {self.stream.id.camera}"
            )

    def unlisten(self, viewer: Viewer) -> None:
        """No more sound."""
        for group in (self._listening, self._listening_opus):
            group.remove(viewer)
        if not self._listening_opus:
            self._stop_opus()

    async def run(self) -> None:
        """Read the stream until it ends or the task is cancelled."""
        try:
            with self.stream.read_units("webrtc", pace=Pace.HURRIED) as reader:
                while items := await reader.take():
                    for item in items:
                        if self._turns.is_over():
                            await self._turns.wait()
                        await self._take(item)
        finally:
            self._end()

    async def close(self) -> None:
        """Wait for what was started beside :meth:`run`."""
        self._stop_opus()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _stop_opus(self) -> None:
        task, self._opus_task = self._opus_task, None
        if task is not None:
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _take(self, item: StreamItem) -> None:
        if not isinstance(item, AccessUnit):
            return
        now_ns = self._clock.utc_ns()
        if isinstance(item.track, VideoTrack):
            if self.video is None or self.video.track.codec is not item.track.codec:
                self._changed(self.video is not None)
                self.video = RelayTrack(item.track, secrets.randbits(14))
            was_reordered = self.video.reordered
            batch = self.video.batch(item, now_ns)
            self._gops += batch.starts
            if self.video.reordered and not was_reordered and self._gops == 1:
                # Whoever came between the keyframe and its first B-frame was told that all is well.
                self._dismiss()
            await self._hand_out(batch, self.video, self._watching)
            if batch.starts:
                self._decodable.set()
        else:
            self._heard.set()
            if self.audio is None or not _same_sound(self.audio.track, item.track):
                # Whoever listens was told of another codec: silence for them, not noise.
                if self.audio is not None:
                    self._listening.clear()
                self.audio = RelayTrack(item.track, secrets.randbits(14))
            await self._hand_out(self.audio.batch(item, now_ns), self.audio, self._listening)

    async def _hand_out(self, batch: Batch, track: RelayTrack, audience: Audience) -> None:
        if not audience or not batch.packets:
            return
        await audience.give(batch, track)
        batch.distributed()
        now_ns = self._clock.utc_ns()
        # Where there is sound alone it is the sound that is reported on; the wall clock may be set back.
        is_due = not 0 <= now_ns - self._reported_ns <= _REPORT_NS
        if is_due and (track.is_video or self.video is None):
            self._reported_ns = now_ns
            for viewer in audience.viewers:
                viewer.report(self._clock.utc_ns())
                if self._turns.is_over():
                    await self._turns.wait()

    def _begin(self, viewer: Viewer) -> None:
        if self.video is not None:
            viewer.begin(self.video)
            viewer.report(self._clock.utc_ns())

    async def _relay_opus(self, transcoders: OpusTranscoders) -> None:
        while not self.ended:
            async with transcoders.listen(self.stream, "webrtc") as reader:
                while units := await reader.take():
                    for unit in units:
                        if self.opus is None:
                            self.opus = RelayTrack(unit.track, secrets.randbits(14))
                        batch = self.opus.batch(unit, self._clock.utc_ns())
                        await self._hand_out(batch, self.opus, self._listening_opus)
            # The stream is over, or its transcoder has failed: whoever listens shall not hear silence for ever.
            await asyncio.sleep(_OPUS_AGAIN_S)

    def _changed(self, was_there: bool) -> None:
        """The pictures' codec is another than the viewers were told: they have to ask anew."""
        if was_there:
            self._decodable.clear()
            self._dismiss()

    def _end(self) -> None:
        self.ended = True
        self._decodable.set()
        self._dismiss()

    def _dismiss(self) -> None:
        for viewer in {*self._watching.viewers, *self._listening.viewers, *self._listening_opus.viewers}:
            viewer.dismiss()


def _same_sound(old: object, new: object) -> bool:
    return (
        isinstance(old, AudioTrack)
        and isinstance(new, AudioTrack)
        and (old.codec, old.clock_rate, old.channels) == (new.codec, new.clock_rate, new.channels)
    )


class Relays:
    """The relays of this node: opened by the first viewer of a stream, closed a while after the last. An async context
    manager. Without ``transcoders`` sound that a viewer cannot take is left out."""

    def __init__(
        self, clock: Clock, transcoders: OpusTranscoders | None = None, settings: RelaySettings | None = None
    ) -> None:
        self.settings = settings or RelaySettings()
        self._clock = clock
        self._transcoders = transcoders
        self._turns = Turns()
        self._open: dict[LiveStream, _Open] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for entry in list(self._open.values()):
            await self._close(entry)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def __len__(self) -> int:
        """How many relays are open."""
        return len(self._open)

    @property
    def makes_opus(self) -> bool:
        """Whether sound of any codec can be had as Opus."""
        return self._transcoders is not None

    @contextlib.asynccontextmanager
    async def of(self, stream: LiveStream) -> AsyncIterator[Relay]:
        """The stream's relay, held open while inside."""
        entry = self._open.get(stream)
        if entry is None or entry.relay.ended:
            relay = Relay(stream, self._clock, self._transcoders, self._turns)
            task = asyncio.create_task(relay.run(), name=f"webrtc relay {stream.id.camera}")
            entry = self._open[stream] = _Open(relay, task)
            task.add_done_callback(_tell)
        entry.holders += 1
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None
        try:
            yield entry.relay
        finally:
            entry.holders -= 1
            if entry.holders == 0:
                loop = asyncio.get_running_loop()
                entry.timer = loop.call_later(self.settings.idle_s, self._idle, entry)

    def _idle(self, entry: "_Open") -> None:
        # At once: whoever comes before it is closed must not get this one.
        self._forget(entry)
        closing = asyncio.create_task(self._close(entry))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _forget(self, entry: "_Open") -> None:
        if self._open.get(entry.relay.stream) is entry:
            del self._open[entry.relay.stream]

    async def _close(self, entry: "_Open") -> None:
        if entry.timer is not None:
            entry.timer.cancel()
        self._forget(entry)
        entry.task.cancel()
        await asyncio.gather(entry.task, return_exceptions=True)
        await entry.relay.close()


@dataclass(slots=True)
class _Open:
    relay: Relay
    task: asyncio.Task[None]
    holders: int = 0
    timer: asyncio.TimerHandle | None = None


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("%s has failed", task.get_name(), exc_info=task.exception())

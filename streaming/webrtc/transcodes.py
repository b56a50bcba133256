"""Streams that a viewer cannot take, made plain: one transcode per stream for all who need it, while somebody does.

    async with Transcodes(TranscodeSettings(max_running=2)) as transcodes:
        WhepSessions(…, plainer=transcodes.plain)

The cost is a process of its own for each stream, so their number is bounded; past it a viewer is refused.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from media.clock import Clock
from media.plain_picture import PlainSettings
from media.stream import LiveStream
from media.unit import Codec
from streaming.webrtc.errors import CodecMismatchError, TranscodesFullError
from streaming.webrtc.sdp import Offer
from streaming.webrtc.transcode_process import Command, TranscodeProcess, WorkerDiedError, worker_command

log = logging.getLogger(__name__)

_QUICK_S = 20.0
_MAX_QUICK_DEATHS = 3
_PAUSE_S = 0.3


@dataclass(frozen=True, slots=True)
class TranscodeSettings:
    """``max_running`` transcodes at a time. One without viewers goes on for ``linger_s``, since people flip back;
    one that gives nothing for ``stall_s`` is started anew."""

    max_running: int = 2
    linger_s: float = 8.0
    stall_s: float = 15.0
    picture: PlainSettings = field(default_factory=PlainSettings)


@dataclass(slots=True, eq=False)
class _Shared:
    """One stream's transcode. Owned by the event loop."""

    target: LiveStream
    process: TranscodeProcess
    task: asyncio.Task[None]
    holders: int = 0
    timer: asyncio.TimerHandle | None = None


class Transcodes:
    """The transcodes of this node. An async context manager; leaving it ends them all."""

    def __init__(
        self, clock: Clock, settings: TranscodeSettings | None = None, command: Command = worker_command
    ) -> None:
        self.settings = settings or TranscodeSettings()
        self._clock = clock
        self._command = command
        self._shared: dict[LiveStream, _Shared] = {}
        self._ending: set[asyncio.Future[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for source in list(self._shared):
            await self._stop(source)
        await asyncio.gather(*self._ending, return_exceptions=True)

    @property
    def running(self) -> int:
        """How many streams are being transcoded."""
        return len(self._shared)

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that run now."""
        return tuple(shared.process.pid for shared in self._shared.values() if shared.process.pid is not None)

    @contextlib.asynccontextmanager
    async def plain(self, stream: LiveStream, offer: Offer) -> AsyncIterator[LiveStream]:
        """The stream's pictures as H.264 constrained baseline, on the stream's own timeline and without its sound.

        Raises TranscodesFullError, CodecMismatchError where the offer has no H.264.
        """
        media = offer.first("video", receives=True)
        if media is None or media.codec("H264") is None:
            names = ", ".join(sorted({codec.name[:20] for codec in media.codecs})[:8]) if media is not None else ""
            shown = "H.265" if any(track.codec is Codec.H265 for track in stream.tracks) else "H.264"
            raise CodecMismatchError("the viewer does not take H264", codec=shown, offered=names or "-")
        while (shared := self._shared.get(stream)) is None:
            if len(self._shared) < self.settings.max_running:
                shared = self._start(stream)
                break
            idle = next((source for source, other in self._shared.items() if not other.holders), None)
            if idle is None:
                raise TranscodesFullError("as many transcodes as allowed", limit=self.settings.max_running)
            await self._stop(idle)
        shared.holders += 1
        if shared.timer is not None:
            shared.timer.cancel()
            shared.timer = None
        try:
            yield shared.target
        finally:
            shared.holders -= 1
            if not shared.holders and self._shared.get(stream) is shared:
                loop = asyncio.get_running_loop()
                shared.timer = loop.call_later(self.settings.linger_s, self._idle, stream)

    def _start(self, source: LiveStream) -> _Shared:
        target = LiveStream(source.id, self._clock)
        settings = self.settings
        process = TranscodeProcess(source, target, settings.picture, settings.stall_s, self._command)
        task = asyncio.create_task(_run(process, source, target), name=f"transcode {source.id.camera}")
        shared = self._shared[source] = _Shared(target, process, task)
        task.add_done_callback(lambda done: self._ended(source, done))
        log.info("transcode of %s started, %d of %d", source.id.camera, len(self._shared), settings.max_running)
        return shared

    def _idle(self, source: LiveStream) -> None:
        # At once: whoever comes before it has ended must not get this one.
        ending = asyncio.ensure_future(self._end(self._shared.pop(source)))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _stop(self, source: LiveStream) -> None:
        shared = self._shared.pop(source, None)
        if shared is not None:
            await self._end(shared)

    @staticmethod
    async def _end(shared: _Shared) -> None:
        if shared.timer is not None:
            shared.timer.cancel()
        shared.task.cancel()
        await asyncio.gather(shared.task, return_exceptions=True)
        log.info("transcode of %s ended", shared.target.id.camera)

    def _ended(self, source: LiveStream, task: asyncio.Task[None]) -> None:
        """The source is over, or the worker keeps dying: whoever comes next starts another."""
        shared = self._shared.get(source)
        if shared is not None and shared.task is task:
            del self._shared[source]
            if shared.timer is not None:
                shared.timer.cancel()
        if not task.cancelled() and task.exception() is not None:
            log.error("%s has failed", task.get_name(), exc_info=task.exception())


async def _run(process: TranscodeProcess, source: LiveStream, target: LiveStream) -> None:
    """Until the source ends: a worker that dies is replaced, unless several have died at once. Viewers then end."""
    loop = asyncio.get_running_loop()
    deaths = 0
    try:
        while True:
            begun = loop.time()
            try:
                await process.run()
            except WorkerDiedError as error:
                deaths = 1 if loop.time() - begun > _QUICK_S else deaths + 1
                log.warning("the transcode of %s died: %s", source.id.camera, error)
                if deaths >= _MAX_QUICK_DEATHS:
                    return
            else:
                return
            await asyncio.sleep(_PAUSE_S * deaths)
    finally:
        target.end()

"""Opus of live streams for WebRTC listeners: one transcoder per stream for all who listen, none while nobody does.

    async with transcoders.listen(stream, "viewer 7") as reader:
        while units := await reader.take():
            ...

``reader`` gives :class:`~media.unit.AccessUnit` of Opus, 20 ms each, ``pts`` in ticks of 48 kHz on the stream's own
timeline: the same that its pictures have, so RTP timestamps and sender reports of both come from one clock. A stream
that brings Opus already is passed through; for G.711 a WebRTC relay that offers PCMA/PCMU reads the stream itself.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from dataclasses import dataclass

from media.errors import MediaError
from media.fanout import Fanout, Reader, ReaderLimits
from media.opus_encode import OpusEncoder, OpusSettings
from media.stream import LiveStream
from media.unit import AccessUnit, AudioTrack, Codec

log = logging.getLogger(__name__)

_LISTENER = ReaderLimits(max_bytes=256 * 1024, max_items=250)


@dataclass(slots=True)
class _Shared:
    """One stream's transcoder. Owned by the event loop."""

    out: Fanout[AccessUnit]
    task: asyncio.Task[None]


class OpusTranscoders:
    """The transcoders of this node. ``executor`` does the encoding: about 1 % of a core per stream that is listened to.

    Owned by one event loop. A listener that falls five seconds behind loses what it has queued.
    """

    def __init__(self, executor: Executor, settings: OpusSettings | None = None) -> None:
        self._executor = executor
        self._settings = settings or OpusSettings()
        self._shared: dict[LiveStream, _Shared] = {}

    @property
    def running(self) -> int:
        """How many streams are being transcoded."""
        return len(self._shared)

    @contextlib.asynccontextmanager
    async def listen(self, stream: LiveStream, name: str) -> AsyncIterator[Reader[AccessUnit]]:
        """A reader of the stream's sound as Opus, from now on; it ends when the stream does.

        The first listener starts the transcoder, the last one to leave stops it and waits for its thread.
        """
        shared = self._shared.get(stream)
        if shared is None:
            out = Fanout[AccessUnit](lambda unit: len(unit.data), lambda unit: True)
            task = asyncio.create_task(self._run(stream, out), name=f"opus {stream.id.camera}")
            shared = self._shared[stream] = _Shared(out, task)
            task.add_done_callback(lambda done: self._ended(stream, done))
        try:
            with shared.out.reader(name, _LISTENER) as reader:
                yield reader
        finally:
            if not shared.out.readers:
                if self._shared.get(stream) is shared:
                    del self._shared[stream]
                shared.task.cancel()
                await asyncio.wait((shared.task,))

    def _ended(self, stream: LiveStream, task: asyncio.Task[None]) -> None:
        """The stream is over, or the transcoder has failed: whoever comes next starts another."""
        shared = self._shared.get(stream)
        if shared is not None and shared.task is task:
            del self._shared[stream]
        if not task.cancelled() and task.exception() is not None:
            log.error("sound of %s is not transcoded any more", stream.id.camera, exc_info=task.exception())

    async def _run(self, stream: LiveStream, out: Fanout[AccessUnit]) -> None:
        encoder = OpusEncoder(self._settings)
        loop = asyncio.get_running_loop()
        try:
            with stream.read_units("opus", from_gop=False) as reader:
                while items := await reader.take():
                    units = [i for i in items if isinstance(i, AccessUnit) and isinstance(i.track, AudioTrack)]
                    if not units:
                        continue
                    if all(unit.track.codec is Codec.OPUS for unit in units):
                        made = units
                    else:
                        made = await _finished(loop.run_in_executor(self._executor, _encode, encoder, units))
                    for unit in made:
                        out.publish(unit)
        finally:
            out.end()


def _encode(encoder: OpusEncoder, units: list[AccessUnit]) -> list[AccessUnit]:
    try:
        return encoder.push(units)
    except MediaError:
        encoder.broken += 1
        return []


async def _finished(job: "asyncio.Future[list[AccessUnit]]") -> list[AccessUnit]:
    """The job's result; when cancelled, only once the thread has let go of the encoder."""
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        await asyncio.wait((job,))
        raise

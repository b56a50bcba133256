"""One transcode: a :mod:`media.transcode_worker` fed from a live stream, its pictures published as another.

The worker is a process of its own, so the event loop only passes messages on. Both directions are bounded by pipes: a
worker that falls behind is told to decode without encoding until it has caught up, and one that is too slow even for
that begins again at a keyframe, by the bound of its reader.
"""

import asyncio
import contextlib
import dataclasses
import json
import logging
import sys
from collections.abc import Callable, Sequence

from media.packetizer import nal_units
from media.plain_picture import PlainSettings
from media.plain_wire import Picture, Plain, prefixed
from media.stream import LiveStream, Pace
from media.unit import AccessUnit, Codec, StreamItem, VideoTrack

log = logging.getLogger(__name__)

_LATE_S = 0.5
"""Of what has piled up, only the newest so many seconds are shown: a cached GOP, a worker that was too slow."""

_COMPLAINT_BYTES = 2000

_MAX_REORDERED = 16
"""A decoder may hold back so many pictures (H.265, A.4: sps_max_dec_pic_buffering)."""

Command = Callable[[PlainSettings], Sequence[str]]


def worker_command(settings: PlainSettings) -> Sequence[str]:
    """The command line of the worker."""
    return (sys.executable, "-m", "media.transcode_worker", json.dumps(dataclasses.asdict(settings)))


class WorkerDiedError(Exception):
    """The worker ended, or no longer answers, though the stream goes on."""


class TranscodeProcess:
    """Runs workers for one stream, one at a time. Owned by the task that calls :meth:`run`."""

    def __init__(
        self,
        source: LiveStream,
        target: LiveStream,
        settings: PlainSettings,
        stall_s: float,
        command: Command = worker_command,
    ) -> None:
        self._source = source
        self._target = target
        self._settings = settings
        self._stall_s = stall_s
        self._command = command
        self._track: VideoTrack | None = None
        self._unanswered = 0
        self._blocked = False
        self._shown = (-1, -1)
        self.pictures = 0
        self.pid: int | None = None

    async def run(self) -> None:
        """Transcode until the source ends. Raises WorkerDiedError; the process is gone when this returns."""
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command(self._settings), stdin=pipe, stdout=pipe, stderr=pipe
            )
        except OSError as error:
            raise WorkerDiedError(f"it cannot be started: {error}") from error
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._unanswered, self._blocked = 0, False
        self.pid = process.pid
        feeding = asyncio.ensure_future(self._feed(process.stdin))
        taking = asyncio.ensure_future(self._take(process.stdout))
        complaint = asyncio.ensure_future(_last_of(process.stderr))
        try:
            await asyncio.wait((feeding, taking), return_when=asyncio.FIRST_COMPLETED)
            for task in (feeding, taking):
                failure = task.exception() if task.done() else None
                if failure is not None and not isinstance(failure, OSError | EOFError | ValueError):
                    raise failure
            if feeding.done() and feeding.exception() is None:
                return
            raise WorkerDiedError(await _reason(process, taking, complaint))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            feeding.cancel()
            taking.cancel()
            complaint.cancel()
            await asyncio.gather(feeding, taking, complaint, return_exceptions=True)
            await process.wait()
            self.pid = None

    async def _feed(self, writer: asyncio.StreamWriter) -> None:
        """Everything that the stream brings, until it ends. Raises OSError when the worker is gone."""
        with self._source.read_units("transcode", pace=Pace.HURRIED) as reader:
            overflows, epoch = 0, -1
            while items := await reader.take():
                units = _pictures(items)
                for unit, track in units:
                    anew = reader.overflows != overflows or unit.epoch != epoch
                    overflows, epoch = reader.overflows, unit.epoch
                    late = (units[-1][0].dts - unit.dts) / track.clock_rate > _LATE_S
                    silent = late or (unit.epoch, unit.pts) <= self._shown
                    writer.write(_message(unit, track, silent=silent, anew=anew))
                    self._unanswered += 1
                    self._blocked = True
                    await writer.drain()
                    self._blocked = False

    async def _take(self, reader: asyncio.StreamReader) -> None:
        """Publish what comes. Raises TimeoutError if nothing does though pictures go in; EOFError when it ends."""
        while True:
            try:
                async with asyncio.timeout(self._stall_s):
                    head = await reader.readexactly(Plain.HEADER.size)
            except TimeoutError:
                if self._blocked or self._unanswered > _MAX_REORDERED:
                    raise
                continue
            self._unanswered = 0
            sets_bytes, data_bytes = Plain.sizes(head)
            sets = tuple(nal_units(await reader.readexactly(sets_bytes)))
            self._publish(Plain.read(head, sets, await reader.readexactly(data_bytes)))

    def _publish(self, plain: Plain) -> None:
        if plain.sets and (self._track is None or self._track.parameter_sets != plain.sets):
            self._track = VideoTrack(Codec.H264, plain.sets, plain.width, plain.height)
        if self._track is None:
            return
        self._shown = max(self._shown, (plain.epoch, plain.pts))
        self.pictures += 1
        self._target.publish(
            AccessUnit(self._track, plain.pts, plain.pts, plain.utc_ns, plain.data, plain.keyframe, 0, plain.epoch)
        )


def _pictures(items: Sequence[StreamItem]) -> list[tuple[AccessUnit, VideoTrack]]:
    return [(i, i.track) for i in items if isinstance(i, AccessUnit) and isinstance(i.track, VideoTrack)]


def _message(unit: AccessUnit, track: VideoTrack, *, silent: bool, anew: bool) -> bytes:
    data = unit.data
    if unit.keyframe:
        data = b"".join(map(prefixed, track.parameter_sets)) + data
    return Picture(track.codec, unit.pts, unit.dts, unit.utc_ns, unit.epoch, data, silent, anew).pack()


async def _reason(
    process: asyncio.subprocess.Process, taking: "asyncio.Future[None]", complaint: "asyncio.Future[str]"
) -> str:
    """Why a worker is of no use any more."""
    if taking.done() and isinstance(taking.exception(), TimeoutError):
        return "it does not answer"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            await process.wait()
    said = complaint.result() if complaint.done() else ""
    return f"it ended with {process.returncode} {said}".strip()


async def _last_of(reader: asyncio.StreamReader) -> str:
    """The end of what a process complains of, in one line."""
    kept = b""
    while chunk := await reader.read(4096):
        kept = (kept + chunk)[-_COMPLAINT_BYTES:]
    lines = kept.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""

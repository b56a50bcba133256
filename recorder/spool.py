"""The spool: what is recorded lies here, on local disk, until it is stored and committed.

The event loop only queues; one thread writes for all recordings. It drains its queue in batches: one ``writev`` per
file, CRC and SHA-256 on the way, ``fdatasync`` at each segment's end. A ``kill -9`` so loses at most the part in
flight, a power cut at most one segment.

At the bound the newest media is refused, and the caller is told, so that the refusal becomes a gap on record.
"""

import asyncio
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Final

from media.segments import Part
from media.unit import GapCause
from recorder.errors import SpoolError
from recorder.spool_format import (
    CHUNK,
    FRAME,
    MAGIC,
    Kind,
    SegmentBuilder,
    SpooledSegment,
    SpoolFile,
    SpoolHeader,
    end_payload,
    frame,
    frame_head,
    gap_payload,
    read_spool,
    segment_bytes,
    start_payload,
)
from recorder.state import SpoolSettings
from storage.records import GapRecord

_log = logging.getLogger(__name__)

_LINGER_S: Final = 0.02
"""After the first item of a batch the writer waits this long for more: at hundreds of cameras it then wakes 50 times
a second, not a thousand."""
_MAX_VECTORS: Final = 512
_HEADER_MAY_BE_TORN: Final = 1024 * 1024
"""A file shorter than this whose header is broken was cut off while it was begun: there is no media in it."""
_OVERHEAD: Final = FRAME.size + CHUNK.size
DAMAGED: Final = "damaged"


class OpenSpoolFile:
    """One object in progress, as its recording's task sees it. Owned by the event loop; every call only queues.

    ``segments`` are those on disk (``fdatasync`` done). ``failed`` is set when the disk refused to take bytes: what was
    written since the last whole segment is cut off, and nothing more is taken.
    """

    def __init__(self, spool: "Spool", header: SpoolHeader, path: Path, chain: str | None) -> None:
        self.header = header
        self.path = path
        self.segments: list[SpooledSegment] = []
        self.gaps: list[GapRecord] = []
        self.failed: OSError | None = None
        self.bytes = 4096 + 2 * len(header.init)
        self.media_bytes = 0
        self.closed: asyncio.Future[SpoolFile | None] = asyncio.get_running_loop().create_future()
        self._spool = spool
        self._closing = False
        spool.put(_Open(self, chain), self.bytes)

    def start_segment(self, sequence: int, start_utc_ns: int, *, discontinuity: bool) -> None:
        """A segment begins."""
        self._spool.put(_Start(self, sequence, start_utc_ns, discontinuity), 0)

    def part(self, part: Part) -> GapCause | None:
        """Take a part of the segment; or refuse it, with the cause that goes on record."""
        size = part.size + len(part.chunks) * _OVERHEAD
        if self.failed is not None:
            return GapCause.STORAGE_LOST
        refused = self._spool.refusal(size)
        if refused is None:
            self.bytes += size
            self.media_bytes += part.size
            self._spool.put(_Part(self, part), size)
        return refused

    def end_segment(self, duration_ns: int | None) -> None:
        """The segment is whole; None takes the duration from its chunks."""
        self._spool.put(_End(self, duration_ns), 0)

    def gap(self, gap: GapRecord) -> None:
        """Keep a gap with the media, so that it outlives a crash while the database is away."""
        self.gaps.append(gap)
        self._spool.put(_Gap(self, gap), 0)

    def sync(self) -> None:
        """Bring what is written so far to disk."""
        self._spool.put(_Sync(self), 0)

    def close(self) -> asyncio.Future[SpoolFile | None]:
        """Nothing more comes. The future gives the file once it is on disk; None if it held nothing and is gone."""
        if not self._closing:
            self._closing = True
            self._spool.put(_Close(self), 0)
        return self.closed

    def finished(self, result: SpoolFile | None, size: int) -> None:
        """The writer is done with the file. For the writer's reports only."""
        if not self.closed.done():
            self._spool.forget(self.bytes - size, gone=result is None)
            self.closed.set_result(result)


@dataclass(slots=True)
class _Operation:
    file: OpenSpoolFile


@dataclass(slots=True)
class _Open(_Operation):
    chain: str | None


@dataclass(slots=True)
class _Start(_Operation):
    sequence: int
    start_utc_ns: int
    discontinuity: bool


@dataclass(slots=True)
class _Part(_Operation):
    part: Part


@dataclass(slots=True)
class _End(_Operation):
    duration_ns: int | None


@dataclass(slots=True)
class _Gap(_Operation):
    gap: GapRecord


class _Sync(_Operation):
    pass


class _Close(_Operation):
    pass


@dataclass(slots=True)
class _Written:
    """The writer thread's side of an OpenSpoolFile. Owned by the writer thread."""

    handle: OpenSpoolFile
    header: SpoolHeader
    fd: int
    size: int = 0
    """Bytes written or waiting in ``buffers``."""
    whole: int = 0
    """Size up to the end of the last whole segment, or gap outside a segment."""
    durable: int = 0
    """The same, as far as it is known to be on disk."""
    durable_gaps: int = 0
    object_offset: int = 0
    buffers: list[bytes] = field(default_factory=list)
    builder: SegmentBuilder | None = None
    segments: list[SpooledSegment] = field(default_factory=list)
    fresh: list[SpooledSegment] = field(default_factory=list)
    gaps: list[GapRecord] = field(default_factory=list)
    needs_sync: bool = False
    new: bool = True
    closing: bool = False


class Spool:
    """The spool directory and its writer thread. An async context manager.

    ``bytes`` on disk and ``pending_bytes`` in memory are owned by the event loop.
    """

    def __init__(self, directory: Path, settings: SpoolSettings) -> None:
        self.bytes = 0
        self.pending_bytes = 0
        self.files = 0
        self.full = False
        self._directory = directory
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer: _Writer | None = None

    async def __aenter__(self) -> "Spool":
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._directory.mkdir, parents=True, exist_ok=True)
        self._writer = _Writer(self._directory, self._report)
        self._writer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.stop()
            await asyncio.to_thread(self._writer.join)
            self._writer = None

    @property
    def max_bytes(self) -> int:
        """The bound."""
        return self._settings.max_bytes

    @property
    def nearly_full(self) -> bool:
        """Whether the operator should know."""
        return self.bytes >= self._settings.max_bytes * self._settings.warn_share

    def refusal(self, size: int) -> GapCause | None:
        """Why ``size`` bytes more cannot be taken now, None if they can."""
        if self.bytes + size > self._settings.max_bytes:
            self.full = True
            return GapCause.STORAGE_LOST
        self.full = False
        if self.pending_bytes + size > self._settings.max_pending_bytes:
            return GapCause.OVERLOADED
        return None

    def open(self, header: SpoolHeader, chain: str | None) -> OpenSpoolFile:
        """Begin an object. ``chain`` is the hash before its first segment; None goes on from the recording's last
        object, which must have been opened through this spool."""
        path = self._directory / header.recording / f"{header.number:06d}.spool"
        self.files += 1
        return OpenSpoolFile(self, header, path, chain)

    def put(self, operation: _Operation, size: int) -> None:
        """Queue for the writer. For OpenSpoolFile only."""
        if self._writer is None:
            raise SpoolError("the spool is not open")
        self.bytes += size
        self.pending_bytes += size
        self._writer.queue.put((operation, size))

    async def recover(self) -> list[SpoolFile]:
        """Files that a crash left, as far as they are whole, in order of recording and number.

        Nothing is written: reading them again after another crash gives the same. To be called once, before anything
        is opened.
        """
        found = await asyncio.to_thread(_recover_all, self._directory)
        self.bytes = sum(item.size for item in found)
        self.files = len(found)
        return found

    async def remove(self, spool: SpoolFile) -> None:
        """The object is stored and committed: its spool file goes."""
        await asyncio.to_thread(_remove, spool.path)
        self.forget(spool.size, gone=True)

    async def set_aside(self, spool: SpoolFile) -> None:
        """Keep a damaged file for a person to look at, out of the way."""
        await asyncio.to_thread(_set_aside, spool.path, self._directory)
        self.forget(spool.size, gone=True)

    def forget(self, size: int, *, gone: bool) -> None:
        """``size`` bytes less are on disk. For OpenSpoolFile only."""
        self.bytes = max(0, self.bytes - size)
        if gone:
            self.files = max(0, self.files - 1)

    def _report(self, reports: "list[tuple[Callable[..., None], tuple[object, ...]]]", written: int) -> None:
        """Called in the writer thread: hand its news to the loop in one go."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._deliver, reports, written)

    def _deliver(self, reports: "list[tuple[Callable[..., None], tuple[object, ...]]]", written: int) -> None:
        self.pending_bytes -= written
        for call, arguments in reports:
            call(*arguments)


class _Writer(threading.Thread):
    """The one thread that writes. Everything in it is its own, except ``queue``."""

    def __init__(self, directory: Path, report: Callable[..., None]) -> None:
        super().__init__(name="spool-writer", daemon=True)
        self.queue: queue.SimpleQueue[tuple[_Operation, int] | None] = queue.SimpleQueue()
        self._directory = directory
        self._report = report
        self._files: dict[OpenSpoolFile, _Written] = {}
        self._chains: dict[str, str] = {}
        self._reports: list[tuple[Callable[..., None], tuple[object, ...]]] = []

    def stop(self) -> None:
        """Write all that is queued, then end. Open files stay as they are, to be recovered."""
        self.queue.put(None)

    def run(self) -> None:
        """Drain the queue in batches until told to stop."""
        running = True
        while running:
            batch = [self.queue.get()]
            if batch[0] is not None:
                time.sleep(_LINGER_S)
            while True:
                try:
                    batch.append(self.queue.get_nowait())
                except queue.Empty:
                    break
            written = 0
            touched: dict[OpenSpoolFile, _Written] = {}
            for item in batch:
                if item is None:
                    running = False
                    continue
                operation, size = item
                written += size
                self._guarded(operation, touched)
            for file in touched.values():
                self._flush(file)
            reports, self._reports = self._reports, []
            self._report(reports, written)
        for file in self._files.values():
            os.close(file.fd)

    def _guarded(self, operation: _Operation, touched: dict[OpenSpoolFile, _Written]) -> None:
        file = self._files.get(operation.file)
        if file is None:
            if isinstance(operation, _Open):
                try:
                    file = self._open(operation)
                except OSError as error:
                    self._reports.append((_fail, (operation.file, error)))
                    self._reports.append((operation.file.finished, (None, 0)))
                    return
                self._files[operation.file] = file
                touched[operation.file] = file
            elif isinstance(operation, _Close):
                self._reports.append((operation.file.finished, (None, 0)))
            return
        touched[operation.file] = file
        self._apply(file, operation)

    def _open(self, operation: _Open) -> _Written:
        handle = operation.file
        chain = operation.chain if operation.chain is not None else self._chains[handle.header.recording]
        header = replace(handle.header, chain=chain)
        handle.path.parent.mkdir(exist_ok=True)
        fd = os.open(handle.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        self._chains[header.recording] = chain
        file = _Written(handle, header, fd, object_offset=len(header.init))
        self._add(file, MAGIC + frame(Kind.HEADER, header.to_payload()))
        file.whole = file.size
        return file

    def _add(self, file: _Written, *buffers: bytes) -> None:
        file.buffers.extend(buffers)
        file.size += sum(len(item) for item in buffers)

    def _apply(self, file: _Written, operation: _Operation) -> None:
        if isinstance(operation, _Part) and file.builder is not None:
            self._part(file, file.builder, operation.part)
        elif isinstance(operation, _Start):
            file.builder = SegmentBuilder(operation.sequence, operation.start_utc_ns, operation.discontinuity)
            payload = start_payload(operation.sequence, operation.start_utc_ns, operation.discontinuity)
            self._add(file, frame(Kind.SEGMENT_START, payload))
        elif isinstance(operation, _End) and file.builder is not None:
            self._end(file, file.builder, operation.duration_ns)
        elif isinstance(operation, _Gap):
            self._add(file, frame(Kind.GAP, gap_payload(operation.gap)))
            file.gaps.append(operation.gap)
            file.needs_sync = True
            if file.builder is None:
                file.whole = file.size
        elif isinstance(operation, _Sync):
            file.needs_sync = True
        elif isinstance(operation, _Close):
            if file.builder is not None:
                self._end(file, file.builder, None)
            self._add(file, frame(Kind.CLOSE, b"{}"))
            file.needs_sync = True
            file.closing = True

    def _part(self, file: _Written, builder: SegmentBuilder, part: Part) -> None:
        for track_id, chunk in sorted(part.chunks.items()):
            head = CHUNK.pack(
                part.sequence, part.index, track_id, chunk.dts, chunk.duration, chunk.samples, part.start_utc_ns
            )
            self._add(file, frame_head(Kind.CHUNK, head, chunk.data), head)
            builder.add(track_id, chunk.dts, chunk.duration, chunk.samples, chunk.data, file.size)
            self._add(file, chunk.data)

    def _end(self, file: _Written, builder: SegmentBuilder, duration_ns: int | None) -> None:
        file.builder = None
        if builder.empty:
            return
        previous = self._chains[file.header.recording]
        shown = builder.shown_ns(file.header.tracks) if duration_ns is None else duration_ns
        segment = builder.end(file.header, previous, file.object_offset, shown)
        self._chains[file.header.recording] = segment.facts.chain
        file.object_offset += segment_bytes(segment.facts)
        self._add(file, frame(Kind.SEGMENT_END, end_payload(segment.facts)))
        file.segments.append(segment)
        file.fresh.append(segment)
        file.whole = file.size
        file.needs_sync = True

    def _flush(self, file: _Written) -> None:
        try:
            _write_all(file.fd, file.buffers)
            file.buffers.clear()
            if file.needs_sync:
                os.fdatasync(file.fd)
                if file.new:
                    _sync_directory(file.handle.path.parent)
                    _sync_directory(self._directory)
                    file.new = False
                file.needs_sync = False
                file.durable = file.whole
                file.durable_gaps = len(file.gaps)
        except OSError as error:
            self._give_up(file, error)
            return
        if file.fresh:
            self._reports.append((file.handle.segments.extend, (tuple(file.fresh),)))
            file.fresh.clear()
        if file.closing:
            self._close(file)

    def _give_up(self, file: _Written, error: OSError) -> None:
        """The disk does not take more: keep what is whole and on disk, let the rest become a gap."""
        path = file.handle.path
        _log.error("spool file %s cannot be written: %s", path.name, error.strerror)
        del file.segments[len(file.segments) - len(file.fresh) :]
        del file.gaps[file.durable_gaps :]
        self._chains[file.header.recording] = file.segments[-1].facts.chain if file.segments else file.header.chain
        self._reports.append((_fail, (file.handle, error)))
        try:
            os.ftruncate(file.fd, file.durable)
        except OSError as again:
            # The tail is then cut off by whoever reads the file: its last segment has no end.
            _log.warning("spool file %s cannot be cut: %s", path.name, again.strerror)
        file.size = file.durable
        self._close(file)

    def _close(self, file: _Written) -> None:
        os.close(file.fd)
        del self._files[file.handle]
        path = file.handle.path
        if not file.segments and not file.gaps:
            try:
                _remove(path)
            except OSError as error:
                _log.warning("empty spool file %s cannot be removed: %s", path.name, error.strerror)
            self._reports.append((file.handle.finished, (None, 0)))
            return
        result = SpoolFile(
            path, file.header, tuple(file.segments), tuple(file.gaps), file.size, file.size, closed=True, cut=False
        )
        self._reports.append((file.handle.finished, (result, file.size)))


def _fail(handle: OpenSpoolFile, error: OSError) -> None:
    handle.failed = error


def _write_all(fd: int, buffers: list[bytes]) -> None:
    for first in range(0, len(buffers), _MAX_VECTORS):
        vectors: list[bytes | memoryview] = list(buffers[first : first + _MAX_VECTORS])
        while vectors:
            done = os.writev(fd, vectors)
            while vectors and done >= len(vectors[0]):
                done -= len(vectors.pop(0))
            if done:
                vectors[0] = memoryview(vectors[0])[done:]


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _set_aside(path: Path, directory: Path) -> None:
    target = directory / DAMAGED / path.parent.name
    target.mkdir(parents=True, exist_ok=True)
    path.replace(target / path.name)
    _sync_directory(target)
    _sync_directory(path.parent)


def _recover_all(directory: Path) -> list[SpoolFile]:
    found = []
    for folder in sorted(directory.iterdir()):
        if not folder.is_dir() or folder.name == DAMAGED:
            continue
        for path in sorted(folder.glob("*.spool")):
            spool = read_spool(path)
            if spool is None and path.stat().st_size > _HEADER_MAY_BE_TORN:
                _log.error("spool file %s has no readable header and is set aside", path.name)
                _set_aside(path, directory)
            elif spool is None or not (spool.segments or spool.gaps):
                _remove(path)
            else:
                found.append(spool)
        if not any(folder.iterdir()):
            folder.rmdir()
    return found

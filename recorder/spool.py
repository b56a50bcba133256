"""The spool: what is recorded lies here, on local disk, until it is stored and committed.

The event loop only queues; one thread writes for all recordings (recorder.spool_writer). A ``kill -9`` loses at most
the part in flight, a power cut at most one segment.

At the bound the newest media is refused, and the caller is told, so that the refusal becomes a gap on record.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

from media.segments import Part
from media.unit import GapCause
from recorder.errors import SpoolError, SpoolInUseError
from recorder.spool_files import DAMAGED, remove_file, set_aside_file, spool_size, was_set_aside
from recorder.spool_format import CHUNK, FRAME, PLACE, SpooledSegment, SpoolFile, SpoolHeader, media_path
from recorder.spool_read import read_spool, scan_spool
from recorder.spool_writer import (
    CloseOp,
    EndOp,
    GapOp,
    OpenOp,
    Operation,
    PartOp,
    Report,
    SpoolWriter,
    StartOp,
    SyncOp,
)
from recorder.state import SpoolSettings
from storage.files import make_folders
from storage.records import GapRecord

_log = logging.getLogger(__name__)

_MAY_BE_TORN: Final = 64 * 1024
"""A file with nothing whole in it and no more than this behind it was cut off while it was begun; more is kept."""
_STILL_FULL: Final = 0.9
_LOST_AND_FOUND: Final = "lost+found"
_LOCK: Final = ".lock"
"""What a disk of its own has at its top."""
_SEGMENT_BYTES: Final = 1024
"""What the frames at a segment's start and end take, or somewhat less."""
_OVERHEAD: Final = FRAME.size + CHUNK.size + PLACE.size


class OpenSpoolFile:
    """One object in progress, as its recording's task sees it. Owned by the event loop; every call only queues.

    ``segments`` are those on disk (``fdatasync`` done). ``failed`` is set when the disk refused to take bytes: what was
    written since the last whole segment is cut off, and nothing more is taken. ``start_utc_ns`` is where its first
    segment begins, ``end_utc_ns`` where the last part that it took ends.
    """

    def __init__(self, spool: "Spool", header: SpoolHeader, path: Path, after: "OpenSpoolFile | None") -> None:
        self.header = header
        self.path = path
        self.following = (header.number, header.chain)
        self.segments: list[SpooledSegment] = []
        self.gaps: list[GapRecord] = []
        self.failed: OSError | None = None
        self.bytes = 0
        self.media_bytes = 0
        self.start_utc_ns: int | None = None
        self.end_utc_ns: int | None = None
        self.closed: asyncio.Future[SpoolFile | None] = asyncio.get_running_loop().create_future()
        self._spool = spool
        self._first_track = header.first_track
        # Counted with the next part, so that the bound is kept.
        self._frame_bytes = 4096 + 2 * len(header.init)
        self._closing = False
        spool.put(OpenOp(self, after), 0)

    def start_segment(self, sequence: int, start_utc_ns: int, *, discontinuity: bool) -> None:
        """A segment begins."""
        if self.start_utc_ns is None:
            self.start_utc_ns = start_utc_ns
        self._frame_bytes += _SEGMENT_BYTES
        self._spool.put(StartOp(self, sequence, start_utc_ns, discontinuity), 0)

    def refusal(self, part: Part) -> GapCause | None:
        """Why a part cannot be taken now, also if a segment is begun with it; None if it can."""
        if self.failed is not None:
            return GapCause.STORAGE_LOST
        return self._spool.refusal(self._size_of(part) + _SEGMENT_BYTES)

    def part(self, part: Part) -> GapCause | None:
        """Take a part of the segment; or refuse it, with the cause that goes on record."""
        size = self._size_of(part)
        refused = GapCause.STORAGE_LOST if self.failed is not None else self._spool.refusal(size)
        if refused is None:
            self.bytes += size
            self._frame_bytes = 0
            self.media_bytes += part.size
            self.end_utc_ns = part.start_utc_ns + part.duration_ns
            self._spool.put(PartOp(self, part), size)
        return refused

    def _size_of(self, part: Part) -> int:
        size = part.size + len(part.chunks) * _OVERHEAD + self._frame_bytes
        # What does not go straight to its place is written twice.
        return size + sum([chunk.size for track_id, chunk in part.chunks.items() if track_id != self._first_track])

    def end_segment(self, duration_ns: int | None) -> None:
        """The segment is whole; None takes the duration from its chunks."""
        self._spool.put(EndOp(self, duration_ns), 0)

    def gap(self, gap: GapRecord) -> None:
        """Keep a gap with the media, so that it outlives a crash while the database is away."""
        self.gaps.append(gap)
        self._spool.put(GapOp(self, gap), 0)

    def sync(self) -> None:
        """Bring what is written so far to disk."""
        self._spool.put(SyncOp(self), 0)

    def close(self) -> asyncio.Future[SpoolFile | None]:
        """Nothing more comes. The future gives the file once it is on disk; None if it held nothing and is gone."""
        if not self._closing:
            self._closing = True
            self._spool.put(CloseOp(self), 0)
        return self.closed

    def durable(self, segments: tuple[SpooledSegment, ...], path: Path) -> None:
        """For the writer's reports only."""
        self.path = path
        self.segments.extend(segments)

    def fail(self, error: OSError) -> None:
        """For the writer's reports only."""
        self.failed = error

    def finished(self, result: SpoolFile | None, path: Path, size: int) -> None:
        """For the writer's reports only."""
        self.path = path
        if not self.closed.done():
            self._spool.forget(self.bytes - size)
            self.closed.set_result(result)


class Spool:
    """The spool directory and its writer thread. An async context manager; entering raises SpoolInUseError, OSError.

    ``bytes`` on disk and ``pending_bytes`` in memory are owned by the event loop. ``disk_free`` is what its owner last
    found free on the disk, None if unknown.
    """

    def __init__(self, directory: Path, settings: SpoolSettings) -> None:
        self.bytes = 0
        self.pending_bytes = 0
        self.disk_free: int | None = None
        self._refusing = False
        self._directory = directory
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer: SpoolWriter | None = None
        self._writer_thread: threading.Thread | None = None
        self._lock: int | None = None

    async def __aenter__(self) -> "Spool":
        self._loop = asyncio.get_running_loop()
        self._lock = await asyncio.to_thread(_locked, self._directory)
        self._writer = SpoolWriter(self._report)
        self._writer_thread = threading.Thread(target=self._writer.run, name="spool-writer", daemon=True)
        self._writer_thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None and self._writer_thread is not None:
            self._writer.stop()
            await asyncio.to_thread(self._writer_thread.join)
            self._writer = self._writer_thread = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def max_bytes(self) -> int:
        """The bound."""
        return self._settings.max_bytes

    @property
    def nearly_full(self) -> bool:
        """Whether the operator should know."""
        return self.bytes >= self._settings.max_bytes * self._settings.warn_share

    @property
    def full(self) -> bool:
        """Whether media is refused now."""
        return self._refusing and self.bytes >= self._settings.max_bytes * _STILL_FULL

    @property
    def disk_full(self) -> bool:
        """Whether media is refused because the rest of the disk is needed to store what is there."""
        return self.disk_free is not None and self.disk_free < self._settings.disk_reserve_bytes

    def refusal(self, size: int) -> GapCause | None:
        """Why ``size`` bytes more cannot be taken now, None if they can."""
        if self.bytes + size > self._settings.max_bytes:
            self._refusing = True
            return GapCause.STORAGE_LOST
        self._refusing = False
        if self.disk_full:
            return GapCause.STORAGE_LOST
        if self.pending_bytes + size > self._settings.max_pending_bytes:
            return GapCause.OVERLOADED
        return None

    def open(self, header: SpoolHeader, after: OpenSpoolFile | None = None) -> OpenSpoolFile:
        """Begin an object. ``header`` says its number and the hash before it; or they go on from ``after``, the
        recording's file before, which has been closed (the future of its closing need not be done)."""
        path = self._directory / header.recording / f"{header.number:06d}.spool"
        return OpenSpoolFile(self, header, path, after)

    def put(self, operation: Operation, size: int) -> None:
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
        return found

    async def remove(self, spool: SpoolFile) -> None:
        """The object is stored and committed: its spool file goes."""
        await asyncio.to_thread(remove_file, spool.path)
        self.forget(spool.size)

    async def set_aside(self, spool: SpoolFile) -> None:
        """Keep a damaged file for a person to look at, out of the way."""
        await asyncio.to_thread(set_aside_file, spool.path, self._directory)
        self.forget(spool.size)

    def forget(self, size: int) -> None:
        """``size`` bytes less are on disk. For OpenSpoolFile only."""
        self.bytes = max(0, self.bytes - size)

    def _report(self, reports: list[Report], written: int) -> None:
        """Called in the writer thread: hand its news to the loop in one go."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._deliver, reports, written)

    def _deliver(self, reports: list[Report], written: int) -> None:
        self.pending_bytes -= written
        for call, arguments in reports:
            call(*arguments)


def _locked(directory: Path) -> int:
    """Make the directory and lock it for this process; the kernel lets go of it however the process ends."""
    make_folders(directory)
    lock = os.open(directory / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    _take(lock, directory)
    return lock


def _take(lock: int, directory: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise SpoolInUseError("another process uses this spool", spool=str(directory)) from None


@contextlib.contextmanager
def unused_spool(directory: Path) -> Iterator[None]:
    """For work that no service may run beside: none uses this spool, and none begins to. A spool that is not there is
    not made. Blocks. Raises SpoolInUseError, OSError."""
    try:
        lock = os.open(directory / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        yield
        return
    _take(lock, directory)
    try:
        yield
    finally:
        os.close(lock)


def _recover_all(directory: Path) -> list[SpoolFile]:
    found = []
    for folder in sorted(directory.iterdir()):
        if not folder.is_dir() or folder.name in (DAMAGED, _LOST_AND_FOUND):
            continue
        for path in sorted(folder.glob("*.spool")):
            try:
                spool = _recovered(path, directory)
            except OSError as error:
                # One file that the disk does not give back must not keep all others, and all rooms, waiting.
                _log.error("spool file %s of %s cannot be read: %s", path.name, folder.name, error.strerror)
            else:
                found += [spool] if spool is not None else []
        try:
            _clear_left_over(folder, directory)
            if not any(folder.iterdir()):
                folder.rmdir()
        except OSError as error:
            _log.error("spool folder %s cannot be cleared: %s", folder.name, error.strerror)
    return found


def _recovered(path: Path, directory: Path) -> SpoolFile | None:
    """What a spool file holds; None where that is nothing, and the file out of the way. Raises OSError."""
    try:
        # A long outage leaves thousands of closed files: media in them is looked at when it is stored.
        spool = scan_spool(path) or read_spool(path)
    except SpoolError as error:
        # Every frame was whole, so this is no damage: another version of Sanhui wrote it.
        _log.error("spool file %s is not understood (%s) and is set aside", path.name, type(error.__cause__).__name__)
        set_aside_file(path, directory)
        return None
    if spool is not None and (spool.segments or spool.gaps):
        return spool
    if _may_be_torn(path, spool):
        remove_file(path)
    else:
        _log.error("spool file %s holds more than can be read and is set aside", path.name)
        set_aside_file(path, directory)
    return None


def _may_be_torn(path: Path, spool: SpoolFile | None) -> bool:
    """Whether a file with nothing whole in it was just begun when it was cut off."""
    return spool_size(path) - (spool.valid_bytes if spool is not None else 0) <= _MAY_BE_TORN


def _clear_left_over(folder: Path, directory: Path) -> None:
    """What has no journal is out of use: its journal goes first. Where it is in no store, it is nothing of ours."""
    for path in sorted(folder.iterdir()):
        journal = path.with_suffix(".spool")
        if path == journal or journal.exists():
            continue
        try:
            _clear(path, journal, directory)
        except OSError as error:
            _log.error("%s of %s is in the way: %s", path.name, folder.name, error.strerror)


def _clear(path: Path, journal: Path, directory: Path) -> None:
    if path == media_path(journal) and (known := path.stat()).st_nlink == 1:
        if known.st_size > _MAY_BE_TORN or was_set_aside(journal, directory):
            _log.error("media file %s of %s has no journal and is set aside", path.name, path.parent.name)
            set_aside_file(journal, directory)
            return
    path.unlink(missing_ok=True)

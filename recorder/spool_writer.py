"""The spool's one writer thread: operations in, media and journal on disk, news back to the event loop.

It drains its queue in batches: one ``writev`` per file, CRC and SHA-256 on the way, ``fdatasync`` at each segment's
end: of the media first, then of the journal that says so.
"""

import errno
import logging
import os
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol

from media.segments import Part
from recorder.spool_format import (
    CHUNK,
    MAGIC,
    PLACE,
    Kind,
    SegmentBuilder,
    SpooledSegment,
    SpoolFile,
    SpoolHeader,
    end_payload,
    frame,
    frame_head,
    gap_payload,
    media_path,
    placed,
    start_payload,
)
from recorder.spool_object import rebuilt_path
from storage.records import GapRecord

_log = logging.getLogger(__name__)

_LINGER_S: Final = 0.1
"""After the first item of a batch the writer waits this long for more: at hundreds of cameras it then wakes 10 times
a second, not a thousand. A fifth of a part: a ``kill -9`` in that time still costs no more than one part's worth."""
_MAX_VECTORS: Final = 512
_MAX_NAMES: Final = 100
_NEW_FILE: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
_FOLDER_MODE: Final = 0o700
_JOURNAL_MODE: Final = 0o600
# A store on the same disk takes the file as it is, for others to read there; here its folder keeps it.
_MEDIA_MODE: Final = 0o666
DAMAGED: Final = "damaged"
"""The folder in the spool where damaged files are kept."""


class SpoolOwner(Protocol):
    """Whom a file is written for. ``header`` and ``path`` are read by the writer; the rest is called on the event loop,
    in the order in which it happened. ``following`` is the writer's own note of the number and the chain that the next
    file of the recording has."""

    header: SpoolHeader
    path: Path
    following: tuple[int, str]

    def durable(self, segments: tuple[SpooledSegment, ...], path: Path) -> None:
        """These segments are on disk, in this file (``path`` with a number added where that was taken)."""
        ...

    def fail(self, error: OSError) -> None:
        """The disk refused; what is not durable is gone, and nothing more is written."""
        ...

    def finished(self, result: SpoolFile | None, path: Path, size: int) -> None:
        """The file is closed, ``size`` bytes of it on disk; None if nothing is left of it."""
        ...


@dataclass(slots=True)
class Operation:
    """Something to do for an owner."""

    owner: SpoolOwner


@dataclass(slots=True)
class OpenOp(Operation):
    """Begin the file; ``after`` the one before it, whose CloseOp came earlier: number and chain go on from there."""

    after: SpoolOwner | None


@dataclass(slots=True)
class StartOp(Operation):
    """A segment begins."""

    sequence: int
    start_utc_ns: int
    discontinuity: bool


@dataclass(slots=True)
class PartOp(Operation):
    """A part of it."""

    part: Part


@dataclass(slots=True)
class EndOp(Operation):
    """It is whole; None takes the duration from its chunks."""

    duration_ns: int | None


@dataclass(slots=True)
class GapOp(Operation):
    """Keep a gap."""

    gap: GapRecord


class SyncOp(Operation):
    """Bring what is written to disk."""


class CloseOp(Operation):
    """Nothing more comes."""


Report = tuple[Callable[..., None], tuple[object, ...]]
"""What to call on the event loop, with what."""


@dataclass(slots=True)
class _Log:
    """One of the two files: bytes go to its end."""

    path: Path
    fd: int = -1
    size: int = 0
    """Bytes written or waiting in ``buffers``."""
    whole: int = 0
    """Size up to the end of the last whole segment, or gap outside a segment."""
    durable: int = 0
    """The same, as far as it is known to be on disk."""
    buffers: list[bytes] = field(default_factory=list)
    dirty: bool = False

    def add(self, *buffers: bytes) -> None:
        """Queue bytes."""
        for item in buffers:
            self.buffers.append(item)
            self.size += len(item)

    def write(self) -> None:
        """Write what waits. Raises OSError."""
        if self.buffers:
            if self.fd < 0:
                self.fd = os.open(self.path, _NEW_FILE, _MEDIA_MODE)
            self.dirty = True
            _write_all(self.fd, self.buffers)
            self.buffers.clear()

    def sync(self) -> None:
        """Bring what is written to disk. Raises OSError."""
        if self.dirty:
            os.fdatasync(self.fd)
            self.dirty = False

    def cut(self) -> None:
        """Take away what is not known to be whole and on disk. Raises OSError."""
        self.size = self.durable
        self.buffers.clear()
        if self.fd >= 0:
            os.ftruncate(self.fd, self.durable)

    def close(self) -> None:
        """Let go of the file."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass(slots=True)
class _Written:
    """An object being written. Owned by the writer thread."""

    owner: SpoolOwner
    header: SpoolHeader
    journal: _Log
    media: _Log
    first_track: int
    after_sync: list[bytes] = field(default_factory=list)
    """Frames that may be in the journal only once the media they speak of is on disk, and all behind them."""
    waiting: dict[int, list[bytes]] = field(default_factory=dict)
    """Chunks of the other tracks, until their place in the media is known."""
    durable_gaps: int = 0
    builder: SegmentBuilder | None = None
    segments: list[SpooledSegment] = field(default_factory=list)
    fresh: list[SpooledSegment] = field(default_factory=list)
    gaps: list[GapRecord] = field(default_factory=list)
    needs_sync: bool = False
    new: bool = True
    closing: bool = False

    @property
    def path(self) -> Path:
        """The journal's."""
        return self.journal.path

    @property
    def size(self) -> int:
        """Bytes of both files."""
        return self.journal.size + self.media.size

    def note(self, *buffers: bytes) -> None:
        """Queue a frame for the journal."""
        if self.after_sync:
            self.after_sync.extend(buffers)
        else:
            self.journal.add(*buffers)

    def note_after_sync(self, data: bytes) -> None:
        """Queue a frame that says that media is on disk."""
        self.after_sync.append(data)
        self.needs_sync = True

    def is_whole(self) -> None:
        """All that is queued so far may stay, whatever comes."""
        self.media.whole = self.media.size
        self.journal.whole = self.journal.size + sum([len(item) for item in self.after_sync])

    def flush(self) -> None:
        """Write, and sync where that is asked for. Raises OSError."""
        self.media.write()
        self.journal.write()
        if self.needs_sync:
            self.media.sync()
            self.journal.add(*self.after_sync)
            self.after_sync.clear()
            self.journal.write()
            self.journal.sync()


class SpoolWriter:
    """What the one thread that writes does. Everything in it is that thread's own, except ``queue``."""

    def __init__(self, directory: Path, report: Callable[..., None]) -> None:
        self.queue: queue.SimpleQueue[tuple[Operation, int] | None] = queue.SimpleQueue()
        self._directory = directory
        self._report = report
        self._files: dict[SpoolOwner, _Written] = {}
        self._reports: list[tuple[Callable[..., None], tuple[object, ...]]] = []
        self._told: set[object] = set()

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
            touched: dict[SpoolOwner, _Written] = {}
            for item in batch:
                if item is None:
                    running = False
                    continue
                operation, size = item
                written += size
                self._safely(operation.owner, self._take, operation, touched)
            for owner, file in touched.items():
                if owner in self._files:
                    self._safely(owner, self._flush, file)
            reports, self._reports = self._reports, []
            self._report(reports, written)
        for file in self._files.values():
            file.journal.close()
            file.media.close()

    def _is_news(self, kind: object) -> bool:
        """Whether the log does not yet say so: one line for all files, until one is written whole again."""
        if kind in self._told:
            return False
        self._told.add(kind)
        return True

    def _safely(self, owner: SpoolOwner, step: Callable[..., None], *arguments: object) -> None:
        try:
            step(*arguments)
        except Exception as error:  # noqa: BLE001 - see below
            # A fault with one file must not silence all other rooms; to its recording it is a disk that refuses.
            if self._is_news(type(error).__name__):
                _log.exception("spool writer failed on %s", owner.path.name)
            refusal = OSError(errno.EIO, type(error).__name__)
            file = self._files.get(owner)
            if file is not None:
                self._give_up(file, refusal)
            else:
                self._reports.append((owner.fail, (refusal,)))
                self._reports.append((owner.finished, (None, owner.path, 0)))

    def _take(self, operation: Operation, touched: dict[SpoolOwner, _Written]) -> None:
        file = self._files.get(operation.owner)
        if file is None:
            if isinstance(operation, OpenOp):
                try:
                    file = self._open(operation)
                except OSError as error:
                    if self._is_news(error.errno):
                        _log.error("no spool file for %s: %s", operation.owner.header.recording, error.strerror)
                    self._reports.append((operation.owner.fail, (error,)))
                    self._reports.append((operation.owner.finished, (None, operation.owner.path, 0)))
                    return
                self._files[operation.owner] = file
                touched[operation.owner] = file
            elif isinstance(operation, CloseOp):
                self._reports.append((operation.owner.finished, (None, operation.owner.path, 0)))
            return
        touched[operation.owner] = file
        self._apply(file, operation)
        if file.closing:
            # At once: the file that follows must know whether the disk took this one.
            touched.pop(operation.owner, None)
            self._flush(file)

    def _open(self, operation: OpenOp) -> _Written:
        owner = operation.owner
        header = owner.header
        if operation.after is not None:
            number, chain = operation.after.following
            header = replace(header, number=number, chain=chain)
        # Stays so if the file comes to nothing.
        owner.following = (header.number, header.chain)
        folder = owner.path.parent
        folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        path, fd = _create(folder / f"{header.number:06d}.spool")
        file = _Written(owner, header, _Log(path, fd), _Log(media_path(path)), header.first_track)
        file.note(MAGIC + frame(Kind.HEADER, header.to_payload()))
        file.is_whole()
        return file

    def _apply(self, file: _Written, operation: Operation) -> None:
        if isinstance(operation, PartOp) and file.builder is not None:
            self._part(file, file.builder, operation.part)
        elif isinstance(operation, StartOp):
            file.builder = SegmentBuilder(operation.sequence, operation.start_utc_ns, operation.discontinuity)
            payload = start_payload(operation.sequence, operation.start_utc_ns, operation.discontinuity)
            file.note(frame(Kind.SEGMENT_START, payload))
        elif isinstance(operation, EndOp) and file.builder is not None:
            self._end(file, file.builder, operation.duration_ns)
        elif isinstance(operation, GapOp):
            file.note(frame(Kind.GAP, gap_payload(operation.gap)))
            file.gaps.append(operation.gap)
            file.needs_sync = True
            if file.builder is None:
                file.is_whole()
        elif isinstance(operation, SyncOp):
            file.needs_sync = True
        elif isinstance(operation, CloseOp):
            if file.builder is not None:
                self._end(file, file.builder, None)
            file.note_after_sync(frame(Kind.CLOSE, b"{}"))
            file.closing = True

    def _part(self, file: _Written, builder: SegmentBuilder, part: Part) -> None:
        if not file.media.size:
            file.media.add(file.header.init)
        for track_id, chunk in sorted(part.chunks.items()):
            head = CHUNK.pack(
                part.sequence, part.index, track_id, chunk.dts, chunk.duration, chunk.samples, part.start_utc_ns
            )
            data = chunk.data
            checksum = builder.add(track_id, chunk.dts, chunk.duration, chunk.samples, data)
            if track_id == file.first_track:
                file.note(frame(Kind.PLACED, head + PLACE.pack(file.media.size, len(data), checksum)))
                file.media.add(data)
            else:
                file.note(frame_head(Kind.CHUNK, head, data), head, data)
                file.waiting.setdefault(track_id, []).append(data)

    def _end(self, file: _Written, builder: SegmentBuilder, duration_ns: int | None) -> None:
        file.builder = None
        if builder.empty:
            return
        for _, chunks in sorted(file.waiting.items()):
            file.media.add(*chunks)
        file.waiting.clear()
        previous = file.segments[-1].facts.chain if file.segments else file.header.chain
        shown = builder.shown_ns(file.header.tracks) if duration_ns is None else duration_ns
        begin = file.segments[-1].end if file.segments else len(file.header.init)
        facts = builder.end(file.header, previous, begin, shown)
        file.note_after_sync(frame(Kind.SEGMENT_END, end_payload(facts, builder.checksums)))
        segment = placed(facts, builder.checksums)
        file.segments.append(segment)
        file.fresh.append(segment)
        file.is_whole()

    def _flush(self, file: _Written) -> None:
        synced = file.needs_sync
        try:
            file.flush()
            if synced and file.new:
                _sync_directory(file.path.parent)
                _sync_directory(self._directory)
                file.new = False
        except OSError as error:
            self._give_up(file, error)
            return
        if synced:
            file.needs_sync = False
            file.journal.durable, file.media.durable = file.journal.whole, file.media.whole
            file.durable_gaps = len(file.gaps)
        if file.fresh:
            self._reports.append((file.owner.durable, (tuple(file.fresh), file.path)))
            file.fresh.clear()
        if file.closing:
            self._close(file)

    def _give_up(self, file: _Written, error: OSError) -> None:
        """The disk does not take more: keep what is whole and on disk, let the rest become a gap."""
        path = file.path
        if self._is_news(error.errno):
            _log.error("spool file %s cannot be written: %s", path.name, error.strerror)
        del file.segments[len(file.segments) - len(file.fresh) :]
        del file.gaps[file.durable_gaps :]
        self._reports.append((file.owner.fail, (error,)))
        for log in (file.journal, file.media):
            try:
                log.cut()
            except OSError as again:
                # The tail is then cut off by whoever reads the file: its last segment has no end.
                if self._is_news(again.errno):
                    _log.warning("spool file %s cannot be cut: %s", log.path.name, again.strerror)
        self._close(file)

    def _close(self, file: _Written) -> None:
        file.journal.close()
        file.media.close()
        del self._files[file.owner]
        path = file.path
        if file.segments:
            file.owner.following = (file.header.number + 1, file.segments[-1].facts.chain)
        if not file.segments and not file.gaps:
            try:
                remove_file(path)
            except OSError as error:
                if self._is_news(error.errno):
                    _log.warning("empty spool file %s cannot be removed: %s", path.name, error.strerror)
            self._reports.append((file.owner.finished, (None, path, 0)))
            return
        if file.closing:
            self._told.clear()
        result = SpoolFile(
            path, file.header, tuple(file.segments), tuple(file.gaps), file.size, file.size, closed=True, cut=False
        )
        self._reports.append((file.owner.finished, (result, path, file.size)))


def _create(path: Path) -> tuple[Path, int]:
    """A new journal: of this name or, where an older file of that number is not yet through, of one beside it."""
    for count in range(_MAX_NAMES):
        candidate = path if count == 0 else path.with_name(f"{path.stem}-{count:02d}{path.suffix}")
        if media_path(candidate).exists():
            continue
        try:
            return candidate, os.open(candidate, _NEW_FILE, _JOURNAL_MODE)
        except FileExistsError:
            continue
    raise FileExistsError(errno.EEXIST, "too many spool files of one number", str(path))


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


def spool_size(path: Path) -> int:
    """Bytes of a journal and its media. Blocks. Raises OSError."""
    return sum([item.stat().st_size for item in (path, media_path(path)) if item.exists()])


def remove_file(path: Path) -> None:
    """Remove a journal and what it speaks of, and make that last. Blocks. Raises OSError."""
    # The journal first: media that has none is on its way out.
    for item in (path, media_path(path), rebuilt_path(path)):
        item.unlink(missing_ok=True)
    if path.parent.exists():
        _sync_directory(path.parent)


def set_aside_file(path: Path, directory: Path) -> None:
    """Move it below ``damaged``, for a person to look at. Blocks. Raises OSError."""
    target = directory / DAMAGED / path.parent.name
    target.mkdir(parents=True, exist_ok=True)
    rebuilt_path(path).unlink(missing_ok=True)
    for item in (path, media_path(path)):
        if item.exists():
            item.replace(target / item.name)
    _sync_directory(target)
    _sync_directory(path.parent)

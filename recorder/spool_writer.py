"""The spool's one writer thread: operations in, media and journal on disk, news back to the event loop.

It drains its queue in batches, file by file: one write each, CRC and SHA-256 on the way, ``fdatasync`` at each
segment's end: of the media first, then of the journal that says so.
"""

import errno
import logging
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from media.segments import Part
from recorder.spool_files import FOLDER_MODE, Scratch, SpoolLog, WrittenFile, create_journal, remove_file
from recorder.spool_format import (
    CHUNK,
    MAGIC,
    PLACE,
    Kind,
    SegmentBuilder,
    SpooledSegment,
    SpoolFile,
    SpoolHeader,
    close_payload,
    end_payload,
    frame,
    frame_head,
    gap_payload,
    media_path,
    placed,
    start_payload,
)
from storage.records import GapRecord

_log = logging.getLogger(__name__)

_LINGER_S: Final = 0.1
"""After the first item of a batch the writer waits this long for more: at hundreds of cameras it then wakes 10 times
a second, not a thousand. A fifth of a part: a ``kill -9`` in that time still costs no more than one part's worth."""


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


class SpoolWriter:
    """What the one thread that writes does. Everything in it is that thread's own, except ``queue``."""

    def __init__(self, report: Callable[..., None]) -> None:
        self.queue: queue.SimpleQueue[tuple[Operation, int] | None] = queue.SimpleQueue()
        self._report = report
        self._files: dict[SpoolOwner, WrittenFile] = {}
        self._scratch = Scratch()
        self._reports: list[tuple[Callable[..., None], tuple[object, ...]]] = []
        self._told: set[object] = set()

    def stop(self) -> None:
        """Write all that is queued, then end. Open files stay as they are, to be recovered."""
        self.queue.put(None)

    def run(self) -> None:
        """Drain the queue in batches until told to stop."""
        while self._drain():
            pass
        for file in self._files.values():
            file.journal.close()
            file.media.close()

    def _drain(self) -> bool:
        """Wait for a batch and write it; False once told to stop. Nothing of a batch is kept until the next one."""
        batch = [self.queue.get()]
        if batch[0] is not None:
            time.sleep(_LINGER_S)
        while True:
            try:
                batch.append(self.queue.get_nowait())
            except queue.Empty:
                break
        written = 0
        work: dict[SpoolOwner, list[Operation]] = {}
        for item in batch:
            if item is not None:
                operation, size = item
                written += size
                work.setdefault(operation.owner, []).append(operation)
        # One file after the other, in the order in which they were begun: one that follows another must know whether
        # the disk took that.
        for owner, operations in work.items():
            self._safely(owner, self._do, operations)
        reports, self._reports = self._reports, []
        self._report(reports, written)
        return None not in batch

    def _is_news(self, kind: object) -> bool:
        """Whether the log does not yet say so: one line for all files, until one is written whole again."""
        if kind in self._told:
            return False
        self._told.add(kind)
        return True

    def _safely(self, owner: SpoolOwner, step: Callable[..., None], *arguments: object) -> None:
        try:
            step(owner, *arguments)
        except Exception as error:  # noqa: BLE001 - see below
            # A fault with one file must not silence all other rooms; to its recording it is a disk that refuses.
            if self._is_news(type(error).__name__):
                _log.exception("spool writer failed on %s", owner.path.name)
            refusal = OSError(errno.EIO, type(error).__name__)
            file = self._files.get(owner)
            if file is not None:
                self._give_up(owner, file, refusal)
            else:
                self._refused(owner, refusal)

    def _refused(self, owner: SpoolOwner, error: OSError) -> None:
        self._reports.append((owner.fail, (error,)))
        self._reports.append((owner.finished, (None, owner.path, 0)))

    def _do(self, owner: SpoolOwner, operations: list[Operation]) -> None:
        """All that a batch has for one file."""
        self._scratch.clear()
        file = self._files.get(owner)
        for operation in operations:
            if isinstance(operation, OpenOp):
                try:
                    file = self._files[owner] = self._open(operation)
                except OSError as error:
                    if self._is_news(error.errno):
                        _log.error("no spool file for %s: %s", owner.header.recording, error.strerror)
                    self._refused(owner, error)
                    return
            elif file is not None:
                self._apply(file, operation)
            elif isinstance(operation, CloseOp):
                self._reports.append((owner.finished, (None, owner.path, 0)))
        if file is not None:
            self._flush(owner, file)

    def _open(self, operation: OpenOp) -> WrittenFile:
        owner = operation.owner
        header = owner.header
        if operation.after is not None:
            number, chain = operation.after.following
            header = replace(header, number=number, chain=chain)
        # Stays so if the file comes to nothing.
        owner.following = (header.number, header.chain)
        folder = owner.path.parent
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        # Before there is a file: a fault in this must not leave one.
        head, first_track = MAGIC + frame(Kind.HEADER, header.to_payload()), header.first_track
        path, fd = create_journal(folder / f"{header.number:06d}.spool")
        file = WrittenFile(header, SpoolLog(path, fd), SpoolLog(media_path(path)), first_track, self._scratch)
        file.note(head)
        file.is_whole()
        return file

    def _apply(self, file: WrittenFile, operation: Operation) -> None:
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
            file.note_after_sync(frame(Kind.CLOSE, close_payload(file.segments)))
            file.closing = True

    def _part(self, file: WrittenFile, builder: SegmentBuilder, part: Part) -> None:
        if not file.media.size:
            file.add((file.header.init,)).release()
        for track_id, chunk in sorted(part.chunks.items()):
            head = CHUNK.pack(
                part.sequence, part.index, track_id, chunk.dts, chunk.duration, chunk.samples, part.start_utc_ns
            )
            if track_id == file.first_track:
                offset = file.media.size
                with file.add(chunk.pieces) as view:
                    checksum = builder.add(track_id, chunk.dts, chunk.duration, chunk.samples, view)
                    place = PLACE.pack(offset, len(view), checksum)
                file.note(frame(Kind.PLACED, head + place))
            else:
                data = chunk.data
                builder.add(track_id, chunk.dts, chunk.duration, chunk.samples, data)
                file.note(frame_head(Kind.CHUNK, head, data), head, data)
                file.keep_waiting(track_id, data)

    def _end(self, file: WrittenFile, builder: SegmentBuilder, duration_ns: int | None) -> None:
        file.builder = None
        if builder.empty:
            return
        file.add_waiting()
        previous = file.segments[-1].facts.chain if file.segments else file.header.chain
        shown = builder.shown_ns(file.header.tracks) if duration_ns is None else duration_ns
        begin = file.segments[-1].end if file.segments else len(file.header.init)
        facts = builder.end(file.header, previous, begin, shown)
        file.note_after_sync(frame(Kind.SEGMENT_END, end_payload(facts, builder.checksums)))
        segment = placed(facts, builder.checksums)
        file.segments.append(segment)
        file.fresh.append(segment)
        file.is_whole()

    def _flush(self, owner: SpoolOwner, file: WrittenFile) -> None:
        try:
            file.flush()
        except OSError as error:
            self._give_up(owner, file, error)
            return
        if file.fresh:
            self._reports.append((owner.durable, (tuple(file.fresh), file.path)))
            file.fresh.clear()
        if file.closing:
            self._close(owner, file)

    def _give_up(self, owner: SpoolOwner, file: WrittenFile, error: OSError) -> None:
        """The disk does not take more: keep what is whole and on disk, let the rest become a gap."""
        path = file.path
        if self._is_news(error.errno):
            _log.error("spool file %s cannot be written: %s", path.name, error.strerror)
        del file.segments[len(file.segments) - len(file.fresh) :]
        del file.gaps[file.durable_gaps :]
        self._reports.append((owner.fail, (error,)))
        # Refused at its end, it is no file that the disk took whole.
        file.closing = False
        for log in (file.journal, file.media):
            try:
                log.cut()
            except OSError as again:
                # The tail is then cut off by whoever reads the file: its last segment has no end.
                if self._is_news(again.errno):
                    _log.warning("spool file %s cannot be cut: %s", log.path.name, again.strerror)
        self._close(owner, file)

    def _close(self, owner: SpoolOwner, file: WrittenFile) -> None:
        file.journal.close()
        file.media.close()
        del self._files[owner]
        path = file.path
        if file.segments:
            owner.following = (file.header.number + 1, file.segments[-1].facts.chain)
        if not file.segments and not file.gaps:
            try:
                remove_file(path)
            except OSError as error:
                if self._is_news(error.errno):
                    _log.warning("empty spool file %s cannot be removed: %s", path.name, error.strerror)
            self._reports.append((owner.finished, (None, path, 0)))
            return
        if file.closing:
            self._told.clear()
        result = SpoolFile(
            path, file.header, tuple(file.segments), tuple(file.gaps), file.size, file.size, closed=True, cut=False
        )
        self._reports.append((owner.finished, (result, path, file.size)))

"""Reading a spool file back after whatever happened to it: a torn tail is cut off, what is damaged becomes a gap."""

import contextlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from media.unit import GapCause
from recorder.errors import SpoolDamagedError, SpoolError
from recorder.facts import segment_from_json
from recorder.spool_format import (
    CHUNK,
    FRAME,
    MAGIC,
    MAX_PAYLOAD,
    Kind,
    SegmentBuilder,
    SpooledSegment,
    SpoolFile,
    SpoolHeader,
    segment_bytes,
)
from storage.records import GapRecord, StoredSegment

_KINDS = frozenset(int(kind) for kind in Kind)


@dataclass(slots=True)
class _Frame:
    """One frame as it was read; ``payload`` is None if its bytes are not what was written."""

    kind: Kind
    payload: bytes | None
    offset: int
    after: int


def _frames(file: BinaryIO, size: int) -> Iterator[_Frame]:
    """Frames up to where no frame can be made out any more. One with a wrong CRC is passed over if another, or the end,
    follows where it says that it ends."""
    at = len(MAGIC)
    while True:
        file.seek(at)
        kind, length, checksum = _head(file, at, size)
        if kind is None:
            return
        payload = file.read(length)
        offset, after = at + FRAME.size, at + FRAME.size + length
        whole = zlib.crc32(payload, zlib.crc32(bytes((kind,)))) == checksum
        if not whole and (after == size or _head(file, after, size)[0] is None):
            return
        yield _Frame(kind, payload if whole else None, offset, after)
        at = after


def _head(file: BinaryIO, at: int, size: int) -> tuple[Kind | None, int, int]:
    """Kind, payload's length and CRC of the frame at ``at``; None for the kind where there can be none."""
    file.seek(at)
    head = file.read(FRAME.size)
    if len(head) == FRAME.size:
        length, kind, checksum = FRAME.unpack(head)
        if kind in _KINDS and length <= MAX_PAYLOAD and at + FRAME.size + length <= size:
            return Kind(kind), length, checksum
    return None, 0, 0


class _Reading:
    """A spool file as it is understood, frame by frame. What is damaged is left out and becomes a gap."""

    def __init__(self, header: SpoolHeader) -> None:
        self.header = header
        self.segments: list[SpooledSegment] = []
        self.gaps: list[GapRecord] = []
        self.closed = False
        self.damaged = False
        self._builder: SegmentBuilder | None = None
        self._position = len(header.init)
        self._lost_from: int | None = None

    def take(self, frame: _Frame) -> None:
        """The next frame. Raises KeyError, TypeError, ValueError or struct.error if it is not understood."""
        payload, builder = frame.payload, self._builder
        if payload is None:
            self._damage(frame.kind)
        elif frame.kind is Kind.SEGMENT_START:
            self.cut()
            start = json.loads(payload)
            broken = start["discontinuity"] or self._lost_from is not None
            self._builder = SegmentBuilder(start["sequence"], start["start_utc_ns"], broken)
            self._lost_until(start["start_utc_ns"])
        elif frame.kind is Kind.CHUNK and builder is not None:
            _, _, track_id, dts, duration, samples, _ = CHUNK.unpack_from(payload)
            data = memoryview(payload)[CHUNK.size :]
            builder.add(track_id, dts, duration, samples, data, frame.offset + CHUNK.size)
        elif frame.kind is Kind.SEGMENT_END:
            facts = segment_from_json(json.loads(payload))
            if builder is not None:
                self._builder = None
                self._keep(builder, facts)
            elif self._lost_from is not None:
                self._lost_until(facts.end_utc_ns)
                self._lost_from = facts.end_utc_ns
        elif frame.kind is Kind.GAP:
            self.gaps.append(GapRecord(**json.loads(payload)))
        elif frame.kind is Kind.CLOSE:
            self.closed = True

    def cut(self) -> bool:
        """End the open segment with what it has. Whether it had anything."""
        builder, self._builder = self._builder, None
        if builder is None or builder.empty:
            return False
        self._keep(builder, None)
        return True

    def _keep(self, builder: SegmentBuilder, facts: StoredSegment | None) -> None:
        previous = self.segments[-1].facts.chain if self.segments else self.header.chain
        duration = builder.shown_ns(self.header.tracks) if facts is None else facts.duration_ns
        built = builder.end(self.header, previous, self._position, duration)
        if facts is not None and not self.damaged:
            built = SpooledSegment(facts, built.pieces)
        self.segments.append(built)
        self._position += segment_bytes(built.facts)

    def _damage(self, kind: Kind) -> None:
        self.damaged = True
        builder = self._builder
        start = builder.start_utc_ns if builder is not None else None
        if self.cut():
            self._lost_from = self.segments[-1].facts.end_utc_ns
        elif kind is not Kind.GAP and self._lost_from is None:
            before = self.segments[-1].facts.end_utc_ns if self.segments else None
            self._lost_from = start if start is not None else before

    def _lost_until(self, end_utc_ns: int) -> None:
        """Media is there again, or is known to have been there until then."""
        start, self._lost_from = self._lost_from, None
        if start is not None and end_utc_ns > start:
            self.gaps.append(
                GapRecord(
                    recording_id=self.header.recording,
                    start_utc_ns=start,
                    end_utc_ns=end_utc_ns,
                    cause=GapCause.STORAGE_LOST.value,
                    detail=SpoolDamagedError.code,
                )
            )


@contextlib.contextmanager
def _understood(path: Path) -> Iterator[None]:
    """Whatever a file of another version sets off must not stop the start of the service."""
    try:
        yield
    except (OSError, SpoolError):
        raise
    except Exception as error:
        raise SpoolError(f"{path.name} is not understood", file=path.name) from error


def read_spool(path: Path) -> SpoolFile | None:
    """Read a spool file, checking every CRC; hashes are checked by :func:`assemble`.

    A segment without end frame is ended where its last chunk ends (``cut``). A damaged frame in the middle ends its
    segment there; what follows is kept, linked anew, and what is missing is among ``gaps`` (``torn_inside``). None if
    not even the header is whole. Blocks; call it in a thread. Raises OSError, and SpoolError for a file whose frames
    are whole but make no sense: another version of Sanhui wrote it.
    """
    with _understood(path):
        return _read(path)


def _read(path: Path) -> SpoolFile | None:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        if file.read(len(MAGIC)) != MAGIC:
            return None
        frames = _frames(file, size)
        first = next(frames, None)
        if first is None or first.kind is not Kind.HEADER or first.payload is None:
            return None
        reading, valid = _Reading(SpoolHeader.from_payload(first.payload)), first.after
        for frame in frames:
            reading.take(frame)
            valid = frame.after
    cut = reading.cut()
    return SpoolFile(
        path,
        reading.header,
        tuple(reading.segments),
        tuple(reading.gaps),
        valid,
        size,
        reading.closed,
        cut,
        torn_inside=reading.damaged,
    )


def scan_spool(path: Path) -> SpoolFile | None:
    """What :func:`read_spool` gives for a file that was closed, from its small frames alone: of media only the heads
    are read, and :func:`assemble` checks it when it is stored. None for any other file. Blocks. Raises as
    :func:`read_spool`."""
    with _understood(path):
        return _scan(path)


def _scan(path: Path) -> SpoolFile | None:
    segments: list[SpooledSegment] = []
    gaps: list[GapRecord] = []
    header: SpoolHeader | None = None
    pieces: dict[int, list[tuple[int, int]]] = {}
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        if file.read(len(MAGIC)) != MAGIC:
            return None
        at = len(MAGIC)
        while True:
            kind, length, checksum = _head(file, at, size)
            if kind is None:
                return None
            payload = file.read(min(length, CHUNK.size) if kind is Kind.CHUNK else length)
            if kind is Kind.CHUNK:
                track_id = CHUNK.unpack_from(payload)[2]
                offset = at + FRAME.size + CHUNK.size
                pieces.setdefault(track_id, []).append((offset, length - CHUNK.size))
            elif zlib.crc32(payload, zlib.crc32(bytes((kind,)))) != checksum or (header is None) != (
                kind is Kind.HEADER
            ):
                return None
            elif kind is Kind.HEADER:
                header = SpoolHeader.from_payload(payload)
            elif kind is Kind.SEGMENT_END:
                facts = segment_from_json(json.loads(payload))
                found = {key: sum(length for _, length in value) for key, value in pieces.items()}
                if found != {item.track_id: item.size for item in facts.ranges}:
                    return None
                segments.append(SpooledSegment(facts, {key: tuple(value) for key, value in pieces.items()}))
                pieces = {}
            elif kind is Kind.GAP:
                gaps.append(GapRecord(**json.loads(payload)))
            elif kind is Kind.CLOSE and header is not None:
                after = at + FRAME.size + length
                if after != size or pieces:
                    return None
                return SpoolFile(path, header, tuple(segments), tuple(gaps), size, size, closed=True, cut=False)
            at += FRAME.size + length

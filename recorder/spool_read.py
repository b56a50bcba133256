"""Reading a spool file back after whatever happened to it: a torn tail is cut off, what is damaged becomes a gap."""

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from isal.isal_zlib import crc32

from media.unit import GapCause
from recorder.errors import SpoolDamagedError, SpoolError
from recorder.spool_format import (
    CHUNK,
    FRAME,
    MAGIC,
    MAX_PAYLOAD,
    PLACE,
    Kind,
    Piece,
    SegmentBuilder,
    Source,
    SpooledSegment,
    SpoolFile,
    SpoolHeader,
    placed,
    segment_bytes,
    segment_of_payload,
)
from recorder.spool_object import SpoolReader
from storage.records import GapRecord, StoredSegment

_KINDS = frozenset(int(kind) for kind in Kind)
_HEAD = re.compile(rb"(?=[\0-\x0f]...[\1-\7])", re.DOTALL)
"""What a frame's length and kind look like."""
_MOST_SEARCHED = 64 * 1024 * 1024
_MOST_TORN = 32 * 1024 * 1024
"""No segment that was being written is longer; more that cannot be read at the end of a file is damage."""


@dataclass(slots=True)
class _Frame:
    """One frame as it was read; ``payload`` is None if its bytes are not what was written."""

    kind: Kind
    payload: bytes | None
    offset: int
    after: int


def _frames(file: BinaryIO, size: int) -> Iterator[_Frame]:
    """Frames up to where nothing can be made out any more. One with a wrong CRC is passed over, and so is whatever
    lies before the next one whose CRC is right."""
    at = len(MAGIC)
    while True:
        kind, length, checksum = _head(file, at, size)
        if kind is not None:
            payload = file.read(length)
            offset, after = at + FRAME.size, at + FRAME.size + length
            whole = crc32(payload, crc32(bytes((kind,)))) == checksum
            if whole or (after < size and _head(file, after, size)[0] is not None):
                yield _Frame(kind, payload if whole else None, offset, after)
                at = after
                continue
        following = _next_whole(file, at + 1, size)
        if following is None:
            return
        yield _Frame(kind or Kind.PLACED, None, at, following)
        at = following


def _next_whole(file: BinaryIO, at: int, size: int) -> int | None:
    """Where the next frame with a right CRC begins, from ``at`` on."""
    file.seek(at)
    data = memoryview(file.read(min(size - at, _MOST_SEARCHED)))
    left = _MOST_SEARCHED
    for candidate in _HEAD.finditer(data):
        begin = candidate.start()
        length, kind, checksum = FRAME.unpack_from(data, begin) if begin + FRAME.size <= len(data) else (0, 0, 0)
        end = begin + FRAME.size + length
        if kind not in _KINDS or end > len(data):
            continue
        left -= length
        if left < 0:
            return None
        if crc32(data[begin + FRAME.size : end], crc32(bytes((kind,)))) == checksum:
            return at + begin
    return None


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

    def __init__(self, header: SpoolHeader, media: SpoolReader) -> None:
        self.header = header
        self.segments: list[SpooledSegment] = []
        self.gaps: list[GapRecord] = []
        self.closed = False
        self.damaged = False
        self.media_end = 0
        self._media = media
        self._builder: SegmentBuilder | None = None
        self._pieces: dict[int, list[Piece]] = {}
        self._position = len(header.init)
        self._lost_from: int | None = None

    def take(self, frame: _Frame) -> None:
        """The next frame. Raises AttributeError, KeyError, TypeError, ValueError or struct.error if it is not
        understood."""
        payload, builder = frame.payload, self._builder
        if payload is None:
            self._damage(frame.kind)
        elif frame.kind is Kind.SEGMENT_START:
            self.cut()
            start = json.loads(payload)
            broken = start["discontinuity"] or self._lost_from is not None
            self.damaged = self.damaged or self._lost_from is not None
            self._builder = SegmentBuilder(start["sequence"], start["start_utc_ns"], broken)
            self._pieces = {}
            self._lost_until(start["start_utc_ns"])
        elif frame.kind is Kind.CHUNK and builder is not None:
            data = memoryview(payload)[CHUNK.size :]
            self._add(builder, payload, data, (Source.JOURNAL, frame.offset + CHUNK.size, len(data)))
        elif frame.kind is Kind.PLACED and builder is not None:
            self._placed(builder, payload)
        elif frame.kind is Kind.SEGMENT_END:
            self._end(*segment_of_payload(payload))
        elif frame.kind is Kind.GAP:
            self.gaps.append(GapRecord(**json.loads(payload)))
        elif frame.kind is Kind.CLOSE:
            self.closed = True
            self._lost_until(json.loads(payload or b"{}").get("end_utc_ns", 0))

    def _add(self, builder: SegmentBuilder, head: bytes, data: bytes | memoryview, piece: Piece) -> None:
        _, _, track_id, dts, duration, samples, _ = CHUNK.unpack_from(head)
        builder.add(track_id, dts, duration, samples, data)
        self._pieces.setdefault(track_id, []).append(piece)

    def _placed(self, builder: SegmentBuilder, payload: bytes) -> None:
        offset, length, checksum = PLACE.unpack_from(payload, CHUNK.size)
        track_id = CHUNK.unpack_from(payload)[2]
        data = self._media.read(offset, length)
        if data is not None and crc32(data, builder.checksums.get(track_id, 0)) == checksum:
            self._add(builder, payload, data, (Source.MEDIA, offset, length))
            self.media_end = offset + length
        else:
            # No damage yet: a power cut may keep what the journal says, and not what it speaks of.
            self._lose()

    def _end(self, facts: StoredSegment, checksums: dict[int, int]) -> None:
        builder, self._builder = self._builder, None
        if builder is not None:
            self._keep(builder, facts, checksums)
        elif self._lost_from is not None:
            # It was written when all of the segment was on disk.
            self.damaged = True
            self._lost_until(facts.end_utc_ns)
            self._lost_from = facts.end_utc_ns

    def cut(self) -> bool:
        """End the open segment with what it has. Whether it had anything."""
        builder, self._builder = self._builder, None
        if builder is None or builder.empty:
            return False
        self._keep(builder, None, {})
        return True

    def _keep(self, builder: SegmentBuilder, facts: StoredSegment | None, checksums: dict[int, int]) -> None:
        previous = self.segments[-1].facts.chain if self.segments else self.header.chain
        duration = builder.shown_ns(self.header.tracks) if facts is None else facts.duration_ns
        built = builder.end(self.header, previous, self._position, duration)
        self._position += segment_bytes(built)
        pieces: dict[int, tuple[Piece, ...]] = {key: tuple(value) for key, value in self._pieces.items()}
        if facts is not None and not self.damaged:
            built = facts
            if checksums == builder.checksums and self._is_in_place(facts, checksums):
                pieces = dict(placed(facts, checksums).pieces)
        self.segments.append(SpooledSegment(built, pieces, dict(builder.checksums)))

    def _is_in_place(self, facts: StoredSegment, checksums: dict[int, int]) -> bool:
        """Whether the media file has all tracks of the segment, as it should once the segment has ended."""
        for item in facts.ranges:
            data = self._media.read(item.offset, item.size)
            if data is None or crc32(data) != checksums[item.track_id]:
                return False
            self.media_end = max(self.media_end, item.offset + item.size)
        return True

    def _damage(self, kind: Kind) -> None:
        self.damaged = True
        if kind is not Kind.GAP or self._builder is not None:
            self._lose()

    def _lose(self) -> None:
        """The open segment ends here with what it has; what comes until something is whole again is lost."""
        builder = self._builder
        start = builder.start_utc_ns if builder is not None else None
        if self.cut():
            self._lost_from = self.segments[-1].facts.end_utc_ns
        elif self._lost_from is None:
            before = self.segments[-1].facts.end_utc_ns if self.segments else None
            self._lost_from = start if start is not None else before
        self._builder = None

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
    with path.open("rb") as file, SpoolReader(path) as media:
        size = file.seek(0, 2)
        file.seek(0)
        if file.read(len(MAGIC)) != MAGIC:
            return None
        frames = _frames(file, size)
        first = next(frames, None)
        if first is None or first.kind is not Kind.HEADER or first.payload is None:
            return None
        reading, valid = _Reading(SpoolHeader.from_payload(first.payload), media), first.after
        for frame in frames:
            reading.take(frame)
            valid = frame.after
        cut = reading.cut()
        return SpoolFile(
            path,
            reading.header,
            tuple(reading.segments),
            tuple(reading.gaps),
            valid + (media.size if media.is_tail(reading.media_end) else reading.media_end),
            size + media.size,
            reading.closed,
            cut,
            torn_inside=reading.damaged or size + media.size - valid - reading.media_end > _MOST_TORN,
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
    sizes: dict[int, int] = {}
    with path.open("rb") as file, SpoolReader(path) as media:
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
                sizes[track_id] = sizes.get(track_id, 0) + length - CHUNK.size
            elif crc32(payload, crc32(bytes((kind,)))) != checksum or (header is None) != (kind is Kind.HEADER):
                return None
            elif kind is Kind.PLACED:
                track_id = CHUNK.unpack_from(payload)[2]
                sizes[track_id] = sizes.get(track_id, 0) + PLACE.unpack_from(payload, CHUNK.size)[1]
            elif kind is Kind.HEADER:
                header = SpoolHeader.from_payload(payload)
            elif kind is Kind.SEGMENT_END:
                facts, checksums = segment_of_payload(payload)
                if not _agree(facts, checksums, sizes, media.size):
                    return None
                segments.append(placed(facts, checksums))
                sizes = {}
            elif kind is Kind.GAP:
                gaps.append(GapRecord(**json.loads(payload)))
            elif kind is Kind.CLOSE and header is not None:
                if at + FRAME.size + length != size or sizes:
                    return None
                size += media.size
                return SpoolFile(path, header, tuple(segments), tuple(gaps), size, size, closed=True, cut=False)
            at += FRAME.size + length


def _agree(facts: StoredSegment, checksums: dict[int, int], sizes: dict[int, int], media_size: int) -> bool:
    """Whether what is said of a segment is what its chunks say, and the media file may have it."""
    return (
        sizes == {item.track_id: item.size for item in facts.ranges}
        and checksums.keys() == sizes.keys()
        and all(0 <= item.offset <= media_size - item.size for item in facts.ranges)
    )

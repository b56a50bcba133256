"""The spool file: an append-only log of one object in progress, readable after any crash.

Eight octets of magic, then frames: length of the payload (u32), kind (u8), CRC-32 (ISO 3309) of kind and payload
(u32), payload; integers big-endian. The first frame is the header; it carries all that is needed to finish the upload
without the database. Each segment is a start frame, chunk frames, and an end frame with its hashes. A close frame says
that nothing more will come. A reader takes frames up to the first one that is cut or broken.
"""

import base64
import contextlib
import errno
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from io import RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from media.errors import ContainerError
from media.fmp4_read import read_fragments
from media.unit import NS_PER_S, Codec, Track, VideoTrack
from recorder.chain import chain_after
from recorder.errors import SpoolDamagedError
from recorder.facts import segment_to_json, tracks_from_json, tracks_to_json
from recorder.sample_table import SampleTable, table_of, tables_box
from storage.records import GapRecord, StoredSegment, TrackRange

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAGIC: Final = b"SANHUIS1"
FRAME: Final = struct.Struct(">IBI")
CHUNK: Final = struct.Struct(">QIBQIIQ")
"""sequence, part index, track id, dts, duration, samples, start UTC ns; then ``moof`` + ``mdat``."""
MAX_PAYLOAD: Final = 256 * 1024 * 1024


class Kind(IntEnum):
    """What a frame is."""

    HEADER = 1
    SEGMENT_START = 2
    CHUNK = 3
    SEGMENT_END = 4
    GAP = 5
    CLOSE = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolHeader:
    """What an object in progress is part of. ``init`` is ``ftyp`` + ``moov`` of all tracks, with which the object will
    begin; ``track_init`` each track's own. ``metadata`` goes to the store with the object. ``chain`` is the hash
    before the object's first segment."""

    recording: str
    meeting: str
    camera: str
    number: int
    period: int
    tracks: tuple[Track, ...]
    init: bytes = field(repr=False)
    track_init: Mapping[int, bytes] = field(repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)
    chain: str = ""

    def to_payload(self) -> bytes:
        """The header frame's payload."""
        value = {
            "recording": self.recording,
            "meeting": self.meeting,
            "camera": self.camera,
            "number": self.number,
            "period": self.period,
            "tracks": tracks_to_json(self.tracks),
            "init": base64.b64encode(self.init).decode(),
            "track_init": {str(key): base64.b64encode(data).decode() for key, data in self.track_init.items()},
            "metadata": dict(self.metadata),
            "chain": self.chain,
        }
        return json.dumps(value, ensure_ascii=False).encode()

    @classmethod
    def from_payload(cls, payload: bytes) -> "SpoolHeader":
        """The reverse of :meth:`to_payload`. Raises KeyError, TypeError or ValueError on anything else."""
        value = json.loads(payload)
        bytes.fromhex(value["chain"])
        return cls(
            recording=value["recording"],
            meeting=value["meeting"],
            camera=value["camera"],
            number=value["number"],
            period=value["period"],
            tracks=tracks_from_json(value["tracks"]),
            init=base64.b64decode(value["init"]),
            track_init={int(key): base64.b64decode(data) for key, data in value["track_init"].items()},
            metadata=value["metadata"],
            chain=value["chain"],
        )


Pieces = Mapping[int, tuple[tuple[int, int], ...]]
"""By track id: (offset in the spool file, length) of each chunk's media bytes."""


@dataclass(frozen=True, slots=True)
class SpooledSegment:
    """A whole segment in a spool file. Offsets in ``facts`` are those in the object to be."""

    facts: StoredSegment
    pieces: Pieces


@dataclass(frozen=True, slots=True)
class SpoolFile:
    """What a spool file holds. ``segments`` are whole, unless the file was read with an open one (see
    :func:`recorder.spool_read.read_spool`); ``valid_bytes`` is where the first broken frame begins; ``closed`` says
    that the close frame is there; ``cut`` that the last segment had no end frame."""

    path: Path
    header: SpoolHeader
    segments: tuple[SpooledSegment, ...]
    gaps: tuple[GapRecord, ...]
    valid_bytes: int
    size: int
    closed: bool
    cut: bool
    torn_inside: bool = False
    """Something in the middle is damaged, or more was written behind the last valid frame than a torn tail."""

    @property
    def chain(self) -> str:
        """The hash after the last segment."""
        return self.segments[-1].facts.chain if self.segments else self.header.chain


def frame_head(kind: Kind, *payload: bytes | memoryview) -> bytes:
    """The head of a frame whose payload is the given pieces joined."""
    checksum = zlib.crc32(bytes((kind,)))
    length = 0
    for piece in payload:
        checksum = zlib.crc32(piece, checksum)
        length += len(piece)
    return FRAME.pack(length, kind, checksum)


def frame(kind: Kind, payload: bytes) -> bytes:
    """A whole frame."""
    return frame_head(kind, payload) + payload


def gap_payload(gap: GapRecord) -> bytes:
    """A gap frame's payload."""
    return json.dumps(asdict(gap), ensure_ascii=False).encode()


class SegmentBuilder:
    """Adds up one segment of an object: ranges, SHA-256 per track, pieces."""

    def __init__(self, sequence: int, start_utc_ns: int, discontinuity: bool) -> None:
        self.sequence = sequence
        self.start_utc_ns = start_utc_ns
        self.discontinuity = discontinuity
        self._hashes: dict[int, Any] = {}
        self._pieces: dict[int, list[tuple[int, int]]] = {}
        self._first_dts: dict[int, int] = {}
        self._duration: dict[int, int] = {}
        self._samples: dict[int, int] = {}

    @property
    def empty(self) -> bool:
        """Whether no chunk came yet."""
        return not self._pieces

    def add(self, track_id: int, dts: int, duration: int, samples: int, data: bytes | memoryview, offset: int) -> None:
        """Take a chunk whose media bytes begin at ``offset`` of the spool file."""
        if track_id not in self._hashes:
            self._hashes[track_id] = hashlib.sha256()
            self._pieces[track_id] = []
            self._first_dts[track_id] = dts
            self._samples[track_id] = 0
        self._hashes[track_id].update(data)
        self._pieces[track_id].append((offset, len(data)))
        self._duration[track_id] = dts + duration - self._first_dts[track_id]
        self._samples[track_id] += samples

    def shown_ns(self, tracks: tuple[Track, ...]) -> int:
        """What the chunks so far show, in nanoseconds: the video track if it is there, else the sound."""
        for track in sorted(tracks, key=lambda track: track.id):
            if track.id in self._duration:
                return self._duration[track.id] * NS_PER_S // track.clock_rate
        return 0

    def end(self, header: SpoolHeader, previous: str, object_offset: int, duration_ns: int) -> SpooledSegment:
        """The segment, whole: it will lie at ``object_offset`` of its object and follows the hash ``previous``."""
        ranges = []
        for track_id in sorted(self._pieces):
            size = sum(length for _, length in self._pieces[track_id])
            ranges.append(
                TrackRange(
                    track_id=track_id,
                    offset=object_offset,
                    size=size,
                    dts=self._first_dts[track_id],
                    duration=self._duration[track_id],
                    samples=self._samples[track_id],
                    sha256=self._hashes[track_id].hexdigest(),
                )
            )
            object_offset += size
        facts = StoredSegment(
            sequence=self.sequence,
            start_utc_ns=self.start_utc_ns,
            duration_ns=duration_ns,
            discontinuity=self.discontinuity,
            ranges=tuple(ranges),
            chain="",
        )
        facts = facts._replace(chain=chain_after(previous, header.recording, header.period, facts))
        return SpooledSegment(facts, {key: tuple(value) for key, value in self._pieces.items()})


def segment_bytes(segment: StoredSegment) -> int:
    """Bytes of all tracks of a segment."""
    return sum(item.size for item in segment.ranges)


def read_pieces(path: Path, pieces: tuple[tuple[int, int], ...]) -> bytes:
    """Media bytes of one track of a spooled segment. Blocks. Raises OSError, SpoolDamagedError if bytes lack."""
    parts = []
    with path.open("rb") as file:
        for offset, length in pieces:
            file.seek(offset)
            data = file.read(length)
            if len(data) != length:
                raise SpoolDamagedError(f"{path.name} is shorter than what was written", file=path.name)
            parts.append(data)
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Assembled:
    """An object ready to be stored, still in its spool file: ``pieces`` are bytes, or (offset, length) there."""

    path: Path
    pieces: tuple[bytes | tuple[int, int], ...] = field(repr=False)
    size: int
    sha256: str

    def open(self) -> RawIOBase:
        """The object's bytes from its beginning. Blocks, as does reading. Raises OSError."""
        return _AssembledReader(self.path, self.pieces)


class _AssembledReader(RawIOBase):
    """Reads the pieces one after the other."""

    def __init__(self, path: Path, pieces: tuple[bytes | tuple[int, int], ...]) -> None:
        super().__init__()
        self._file = path.open("rb", buffering=0)
        self._pieces = iter(pieces)
        self._piece: memoryview | tuple[int, int] = memoryview(b"")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer).cast("B")
        done = 0
        while done < len(target):
            piece = self._piece
            if isinstance(piece, memoryview):
                count = min(len(piece), len(target) - done)
                target[done : done + count] = piece[:count]
                self._piece = piece[count:]
            else:
                offset, left = piece
                count = os.preadv(self._file.fileno(), (target[done : done + left],), offset) if left else 0
                if left and not count:
                    raise OSError(errno.EIO, "the spool file has become shorter", str(self._file.name))
                self._piece = (offset + count, left - count)
            done += count
            if not count:
                following = next(self._pieces, None)
                if following is None:
                    break
                self._piece = memoryview(following) if isinstance(following, bytes) else following
        return done


def assemble(spool: SpoolFile) -> Assembled:
    """The object of a spool file: ``init``, then for each segment its video and its sound, each in one range; at the
    end the sample tables that a download's index is made of (see :mod:`recorder.sample_table`).

    The CRC of every chunk and the chain of the segments' hashes are checked; no more than one track of one segment is
    held in memory. Blocks; call it in a thread. Raises OSError, SpoolDamagedError.
    """
    whole = hashlib.sha256(spool.header.init)
    pieces: list[bytes | tuple[int, int]] = [spool.header.init]
    position = len(spool.header.init)
    chain = spool.header.chain
    # Other sound is derived for downloads, and needs none.
    indexed = {track.id for track in spool.header.tracks if isinstance(track, VideoTrack) or track.codec is Codec.AAC}
    tables: list[tuple[int, int, SampleTable]] = []
    # By what is there, not by what is said about it.
    sizes = [sum(length for _, length in found) for segment in spool.segments for found in segment.pieces.values()]
    buffer = bytearray(max(sizes, default=0))
    with spool.path.open("rb", buffering=0) as file:
        for segment in spool.segments:
            for item in segment.facts.ranges:
                found = segment.pieces.get(item.track_id, ())
                if not 0 < item.size <= len(buffer):
                    raise _damaged(spool, segment)
                media = memoryview(buffer)[: item.size]
                if item.offset != position or not _read_chunks(file.fileno(), found, media):
                    raise _damaged(spool, segment)
                whole.update(media)
                pieces += found
                position += item.size
                if item.track_id in indexed:
                    with contextlib.suppress(ContainerError):
                        samples = read_fragments(media, item.track_id)
                        tables.append((segment.facts.sequence, item.track_id, table_of(samples)))
            try:
                chain = chain_after(chain, spool.header.recording, spool.header.period, segment.facts)
            except (TypeError, ValueError) as error:
                raise _damaged(spool, segment) from error
            if chain != segment.facts.chain:
                raise _damaged(spool, segment)
    tail = tables_box(tables)
    whole.update(tail)
    pieces.append(tail)
    return Assembled(spool.path, tuple(pieces), position + len(tail), whole.hexdigest())


def _read_chunks(fd: int, pieces: tuple[tuple[int, int], ...], media: memoryview) -> bool:
    """Read chunks one behind the other into ``media``. False unless each is what was written, and they fill it."""
    heads = bytearray(FRAME.size + CHUNK.size)
    head = memoryview(heads)
    done = 0
    for offset, length in pieces:
        data = media[done : done + length]
        if len(data) != length:
            return False
        if os.preadv(fd, (head, data), offset - len(heads)) != len(heads) + length:
            return False
        size, kind, checksum = FRAME.unpack_from(heads)
        counted = zlib.crc32(data, zlib.crc32(head[FRAME.size :], zlib.crc32(bytes((kind,)))))
        if kind != Kind.CHUNK or size != CHUNK.size + length or counted != checksum:
            return False
        done += length
    return done == len(media)


def end_payload(segment: StoredSegment) -> bytes:
    """A segment end frame's payload."""
    return json.dumps(segment_to_json(segment)).encode()


def start_payload(sequence: int, start_utc_ns: int, discontinuity: bool) -> bytes:
    """A segment start frame's payload."""
    return json.dumps({"sequence": sequence, "start_utc_ns": start_utc_ns, "discontinuity": discontinuity}).encode()


def _damaged(spool: SpoolFile, segment: SpooledSegment) -> SpoolDamagedError:
    return SpoolDamagedError(
        f"segment {segment.facts.sequence} in {spool.path.name} is not what was written",
        file=spool.path.name,
        segment=segment.facts.sequence,
    )

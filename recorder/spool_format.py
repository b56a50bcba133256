"""The spool's files: one object in progress, readable after any crash.

``NNNNNN.mp4`` is the object as it will be stored: ``init``, then for each segment the bytes of its first track as they
come, and those of its other tracks once it ends. So what is recorded is written once, and linked into a store on the
same disk.

``NNNNNN.spool`` is the journal beside it: eight octets of magic, then frames: length of the payload (u32), kind (u8),
CRC-32 (ISO 3309) of kind and payload (u32), payload; integers big-endian. The first frame is the header; it carries all
that is needed to finish the upload without the database. Each segment is a start frame, a frame for each chunk, and an
end frame with its hashes, written once its media is on disk. A chunk of the first track is named there with its place
in the media and its CRC; one of another track is there whole, since its place in the media is not known before the
segment ends. A close frame says that nothing more will come. A reader takes frames up to the first one that is cut or
broken.
"""

import base64
import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from isal.isal_zlib import crc32

from media.unit import NS_PER_S, Track
from recorder.chain import chain_after
from recorder.facts import segment_from_json, segment_to_json, tracks_from_json, tracks_to_json
from storage.records import GapRecord, StoredSegment, TrackRange

MAGIC: Final = b"SANHUIS1"
FRAME: Final = struct.Struct(">IBI")
CHUNK: Final = struct.Struct(">QIBQIIQ")
"""sequence, part index, track id, dts, duration, samples, start UTC ns; then ``moof`` + ``mdat``, or their place."""
PLACE: Final = struct.Struct(">QII")
"""offset in the media file, length, CRC-32 of the track's bytes in the segment up to the end of this chunk."""
MAX_PAYLOAD: Final = 256 * 1024 * 1024


class Kind(IntEnum):
    """What a frame is."""

    HEADER = 1
    SEGMENT_START = 2
    CHUNK = 3
    SEGMENT_END = 4
    GAP = 5
    CLOSE = 6
    PLACED = 7


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

    @property
    def first_track(self) -> int:
        """The track whose chunks go straight to their place in the object."""
        return first_track(self.tracks)


def first_track(tracks: tuple[Track, ...]) -> int:
    """The lowest id of the tracks: where there is a picture, the picture's."""
    return min([track.id for track in tracks])


class Source(IntEnum):
    """Which of the two files a piece lies in."""

    MEDIA = 0
    JOURNAL = 1


Piece = tuple[Source, int, int]
"""Where some bytes of a track lie: file, offset, length."""


@dataclass(frozen=True, slots=True)
class SpooledSegment:
    """A whole segment in the spool. Offsets in ``facts`` are those in the object to be; ``pieces`` say where the bytes
    of each track lie now, ``checksums`` what their CRC-32 is."""

    facts: StoredSegment
    pieces: Mapping[int, tuple[Piece, ...]]
    checksums: Mapping[int, int]

    @property
    def end(self) -> int:
        """Where it ends in the object."""
        last = self.facts.ranges[-1]
        return last.offset + last.size


def placed(facts: StoredSegment, checksums: Mapping[int, int]) -> SpooledSegment:
    """A segment whose bytes lie in the media file where they will lie in the object."""
    pieces = {item.track_id: ((Source.MEDIA, item.offset, item.size),) for item in facts.ranges}
    return SpooledSegment(facts, pieces, checksums)


@dataclass(frozen=True, slots=True)
class SpoolFile:
    """What a spool file holds. ``segments`` are whole, unless the file was read with an open one (see
    :func:`recorder.spool_read.read_spool`). ``path`` is its journal. Of ``size`` bytes of both files ``valid_bytes``
    can be read; ``closed`` says that the close frame is there; ``cut`` that the last segment had no end frame."""

    path: Path
    header: SpoolHeader
    segments: tuple[SpooledSegment, ...]
    gaps: tuple[GapRecord, ...]
    valid_bytes: int
    size: int
    closed: bool
    cut: bool
    torn_inside: bool = False
    """Something in the middle is damaged, or more lies behind what can be read than a crash tears off."""

    @property
    def media_path(self) -> Path:
        """The object in the making; not there while there is no media."""
        return media_path(self.path)

    @property
    def chain(self) -> str:
        """The hash after the last segment."""
        return self.segments[-1].facts.chain if self.segments else self.header.chain


def media_path(journal: Path) -> Path:
    """The media file that belongs to a journal."""
    return journal.with_suffix(".mp4")


def frame_head(kind: Kind, *payload: bytes | memoryview) -> bytes:
    """The head of a frame whose payload is the given pieces joined."""
    checksum = crc32(bytes((kind,)))
    length = 0
    for piece in payload:
        checksum = crc32(piece, checksum)
        length += len(piece)
    return FRAME.pack(length, kind, checksum)


def frame(kind: Kind, payload: bytes) -> bytes:
    """A whole frame."""
    return frame_head(kind, payload) + payload


def gap_payload(gap: GapRecord) -> bytes:
    """A gap frame's payload."""
    return json.dumps(asdict(gap), ensure_ascii=False).encode()


class SegmentBuilder:
    """Adds up one segment of an object: ranges, SHA-256 and CRC-32 per track."""

    def __init__(self, sequence: int, start_utc_ns: int, discontinuity: bool) -> None:
        self.sequence = sequence
        self.start_utc_ns = start_utc_ns
        self.discontinuity = discontinuity
        self._hashes: dict[int, Any] = {}
        self._checksums: dict[int, int] = {}
        self._sizes: dict[int, int] = {}
        self._first_dts: dict[int, int] = {}
        self._duration: dict[int, int] = {}
        self._samples: dict[int, int] = {}

    @property
    def empty(self) -> bool:
        """Whether no chunk came yet."""
        return not self._sizes

    @property
    def checksums(self) -> Mapping[int, int]:
        """By track id: CRC-32 of the bytes so far."""
        return self._checksums

    def add(self, track_id: int, dts: int, duration: int, samples: int, data: bytes | memoryview) -> int:
        """Take a chunk. The CRC-32 of all of the track so far."""
        if track_id not in self._hashes:
            self._hashes[track_id] = hashlib.sha256()
            self._checksums[track_id] = self._sizes[track_id] = self._samples[track_id] = 0
            self._first_dts[track_id] = dts
        self._hashes[track_id].update(data)
        self._checksums[track_id] = checksum = crc32(data, self._checksums[track_id])
        self._sizes[track_id] += len(data)
        self._duration[track_id] = dts + duration - self._first_dts[track_id]
        self._samples[track_id] += samples
        return checksum

    def shown_ns(self, tracks: tuple[Track, ...]) -> int:
        """What the chunks so far show, in nanoseconds: the video track if it is there, else the sound."""
        for track in sorted(tracks, key=lambda track: track.id):
            if track.id in self._duration:
                return self._duration[track.id] * NS_PER_S // track.clock_rate
        return 0

    def end(self, header: SpoolHeader, previous: str, object_offset: int, duration_ns: int) -> StoredSegment:
        """The segment, whole: it will lie at ``object_offset`` of its object and follows the hash ``previous``."""
        ranges = []
        for track_id, size in sorted(self._sizes.items()):
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
        return facts._replace(chain=chain_after(previous, header.recording, header.period, facts))


def segment_bytes(segment: StoredSegment) -> int:
    """Bytes of all tracks of a segment."""
    return sum(item.size for item in segment.ranges)


def end_payload(segment: StoredSegment, checksums: Mapping[int, int]) -> bytes:
    """A segment end frame's payload."""
    return json.dumps({**segment_to_json(segment), "crc32": {str(key): crc for key, crc in checksums.items()}}).encode()


def close_payload(segments: Sequence[SpooledSegment]) -> bytes:
    """A close frame's payload: where the media of these segments ends."""
    return json.dumps({"end_utc_ns": segments[-1].facts.end_utc_ns if segments else 0}).encode()


def segment_of_payload(payload: bytes) -> tuple[StoredSegment, dict[int, int]]:
    """The reverse of :func:`end_payload`; files of before there was a media file have no checksums. Raises
    AttributeError, KeyError, TypeError or ValueError on anything else."""
    value = json.loads(payload)
    checksums = {int(key): int(crc) for key, crc in value.pop("crc32", {}).items()}
    return segment_from_json(value), checksums


def start_payload(sequence: int, start_utc_ns: int, discontinuity: bool) -> bytes:
    """A segment start frame's payload."""
    return json.dumps({"sequence": sequence, "start_utc_ns": start_utc_ns, "discontinuity": discontinuity}).encode()

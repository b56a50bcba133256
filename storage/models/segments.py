"""The segment index of an object, as one compact column.

Most of a county's database is this column, so it is packed: one octet that says how (1), the length of the deflated
part (4 octets), deflated JSON, then hashes of 32 octets each. The JSON is an array per segment: ``[sequence,
start_utc_ns, duration_ns, discontinuity, ranges]``, with an array per range: ``[track_id, offset, size, dts, duration,
samples]``. Of hashes there are, for each segment, that of its chain and one for each range. About 130 octets a segment.

Rows of before revision 0003 are JSON text with base64 hashes inside; they are read as they are.
"""

import base64
import json
import struct
import zlib
from functools import lru_cache
from typing import Any

from sqlalchemy import Dialect, LargeBinary
from sqlalchemy.types import TypeDecorator

from storage.records import StoredSegment, TrackRange

_HEAD = struct.Struct(">BI")
_PACKED = 1
_HASH_BYTES = 32
_MAX_JSON = 16 * 1024 * 1024


def packed_segments(segments: tuple[StoredSegment, ...]) -> bytes:
    """The column's octets."""
    facts, hashes = [], bytearray()
    for segment in segments:
        hashes += bytes.fromhex(segment.chain)
        ranges = []
        for part in segment.ranges:
            hashes += bytes.fromhex(part.sha256)
            ranges.append([part.track_id, part.offset, part.size, part.dts, part.duration, part.samples])
        facts.append([segment.sequence, segment.start_utc_ns, segment.duration_ns, int(segment.discontinuity), ranges])
    text = zlib.compress(json.dumps(facts, separators=(",", ":")).encode("ascii"), 6)
    return _HEAD.pack(_PACKED, len(text)) + text + hashes


def unpacked_segments(stored: bytes | str) -> tuple[StoredSegment, ...]:
    """Records from the column's octets (or text, in SQLite's rows of old). Raises ValueError for anything else."""
    if isinstance(stored, str) or stored[:1] == b"[":
        return tuple(_from_text(packed) for packed in json.loads(stored))
    kind, size = _HEAD.unpack_from(stored)
    if kind != _PACKED:
        raise ValueError("a segment index of an unknown kind")
    expand = zlib.decompressobj()
    facts = json.loads(expand.decompress(stored[_HEAD.size : _HEAD.size + size], _MAX_JSON))
    text = stored[_HEAD.size + size :].hex()
    hashes = map(text.__getitem__, _places(len(text)))
    made = []
    # By position, not by name: this is most of the time that a viewer waits for the index of a long recording.
    for sequence, start, duration, discontinuity, ranges in facts:
        chain = next(hashes)
        tracks = tuple(
            [
                TrackRange(track_id, offset, octets, dts, ticks, samples, next(hashes))
                for track_id, offset, octets, dts, ticks, samples in ranges
            ]
        )
        made.append(StoredSegment(sequence, start, duration, bool(discontinuity), tracks, chain))
    return tuple(made)


@lru_cache(maxsize=64)
def _places(length: int) -> tuple[slice, ...]:
    """Where the hashes are in ``length`` characters of hexadecimal."""
    return tuple(slice(at, at + 2 * _HASH_BYTES) for at in range(0, length, 2 * _HASH_BYTES))


def _from_text(packed: list[Any]) -> StoredSegment:
    sequence, start, duration, discontinuity, chain, ranges = packed
    return StoredSegment(
        sequence=sequence,
        start_utc_ns=start,
        duration_ns=duration,
        discontinuity=bool(discontinuity),
        chain=_hash_from_text(chain),
        ranges=tuple(
            TrackRange(
                track_id=track_id,
                offset=offset,
                size=size,
                dts=dts,
                duration=ticks,
                samples=samples,
                sha256=_hash_from_text(sha256),
            )
            for track_id, offset, size, dts, ticks, samples, sha256 in ranges
        ),
    )


def _hash_from_text(text: str) -> str:
    return base64.b64decode(text + "=" * (-len(text) % 4)).hex()


class PackedSegments(TypeDecorator[tuple[StoredSegment, ...]]):
    """``tuple[StoredSegment, ...]`` in Python, octets in the table."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: tuple[StoredSegment, ...] | None, dialect: Dialect) -> bytes | None:
        """The octets described above."""
        return None if value is None else packed_segments(value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> tuple[StoredSegment, ...] | None:
        """Records again."""
        return None if value is None else unpacked_segments(value)

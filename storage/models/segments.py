"""The segment index of an object, as one compact JSON column.

An array per segment: ``[sequence, start_utc_ns, duration_ns, discontinuity, chain, ranges]``; an array per range:
``[track_id, offset, size, dts, duration, samples, sha256]``. About 300 bytes a segment, so that a recorded hour costs
120 rows rather than 900. Hashes are base64 without padding here.
"""

import base64
import json
from typing import Any

from sqlalchemy import Dialect, Text
from sqlalchemy.types import TypeDecorator

from storage.records import StoredSegment, TrackRange


def _pack_hash(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text)).rstrip(b"=").decode("ascii")


def _unpack_hash(text: str) -> str:
    return base64.b64decode(text + "=" * (-len(text) % 4)).hex()


def _pack(segment: StoredSegment) -> list[Any]:
    return [
        segment.sequence,
        segment.start_utc_ns,
        segment.duration_ns,
        int(segment.discontinuity),
        _pack_hash(segment.chain),
        [
            [part.track_id, part.offset, part.size, part.dts, part.duration, part.samples, _pack_hash(part.sha256)]
            for part in segment.ranges
        ],
    ]


def _unpack(packed: list[Any]) -> StoredSegment:
    sequence, start, duration, discontinuity, chain, ranges = packed
    return StoredSegment(
        sequence=sequence,
        start_utc_ns=start,
        duration_ns=duration,
        discontinuity=bool(discontinuity),
        chain=_unpack_hash(chain),
        ranges=tuple(
            TrackRange(
                track_id=track_id,
                offset=offset,
                size=size,
                dts=dts,
                duration=ticks,
                samples=samples,
                sha256=_unpack_hash(sha256),
            )
            for track_id, offset, size, dts, ticks, samples, sha256 in ranges
        ),
    )


def unpacked_segments(text: str) -> tuple[StoredSegment, ...]:
    """Records from the column's text."""
    return tuple(_unpack(packed) for packed in json.loads(text))


class SegmentsJson(TypeDecorator[tuple[StoredSegment, ...]]):
    """``tuple[StoredSegment, ...]`` in Python, JSON text in the table."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[StoredSegment, ...] | None, dialect: Dialect) -> str | None:
        """The arrays described above."""
        if value is None:
            return None
        return json.dumps([_pack(segment) for segment in value], separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[StoredSegment, ...] | None:
        """Records again."""
        if value is None:
            return None
        return unpacked_segments(value)

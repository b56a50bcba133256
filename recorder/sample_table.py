"""Sample tables: what an MP4 index needs to know of a segment's samples, kept at the end of each object.

A ``moov`` at the head of a download says where each picture lies before the first of them is sent. Fragments tell the
same, but only to one who reads all of them. So an object ends with a ``uuid`` box (ISO/IEC 14496-12, 4.2) that players
skip: its last 4 octets are the box's length, so one ranged read of an object's tail finds it.
"""

import struct
import zlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from media.errors import ContainerError
from media.fmp4 import Sample

TAIL_BYTES = 16 * 1024
"""What a first read of an object's tail should take; half a minute of video at 25 pictures a second needs less."""

_UUID = bytes.fromhex("8a4c0f6f3d0b4d0c9c53a1b2d7e65f10")
_HEAD = struct.Struct(">I4s16sB")
_ENTRY = struct.Struct(">QBIQ")
_VERSION = 1
_MAX_TABLES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SampleTable:
    """Samples of one track of a segment: ``dts`` of the first; ``durations`` and ``cts_offsets`` in ticks, ``sizes``
    in bytes; ``keyframes`` one octet each, 1 or 0."""

    dts: int
    durations: Sequence[int]
    cts_offsets: Sequence[int]
    sizes: Sequence[int]
    keyframes: bytes

    def __len__(self) -> int:
        return len(self.sizes)


def table_of(samples: Sequence[Sample]) -> SampleTable:
    """The table of some samples. Fragments have times of their own, and sound may be missing between two of them: what
    stands before such a hole lasts until the sample behind it."""
    durations = [sample.duration for sample in samples]
    for place, (sample, after) in enumerate(pairwise(samples)):
        if after.dts > sample.dts:
            durations[place] = after.dts - sample.dts
    return SampleTable(
        samples[0].dts if samples else 0,
        durations,
        [sample.cts_offset for sample in samples],
        [len(sample.data) for sample in samples],
        bytes(sample.keyframe for sample in samples),
    )


def tables_box(tables: Iterable[tuple[int, int, SampleTable]]) -> bytes:
    """The box, for (sequence, track id, table) of an object's segments. Raises ContainerError for numbers that no
    segment of ours has."""
    body = bytearray()
    try:
        for sequence, track_id, table in tables:
            count = len(table)
            body += _ENTRY.pack(sequence, track_id, count, table.dts)
            body += struct.pack(f">{count}I", *table.durations)
            body += struct.pack(f">{count}i", *table.cts_offsets)
            body += struct.pack(f">{count}I", *table.sizes)
            body += table.keyframes
    except struct.error as error:
        raise ContainerError("numbers that a sample table does not take") from error
    packed = zlib.compress(bytes(body), 6)
    size = _HEAD.size + len(packed) + 4
    return _HEAD.pack(size, b"uuid", _UUID, _VERSION) + packed + struct.pack(">I", size)


def tables_size(tail: bytes) -> int | None:
    """How many octets at an object's end hold its tables, from its last octets; None if it has none."""
    if len(tail) < _HEAD.size + 4:
        return None
    (size,) = struct.unpack(">I", tail[-4:])
    return size if _HEAD.size + 4 <= size <= _MAX_TABLES else None


def read_tables(box: bytes) -> Mapping[tuple[int, int], SampleTable] | None:
    """Tables by (sequence, track id); None if ``box`` is something else. Raises ContainerError for a broken one."""
    if len(box) < _HEAD.size + 4:
        return None
    size, kind, user, version = _HEAD.unpack_from(box)
    if kind != b"uuid" or user != _UUID or size != len(box) or version != _VERSION:
        return None
    try:
        expand = zlib.decompressobj()
        body = expand.decompress(box[_HEAD.size : -4], _MAX_TABLES)
        tables = {}
        at = 0
        while at < len(body):
            sequence, track_id, count, dts = _ENTRY.unpack_from(body, at)
            at += _ENTRY.size
            durations, at = _numbers("I", body, at, count)
            cts_offsets, at = _numbers("i", body, at, count)
            sizes, at = _numbers("I", body, at, count)
            keyframes = body[at : at + count]
            at += count
            tables[sequence, track_id] = SampleTable(dts, durations, cts_offsets, sizes, keyframes)
    except (zlib.error, struct.error) as error:
        raise ContainerError("a sample table cannot be read") from error
    return tables


def _numbers(code: str, body: bytes, at: int, count: int) -> tuple[Sequence[int], int]:
    values = struct.unpack_from(f">{count}{code}", body, at)
    # Arrays: a two hour meeting has half a million of these.
    return array("l" if code == "i" else "L", values), at + 4 * count

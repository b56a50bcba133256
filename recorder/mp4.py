"""Boxes of a progressive MP4: a ``moov`` from sample tables (ISO/IEC 14496-12)."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby

from media.errors import ContainerError

MOVIE_TIMESCALE = 1000


@dataclass
class TrackLayout:
    """One track of the file, filled sample by sample.

    ``entries`` are sample entry boxes. ``chunks`` are (offset in ``mdat``'s payload, samples, index of the sample entry
    from 1). ``shift`` is the first sample's decode time in the file. All times are ticks of ``timescale``.
    """

    id: int
    handler: bytes
    timescale: int
    entries: list[bytes] = field(default_factory=list)
    width: int = 0
    height: int = 0
    shift: int = 0
    durations: list[int] = field(default_factory=list)
    cts_offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    keyframes: list[int] = field(default_factory=list)
    chunks: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def duration(self) -> int:
        """Length of its media in ticks."""
        return sum(self.durations)

    @cached_property
    def shown(self) -> tuple[int, int]:
        """When its first sample is presented and its last one ends, counted from the first one's decode time."""
        dts = 0
        first, last = self.cts_offsets[0], 0
        for duration, offset in zip(self.durations, self.cts_offsets, strict=True):
            first = min(first, dts + offset)
            last = max(last, dts + offset + duration)
            dts += duration
        return first, last

    @property
    def movie_duration(self) -> int:
        """Length with what comes before it, in ticks of the movie's timescale."""
        return (self.shift + self.shown[1]) * MOVIE_TIMESCALE // self.timescale


def box(kind: bytes, *payload: bytes) -> bytes:
    """A box."""
    body = b"".join(payload)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full_box(kind: bytes, version: int, flags: int, *payload: bytes) -> bytes:
    """A box with version and flags."""
    return box(kind, struct.pack(">I", version << 24 | flags), *payload)


def children(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and payload of each box in ``data``. Raises ContainerError."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8 or at + size > len(data):
            raise ContainerError("a box is longer than what holds it")
        yield kind, data[at + 8 : at + size]
        at += size


def sample_entries(init: bytes) -> list[bytes]:
    """The sample entry boxes of an init segment with one track. Raises ContainerError."""
    data = init
    for wanted in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"):
        found = next((payload for kind, payload in children(data) if kind == wanted), None)
        if found is None:
            raise ContainerError("an init segment lacks a box", box=wanted.decode())
        data = found
    return [box(kind, payload) for kind, payload in children(data[8:])]


def file_type() -> bytes:
    """``ftyp`` of a file that any player takes."""
    return box(b"ftyp", b"isom", struct.pack(">I", 0x200), b"isomiso2mp41")


def media_head(size: int) -> bytes:
    """What comes before ``size`` octets of media: the head of ``mdat``, with a 64-bit length where it takes one."""
    if size + 8 < 1 << 32:
        return struct.pack(">I4s", 8 + size, b"mdat")
    return struct.pack(">I4sQ", 1, b"mdat", 16 + size)


def movie(tracks: Sequence[TrackLayout], media_offset: int, created_s: int) -> bytes:
    """``moov`` of a file whose ``mdat`` payload begins at ``media_offset``. ``created_s`` is Unix time.

    Its size does not depend on ``media_offset``.
    """
    created = created_s + 2_082_844_800
    length = max(track.movie_duration for track in tracks)
    header = full_box(
        b"mvhd",
        1,
        0,
        struct.pack(">QQIQ", created, created, MOVIE_TIMESCALE, length),
        struct.pack(">IHHII", 0x00010000, 0x0100, 0, 0, 0),
        _MATRIX,
        bytes(24),
        struct.pack(">I", max(track.id for track in tracks) + 1),
    )
    return box(b"moov", header, *(_track(track, media_offset, created) for track in tracks))


_MATRIX = struct.pack(">9I", 0x00010000, 0, 0, 0, 0x00010000, 0, 0, 0, 0x40000000)


def _track(track: TrackLayout, media_offset: int, created: int) -> bytes:
    video = track.handler == b"vide"
    header = full_box(
        b"tkhd",
        1,
        3,
        struct.pack(">QQIIQ", created, created, track.id, 0, track.movie_duration),
        bytes(8),
        struct.pack(">HHHH", 0, 0, 0 if video else 0x0100, 0),
        _MATRIX,
        struct.pack(">II", track.width << 16, track.height << 16),
    )
    media_header = full_box(
        b"mdhd", 1, 0, struct.pack(">QQIQHH", created, created, track.timescale, track.duration, 0x55C4, 0)
    )
    name = b"VideoHandler\0" if video else b"SoundHandler\0"
    handler = full_box(b"hdlr", 0, 0, struct.pack(">I4s12x", 0, track.handler), name)
    kind = full_box(b"vmhd", 0, 1, bytes(8)) if video else full_box(b"smhd", 0, 0, bytes(4))
    reference = box(b"dinf", full_box(b"dref", 0, 0, struct.pack(">I", 1), full_box(b"url ", 0, 1)))
    information = box(b"minf", kind, reference, _sample_table(track, media_offset))
    return box(b"trak", header, _edits(track), box(b"mdia", media_header, handler, information))


def _edits(track: TrackLayout) -> bytes:
    # Presentation starts at the file's time, not at the decode time of pictures that are shown later.
    first, _ = track.shown
    before = (track.shift + first) * MOVIE_TIMESCALE // track.timescale
    edits = [struct.pack(">QqI", before, -1, 0x00010000)] if before > 0 else []
    edits.append(struct.pack(">QqI", track.movie_duration - max(before, 0), max(first, 0), 0x00010000))
    return box(b"edts", full_box(b"elst", 1, 0, struct.pack(">I", len(edits)), *edits))


def _sample_table(track: TrackLayout, media_offset: int) -> bytes:
    boxes = [
        full_box(b"stsd", 0, 0, struct.pack(">I", len(track.entries)), *track.entries),
        full_box(b"stts", 0, 0, *_runs(track.durations, "I")),
    ]
    if any(track.cts_offsets):
        version = 1 if min(track.cts_offsets) < 0 else 0
        boxes.append(full_box(b"ctts", version, 0, *_runs(track.cts_offsets, "i")))
    if track.handler == b"vide":
        numbers = struct.pack(f">{len(track.keyframes)}I", *track.keyframes)
        boxes.append(full_box(b"stss", 0, 0, struct.pack(">I", len(track.keyframes)), numbers))
    boxes.append(full_box(b"stsc", 0, 0, *_chunk_runs(track.chunks)))
    count = len(track.sizes)
    same = set(track.sizes)
    if len(same) == 1:
        boxes.append(full_box(b"stsz", 0, 0, struct.pack(">II", same.pop(), count)))
    else:
        boxes.append(full_box(b"stsz", 0, 0, struct.pack(">II", 0, count), struct.pack(f">{count}I", *track.sizes)))
    offsets = [media_offset + offset for offset, _, _ in track.chunks]
    boxes.append(full_box(b"co64", 0, 0, struct.pack(">I", len(offsets)), struct.pack(f">{len(offsets)}Q", *offsets)))
    return box(b"stbl", *boxes)


def _runs(values: Iterable[int], code: str) -> list[bytes]:
    runs = [struct.pack(f">I{code}", len(list(group)), value) for value, group in groupby(values)]
    return [struct.pack(">I", len(runs)), *runs]


def _chunk_runs(chunks: Sequence[tuple[int, int, int]]) -> list[bytes]:
    runs: list[tuple[int, int, int]] = []
    for number, (_, samples, entry) in enumerate(chunks, start=1):
        if not runs or runs[-1][1:] != (samples, entry):
            runs.append((number, samples, entry))
    return [struct.pack(">I", len(runs)), *(struct.pack(">III", *run) for run in runs)]

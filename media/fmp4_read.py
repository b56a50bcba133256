"""Fragmented MP4, reading side. Reads what :mod:`media.fmp4` writes and tolerates boxes it does not know.

Everything is bounded by the length of the input; nonsense ends in :class:`media.errors.ContainerError`.
"""

import struct
from collections.abc import Iterator
from itertools import accumulate

from media.decoder_config import read_avcc, read_esds, read_hvcc
from media.errors import ContainerError
from media.fmp4 import NON_SYNC_BIT, Buffer, Sample
from media.unit import AudioTrack, Codec, Track, VideoTrack

_U32 = struct.Struct(">I")
_MAX_TRACKS = 16
_SOUND_KINDS = {b"mp4a": Codec.AAC, b"alaw": Codec.PCMA, b"ulaw": Codec.PCMU, b"Opus": Codec.OPUS}


def boxes(data: memoryview, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int, int]]:
    """Walk sibling boxes: (kind, start of box, start of body, end). Raises ContainerError."""
    position, stop = start, len(data) if end is None else end
    while position < stop:
        if position + 8 > stop:
            raise ContainerError("a box header is cut short")
        size, body = _U32.unpack_from(data, position)[0], position + 8
        kind = bytes(data[position + 4 : body])
        if size == 1:
            if position + 16 > stop:
                raise ContainerError("a box header is cut short")
            size, body = int.from_bytes(data[body : body + 8], "big"), position + 16
        elif size == 0:
            size = stop - position
        if size < body - position or position + size > stop:
            raise ContainerError("a box reaches past its parent", box=kind.decode("latin-1"))
        yield kind, position, body, position + size
        position += size


def _child(data: memoryview, start: int, end: int, *path: bytes) -> tuple[int, int]:
    """Body range of the first box along ``path``."""
    for wanted in path:
        for kind, _, body, box_end in boxes(data, start, end):
            if kind == wanted:
                start, end = body, box_end
                break
        else:
            raise ContainerError("a box is missing", box=wanted.decode("latin-1"))
    return start, end


def _u32(data: memoryview, position: int, end: int) -> int:
    if position + 4 > end:
        raise ContainerError("a box is cut short")
    value: int = _U32.unpack_from(data, position)[0]
    return value


def read_init(data: Buffer) -> tuple[Track, ...]:
    """The tracks of an init segment (or of a file that begins with one), in order. Raises ContainerError."""
    view = memoryview(data)
    for kind, _, body, end in boxes(view):
        if kind == b"moov":
            tracks = [
                _read_track(view, trak_body, trak_end)
                for trak, _, trak_body, trak_end in boxes(view, body, end)
                if trak == b"trak"
            ]
            if not 0 < len(tracks) <= _MAX_TRACKS:
                raise ContainerError("no tracks, or too many", tracks=len(tracks))
            return tuple(tracks)
    raise ContainerError("no moov box")


def _read_track(view: memoryview, start: int, end: int) -> Track:
    tkhd, tkhd_end = _child(view, start, end, b"tkhd")
    wide = _u32(view, tkhd, tkhd_end) >> 24 == 1
    track_id = _u32(view, tkhd + (20 if wide else 12), tkhd_end)
    mdhd, mdhd_end = _child(view, start, end, b"mdia", b"mdhd")
    wide = _u32(view, mdhd, mdhd_end) >> 24 == 1
    timescale = _u32(view, mdhd + (20 if wide else 12), mdhd_end)
    if not timescale or not track_id:
        raise ContainerError("a track without number or time scale")
    stsd, stsd_end = _child(view, start, end, b"mdia", b"minf", b"stbl", b"stsd")
    if stsd + 8 > stsd_end:
        raise ContainerError("a box is cut short")
    for kind, _, body, entry_end in boxes(view, stsd + 8, stsd_end):
        if kind in (b"avc1", b"avc3", b"hvc1", b"hev1"):
            return _read_video(view, kind, body, entry_end, timescale, track_id)
        if kind in _SOUND_KINDS:
            return _read_sound(view, kind, body, entry_end, timescale, track_id)
        raise ContainerError("a sample entry that is not known", box=kind.decode("latin-1"))
    raise ContainerError("no sample entry")


def _read_video(view: memoryview, kind: bytes, body: int, end: int, timescale: int, track_id: int) -> VideoTrack:
    if body + 78 > end:
        raise ContainerError("a sample entry is cut short")
    width, height = struct.unpack_from(">HH", view, body + 24)
    if kind.startswith(b"avc"):
        codec, (config, config_end) = Codec.H264, _child(view, body + 78, end, b"avcC")
        sets = read_avcc(bytes(view[config:config_end]))
    else:
        codec, (config, config_end) = Codec.H265, _child(view, body + 78, end, b"hvcC")
        sets = read_hvcc(bytes(view[config:config_end]))
    return VideoTrack(codec, sets, width, height, timescale, track_id)


def _read_sound(view: memoryview, kind: bytes, body: int, end: int, timescale: int, track_id: int) -> AudioTrack:
    if body + 28 > end:
        raise ContainerError("a sample entry is cut short")
    channels: int = struct.unpack_from(">H", view, body + 16)[0]
    config = b""
    if kind == b"mp4a":
        esds, esds_end = _child(view, body + 28, end, b"esds")
        config = read_esds(bytes(view[esds + 4 : esds_end]))
    return AudioTrack(_SOUND_KINDS[kind], timescale, channels, config, track_id)


def media_payload(data: Buffer) -> bytes:
    """What all ``mdat`` boxes of ``data`` hold, in file order: of a track's own fragments, its samples one after the
    other. Far cheaper than :func:`read_fragments`. Raises ContainerError."""
    view = memoryview(data)
    return b"".join([view[body:end] for kind, _, body, end in boxes(view) if kind == b"mdat"])


def read_fragments(data: Buffer, track_id: int | None = None) -> list[Sample]:
    """The samples of all fragments in ``data`` (of one track, if ``track_id`` is given), in file order.

    ``Sample.data`` is a memoryview into ``data``. Other boxes, an init segment among them, are passed over. Raises
    ContainerError.
    """
    view = memoryview(data)
    samples: list[Sample] = []
    for kind, moof, body, end in boxes(view):
        if kind != b"moof":
            continue
        for child, _, traf, traf_end in boxes(view, body, end):
            if child == b"traf":
                _read_traf(view, moof, traf, traf_end, track_id, samples)
    return samples


def _read_traf(view: memoryview, moof: int, start: int, end: int, wanted: int | None, into: list[Sample]) -> None:
    tfhd, tfhd_end = _child(view, start, end, b"tfhd")
    flags = _u32(view, tfhd, tfhd_end) & 0xFFFFFF
    if wanted is not None and _u32(view, tfhd + 4, tfhd_end) != wanted:
        return
    if flags & 1 or not flags & 0x020000:
        raise ContainerError("data offsets that are not relative to the moof")
    position = tfhd + 8 + (4 if flags & 2 else 0)
    defaults: list[int | None] = []
    for bit in (0x8, 0x10, 0x20):
        defaults.append(_u32(view, position, tfhd_end) if flags & bit else None)
        position += 4 if flags & bit else 0
    tfdt, tfdt_end = _child(view, start, end, b"tfdt")
    if _u32(view, tfdt, tfdt_end) >> 24 == 1:
        dts = _u32(view, tfdt + 4, tfdt_end) << 32 | _u32(view, tfdt + 8, tfdt_end)
    else:
        dts = _u32(view, tfdt + 4, tfdt_end)
    # Where a trun has no data offset, its data follow those of the trun before (ISO/IEC 14496-12, 8.8.8.3).
    follows: int | None = None
    for kind, _, body, box_end in boxes(view, start, end):
        if kind == b"trun":
            dts, follows = _read_trun(view, moof, body, box_end, defaults, dts, follows, into)


def _read_trun(
    view: memoryview,
    moof: int,
    body: int,
    end: int,
    defaults: list[int | None],
    dts: int,
    follows: int | None,
    into: list[Sample],
) -> tuple[int, int]:
    """One run of samples; the decode time and the byte position after it."""
    head = _u32(view, body, end)
    version, flags = head >> 24, head & 0xFFFFFF
    count = _u32(view, body + 4, end)
    position = body + 8
    if flags & 1:
        offset = _u32(view, position, end)
        offset = moof + (offset - (1 << 32) if offset & 0x80000000 else offset)
        position += 4
    elif follows is not None:
        offset = follows
    else:
        raise ContainerError("a run of samples without a data offset")
    first_flags = _u32(view, position, end) if flags & 4 else None
    position += 4 if flags & 4 else 0
    # A sample takes a byte at least, so a few bytes cannot name four thousand million of them.
    if len(into) + count > len(view):
        raise ContainerError("more samples than data")
    columns = _columns(view, position, end, count, flags, defaults)
    durations, sizes, sample_flags, cts = columns
    if version == 1:
        cts = [value - (1 << 32) if value & 0x80000000 else value for value in cts]
    if first_flags is not None and count:
        sample_flags[0] = first_flags
    total = sum(sizes)
    if offset < 0 or offset + total > len(view):
        raise ContainerError("samples lie outside the data")
    for duration, size, flag, cts_offset, end_offset in zip(
        durations, sizes, sample_flags, cts, accumulate(sizes), strict=True
    ):
        stop = offset + end_offset
        into.append(Sample(dts, duration, cts_offset, not flag & NON_SYNC_BIT, view[stop - size : stop]))
        dts += duration
    return dts, offset + total


def _columns(
    view: memoryview, position: int, end: int, count: int, flags: int, defaults: list[int | None]
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Durations, sizes, flags and composition offsets of ``count`` samples."""
    present = [bool(flags & bit) for bit in (0x100, 0x200, 0x400, 0x800)]
    width = sum(present)
    if width:
        if position + 4 * width * count > end:
            raise ContainerError("a table of samples is cut short")
        table = struct.unpack_from(f">{width * count}I", view, position)
    else:
        table = ()
    columns: list[list[int]] = []
    column = 0
    for index, here in enumerate(present):
        if here:
            columns.append(list(table[column::width]))
            column += 1
        else:
            default = defaults[index] if index < 3 else 0
            if default is None and index != 2:
                raise ContainerError("samples without duration or size")
            columns.append([default or 0] * count)
    return columns[0], columns[1], columns[2], columns[3]

"""Fragmented MP4, writing side: init segments and one-track fragments (ISO/IEC 14496-12, 14496-15, CMAF 23000-19).

Every fragment is one ``moof`` + ``mdat`` of one track, with ``default-base-is-moof`` and a 64-bit ``tfdt``. Samples are
named relative to the fragment alone, so fragments may be joined, dropped and served in any grouping.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from media.decoder_config import (
    aac_object_type,
    avc_profile,
    hevc_codec_string,
    write_avcc,
    write_dops,
    write_esds,
    write_hvcc,
)
from media.errors import UnsupportedCodecError
from media.unit import AudioTrack, Codec, Track, VideoTrack

Buffer = bytes | memoryview

# sample_depends_on = 2: an I picture. sample_depends_on = 1 and sample_is_non_sync_sample (ISO/IEC 14496-12, 8.8.3.1).
SYNC_FLAGS: Final = 0x02000000
NON_SYNC_FLAGS: Final = 0x01010000
NON_SYNC_BIT: Final = 0x00010000

_UNITY_MATRIX: Final = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_LANGUAGE_UND: Final = 0x55C4
_MDAT_LIMIT: Final = 1 << 31

# moof, mfhd, traf, tfhd(default-base-is-moof), tfdt v1, trun v1(offset, duration, size, flags, cts)
_VIDEO_HEAD: Final = struct.Struct(">I4sI4sIII4sI4sIII4sIQI4sIIi")
_VIDEO_HEAD_SIZE: Final = _VIDEO_HEAD.size
_MDAT_HEAD: Final = struct.Struct(">I4s")


@dataclass(slots=True)
class Sample:
    """One sample of a track. ``dts``, ``duration`` and ``cts_offset`` (= pts - dts, may be negative) are ticks of the
    track's clock rate. ``data`` read from a fragment is a view into the buffer that was given to the reader."""

    dts: int
    duration: int
    cts_offset: int
    keyframe: bool
    data: Buffer

    @property
    def pts(self) -> int:
        """Presentation time in ticks."""
        return self.dts + self.cts_offset


def _box(kind: bytes, *bodies: bytes) -> bytes:
    body = b"".join(bodies)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def _full_box(kind: bytes, version: int, flags: int, *bodies: bytes) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags), *bodies)


def init_segment(tracks: Sequence[Track]) -> bytes:
    """``ftyp`` + ``moov`` for these tracks, in this order. Raises UnsupportedCodecError or BitstreamError."""
    # A CMAF track file has one track; a file with several is plain ISO BMFF that holds CMAF fragments.
    brands = b"cmfciso6cmf2mp41dash" if len(tracks) == 1 else b"iso6isommp41dash"
    ftyp = _box(b"ftyp", brands[:4], struct.pack(">I", 0), brands)
    mvhd = _full_box(
        b"mvhd",
        0,
        0,
        struct.pack(">IIIIIH10x", 0, 0, 1000, 0, 0x10000, 0x100),
        _UNITY_MATRIX,
        bytes(24),
        struct.pack(">I", max(track.id for track in tracks) + 1),
    )
    traks = b"".join(_trak(track) for track in tracks)
    trex = b"".join(_full_box(b"trex", 0, 0, struct.pack(">5I", track.id, 1, 0, 0, 0)) for track in tracks)
    return ftyp + _box(b"moov", mvhd, traks, _box(b"mvex", trex))


def _trak(track: Track) -> bytes:
    video = isinstance(track, VideoTrack)
    width, height = (track.width, track.height) if isinstance(track, VideoTrack) else (0, 0)
    tkhd = _full_box(
        b"tkhd",
        0,
        3,  # enabled, in movie
        struct.pack(">5I8xHHHH", 0, 0, track.id, 0, 0, 0, 0, 0 if video else 0x100, 0),
        _UNITY_MATRIX,
        struct.pack(">II", width << 16, height << 16),
    )
    mdhd = _full_box(b"mdhd", 0, 0, struct.pack(">IIIIHH", 0, 0, track.clock_rate, 0, _LANGUAGE_UND, 0))
    handler, name = (b"vide", b"VideoHandler\0") if video else (b"soun", b"SoundHandler\0")
    hdlr = _full_box(b"hdlr", 0, 0, bytes(4), handler, bytes(12), name)
    media_header = _full_box(b"vmhd", 0, 1, bytes(8)) if video else _full_box(b"smhd", 0, 0, bytes(4))
    dinf = _box(b"dinf", _full_box(b"dref", 0, 0, struct.pack(">I", 1), _full_box(b"url ", 0, 1)))
    stsd = _full_box(b"stsd", 0, 0, struct.pack(">I", 1), _sample_entry(track))
    empty = (
        _full_box(b"stts", 0, 0, bytes(4))
        + _full_box(b"stsc", 0, 0, bytes(4))
        + _full_box(b"stsz", 0, 0, bytes(8))
        + _full_box(b"stco", 0, 0, bytes(4))
    )
    minf = _box(b"minf", media_header, dinf, _box(b"stbl", stsd, empty))
    return _box(b"trak", tkhd, _box(b"mdia", mdhd, hdlr, minf))


def _sample_entry(track: Track) -> bytes:
    if isinstance(track, VideoTrack):
        if track.codec is Codec.H264:
            kind, config = b"avc1", _box(b"avcC", write_avcc(track.parameter_sets))
        elif track.codec is Codec.H265:
            kind, config = b"hvc1", _box(b"hvcC", write_hvcc(track.parameter_sets))
        else:
            raise UnsupportedCodecError("not a video codec that fMP4 is written for", codec=str(track.codec))
        # reference index, size, 72 dpi, one frame per sample, no compressor name, depth 24 (14496-12, 12.1.3)
        visual = struct.pack(">6xH16xHHIIIH32xHh", 1, track.width, track.height, 0x480000, 0x480000, 0, 1, 0x18, -1)
        return _box(kind, visual, config)
    kind, config = _sound_config(track)
    # Rates past 16 bits do not fit the 16.16 field; the decoder then takes the rate from its configuration.
    rate = track.clock_rate << 16 if track.clock_rate < 0x10000 else 0
    return _box(kind, struct.pack(">6xH8xHHII", 1, track.channels, 16, 0, rate), config)


def _sound_config(track: AudioTrack) -> tuple[bytes, bytes]:
    if track.codec is Codec.AAC:
        return b"mp4a", _full_box(b"esds", 0, 0, write_esds(track.config))
    if track.codec is Codec.PCMA:
        return b"alaw", b""
    if track.codec is Codec.PCMU:
        return b"ulaw", b""
    if track.codec is Codec.OPUS:
        return b"Opus", _box(b"dOps", write_dops(track.channels))
    raise UnsupportedCodecError("not a sound codec that fMP4 is written for", codec=str(track.codec))


def codec_string(track: Track) -> str:
    """The ``codecs`` parameter of RFC 6381 for this track, such as ``avc1.4D401F`` or ``mp4a.40.2``.

    Raises UnsupportedCodecError or BitstreamError.
    """
    if isinstance(track, VideoTrack):
        if track.codec is Codec.H264:
            return f"avc1.{avc_profile(track.parameter_sets).hex().upper()}"
        if track.codec is Codec.H265:
            return hevc_codec_string(track.parameter_sets)
    elif track.codec is Codec.AAC:
        return f"mp4a.40.{aac_object_type(track.config)}"
    elif track.codec in _SOUND_CODEC_STRINGS:
        return _SOUND_CODEC_STRINGS[track.codec]
    raise UnsupportedCodecError("no RFC 6381 name for this codec", codec=str(track.codec))


_SOUND_CODEC_STRINGS: Final = {Codec.PCMA: "alaw", Codec.PCMU: "ulaw", Codec.OPUS: "opus"}


def fragment(sequence: int, track_id: int, samples: Sequence[Sample]) -> bytes:
    """``moof`` + ``mdat`` of at least one sample. Decode times are the first sample's dts plus the durations before;
    the caller sees to it that they agree with each sample's dts."""
    payload = [sample.data for sample in samples]
    if all(sample.keyframe and sample.cts_offset == 0 for sample in samples):
        durations, sizes = [sample.duration for sample in samples], [len(data) for data in payload]
        return b"".join((sync_head(sequence, track_id, samples[0].dts, durations, sizes), *payload))
    entries: list[int] = []
    for sample in samples:
        flags = SYNC_FLAGS if sample.keyframe else NON_SYNC_FLAGS
        entries += (sample.duration, len(sample.data), flags, sample.cts_offset & 0xFFFFFFFF)
    return b"".join((video_head(sequence, track_id, samples[0].dts, entries, sum(map(len, payload))), *payload))


def video_head(sequence: int, track_id: int, dts: int, entries: Sequence[int], size: int) -> bytes:
    """What comes before the ``size`` bytes of samples in a fragment: ``moof``, and the head of ``mdat``. ``entries``
    are duration, size, flags, cts offset (two's complement) of each sample."""
    count = len(entries) // 4
    table = struct.pack(f">{4 * count}I", *entries)
    trun = 20 + 16 * count
    moof = 68 + trun
    mdat = 8 + size
    if mdat >= _MDAT_LIMIT:
        raise ValueError("a fragment of 2 GiB or more")
    head = _VIDEO_HEAD.pack(
        moof, b"moof", 16, b"mfhd", 0, sequence & 0xFFFFFFFF, moof - 24, b"traf",
        16, b"tfhd", 0x020000, track_id, 20, b"tfdt", 0x01000000, dts,
        trun, b"trun", 0x01000F01, count, moof + 8,
    )  # fmt: skip
    return head + table + _MDAT_HEAD.pack(mdat, b"mdat")


def sync_head(sequence: int, track_id: int, dts: int, durations: Sequence[int], sizes: Sequence[int]) -> bytes:
    """The same for sync samples without composition offsets: sound. What all samples share is written once."""
    count = len(sizes)
    mdat = 8 + sum(sizes)
    if mdat >= _MDAT_LIMIT:
        raise ValueError("a fragment of 2 GiB or more")
    same_size = sizes.count(sizes[0]) == count
    same_duration = durations.count(durations[0]) == count
    # default-base-is-moof, default-sample-duration, -size, -flags
    tfhd = struct.pack(">I4s5I", 28, b"tfhd", 0x020038, track_id, durations[0], sizes[0], SYNC_FLAGS)
    if same_size:
        table, flags = (b"", 0) if same_duration else (struct.pack(f">{count}I", *durations), 0x100)
    elif same_duration:
        table, flags = struct.pack(f">{count}I", *sizes), 0x200
    else:
        both = [value for pair in zip(durations, sizes, strict=True) for value in pair]
        table, flags = struct.pack(f">{2 * count}I", *both), 0x300
    trun = 20 + len(table)
    moof = 80 + trun
    head = struct.pack(
        ">I4sI4sIII4s28sI4sIQI4sIIi",
        moof, b"moof", 16, b"mfhd", 0, sequence & 0xFFFFFFFF, moof - 24, b"traf", tfhd,
        20, b"tfdt", 0x01000000, dts, trun, b"trun", 0x01000001 | flags, count, moof + 8,
    )  # fmt: skip
    return head + table + _MDAT_HEAD.pack(mdat, b"mdat")

"""MPEG-2 transport stream segments for HLS version 3 (ISO/IEC 13818-1, RFC 8216 section 3.2), made from samples.

Same input, same output: a segment is made anew whenever somebody asks for it. So that segments which are made apart
join without a continuity error, each PID has a multiple of 16 packets with payload in each segment: its counter begins
at 0 and ends at 15. Tables are repeated, and one large PES packet is spread thinner, until that holds; it costs at most
60 packets a segment.
"""

import struct
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from media.decoder_config import aac_object_type
from media.errors import ContainerError, UnsupportedCodecError
from media.fmp4 import Buffer, Sample
from media.unit import AudioTrack, Codec, VideoTrack

PMT_PID, VIDEO_PID, AUDIO_PID = 0x1000, 0x100, 0x101
PACKET = 188
TS_CLOCK = 90_000
_PAYLOAD = PACKET - 4
_WRAP = (1 << 33) - 1

# The clock reference runs this far behind decoding, so that a decoder has time to fill its buffers.
_PCR_DELAY = 27_000
_PCR_INTERVAL = 8_100
_TABLE_INTERVAL = 22_500
_SOUND_PES_TICKS = 18_000
_SOUND_PES_BYTES = 2_700

_STREAM_TYPES = {Codec.H264: 0x1B, Codec.H265: 0x24}
_DELIMITERS = {Codec.H264: b"\0\0\0\1\x09\xf0", Codec.H265: b"\0\0\0\1\x46\x01\x50"}
_AAC_STREAM_TYPE = 0x0F
_START_CODE = b"\0\0\0\1"


@dataclass(slots=True)
class _Pes:
    """One PES packet, ready to be cut. ``header`` bytes of it must stay in its first transport packet."""

    at: int
    pid: int
    data: bytes
    header: int
    random_access: bool
    pcr: int | None = None
    packets: int = 0


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = value << 1 ^ 0x04C11DB7 if value & 0x80000000 else value << 1
        table.append(value & 0xFFFFFFFF)
    return tuple(table)


_CRC_TABLE = _crc_table()


def _crc32(data: bytes) -> bytes:
    """The CRC of sections (ISO/IEC 13818-1, annex A)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = (value << 8 & 0xFFFFFFFF) ^ _CRC_TABLE[value >> 24 ^ byte]
    return value.to_bytes(4, "big")


def _section(table_id: int, number: int, body: bytes, version: int = 0) -> bytes:
    """A PAT or PMT section as one packet's payload, pointer field included."""
    section = struct.pack(">BHHBBB", table_id, 0xB000 | len(body) + 9, number, 0xC1 | version << 1, 0, 0) + body
    return (b"\0" + section + _crc32(section)).ljust(_PAYLOAD, b"\xff")


def _tables(video: VideoTrack | None, audio: AudioTrack | None, clock_pid: int) -> tuple[bytes, bytes]:
    pat = _section(0, 1, struct.pack(">HH", 1, 0xE000 | PMT_PID))
    streams = b""
    if video is not None:
        descriptor = b"\x05\x04HEVC" if video.codec is Codec.H265 else b""
        streams += struct.pack(">BHH", _STREAM_TYPES[video.codec], 0xE000 | VIDEO_PID, 0xF000 | len(descriptor))
        streams += descriptor
    if audio is not None:
        streams += struct.pack(">BHH", _AAC_STREAM_TYPE, 0xE000 | AUDIO_PID, 0xF000)
    # Another table than that of the segments with pictures, which players must not take for known.
    version = int(video is not None and clock_pid == AUDIO_PID)
    return pat, _section(2, 1, struct.pack(">HH", 0xE000 | clock_pid, 0xF000) + streams, version)


def _timestamp(mark: int, ticks: int) -> bytes:
    """A 33-bit PTS or DTS in five bytes (2.4.3.7)."""
    ticks &= _WRAP
    return struct.pack(">BHH", mark << 4 | ticks >> 30 << 1 | 1, ticks >> 15 << 1 & 0xFFFE | 1, ticks << 1 & 0xFFFE | 1)


def _pes(stream_id: int, pts: int, dts: int, payload: bytes, *, bounded: bool) -> tuple[bytes, int]:
    if pts == dts:
        optional = b"\x84\x80\x05" + _timestamp(2, pts)
    else:
        optional = b"\x84\xc0\x0a" + _timestamp(3, pts) + _timestamp(1, dts)
    # Video may leave the length open (2.4.3.7).
    length = len(optional) + len(payload) if bounded else 0
    header = struct.pack(">3sBH", b"\0\0\1", stream_id, length) + optional
    return header + payload, len(header)


def _ticks(value: int, rate: int) -> int:
    return value if rate == TS_CLOCK else (value * TS_CLOCK + rate // 2) // rate


def annex_b(data: Buffer) -> list[Buffer]:
    """NAL units behind 4-byte lengths to pieces of a byte stream with start codes. Raises ContainerError."""
    pieces: list[Buffer] = []
    view = memoryview(data)
    position, end = 0, len(view)
    while position < end:
        start = position + 4
        position = start + int.from_bytes(view[position:start], "big")
        if position > end or start > end:
            raise ContainerError("a NAL unit is cut short")
        pieces += (_START_CODE, view[start:position])
    return pieces


def _video_pes(track: VideoTrack, samples: Sequence[Sample]) -> Iterator[_Pes]:
    delimiter = _DELIMITERS[track.codec]
    sets = b"".join(_START_CODE + nal for nal in track.parameter_sets)
    for sample in samples:
        dts = _ticks(sample.dts, track.clock_rate)
        pts = _ticks(sample.pts, track.clock_rate)
        payload = b"".join((delimiter, sets if sample.keyframe else b"", *annex_b(sample.data)))
        data, header = _pes(0xE0, pts, dts, payload, bounded=False)
        yield _Pes(dts, VIDEO_PID, data, header, sample.keyframe)


def adts_header(track: AudioTrack, size: int) -> bytes:
    """The ADTS header (ISO/IEC 13818-7, 6.2) of one raw AAC frame of ``size`` bytes."""
    kind = aac_object_type(track.config)
    # SBR and PS (5, 29) are signalled inside; the core is LC.
    profile = 1 if kind in (5, 29) else min(kind, 4) - 1
    rate_index = (track.config[0] & 7) << 1 | track.config[1] >> 7
    channels = track.config[1] >> 3 & 15
    length = size + 7
    if length >= 1 << 13:
        raise ContainerError("an AAC frame too long for ADTS", size=size)
    value = 0xFFF1 << 40 | profile << 38 | rate_index << 34 | channels << 30 | length << 13 | 0x7FF << 2
    return value.to_bytes(7, "big")


def _audio_pes(track: AudioTrack, samples: Sequence[Sample]) -> Iterator[_Pes]:
    """Frames that follow each other share a PES packet: only the first one's time is written."""
    frames: list[Buffer] = []
    first = follows = size = 0
    for sample in [*samples, None]:
        if frames and (
            sample is None
            or sample.dts != follows
            or size >= _SOUND_PES_BYTES
            or _ticks(sample.dts - first, track.clock_rate) >= _SOUND_PES_TICKS
        ):
            at = _ticks(first, track.clock_rate)
            data, header = _pes(0xC0, at, at, b"".join(frames), bounded=True)
            yield _Pes(at, AUDIO_PID, data, header, True)
            frames, size = [], 0
        if sample is None:
            return
        if not frames:
            first = sample.dts
        frames += (adts_header(track, len(sample.data)), sample.data)
        size += len(sample.data) + 7
        follows = sample.dts + sample.duration


def mux_segment(
    video: VideoTrack | None,
    video_samples: Sequence[Sample],
    audio: AudioTrack | None,
    audio_samples: Sequence[Sample],
) -> bytes:
    """One segment: PAT and PMT first, then PES packets in decoding order. ``audio`` must be AAC (see media.transcode).

    Raises UnsupportedCodecError or ContainerError. Takes milliseconds for a long segment: call it off the event loop.
    """
    if video is not None and video.codec not in _STREAM_TYPES:
        raise UnsupportedCodecError("no stream type for this codec", codec=str(video.codec))
    if audio is not None and audio.codec is not Codec.AAC:
        raise UnsupportedCodecError("a transport stream takes AAC only", codec=str(audio.codec))
    pictures = list(_video_pes(video, video_samples)) if video is not None else []
    sounds = list(_audio_pes(audio, audio_samples)) if audio is not None else []
    # Where pictures stand still for a whole segment the sound keeps the clock.
    clock_pid = VIDEO_PID if pictures else AUDIO_PID
    for pes in pictures or sounds:
        pes.pcr = pes.at - _PCR_DELAY
    for group in (pictures, sounds):
        _share_out(group)
    order = sorted([*pictures, *sounds], key=lambda pes: pes.at)
    return _Writer(_tables(video, audio, clock_pid), clock_pid).write(order)


def _share_out(group: list[_Pes]) -> None:
    """Decide how many packets each PES packet is cut into, to a multiple of 16 in all."""
    total = 0
    for pes in group:
        room = _PAYLOAD - (8 if pes.pcr is not None else 2 if pes.random_access else 0)
        pes.packets = 1 + max(0, -(-(len(pes.data) - room) // _PAYLOAD))
        total += pes.packets
    missing = -total % 16
    for pes in sorted(group, key=lambda pes: len(pes.data), reverse=True):
        if not missing:
            break
        # Behind the one that holds the header, each packet needs a byte at least.
        extra = min(missing, max(0, len(pes.data) - pes.header - (pes.packets - 1)))
        pes.packets += extra
        missing -= extra


class _Writer:
    """Cuts PES packets into transport packets and puts tables and clock references between them."""

    def __init__(self, tables: tuple[bytes, bytes], clock_pid: int) -> None:
        self._tables = tables
        self._clock_pid = clock_pid
        self._out: list[bytes | memoryview] = []
        self._counters = {0: 0, PMT_PID: 0, VIDEO_PID: 0, AUDIO_PID: 0}
        self._last_pcr: int | None = None
        self._tables_due: deque[int] = deque()
        self._heads = {
            pid: [struct.pack(">BHB", 0x47, pid, 0x10 | count) for count in range(16)] for pid in (VIDEO_PID, AUDIO_PID)
        }

    def write(self, order: Sequence[_Pes]) -> bytes:
        """The whole segment. Tables come 16 times (or 32 …), evenly spread, at least every quarter of a second."""
        start = order[0].at if order else 0
        length = order[-1].at - start if order else 0
        repeats = 16 * -(-max(1, length // _TABLE_INTERVAL) // 16)
        self._tables_due = deque(start + number * length // repeats for number in range(repeats))
        for pes in order:
            if pes.pcr is not None:
                self._keep_clock(pes.pcr)
            self._write_tables_due(pes.at)
            self._write_pes(pes)
        self._write_tables_due(start + length)
        return b"".join(self._out)

    def _write_tables_due(self, at: int) -> None:
        """The tables that stand before what is decoded at a time."""
        while self._tables_due and self._tables_due[0] <= at:
            self._tables_due.popleft()
            self._write_tables()

    def _write_tables(self) -> None:
        for pid, payload in zip((0, PMT_PID), self._tables, strict=True):
            self._out += (struct.pack(">BHB", 0x47, 0x4000 | pid, 0x10 | self._counters[pid]), payload)
            self._counters[pid] = (self._counters[pid] + 1) & 15

    def _keep_clock(self, pcr: int) -> None:
        """Clock references at least every 100 ms, also where pictures are further apart (2.7.2)."""
        last = self._last_pcr
        if last is not None and pcr - last < 60 * TS_CLOCK:
            for between in range(last + _PCR_INTERVAL, pcr, _PCR_INTERVAL):
                self._write_tables_due(between + _PCR_DELAY)
                # Without payload, so the counter stands still (2.4.3.3).
                count = (self._counters[self._clock_pid] - 1) & 15
                head = struct.pack(">BHB", 0x47, self._clock_pid, 0x20 | count)
                self._out.append(head + _adaptation(_PAYLOAD, between, random_access=False))
        self._last_pcr = pcr

    def _write_pes(self, pes: _Pes) -> None:
        data, count = pes.data, self._counters[pes.pid]
        heads, out = self._heads[pes.pid], self._out
        rest = pes.packets - 1
        need = 8 if pes.pcr is not None else 2 if pes.random_access else 0
        size = min(_PAYLOAD - need, len(data) - rest)
        head = struct.pack(">BHB", 0x47, 0x4000 | pes.pid, (0x30 if size < _PAYLOAD else 0x10) | count)
        out.append(head + _adaptation(_PAYLOAD - size, pes.pcr, random_access=pes.random_access) + data[:size])
        position, end = size, len(data)
        count += 1
        # Full packets as long as enough is left for one byte in each of the others.
        full = min(rest, max(0, (end - position - rest) // (_PAYLOAD - 1)))
        for number in range(count, count + full):
            out += (heads[number & 15], data[position : position + _PAYLOAD])
            position += _PAYLOAD
        count += full
        rest -= full
        while rest:
            size = min(_PAYLOAD, end - position - (rest - 1))
            head = struct.pack(">BHB", 0x47, pes.pid, (0x30 if size < _PAYLOAD else 0x10) | count & 15)
            out.append(
                head + _adaptation(_PAYLOAD - size, None, random_access=False) + data[position : position + size]
            )
            position += size
            count += 1
            rest -= 1
        self._counters[pes.pid] = count & 15


def _adaptation(size: int, pcr: int | None, *, random_access: bool) -> bytes:
    """An adaptation field that is ``size`` bytes long, stuffing included (2.4.3.4); nothing for 0."""
    if size == 0:
        return b""
    if size == 1:
        return b"\0"
    flags = (0x40 if random_access else 0) | (0x10 if pcr is not None else 0)
    body = struct.pack(">BB", size - 1, flags)
    if pcr is not None:
        pcr &= _WRAP
        body += struct.pack(">IH", pcr >> 1, (pcr & 1) << 15 | 0x7E00)
    return body.ljust(size, b"\xff")

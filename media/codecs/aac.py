"""AAC (ISO/IEC 14496-3): AudioSpecificConfig, ADTS, and the RTP payload format of RFC 3640."""

from collections.abc import Mapping
from dataclasses import dataclass

from media.codecs.bits import BitReader
from media.codecs.sound import Frame
from media.errors import BitstreamError

SAMPLE_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
OBJECT_LC = 2
_OBJECT_SBR = 5
_OBJECT_PS = 29
_ESCAPED_RATE = 15
_MAX_FRAME_BYTES = 8192
_MAX_FRAMES = 64


@dataclass(frozen=True, slots=True)
class AudioSpecificConfig:
    """What is needed of an AudioSpecificConfig (1.6.2.1). ``sample_rate`` is the core coder's, in Hz;
    ``extension_rate`` is the output's where SBR is signalled, else 0."""

    object_type: int
    sample_rate: int
    channels: int
    frame_samples: int = 1024
    extension_rate: int = 0


def parse_config(config: bytes) -> AudioSpecificConfig:
    """Read an AudioSpecificConfig. Raises :class:`BitstreamError`."""
    reader = BitReader(config)
    object_type = _object_type(reader)
    rate = _rate(reader)
    channel_configuration = reader.bits(4)
    extension = 0
    if object_type in (_OBJECT_SBR, _OBJECT_PS):
        extension = _rate(reader)
        object_type = _object_type(reader)
    short_frame = reader.flag() if reader.left and object_type in (1, 2, 3, 4, 6, 7, 17, 19, 20, 23) else False
    if channel_configuration == 0 or channel_configuration > 7:
        raise BitstreamError("channel configuration is not one of the seven common ones")
    channels = 8 if channel_configuration == 7 else channel_configuration
    return AudioSpecificConfig(object_type, rate, channels, 960 if short_frame else 1024, extension)


def _object_type(reader: BitReader) -> int:
    object_type = reader.bits(5)
    return 32 + reader.bits(6) if object_type == 31 else object_type


def _rate(reader: BitReader) -> int:
    index = reader.bits(4)
    if index == _ESCAPED_RATE:
        rate = reader.bits(24)
        if not 1000 <= rate <= 192_000:
            raise BitstreamError("impossible sampling rate", rate=rate)
        return rate
    if index >= len(SAMPLE_RATES):
        raise BitstreamError("reserved sampling rate index")
    return SAMPLE_RATES[index]


def build_config(sample_rate: int, channels: int, object_type: int = OBJECT_LC) -> bytes:
    """An AudioSpecificConfig for frames of 1024 samples. Raises :class:`BitstreamError` if it cannot be said."""
    if not 1 <= channels <= 8 or channels == 7 or not 1 <= object_type < 31:
        raise BitstreamError("no AudioSpecificConfig for this", channels=channels)
    layout = 7 if channels == 8 else channels
    if sample_rate in SAMPLE_RATES:
        value = (object_type << 11) | (SAMPLE_RATES.index(sample_rate) << 7) | (layout << 3)
        return value.to_bytes(2, "big")
    if not 0 < sample_rate < 1 << 24:
        raise BitstreamError("impossible sampling rate", rate=sample_rate)
    value = (object_type << 35) | (_ESCAPED_RATE << 31) | (sample_rate << 7) | (layout << 3)
    return value.to_bytes(5, "big")


def core_config(config: bytes) -> bytes:
    """An AudioSpecificConfig of AAC-LC's core alone: a decoder that is given it leaves out SBR, signalled or not, and
    gives sound at ``sample_rate`` (1.6.2.1: syncExtensionType with sbrPresentFlag 0). Anything else stays as it is."""
    try:
        parsed = parse_config(config)
    except BitstreamError:
        return config
    if parsed.object_type != OBJECT_LC:
        return config
    # With its last three bits, the GASpecificConfig, 16 or 40 bits; 17 more say that there is no SBR.
    plain = build_config(parsed.sample_rate, parsed.channels)
    value = int.from_bytes(plain, "big") | (4 if parsed.frame_samples == 960 else 0)
    value = (value << 17 | 0x2B7 << 6 | _OBJECT_SBR << 1) << 7
    return value.to_bytes(len(plain) + 3, "big")


def config_from_description(fmtp: Mapping[str, str], clock_rate: int, channels: int) -> bytes:
    """The AudioSpecificConfig of a description: its ``config``, unless that is missing, broken or contradicts the RTP
    clock, in which case AAC-LC at the RTP clock's rate. Raises :class:`BitstreamError` if neither makes sense."""
    try:
        config = bytes.fromhex(fmtp.get("config", ""))
        parsed = parse_config(config)
    except (ValueError, BitstreamError):
        return build_config(clock_rate, max(1, channels))
    # With SBR the RTP clock may run at the core's rate or at the output's, which is twice as high, signalled or not.
    if clock_rate in (parsed.sample_rate, parsed.extension_rate, 2 * parsed.sample_rate):
        return config
    if clock_rate in SAMPLE_RATES:
        return build_config(clock_rate, parsed.channels)
    return config


def strip_adts(frame: bytes) -> tuple[bytes, bytes] | None:
    """(raw frame, AudioSpecificConfig) if ``frame`` is exactly one ADTS frame (1.A.2.2), else ``None``."""
    if len(frame) < 9 or frame[0] != 0xFF or frame[1] & 0xF6 != 0xF0:
        return None
    length = ((frame[3] & 3) << 11) | (frame[4] << 3) | (frame[5] >> 5)
    rate_index = (frame[2] >> 2) & 0xF
    layout = ((frame[2] & 1) << 2) | (frame[3] >> 6)
    if length != len(frame) or rate_index >= len(SAMPLE_RATES) or layout == 0 or frame[6] & 3:
        return None
    start = 7 if frame[1] & 1 else 9
    config = build_config(SAMPLE_RATES[rate_index], 8 if layout == 7 else layout, (frame[2] >> 6) + 1)
    return frame[start:], config


def _number(fmtp: Mapping[str, str], name: str, default: int) -> int:
    text = fmtp.get(name, "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else default


class AacDepacketizer:
    """RTP payloads of RFC 3640 in its AAC modes: several frames a packet, or one frame over several packets.

    ``frame_ticks`` is one frame's duration on the RTP clock. :attr:`adts_config` is set where frames came with ADTS
    headers, which are taken off.
    """

    def __init__(self, fmtp: Mapping[str, str], frame_ticks: int) -> None:
        low_rate = fmtp.get("mode", "").strip().lower() == "aac-lbr"
        self._size_bits = min(16, _number(fmtp, "sizelength", 6 if low_rate else 13))
        self._index_bits = min(16, _number(fmtp, "indexlength", 2 if low_rate else 3))
        self._delta_bits = min(16, _number(fmtp, "indexdeltalength", 2 if low_rate else 3))
        self._frame_ticks = frame_ticks
        self._fragment = bytearray()
        self._fragment_size = 0
        self._fragment_timestamp = 0
        self.adts_config = b""

    def push(self, packet: bytes, start: int, end: int, timestamp: int) -> tuple[Frame, ...] | None:
        """The frames that this payload completes; ``None`` if it is not understood."""
        if self._size_bits == 0 or end - start < 4:
            return None
        header_bits = (packet[start] << 8) | packet[start + 1]
        body = start + 2 + (header_bits + 7) // 8
        if header_bits < self._size_bits or body > end:
            return None
        headers = self._headers(int.from_bytes(packet[start + 2 : body], "big") >> (-header_bits % 8), header_bits)
        if len(headers) == 1 and headers[0][1] > end - body:
            return self._add_fragment(packet, body, end, timestamp, headers[0][1])
        self._fragment.clear()
        frames: list[Frame] = []
        for index, size in headers:
            if size == 0 or body + size > end:
                return tuple(frames) or None
            frames.append(self._frame(index * self._frame_ticks, packet[body : body + size]))
            body += size
        return tuple(frames)

    def lose(self) -> None:
        """Packets are missing: a frame of which a part has come cannot be completed."""
        self._fragment.clear()

    def _headers(self, value: int, left: int) -> list[tuple[int, int]]:
        """(frame number counted from the packet's timestamp, size) of each AU-header (RFC 3640, 3.2.1.1)."""
        headers: list[tuple[int, int]] = []
        index = 0
        while len(headers) < _MAX_FRAMES:
            width = self._delta_bits if headers else self._index_bits
            if left < self._size_bits + width:
                break
            left -= self._size_bits
            size = (value >> left) & ((1 << self._size_bits) - 1)
            left -= width
            number = (value >> left) & ((1 << width) - 1)
            # AU-Index of the first is 0 (3.3.6); AU-Index-delta counts the frames left out between this and the last.
            index = 0 if not headers else index + number + 1
            headers.append((index, size))
        return headers

    def _add_fragment(self, packet: bytes, body: int, end: int, timestamp: int, size: int) -> tuple[Frame, ...] | None:
        if size > _MAX_FRAME_BYTES:
            return None
        if self._fragment and (timestamp != self._fragment_timestamp or size != self._fragment_size):
            self._fragment.clear()
        self._fragment_timestamp, self._fragment_size = timestamp, size
        self._fragment += packet[body:end]
        if len(self._fragment) < size:
            return ()
        data = bytes(self._fragment[:size])
        self._fragment.clear()
        return (self._frame(0, data),)

    def _frame(self, offset: int, data: bytes) -> Frame:
        if data[0] == 0xFF and (stripped := strip_adts(data)) is not None:
            data, self.adts_config = stripped
        return Frame(offset, data, self._frame_ticks)

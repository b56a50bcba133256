"""Opus (RFC 6716) over RTP (RFC 7587): one packet a payload, clock 48 kHz whatever was sampled."""

from media.codecs.sound import Frame

OPUS_CLOCK_RATE = 48_000
_MAX_SAMPLES = 5760

_SILK_SAMPLES = (480, 960, 1920, 2880)
_HYBRID_SAMPLES = (480, 960)
_CELT_SAMPLES = (120, 240, 480, 960)


def packet_samples(packet: bytes) -> int:
    """Duration of a packet in samples at 48 kHz (RFC 6716, 3.1 and 3.2); 0 if the packet is broken."""
    if not packet:
        return 0
    toc = packet[0]
    config = toc >> 3
    if config < 12:
        frame = _SILK_SAMPLES[config & 3]
    elif config < 16:
        frame = _HYBRID_SAMPLES[config & 1]
    else:
        frame = _CELT_SAMPLES[config & 3]
    code = toc & 3
    if code == 3:
        count = packet[1] & 0x3F if len(packet) > 1 else 0
    else:
        count = 1 if code == 0 else 2
    samples = frame * count
    return samples if samples <= _MAX_SAMPLES else 0


class OpusDepacketizer:
    """RTP payloads of Opus."""

    def push(self, packet: bytes, start: int, end: int, timestamp: int) -> tuple[Frame, ...] | None:
        """The packet; ``None`` if its table of contents is broken."""
        data = packet[start:end]
        samples = packet_samples(data)
        return (Frame(0, data, samples),) if samples else None

    def lose(self) -> None:
        """Packets are missing before the next one: nothing to forget, each packet stands alone."""

"""G.711 (ITU-T G.711) over RTP: the payload is the octets themselves, one a sample and channel (RFC 3551, 4.5.14)."""

from media.codecs.sound import Frame


class G711Depacketizer:
    """RTP payloads of PCMA and PCMU."""

    def __init__(self, channels: int) -> None:
        self._channels = channels

    def push(self, packet: bytes, start: int, end: int, timestamp: int) -> tuple[Frame, ...]:
        """The sound of one payload; nothing if it is empty."""
        samples = (end - start) // self._channels
        return (Frame(0, packet[start:end], samples),) if samples else ()

    def lose(self) -> None:
        """Packets are missing before the next one: nothing to forget, each packet stands alone."""

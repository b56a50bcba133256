"""What the depacketizers of sound have in common."""

from typing import NamedTuple, Protocol


class Frame(NamedTuple):
    """Sound that begins ``offset`` ticks of the RTP clock after its packet's timestamp and lasts ``duration`` ticks."""

    offset: int
    data: bytes
    duration: int


class SoundDepacketizer(Protocol):
    """Takes one track's RTP payloads."""

    def push(self, packet: bytes, start: int, end: int, timestamp: int) -> tuple[Frame, ...] | None:
        """The frames that this payload completes; ``None`` if it is not understood."""
        ...

    def lose(self) -> None:
        """Packets are missing before the next one that is pushed."""
        ...

"""RTP of one session in, access units out."""

from collections.abc import Sequence
from dataclasses import dataclass

from media.clock import Clock
from media.description import MediaDescription
from media.unit import StreamItem, Track


@dataclass(slots=True)
class TrackCounters:
    """What one track has seen since the session began. Times in nanoseconds."""

    packets: int = 0
    bytes: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    malformed: int = 0
    units: int = 0
    damaged_units: int = 0
    clock_jumps: int = 0
    jitter_ns: int = 0
    clock_offset_ns: int | None = None
    """Camera's wall clock minus ours; ``None`` before its first RTCP sender report."""


class StreamReceiver:
    """RTP and RTCP of one session in, access units and gaps out. Used from one task.

    ``descriptions`` are the session's media in the order in which they were set up; ``None`` stands for a medium that
    was not taken. ``origin_utc_ns`` is the zero of the stream's timeline: keep it for all sessions of a stream.
    ``after_utc_ns`` is the newest time the stream already has; units not later than it are left out, so that the
    burst with which some cameras start does not repeat what the session before has brought.

    Raises :class:`media.errors.UnsupportedCodecError` if no medium can be taken.
    """

    def __init__(
        self,
        descriptions: Sequence[MediaDescription | None],
        clock: Clock,
        *,
        epoch: int = 0,
        reorder: bool = False,
        origin_utc_ns: int = 0,
        after_utc_ns: int = 0,
    ) -> None:
        raise NotImplementedError

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks known so far, video first."""
        raise NotImplementedError

    @property
    def counters(self) -> tuple[TrackCounters | None, ...]:
        """Counters by the index of the description; ``None`` where the medium is not taken."""
        raise NotImplementedError

    def rtp(self, index: int, packet: memoryview | bytes, arrival_ns: int) -> Sequence[StreamItem]:
        """Take one RTP packet of medium ``index`` that arrived at ``arrival_ns`` (Unix nanoseconds).

        The packet is copied where it must outlive the call. Garbage is counted, never raised.
        """
        raise NotImplementedError

    def rtcp(self, index: int, packet: memoryview | bytes, arrival_ns: int) -> None:
        """Take one compound RTCP packet. Garbage is counted, never raised."""
        raise NotImplementedError

    def receiver_report(self, index: int) -> bytes:
        """A compound RR + SDES for medium ``index`` (RFC 3550, 6.4.2)."""
        raise NotImplementedError

    def flush(self) -> Sequence[StreamItem]:
        """What is still held back, at the end of the session."""
        raise NotImplementedError

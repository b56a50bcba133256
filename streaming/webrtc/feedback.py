"""What a receiver tells its sender: which packets are missing, when a keyframe is needed, how much it may send.

RFC 4585 (generic NACK, PLI) and draft-alvestrand-rmcat-remb. One :class:`TrackFeedback` a medium, one
:class:`RateAdvice` a session; neither sends anything itself.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_PLI,
    RTCP_RTPFB,
    RTCP_RTPFB_NACK,
    RtcpPsfbPacket,
    pack_remb_fci,
)

_HEAD = struct.Struct("!BBHII")
_ENTRY = struct.Struct("!HH")
_MS = 1_000_000
_MAX_MISSING = 256
_RESET_AFTER = 1_000


@dataclass(frozen=True, slots=True)
class FeedbackSettings:
    """Nanoseconds. A packet is asked for once it is ``reorder_ns`` late, again every ``again_ns``, and given up after
    ``give_up_ns``, which is how long the receiver keeps what came after it. A keyframe is asked for at most every
    ``keyframe_again_ns``."""

    reorder_ns: int = 10 * _MS
    again_ns: int = 60 * _MS
    give_up_ns: int = 200 * _MS
    keyframe_again_ns: int = 700 * _MS


@dataclass(slots=True)
class _Missing:
    since_ns: int
    asked_ns: int = 0


class TrackFeedback:
    """Which packets of one medium are missing. Times are nanoseconds of any clock that is never set back."""

    def __init__(self, settings: FeedbackSettings | None = None) -> None:
        self._settings = settings or FeedbackSettings()
        self._missing: dict[int, _Missing] = {}
        self._highest = -1
        self._keyframe_asked_ns = 0
        self.ssrc = 0
        self.asked = 0
        self.given_up = 0

    def packet(self, packet: bytes, arrival_ns: int) -> None:
        """A packet has come."""
        sequence = packet[2] << 8 | packet[3]
        ssrc = int.from_bytes(packet[8:12], "big")
        if self._highest < 0 or ssrc != self.ssrc:
            self.ssrc, self._highest = ssrc, sequence
            self._missing.clear()
            return
        ahead = (sequence - self._highest) & 0xFFFF
        if ahead >= 0x8000 or ahead == 0:
            self._missing.pop(sequence, None)
            return
        if ahead > _RESET_AFTER:
            self._missing.clear()
        elif ahead > 1:
            for step in range(1, ahead):
                self._missing[(self._highest + step) & 0xFFFF] = _Missing(arrival_ns)
            while len(self._missing) > _MAX_MISSING:
                del self._missing[next(iter(self._missing))]
        self._highest = sequence

    def due(self, now_ns: int) -> list[int]:
        """Sequence numbers to ask for now."""
        settings = self._settings
        wanted: list[int] = []
        for sequence, missing in list(self._missing.items()):
            late_ns = now_ns - missing.since_ns
            if late_ns > settings.give_up_ns:
                del self._missing[sequence]
                self.given_up += 1
            elif late_ns >= settings.reorder_ns and now_ns - missing.asked_ns >= settings.again_ns:
                missing.asked_ns = now_ns
                wanted.append(sequence)
        self.asked += len(wanted)
        return wanted

    def keyframe_due(self, now_ns: int) -> bool:
        """Whether a keyframe that is needed may be asked for now; if so it counts as asked."""
        if now_ns - self._keyframe_asked_ns < self._settings.keyframe_again_ns:
            return False
        self._keyframe_asked_ns = now_ns
        return True


@dataclass(slots=True)
class RateAdvice:
    """What the sender is told it may send, in bits a second: less after loss, slowly more without."""

    highest_bps: int
    lowest_bps: int = 300_000
    now_bps: int = 0

    def __post_init__(self) -> None:
        self.now_bps = self.highest_bps

    def after(self, fraction_lost: float) -> int:
        """The new advice after an interval with this share of packets lost (0 to 1)."""
        if fraction_lost > 0.1:
            self.now_bps = round(self.now_bps * (1 - fraction_lost / 2))
        elif fraction_lost < 0.02:
            self.now_bps = round(self.now_bps * 1.08)
        self.now_bps = max(self.lowest_bps, min(self.highest_bps, self.now_bps))
        return self.now_bps


def nack(ours: int, theirs: int, sequences: Sequence[int]) -> bytes:
    """A generic NACK (RFC 4585, 6.2.1) for ``sequences``, in ascending order, which goes on at 0 after 65535."""
    entries: list[tuple[int, int]] = []
    for sequence in sequences:
        first, mask = entries[-1] if entries else (sequence, 0)
        ahead = (sequence - first - 1) & 0xFFFF
        if ahead < 16:
            entries[-1] = (first, mask | 1 << ahead)
        else:
            entries.append((sequence, 0))
    head = _HEAD.pack(0x80 | RTCP_RTPFB_NACK, RTCP_RTPFB, 2 + len(entries), ours, theirs)
    return head + b"".join(_ENTRY.pack(*entry) for entry in entries)


def picture_loss(ours: int, theirs: int) -> bytes:
    """A picture loss indication (RFC 4585, 6.3.1)."""
    return bytes(RtcpPsfbPacket(RTCP_PSFB_PLI, ours, theirs))


def remb(ours: int, bps: int, theirs: Sequence[int]) -> bytes:
    """A receiver estimated maximum bitrate for the streams ``theirs``."""
    return bytes(RtcpPsfbPacket(RTCP_PSFB_APP, ours, 0, pack_remb_fci(bps, list(theirs))))

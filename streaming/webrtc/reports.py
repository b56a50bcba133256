"""What a viewer tells us: missing packets, a picture it cannot decode, loss, how much its line carries.

RFC 3550 (receiver reports), RFC 4585 (generic NACK, PLI), RFC 5104 (FIR), draft-alvestrand-rmcat-remb. Read straight
from the bytes: a hundred viewers send several a second each.
"""

import struct
from dataclasses import dataclass

from media.rtcp import RECEIVER_REPORT, SENDER_REPORT

TRANSPORT_FEEDBACK = 205
PAYLOAD_FEEDBACK = 206
_NACK = 1
_PLI = 1
_FIR = 4
_APPLICATION = 15
_MAX_PACKETS = 16
_MAX_LOST = 256
_BLOCK = struct.Struct("!IIIIII")
_ENTRY = struct.Struct("!HH")


@dataclass(slots=True)
class ViewerReport:
    """One compound packet. ``lost`` are sequence numbers by SSRC, at most 256 in all; ``keyframe`` is the SSRC for
    which a keyframe is asked; ``fraction_lost`` is 0 to 1 by SSRC; ``bitrate_bps`` is the REMB."""

    lost: dict[int, list[int]]
    keyframe: int | None = None
    fraction_lost: dict[int, float] | None = None
    bitrate_bps: int | None = None


def read_report(data: bytes) -> ViewerReport:
    """Read a compound packet as far as it makes sense. Never raises."""
    report = ViewerReport({})
    at, left = 0, _MAX_LOST
    for _ in range(_MAX_PACKETS):
        if at + 8 > len(data) or data[at] & 0xC0 != 0x80:
            break
        count, kind = data[at] & 0x1F, data[at + 1]
        end = at + 4 + 4 * int.from_bytes(data[at + 2 : at + 4], "big")
        if end > len(data):
            break
        if kind in (RECEIVER_REPORT, SENDER_REPORT):
            _losses(report, data, at + (8 if kind == RECEIVER_REPORT else 28), min(end, len(data)), count)
        elif kind == TRANSPORT_FEEDBACK and count == _NACK:
            left = _lost(report, data, at + 8, end, left)
        elif kind == PAYLOAD_FEEDBACK and end - at >= 12:
            _payload_feedback(report, data, at, end, count)
        at = end
    return report


def _losses(report: ViewerReport, data: bytes, at: int, end: int, count: int) -> None:
    for _ in range(count):
        if at + _BLOCK.size > end:
            return
        ssrc, loss, *_ = _BLOCK.unpack_from(data, at)
        if report.fraction_lost is None:
            report.fraction_lost = {}
        report.fraction_lost[ssrc] = (loss >> 24) / 256
        at += _BLOCK.size


def _lost(report: ViewerReport, data: bytes, at: int, end: int, left: int) -> int:
    if at + 4 > end:
        return left
    lost = report.lost.setdefault(int.from_bytes(data[at : at + 4], "big"), [])
    for place in range(at + 4, end - 3, 4):
        first, mask = _ENTRY.unpack_from(data, place)
        wanted = [first] + [(first + 1 + bit) & 0xFFFF for bit in range(16) if mask >> bit & 1]
        lost += wanted[:left]
        left -= len(wanted)
        if left <= 0:
            return 0
    return left


def _payload_feedback(report: ViewerReport, data: bytes, at: int, end: int, kind: int) -> None:
    media = int.from_bytes(data[at + 8 : at + 12], "big")
    if kind == _PLI:
        report.keyframe = media
    elif kind == _FIR and end - at >= 20:
        report.keyframe = int.from_bytes(data[at + 12 : at + 16], "big")
    elif kind == _APPLICATION and end - at >= 20 and data[at + 12 : at + 16] == b"REMB":
        exponent = data[at + 17] >> 2
        mantissa = (data[at + 17] & 3) << 16 | data[at + 18] << 8 | data[at + 19]
        report.bitrate_bps = min(mantissa << exponent, 1 << 40)

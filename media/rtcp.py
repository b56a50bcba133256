"""RTCP: sender and receiver reports, SDES, BYE (RFC 3550, section 6)."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from media.unit import NS_PER_S

SENDER_REPORT: Final = 200
RECEIVER_REPORT: Final = 201
SOURCE_DESCRIPTION: Final = 202
BYE: Final = 203

NTP_TO_UNIX_S: Final = 2_208_988_800
"""Seconds from the NTP epoch (1900) to the Unix epoch."""

_HEADER: Final = struct.Struct("!BBH")
_SENDER_INFO: Final = struct.Struct("!IIIIII")
_REPORT_BLOCK: Final = struct.Struct("!IIIIII")


@dataclass(frozen=True, slots=True)
class SenderReport:
    """An SR: at ``utc_ns`` (the sender's wall clock, Unix nanoseconds; 0 where it says that it has none, RFC 3550,
    6.4.1) its RTP clock showed ``rtp_timestamp``.

    ``ntp_middle`` is the middle 32 bits of its NTP time, which a receiver report gives back (LSR).
    """

    ssrc: int
    utc_ns: int
    rtp_timestamp: int
    packets: int
    octets: int
    ntp_middle: int = 0


@dataclass(frozen=True, slots=True)
class ReceptionReport:
    """A report block: what a receiver says about source ``ssrc``. ``jitter`` is in RTP ticks; ``delay_since_sr`` in
    1/65536 s."""

    ssrc: int
    fraction_lost: int = 0
    lost: int = 0
    highest_sequence: int = 0
    jitter: int = 0
    last_sr: int = 0
    delay_since_sr: int = 0


@dataclass(frozen=True, slots=True)
class Goodbye:
    """A BYE of the sources named."""

    ssrcs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """An SDES chunk's CNAME."""

    ssrc: int
    cname: str


RtcpItem = SenderReport | ReceptionReport | SourceDescription | Goodbye


def ntp_from_unix(utc_ns: int) -> int:
    """Unix nanoseconds as a 64-bit NTP timestamp (RFC 5905), modulo its era."""
    seconds, rest = divmod(utc_ns, NS_PER_S)
    return (((seconds + NTP_TO_UNIX_S) & 0xFFFFFFFF) << 32) | ((rest << 32) // NS_PER_S)


def unix_from_ntp(seconds: int, fraction: int) -> int:
    """A 64-bit NTP timestamp as Unix nanoseconds; times before 1968 are read as the era that began in 2036."""
    if seconds < 0x80000000:
        seconds += 1 << 32
    return (seconds - NTP_TO_UNIX_S) * NS_PER_S + ((fraction * NS_PER_S + (1 << 31)) >> 32)


def parse_compound(data: bytes) -> list[RtcpItem]:
    """What a compound packet holds. Packets of other types are passed over; reading stops at the first broken one."""
    items: list[RtcpItem] = []
    offset = 0
    while offset + 4 <= len(data):
        first, packet_type, words = _HEADER.unpack_from(data, offset)
        end = offset + 4 + 4 * words
        if first & 0xC0 != 0x80 or end > len(data):
            break
        count = first & 0x1F
        body = data[offset + 4 : end]
        if packet_type == SENDER_REPORT:
            items += _sender_report(body, count)
        elif packet_type == RECEIVER_REPORT:
            items += _report_blocks(body[4:], count)
        elif packet_type == SOURCE_DESCRIPTION:
            items += _source_descriptions(body, count)
        elif packet_type == BYE and len(body) >= 4 * count:
            items.append(Goodbye(struct.unpack_from(f"!{count}I", body)))
        offset = end
    return items


def _sender_report(body: bytes, count: int) -> list[RtcpItem]:
    if len(body) < _SENDER_INFO.size:
        return []
    ssrc, seconds, fraction, rtp_timestamp, packets, octets = _SENDER_INFO.unpack_from(body)
    middle = ((seconds & 0xFFFF) << 16) | (fraction >> 16)
    utc_ns = unix_from_ntp(seconds, fraction) if seconds or fraction else 0
    report = SenderReport(ssrc, utc_ns, rtp_timestamp, packets, octets, middle)
    return [report, *_report_blocks(body[_SENDER_INFO.size :], count)]


def _report_blocks(body: bytes, count: int) -> list[RtcpItem]:
    blocks: list[RtcpItem] = []
    for index in range(min(count, len(body) // _REPORT_BLOCK.size)):
        ssrc, loss, highest, jitter, last_sr, delay = _REPORT_BLOCK.unpack_from(body, index * _REPORT_BLOCK.size)
        lost = loss & 0xFFFFFF
        if lost & 0x800000:
            lost -= 1 << 24
        blocks.append(ReceptionReport(ssrc, loss >> 24, lost, highest, jitter, last_sr, delay))
    return blocks


def _source_descriptions(body: bytes, count: int) -> list[RtcpItem]:
    found: list[RtcpItem] = []
    offset = 0
    for _ in range(count):
        if offset + 4 > len(body):
            break
        (ssrc,) = struct.unpack_from("!I", body, offset)
        offset += 4
        while offset < len(body) and body[offset] != 0:
            if offset + 2 > len(body):
                return found
            kind, length = body[offset], body[offset + 1]
            text = body[offset + 2 : offset + 2 + length]
            offset += 2 + length
            if kind == 1:
                found.append(SourceDescription(ssrc, text.decode("utf-8", "replace")))
        # The list of items ends with at least one zero octet and is padded to the next 32-bit boundary.
        offset += 4 - offset % 4
    return found


def _packet(packet_type: int, count: int, body: bytes) -> bytes:
    return _HEADER.pack(0x80 | count, packet_type, len(body) // 4) + body


def _blocks(reports: Sequence[ReceptionReport]) -> bytes:
    return b"".join(
        _REPORT_BLOCK.pack(
            report.ssrc,
            (report.fraction_lost << 24) | (max(-0x800000, min(report.lost, 0x7FFFFF)) & 0xFFFFFF),
            report.highest_sequence & 0xFFFFFFFF,
            report.jitter & 0xFFFFFFFF,
            report.last_sr,
            report.delay_since_sr & 0xFFFFFFFF,
        )
        for report in reports
    )


def build_sender_report(
    ssrc: int, utc_ns: int, rtp_timestamp: int, packets: int, octets: int, cname: str = "sanhui"
) -> bytes:
    """A compound SR + SDES: at ``utc_ns`` our RTP clock shows ``rtp_timestamp``; packets and payload octets so far."""
    ntp = ntp_from_unix(utc_ns)
    body = _SENDER_INFO.pack(
        ssrc, ntp >> 32, ntp & 0xFFFFFFFF, rtp_timestamp & 0xFFFFFFFF, packets & 0xFFFFFFFF, octets & 0xFFFFFFFF
    )
    return _packet(SENDER_REPORT, 0, body) + build_source_description(ssrc, cname)


def build_receiver_report(ssrc: int, reports: Sequence[ReceptionReport] = (), cname: str = "sanhui") -> bytes:
    """A compound RR + SDES from ``ssrc``; at most 31 report blocks."""
    body = struct.pack("!I", ssrc) + _blocks(reports[:31])
    return _packet(RECEIVER_REPORT, len(reports[:31]), body) + build_source_description(ssrc, cname)


def build_source_description(ssrc: int, cname: str) -> bytes:
    """An SDES with a CNAME, which every compound packet must hold (RFC 3550, 6.1)."""
    text = cname.encode()[:255]
    chunk = struct.pack("!IBB", ssrc, 1, len(text)) + text
    chunk += bytes(4 - len(chunk) % 4)
    return _packet(SOURCE_DESCRIPTION, 1, chunk)


def build_goodbye(ssrc: int) -> bytes:
    """A compound RR + SDES + BYE."""
    return build_receiver_report(ssrc) + _packet(BYE, 1, struct.pack("!I", ssrc))

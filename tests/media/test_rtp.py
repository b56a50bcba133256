"""RTP and RTCP packets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.rtcp import (
    Goodbye,
    ReceptionReport,
    SenderReport,
    SourceDescription,
    build_goodbye,
    build_receiver_report,
    build_sender_report,
    ntp_from_unix,
    parse_compound,
    unix_from_ntp,
)
from media.rtp import HEADER, ReorderBuffer, parse_header, payload_bounds, signed_delta16, signed_delta32
from media.unit import NS_PER_S


def packet(first: int = 0x80, body: bytes = b"payload") -> bytes:
    return HEADER.pack(first, 0x80 | 96, 7, 90_000, 0xABCDEF) + body


def test_plain_header() -> None:
    header = parse_header(packet())
    assert header is not None
    assert header == (True, 96, 7, 90_000, 0xABCDEF, 12, 19)


def test_csrc_extension_and_padding_are_not_payload() -> None:
    extension = b"\xbe\xde\x00\x02" + bytes(8)
    data = packet(0x80 | 0x20 | 0x10 | 2, bytes(8) + extension + b"payload" + b"\x00\x00\x03")
    bounds = payload_bounds(data, 0, len(data))
    assert bounds is not None
    assert data[bounds[0] : bounds[1]] == b"payload"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        packet()[:11],
        packet(0x40),
        packet(0x8F),
        packet(0x90, b"\xbe\xde"),
        packet(0x90, b"\xbe\xde\xff\xff"),
        packet(0xA0, b"a\x00"),
        packet(0xA0, b"a\xff"),
    ],
    ids=["empty", "short", "version", "csrc", "extension-cut", "extension-long", "padding-0", "padding-long"],
)
def test_a_packet_that_contradicts_itself_is_refused(data: bytes) -> None:
    assert parse_header(data) is None


@given(st.binary(max_size=200))
def test_any_bytes_give_a_payload_inside_the_packet_or_none(data: bytes) -> None:
    bounds = payload_bounds(data, 0, len(data))
    assert bounds is None or 12 <= bounds[0] <= bounds[1] <= len(data)


@given(st.integers(0, 2**32 - 1), st.integers(-(2**31), 2**31 - 1))
def test_differences_of_wrapping_counters(start: int, step: int) -> None:
    assert signed_delta32((start + step) & 0xFFFFFFFF, start) == step
    step16 = ((step + 0x8000) & 0xFFFF) - 0x8000
    assert signed_delta16((start + step16) & 0xFFFF, start & 0xFFFF) == step16


def test_reorder_buffer_is_bounded_in_number_and_time() -> None:
    buffer = ReorderBuffer(max_packets=3, max_wait_ns=100)
    assert buffer.insert(65_535, b"a", 0)
    assert not buffer.insert(65_535, b"a", 0)
    assert buffer.insert(1, b"b", 50)
    assert not buffer.overdue(100)
    assert buffer.overdue(101)
    assert buffer.next_after(65_534) == 65_535
    assert buffer.next_after(0) == 1
    assert buffer.insert(2, b"c", 60)
    assert buffer.overdue(61)
    assert buffer.take(65_535) == (b"a", 0)
    assert buffer.take(65_535) is None


def test_sender_report_there_and_back() -> None:
    now = 1_790_000_000 * NS_PER_S + 123_456_789
    items = parse_compound(build_sender_report(77, now, 2**32 + 5, 10, 1000, "name"))
    report, names = items
    assert isinstance(report, SenderReport)
    assert abs(report.utc_ns - now) <= 1
    assert (report.ssrc, report.rtp_timestamp, report.packets, report.octets) == (77, 5, 10, 1000)
    assert names == SourceDescription(77, "name")


def test_receiver_report_and_goodbye_there_and_back() -> None:
    block = ReceptionReport(9, 128, -3, 70_000, 55, 1, 65_536)
    assert parse_compound(build_receiver_report(1, (block,)))[0] == block
    assert Goodbye((5,)) in parse_compound(build_goodbye(5))


def test_ntp_times_before_and_after_2036() -> None:
    for utc_ns in (0, 1_790_000_000 * NS_PER_S, 2_200_000_000 * NS_PER_S):
        ntp = ntp_from_unix(utc_ns)
        assert unix_from_ntp(ntp >> 32, ntp & 0xFFFFFFFF) == utc_ns


@given(st.binary(max_size=300))
def test_rtcp_garbage_never_raises(data: bytes) -> None:
    assert len(parse_compound(data)) <= len(data) // 4


@given(st.binary(max_size=60), st.integers(0, 31), st.sampled_from([200, 201, 202, 203, 204]))
def test_rtcp_with_a_good_header_and_garbage_inside_never_raises(body: bytes, count: int, kind: int) -> None:
    body += bytes(-len(body) % 4)
    head = bytes((0x80 | count, kind)) + (len(body) // 4).to_bytes(2, "big")
    assert len(parse_compound(head + body)) <= 32

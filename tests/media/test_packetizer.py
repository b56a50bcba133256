"""RTP packets that we make."""

import pytest

from media.packetizer import Packetizer
from media.rtp import parse_header
from media.unit import AccessUnit, AudioTrack, Codec, VideoTrack

VIDEO = VideoTrack(Codec.H264, (b"\x67sps", b"\x68pps"), 320, 180)


def unit(*nals: bytes, keyframe: bool = True, pts: int = 5) -> AccessUnit:
    data = b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals)
    return AccessUnit(VIDEO, pts, pts, 0, data, keyframe)


def test_parameter_sets_come_before_keyframes_only() -> None:
    packetizer = Packetizer(VIDEO, 96, 1)
    keyframe = [packet[12:] for packet in packetizer.packets(unit(b"\x65idr"))]
    assert keyframe == [b"\x67sps", b"\x68pps", b"\x65idr"]
    assert [packet[12:] for packet in packetizer.packets(unit(b"\x41p", keyframe=False))] == [b"\x41p"]


def test_headers_number_on_and_mark_the_last_packet() -> None:
    packetizer = Packetizer(VIDEO, 96, 0xDEADBEEF, 100, sequence=65_534, timestamp_offset=2**32 - 2)
    headers = [parse_header(packet) for packet in packetizer.packets(unit(b"\x65" + bytes(200)))]
    assert [header.sequence for header in headers if header] == [65_534, 65_535, 0, 1, 2]
    assert [header.marker for header in headers if header] == [False] * 4 + [True]
    assert {(header.timestamp, header.ssrc, header.payload_type) for header in headers if header} == {
        (3, 0xDEADBEEF, 96)
    }
    assert packetizer.packets_sent == 5
    assert packetizer.octets_sent == sum(header.end - header.start for header in headers if header)
    assert packetizer.next_sequence == 3


@pytest.mark.parametrize("size", [1, 52, 53, 87, 88, 89, 100, 1000, 70_000])
@pytest.mark.parametrize("mtu", [64, 100, 1400, 60_000])
@pytest.mark.parametrize("codec", [Codec.H264, Codec.H265])
def test_no_packet_is_larger_than_the_mtu(codec: Codec, mtu: int, size: int) -> None:
    track = VideoTrack(codec, (), 0, 0)
    nal = b"\x26\x01" + bytes(size) if codec is Codec.H265 else b"\x65\x88" + bytes(size)
    packets = Packetizer(track, 96, 1, mtu).packets(AccessUnit(track, 0, 0, 0, len(nal).to_bytes(4, "big") + nal))
    assert all(12 < len(packet) <= mtu for packet in packets)


def test_an_mtu_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="MTU"):
        Packetizer(VIDEO, 96, 1, 20)


def test_long_g711_is_cut_with_times_of_its_own() -> None:
    track = AudioTrack(Codec.PCMA, 8000, 1)
    packets = Packetizer(track, 8, 1, 512).packets(AccessUnit(track, 1000, 1000, 0, bytes(1200)))
    assert [(len(packet) - 12, int.from_bytes(packet[4:8], "big")) for packet in packets] == [
        (500, 1000),
        (500, 1500),
        (200, 2000),
    ]
    assert not any(packet[1] & 0x80 for packet in packets)

"""What RTP packets of H.264 show: put together, decoded, each picture with the timestamp that it came under."""

from collections.abc import Sequence
from typing import Any

import av
from numpy.typing import NDArray

from tests.support.webrtc_client import Received, WebRtcClient

_VIDEO = 100
_FU_A = 28


def video_of(client: WebRtcClient) -> list[Received]:
    """The packets of pictures, by their payload types in the offers of :mod:`tests.support.webrtc_client`."""
    return [item for item in client.packets if item.header.payload_type >= _VIDEO]


def numbered(packets: Sequence[Received]) -> dict[int, Received]:
    """The packets by number, counted on where 16 bits wrap; of one that came twice, the first."""
    first = packets[0].header.sequence
    found: dict[int, Received] = {}
    for item in packets:
        offset = ((item.header.sequence - first + 0x8000) & 0xFFFF) - 0x8000
        found.setdefault(first + offset, item)
    return dict(sorted(found.items()))


def missing(packets: Sequence[Received]) -> list[int]:
    """The sequence numbers between the first and the last that have not come."""
    if not packets:
        return []
    have = numbered(packets)
    return [number & 0xFFFF for number in range(min(have), max(have)) if number not in have]


def pictures_of(packets: Sequence[Received]) -> list[tuple[int, NDArray[Any]]]:
    """(RTP timestamp, luma) of each picture, in the order of sequence numbers. AssertionError if one is damaged."""
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    shown: list[tuple[int, NDArray[Any]]] = []
    data = bytearray()
    for item in numbered(packets).values():
        payload = item.payload
        if payload[0] & 31 != _FU_A:
            data += b"\0\0\0\1" + payload
        else:
            if payload[1] & 0x80:
                data += b"\0\0\0\1" + bytes(((payload[0] & 0xE0) | (payload[1] & 31),))
            data += payload[2:]
        if item.header.marker:
            packet = av.Packet(bytes(data))
            packet.pts = item.header.timestamp
            for frame in decoder.decode(packet):
                assert not frame.is_corrupt
                assert frame.pts is not None
                shown.append((frame.pts, frame.to_ndarray(format="gray")))
            data.clear()
    return shown

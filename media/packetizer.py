"""Access units in, RTP packets out (RFC 6184, RFC 7798, RFC 3640, RFC 3551, RFC 7587)."""

from collections.abc import Callable, Iterator

from media.rtp import HEADER
from media.unit import AccessUnit, AudioTrack, Codec, Track, VideoTrack

RTP_HEADER_BYTES = 12
_H264_FU_A = 28
_H265_FU = 49
_MIN_MTU = 64


class Packetizer:
    """Makes one track's RTP packets, each at most ``mtu`` bytes. Parameter sets go before each keyframe.

    The RTP timestamp is ``pts + timestamp_offset`` modulo 2^32; packets are numbered from ``sequence``.
    ``packets_sent`` and ``octets_sent`` (payload) count what was made, for sender reports.
    """

    def __init__(
        self,
        track: Track,
        payload_type: int,
        ssrc: int,
        mtu: int = 1400,
        *,
        sequence: int = 0,
        timestamp_offset: int = 0,
    ) -> None:
        if mtu < _MIN_MTU:
            raise ValueError(f"an MTU of {mtu} bytes leaves no room for media")
        self.track = track
        self.ssrc = ssrc
        self.packets_sent = 0
        self.octets_sent = 0
        self._payload_type = payload_type
        self._room = mtu - RTP_HEADER_BYTES
        self._sequence = sequence & 0xFFFF
        self._timestamp_offset = timestamp_offset

    @property
    def next_sequence(self) -> int:
        """The number of the next packet."""
        return self._sequence

    def rtp_timestamp(self, pts: int) -> int:
        """The RTP timestamp for a time on the stream's timeline, in ticks of the track's clock rate."""
        return (pts + self._timestamp_offset) & 0xFFFFFFFF

    def packets(self, unit: AccessUnit) -> list[bytes]:
        """The RTP packets of one unit; the marker is on the last one of a picture."""
        timestamp = unit.pts + self._timestamp_offset
        packets = []
        for payload, marker, later in self.payloads(unit):
            second = self._payload_type | marker
            packets.append(
                HEADER.pack(0x80, second, self._sequence, (timestamp + later) & 0xFFFFFFFF, self.ssrc) + payload
            )
            self._sequence = (self._sequence + 1) & 0xFFFF
            self.octets_sent += len(payload)
        self.packets_sent += len(packets)
        return packets

    def payloads(self, unit: AccessUnit) -> list[tuple[bytes, int, int]]:
        """The same without headers and uncounted, for whoever writes his own: payload, marker bit in its place (0x80 or
        0), ticks after the unit's ``pts``."""
        track = unit.track
        self.track = track
        if isinstance(track, VideoTrack):
            payloads = [(payload, 0, 0) for payload in self._video(track, unit)]
            if payloads:
                payloads[-1] = (payloads[-1][0], 0x80, 0)
            return payloads
        if track.codec is Codec.AAC:
            return self._aac(unit.data)
        if track.codec in (Codec.PCMA, Codec.PCMU) and len(unit.data) > self._room:
            return self._long_g711(unit)
        return [(unit.data, 0, 0)]

    def _long_g711(self, unit: AccessUnit) -> list[tuple[bytes, int, int]]:
        """A packet holds one stretch of samples, so a unit longer than that becomes several with times of their own."""
        channels = unit.track.channels if isinstance(unit.track, AudioTrack) else 1
        step = self._room - self._room % channels
        return [(unit.data[at : at + step], 0, at // channels) for at in range(0, len(unit.data), step)]

    def _video(self, track: VideoTrack, unit: AccessUnit) -> list[bytes]:
        payloads: list[bytes] = []
        fragment = _h264_fragments if track.codec is Codec.H264 else _h265_fragments
        units: Iterator[bytes] = nal_units(unit.data)
        for nal in (*track.parameter_sets, *units) if unit.keyframe else units:
            if len(nal) <= self._room:
                payloads.append(nal)
            else:
                payloads += fragment(nal, self._room)
        return payloads

    def _aac(self, data: bytes) -> list[tuple[bytes, int, int]]:
        # AAC-hbr: one AU-header of 13 bits of size and 3 of index; a frame too large goes on in further packets.
        header = b"\x00\x10" + ((len(data) & 0x1FFF) << 3).to_bytes(2, "big")
        room = self._room - len(header)
        return [
            (header + data[at : at + room], 0x80 if at + room >= len(data) else 0, 0)
            for at in range(0, len(data), room)
        ]


def nal_units(data: bytes) -> Iterator[bytes]:
    """The NAL units of an AccessUnit's data, without their lengths."""
    at, end = 0, len(data)
    while at + 4 <= end:
        size = int.from_bytes(data[at : at + 4], "big")
        at += 4
        if size:
            yield data[at : at + size]
        at += size


def _h264_fragments(nal: bytes, room: int) -> list[bytes]:
    """FU-A (RFC 6184, 5.8)."""
    indicator, nal_type = (nal[0] & 0xE0) | _H264_FU_A, nal[0] & 0x1F
    return _fragments(nal, 1, room, lambda flags: bytes((indicator, nal_type | flags)))


def _h265_fragments(nal: bytes, room: int) -> list[bytes]:
    """FU (RFC 7798, 4.4.3)."""
    first, second, nal_type = (nal[0] & 0x81) | (_H265_FU << 1), nal[1], (nal[0] >> 1) & 0x3F
    return _fragments(nal, 2, room, lambda flags: bytes((first, second, nal_type | flags)))


def _fragments(nal: bytes, start: int, room: int, header: Callable[[int], bytes]) -> list[bytes]:
    first, middle, last = header(0x80), header(0), header(0x40)
    step = room - len(first)
    end = len(nal)
    out = [first + nal[start : start + step]]
    at = start + step
    while at + step < end:
        out.append(middle + nal[at : at + step])
        at += step
    out.append(last + nal[at:])
    return out

"""How RTP and RTCP of one session travel: interleaved channels or UDP ports, agreed on by SETUP (RFC 2326, 12.39)."""

import functools
from collections.abc import Callable
from typing import Final

from media.clock import Clock
from media.receiver import StreamReceiver
from media.unit import StreamItem
from streaming.rtsp.connection import EachFrame, FrameSink, RtspConnection
from streaming.rtsp.sdp import SessionDescription
from streaming.rtsp.udp import UdpPair
from streaming.source import Transport

_RTCP_AS_PAYLOAD_TYPES: Final = range(72, 77)


def parse_transport(header: str) -> dict[str, str]:
    """The first transport of a Transport header: its specification under ``""``, parameters by lower-case name."""
    first = header.split(",")[0]
    specification, *parameters = (part.strip() for part in first.split(";"))
    fields = {"": specification.upper()}
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        fields.setdefault(name.strip().lower(), value.strip().strip('"'))
    return fields


def parse_pair(value: str, limit: int) -> tuple[int, int] | None:
    """``a-b`` or ``a`` (then b is a + 1) as two numbers below ``limit``; None if it is neither."""
    first, _, second = value.partition("-")
    if not (first.isdecimal() and len(first) < 6) or (second and not (second.isdecimal() and len(second) < 6)):
        return None
    pair = int(first), int(second) if second else int(first) + 1
    return pair if max(pair) < limit else None


class Channels:
    """The ways of one session. Owned by its RtspClient."""

    def __init__(
        self,
        transport: Transport,
        connection: RtspConnection,
        receiver: StreamReceiver,
        description: SessionDescription,
        publish: Callable[[StreamItem], None],
        clock: Clock,
    ) -> None:
        self.strays = 0
        self._transport = transport
        self._connection = connection
        self._receiver = receiver
        self._description = description
        self._publish = publish
        self._clock = clock
        self._pairs: dict[int, UdpPair] = {}
        self._server_ports: dict[int, int] = {}
        self._report_channels: dict[int, int] = {}
        self._channel_owner: dict[int, int] = {}

    async def offer(self, index: int) -> str:
        """The Transport header with which medium ``index`` is asked for. Raises OSError if no UDP ports are free."""
        if self._transport is Transport.TCP:
            channel = 2 * index
            return f"RTP/AVP/TCP;unicast;interleaved={channel}-{channel + 1}"
        connection = self._connection
        pair = await UdpPair.open(
            connection.local_ip,
            connection.peer_ip,
            self._clock,
            functools.partial(self._rtp, index),
            functools.partial(self._rtcp, index),
            connection.fail,
        )
        self._pairs[index] = pair
        return f"RTP/AVP;unicast;client_port={pair.port}-{pair.port + 1}"

    def accepted(self, index: int, header: str) -> bool:
        """Take the camera's answer. False if it means another transport than was asked for."""
        answer = parse_transport(header)
        over_tcp = "TCP" in answer[""] or "interleaved" in answer
        if self._transport is Transport.UDP:
            if over_tcp:
                return False
            ports = parse_pair(answer.get("server_port", ""), 65_536)
            if ports is not None:
                self._server_ports[index] = ports[1]
            return True
        if answer[""] and not over_tcp:
            return False
        channels = parse_pair(answer.get("interleaved", ""), 256) or (2 * index, 2 * index + 1)
        self._listen(index, *channels)
        return True

    def drop(self, index: int) -> None:
        """Medium ``index`` does not come after all."""
        pair = self._pairs.pop(index, None)
        if pair is not None:
            pair.close()

    def stray(self, channel: int, packet: bytes, arrival_ns: int) -> None:
        """A frame on a channel nobody agreed on. Cameras that number their channels wrongly are known by the payload
        type: the channel then belongs to the one medium that has it."""
        self.strays += 1
        index = self._by_payload_type(packet)
        if index is None:
            return
        self._listen(index, channel, min(channel + 1, 255))
        self._rtp(index, packet, arrival_ns)

    def send_reports(self) -> None:
        """Send an RTCP receiver report for each medium."""
        for index, counters in enumerate(self._receiver.counters):
            if counters is None or not counters.packets:
                continue
            if index in self._report_channels:
                self._connection.send_frame(self._report_channels[index], self._receiver.receiver_report(index))
            elif index in self._pairs and index in self._server_ports:
                # Always to the camera's own address, whatever ``source`` says: reports go nowhere else.
                report = self._receiver.receiver_report(index)
                self._pairs[index].send_rtcp(report, self._connection.peer_ip, self._server_ports[index])

    def tell_silences(self) -> None:
        """Publish what is missing of a medium while another goes on."""
        for gap in self._receiver.silences():
            self._publish(gap)

    def flush(self) -> None:
        """Publish what the receiver still holds back."""
        for item in self._receiver.flush():
            self._publish(item)

    def close(self) -> None:
        """Free ports and channels."""
        self._connection.sinks = [None] * 256
        for pair in self._pairs.values():
            pair.close()
        self._pairs.clear()

    def _listen(self, index: int, rtp_channel: int, rtcp_channel: int) -> None:
        sinks = self._connection.sinks
        if self._channel_owner.get(rtp_channel, index) != index:
            # Two media on one channel: a known fault. Only the payload type tells them apart.
            sinks[rtp_channel] = EachFrame(self._shared)
            return
        self._channel_owner[rtp_channel] = index
        sinks[rtp_channel] = RtpChannel(self._receiver, index, self._publish)
        if sinks[rtcp_channel] is None:
            sinks[rtcp_channel] = EachFrame(functools.partial(self._rtcp, index))
        self._report_channels[index] = rtcp_channel

    def _by_payload_type(self, packet: bytes) -> int | None:
        if len(packet) < 12 or packet[0] >> 6 != 2:
            return None
        payload_type = packet[1] & 0x7F
        if payload_type in _RTCP_AS_PAYLOAD_TYPES:
            return None
        found = [
            index
            for index, counters in enumerate(self._receiver.counters)
            if counters is not None
            and (description := self._description.media[index].description) is not None
            and description.payload_type == payload_type
        ]
        return found[0] if len(found) == 1 else None

    def _shared(self, packet: bytes, arrival_ns: int) -> None:
        index = self._by_payload_type(packet)
        if index is not None:
            self._rtp(index, packet, arrival_ns)

    def _rtp(self, index: int, packet: bytes, arrival_ns: int) -> None:
        for item in self._receiver.rtp(index, packet, arrival_ns):
            self._publish(item)

    def _rtcp(self, index: int, packet: bytes, arrival_ns: int) -> None:
        self._receiver.rtcp(index, packet, arrival_ns)


class RtpChannel(FrameSink):
    """RTP of one medium of a session: in packets, out to ``publish`` what they make."""

    def __init__(self, receiver: StreamReceiver, index: int, publish: Callable[[StreamItem], None]) -> None:
        self._receiver = receiver
        self._index = index
        self._publish = publish

    def take(self, read: bytes, start: int, stop: int, end: int, arrival_ns: int) -> int:
        for item in self._receiver.rtp_within(self._index, read, start, stop, arrival_ns):
            self._publish(item)
        return self._receiver.follow(self._index, read, start, stop, end)

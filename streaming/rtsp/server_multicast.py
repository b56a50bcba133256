"""Multicast from our RTSP server: one shared packet stream per camera, however many decoders watch (RFC 2326, 12.39).

Off unless a network of group addresses is set. Each camera that somebody watches gets one address of it; picture and
sound go to ports of their own. A group is sent to while a session plays it; a decoder that joins later waits for the
next keyframe. Whoever is on the network can take the packets: the log-in guards the RTSP session alone.
"""

import ipaddress
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from media.stream import LiveStream
from streaming.rtsp.server_feed import Output
from streaming.rtsp.server_output import UdpOutput

_SSM = ipaddress.ip_network("232.0.0.0/8")


@dataclass(frozen=True, slots=True)
class MulticastSettings:
    """``network`` holds the group addresses (IPv4): any-source (such as ``239.192.40.0/24``, RFC 2365) or
    source-specific (within ``232.0.0.0/8``, RFC 4607). ``port`` is the picture's RTP port, even; the next three are its
    RTCP and the sound's pair. ``ttl`` is how many routers packets may pass. ``interface`` is our address on the network
    they leave by; empty leaves it to the routing table."""

    network: str
    port: int = 15_000
    ttl: int = 8
    interface: str = ""


class MulticastTrack:
    """The socket of one track; like :class:`streaming.rtsp.server_output.UdpTrack`, to a group."""

    def __init__(self, sock: socket.socket, address: str, port: int) -> None:
        self._socket = sock
        self._rtp_address = (address, port)
        self._rtcp_address = (address, port + 1)

    def send(self, packet: bytes, *, is_report: bool) -> None:
        """Send one packet; what the system does not take is lost, as datagrams are."""
        try:
            self._socket.sendto(packet, self._rtcp_address if is_report else self._rtp_address)
        except OSError:
            return


class MulticastGroup:
    """One stream's group. Owned by :class:`Multicaster`; freed when the last session lets go of it."""

    def __init__(self, stream: LiveStream, address: str, settings: MulticastSettings, owner: "Multicaster") -> None:
        self.stream = stream
        self.address = address
        self.overflows = 0
        self._settings = settings
        self._owner = owner
        self._holders = 0
        self._seats: list[MulticastSeat] = []
        self._socket: socket.socket | None = None
        self._output: UdpOutput | None = None
        self._source = ""

    def hold(self) -> None:
        """A session has been set up with this group. Raises OSError if no socket can be had."""
        if self._socket is None:
            self._socket = sender_socket(self._settings)
            self._source = source_address(self._settings, self.address)
        self._holders += 1

    def release(self) -> None:
        """That session is over."""
        self._holders -= 1
        if self._holders == 0:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
            self._owner.freed(self)

    def transport(self, track_id: int) -> str:
        """The Transport header that tells a client where to listen; ``source`` is what SSM needs."""
        port = self._port(track_id)
        source = f";source={self._source}" if self._source else ""
        return f"RTP/AVP;multicast;destination={self.address}{source};port={port}-{port + 1};ttl={self._settings.ttl}"

    def _port(self, track_id: int) -> int:
        return self._settings.port + 2 * (track_id - 1)

    def sit(self, seat: "MulticastSeat") -> None:
        """A session plays; with the first one packets begin to flow."""
        self._seats.append(seat)
        if self._output is None and self._socket is not None:
            tracks = {
                track.id: MulticastTrack(self._socket, self.address, self._port(track.id))
                for track in self.stream.tracks
            }
            self._output = UdpOutput(tracks, self._ended)
            self._owner.join(self.stream, self._output)

    def leave(self, seat: "MulticastSeat") -> None:
        """A session plays no longer; with the last one packets stop."""
        if seat in self._seats:
            self._seats.remove(seat)
        if not self._seats and self._output is not None:
            output, self._output = self._output, None
            self._owner.leave(self.stream, output)
            output.close()

    def _ended(self, reason: str) -> None:
        for seat in tuple(self._seats):
            seat.on_end(reason)


class MulticastSeat:
    """One session's share in a group: an output that the feed never sees."""

    def __init__(self, group: MulticastGroup, on_end: Callable[[str], None]) -> None:
        self.group = group
        self.on_end = on_end
        self.overflows = 0

    def close(self) -> None:
        """Stop playing."""
        self.group.leave(self)


class Multicaster:
    """Hands out groups. Owned by the RTSP server, whose ``join`` and ``leave`` connect a group to a stream's feed."""

    def __init__(
        self,
        settings: MulticastSettings,
        join: Callable[[LiveStream, Output], None],
        leave: Callable[[LiveStream, Output], None],
    ) -> None:
        self._settings = settings
        self._network = ipaddress.IPv4Network(settings.network)
        self.join = join
        self.leave = leave
        self._groups: dict[LiveStream, MulticastGroup] = {}
        self._taken: set[str] = set()

    def group(self, stream: LiveStream) -> MulticastGroup | None:
        """The stream's group, held for one more session. None if no address is left or no socket can be had."""
        group = self._groups.get(stream)
        if group is None:
            address = self._free_address(f"{stream.id.camera}/{stream.id.quality}")
            if address is None:
                return None
            group = MulticastGroup(stream, address, self._settings, self)
        try:
            group.hold()
        except OSError:
            return None
        self._groups[stream] = group
        self._taken.add(group.address)
        return group

    def freed(self, group: MulticastGroup) -> None:
        """Nobody holds the group any more."""
        self._groups.pop(group.stream, None)
        self._taken.discard(group.address)

    def _free_address(self, name: str) -> str | None:
        """An address that stays the same for a camera as long as no other has it."""
        count = self._network.num_addresses
        first = zlib.crc32(name.encode()) % count
        for step in range(min(count, len(self._taken) + 1)):
            address = str(self._network[(first + step) % count])
            if address not in self._taken:
                return address
        return None


def sender_socket(settings: MulticastSettings) -> socket.socket:
    """A socket that sends to groups. Raises OSError."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, struct.pack("B", settings.ttl))
        if settings.interface:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(settings.interface))
            made.bind((settings.interface, 0))
    except OSError:
        made.close()
        raise
    return made


def source_address(settings: MulticastSettings, group: str) -> str:
    """Our address as receivers see it, which source-specific groups are joined with; empty where it is not needed."""
    if ipaddress.ip_address(group) not in _SSM:
        return ""
    if settings.interface:
        return settings.interface
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((group, 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])

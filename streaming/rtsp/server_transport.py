"""SETUP on our side: which transport a client gets, and what its session's packets leave through (RFC 2326, 12.39)."""

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from media.stream import LiveStream
from streaming.rtsp.server_multicast import MulticastGroup, MulticastSeat
from streaming.rtsp.server_output import InterleavedOutput, UdpOutput, UdpTrack

SessionOutput = InterleavedOutput | UdpOutput | MulticastSeat
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


class Delivery(StrEnum):
    """How packets get to the client: inside the RTSP connection, as datagrams to it alone, or to a group."""

    INTERLEAVED = "interleaved"
    UNICAST = "unicast"
    MULTICAST = "multicast"


@dataclass(frozen=True, slots=True)
class TransportOffer:
    """One transport a client can do: its channels inside the connection, or its ports; None leaves it to us."""

    delivery: Delivery
    pair: tuple[int, int] | None


class MulticastKeeper(Protocol):
    """Who hands out multicast groups; the server."""

    def multicast_group(self, stream: LiveStream) -> MulticastGroup | None:
        """The stream's group; None where multicast is off, or no address is left."""
        ...


def read_transport(text: str) -> Iterator[TransportOffer]:
    """The transports of a SETUP that make sense, in the client's order."""
    for offer in text.split(","):
        words = [word.strip() for word in offer.split(";")]
        profile = words[0].upper()
        options = {key.lower(): value for key, _, value in (word.partition("=") for word in words[1:])}
        if options.get("mode", "PLAY").strip('"').upper() not in ("PLAY", ""):
            continue
        over_udp = profile in ("RTP/AVP", "RTP/AVP/UDP")
        if "multicast" in options:
            # RFC 2326, 12.39 makes multicast the default where neither is said; no client means it.
            if over_udp:
                yield TransportOffer(Delivery.MULTICAST, None)
        elif profile == "RTP/AVP/TCP":
            yield TransportOffer(Delivery.INTERLEAVED, _pair(options.get("interleaved", ""), 255))
        elif over_udp and (pair := _pair(options.get("client_port", ""), 65_535)) is not None and pair[0] > 0:
            yield TransportOffer(Delivery.UNICAST, pair)


class SessionTransport:
    """What one session's packets leave through. All its tracks go the same way.

    ``stream`` is what a multicast group is asked for; None for what is sent to one viewer alone. ``on_report`` is
    called when the client's RTCP comes. :meth:`close` frees everything.
    """

    def __init__(
        self,
        connection: asyncio.Transport,
        keeper: MulticastKeeper,
        stream: LiveStream | None,
        on_report: Callable[[], None],
        *,
        allow_udp: bool,
    ) -> None:
        self.delivery: Delivery | None = None
        self._connection = connection
        self._keeper = keeper
        self._stream = stream
        self._on_report = on_report
        self._allow_udp = allow_udp
        self._channels: dict[int, tuple[int, int]] = {}
        self._udp: dict[int, UdpTrack] = {}
        self._group: MulticastGroup | None = None

    def set_up(self, track_id: int, header: str) -> str | None:
        """Take the first offer of a Transport header that can be; the answer's header, or None (461)."""
        for offer in read_transport(header):
            if self.delivery not in (None, offer.delivery):
                continue
            take = {
                Delivery.INTERLEAVED: self._take_channels,
                Delivery.UNICAST: self._open_udp,
                Delivery.MULTICAST: self._join_group,
            }[offer.delivery]
            if (answer := take(track_id, offer)) is not None:
                self.delivery = offer.delivery
                return answer
        return None

    def output(self, on_end: Callable[[str], None]) -> SessionOutput:
        """What media is sent to. Several calls after another are fine, as between PAUSE and PLAY."""
        if self._group is not None:
            return MulticastSeat(self._group, on_end)
        if self._udp:
            return UdpOutput(dict(self._udp), on_end)
        return InterleavedOutput(self._connection, dict(self._channels), on_end)

    def close(self) -> None:
        """Free sockets and group."""
        tracks, self._udp = self._udp, {}
        for track in tracks.values():
            track.close()
        group, self._group = self._group, None
        if group is not None:
            group.release()

    def _take_channels(self, track_id: int, offer: TransportOffer) -> str | None:
        used = {channel for number, pair in self._channels.items() if number != track_id for channel in pair}
        pair = offer.pair
        if pair is None:
            first = next(channel for channel in range(0, 254, 2) if channel not in used)
            pair = (first, first + 1)
        if used.intersection(pair) or pair[0] == pair[1]:
            return None
        self._channels[track_id] = pair
        return f"RTP/AVP/TCP;unicast;interleaved={pair[0]}-{pair[1]}"

    def _open_udp(self, track_id: int, offer: TransportOffer) -> str | None:
        peer, local = self._address("peername"), self._address("sockname")
        if offer.pair is None or not self._allow_udp or not peer or not local:
            return None
        try:
            opened = UdpTrack(local, peer, offer.pair, self._on_report)
        except OSError:
            return None
        if (before := self._udp.pop(track_id, None)) is not None:
            before.close()
        self._udp[track_id] = opened
        client, server = offer.pair, opened.ports
        return f"RTP/AVP;unicast;client_port={client[0]}-{client[1]};server_port={server[0]}-{server[1]}"

    def _join_group(self, track_id: int, offer: TransportOffer) -> str | None:
        if self._group is None and self._stream is not None and self._allow_udp:
            self._group = self._keeper.multicast_group(self._stream)
        return self._group.transport(track_id) if self._group is not None else None

    def _address(self, name: str) -> str:
        address = self._connection.get_extra_info(name)
        return str(address[0]) if address else ""


def _pair(text: str, highest: int) -> tuple[int, int] | None:
    match = _PORTS.fullmatch(text.strip())
    if match is None:
        return None
    first = int(match[1])
    second = int(match[2]) if match[2] is not None else first + 1
    return (first, second) if first <= highest and second <= highest else None

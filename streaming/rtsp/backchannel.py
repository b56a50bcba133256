"""Sound towards a camera: the audio back-channel of ONVIF (Streaming Specification, 5.3) in an RTSP session of its own.

The picture's session is never touched: a camera that refuses, hangs or restarts its back-channel does so apart from it.
Some cameras hear nothing in a session that does not take their picture and sound too (GStreamer's server takes SETUP
and PLAY and stays deaf), so both are set up beside the loudspeaker, as in the specification's own example, and what
comes is thrown away; cameras that give no second picture have it without, see :class:`BackchannelOptions`.

    async with Backchannel(source, clock, guard) as channel:
        await channel.open()
        channel.send(unit)               # at the pace of speech; see streaming.loudspeaker
        await channel.run()              # keeps the session, until it ends
"""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from media.clock import Clock
from media.description import MediaDescription
from media.errors import UnsupportedCodecError
from media.packetizer import Packetizer
from media.rtcp import build_sender_report
from media.speaker_encode import speaker_track
from media.unit import NS_PER_S, AccessUnit, AudioTrack, Codec
from streaming.addresses import AddressGuard
from streaming.errors import CameraRefusedError, TransportRefusedError
from streaming.rtsp.client import RtspClient
from streaming.rtsp.sdp import SdpMedia, SessionDescription
from streaming.rtsp.settings import RtspSettings
from streaming.rtsp.transport import parse_pair, parse_transport
from streaming.rtsp.udp import UdpPair
from streaming.source import CameraSource, Transport
from streaming.talk_errors import BackchannelMissingError

BACKCHANNEL_TAG = "www.onvif.org/ver20/backchannel"
OPTION_NOT_SUPPORTED = 551

_CODECS = {"PCMU": Codec.PCMU, "PCMA": Codec.PCMA, "MPEG4-GENERIC": Codec.AAC}
_REPORT_S = 5.0
_TICK_S = 1.0
_UDP_MTU = 1400


@dataclass(frozen=True, slots=True)
class Loudspeaker:
    """What a camera takes: the medium to set up, its payload type, and the track to send."""

    media: SdpMedia
    payload_type: int
    track: AudioTrack


def find_loudspeaker(description: SessionDescription) -> Loudspeaker | None:
    """The back-channel of a session description: its ``a=sendonly`` sound, G.711 before AAC; None if there is none that
    we can send.

    The direction is the client's. Cameras that write their own, as others do, call their picture ``sendonly``: then the
    loudspeaker is what is ``recvonly``.
    """
    reversed_view = any(media.kind == "video" and media.direction == "sendonly" for media in description.media)
    wanted = "recvonly" if reversed_view else "sendonly"
    offered = [
        (form, media)
        for media in description.media
        if media.kind == "audio" and media.direction == wanted
        for form in media.formats
        if form.encoding in _CODECS
    ]
    offered.sort(key=lambda pair: _CODECS[pair[0].encoding] is Codec.AAC)
    for form, media in offered:
        try:
            return Loudspeaker(media, form.payload_type, _track(form))
        except UnsupportedCodecError:
            continue
    return None


def _track(form: MediaDescription) -> AudioTrack:
    codec = _CODECS[form.encoding]
    return speaker_track(codec, form.clock_rate, form.channels if codec is Codec.AAC else 1)


@dataclass(frozen=True, slots=True)
class BackchannelOptions:
    """``with_media``: set up the camera's own picture and sound in the same session too. ``transport`` goes first."""

    with_media: bool = True
    transport: Transport = Transport.TCP


class Backchannel:
    """One session with one camera's loudspeaker. Owned by one task; a context manager that leaves nothing behind."""

    def __init__(
        self,
        source: CameraSource,
        clock: Clock,
        guard: AddressGuard,
        settings: RtspSettings | None = None,
        options: BackchannelOptions | None = None,
    ) -> None:
        self._clock = clock
        self._options = options or BackchannelOptions()
        self._client = RtspClient(source, clock, guard, settings, require=BACKCHANNEL_TAG)
        self._loudspeaker: Loudspeaker | None = None
        self._packetizer: Packetizer | None = None
        self._channel = -1
        self._pair: UdpPair | None = None
        self._spare_pairs: list[UdpPair] = []
        self._server_ports = (0, 0)
        self._last: AccessUnit | None = None

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._client.__aexit__(kind, error, trace)
        finally:
            for pair in (self._pair, *self._spare_pairs):
                if pair is not None:
                    pair.close()

    @property
    def track(self) -> AudioTrack:
        """What :meth:`send` takes. Raises RuntimeError before :meth:`open`."""
        if self._loudspeaker is None:
            raise RuntimeError("the back-channel is not open")
        return self._loudspeaker.track

    async def open(self) -> AudioTrack:
        """Log in, set the back-channel up and play it; the track that is to be sent.

        Raises BackchannelMissingError if the camera has none, and what :meth:`RtspClient.describe` raises.
        """
        client = self._client
        await client.connect()
        try:
            description = await client.describe()
        except CameraRefusedError as error:
            if error.params.get("status") == OPTION_NOT_SUPPORTED:
                raise BackchannelMissingError("the camera knows no back-channel", reason="refused") from None
            raise
        loudspeaker = find_loudspeaker(description)
        if loudspeaker is None:
            raise BackchannelMissingError("the camera describes no loudspeaker that we can feed", reason="not-offered")
        await self._set_up(description, loudspeaker)
        client.connection.tolerant = True
        # Without Range: some servers would seek, and a loudspeaker cannot.
        await client.ask("PLAY", description.control, [])
        self._loudspeaker = loudspeaker
        self._packetizer = Packetizer(
            loudspeaker.track,
            loudspeaker.payload_type,
            secrets.randbits(32),
            _UDP_MTU,
            sequence=secrets.randbits(15),
            timestamp_offset=secrets.randbits(31),
        )
        return loudspeaker.track

    def send(self, unit: AccessUnit) -> None:
        """Send one unit of :attr:`track`. Never waits; what the camera does not read is dropped."""
        if self._packetizer is None:
            raise RuntimeError("the back-channel is not open")
        for packet in self._packetizer.packets(unit):
            if self._pair is not None:
                self._pair.send_rtp(packet, self._client.connection.peer_ip, self._server_ports[0])
            else:
                self._client.connection.send_frame(self._channel, packet)
        self._last = unit

    async def run(self) -> None:
        """Keep the session alive and send reports until it ends; always raises: the camera errors, SessionLostError."""
        client = self._client
        connection = client.connection
        reported = kept_alive = self._clock.monotonic_ns()
        while True:
            await asyncio.wait((connection.closed,), timeout=_TICK_S)
            if connection.failure is not None:
                raise connection.failure
            now = self._clock.monotonic_ns()
            if now - reported >= _REPORT_S * NS_PER_S:
                reported = now
                self._report()
            if now - kept_alive >= client.session_s * NS_PER_S / 2:
                kept_alive = now
                await self._keep_alive()

    async def _keep_alive(self) -> None:
        """Any request with the session does. Raises SessionLostError if there is no session any more."""
        assert self._client.description is not None
        try:
            await self._client.ask("OPTIONS", self._client.description.control, [])
        except CameraRefusedError:
            return

    def _report(self) -> None:
        """A sender report (RFC 3550, 6.4.1): cameras that check for one have it."""
        packetizer, last = self._packetizer, self._last
        if packetizer is None or last is None:
            return
        report = build_sender_report(
            packetizer.ssrc,
            last.utc_ns,
            packetizer.rtp_timestamp(last.pts),
            packetizer.packets_sent,
            packetizer.octets_sent,
        )
        if self._pair is not None:
            self._pair.send_rtcp(report, self._client.connection.peer_ip, self._server_ports[1])
        else:
            self._client.connection.send_frame(self._channel + 1, report)

    # Setting up

    async def _set_up(self, description: SessionDescription, loudspeaker: Loudspeaker) -> None:
        for transport in self._client.transports(self._options.transport):
            if await self._set_up_by(transport, description, loudspeaker):
                return
        raise TransportRefusedError("the back-channel takes no transport that may be asked for")

    async def _set_up_by(self, transport: Transport, description: SessionDescription, loudspeaker: Loudspeaker) -> bool:
        """SETUP the back-channel, and the camera's own media behind it where wanted. False if the transport is
        refused."""
        taken = [loudspeaker.media, *self._others(description, loudspeaker)]
        for number, media in enumerate(taken):
            pair = await self._open_pair() if transport is Transport.UDP else None
            try:
                response = await self._client.ask("SETUP", media.control, [("Transport", _offer(number, pair))])
            except CameraRefusedError as error:
                if pair is not None:
                    pair.close()
                if number == 0 and error.params.get("status") == 461:
                    return False
                if number == 0:
                    raise
                continue
            answer = parse_transport(response.headers.get("Transport") or "")
            if number:
                if pair is not None:
                    self._spare_pairs.append(pair)
            elif not self._accepted(answer, pair):
                if pair is not None:
                    pair.close()
                return False
        return True

    def _others(self, description: SessionDescription, loudspeaker: Loudspeaker) -> Sequence[SdpMedia]:
        if not self._options.with_media:
            return ()
        chosen = (description.media[index] for index in description.chosen())
        return [media for media in chosen if media is not loudspeaker.media]

    async def _open_pair(self) -> UdpPair:
        connection = self._client.connection
        return await UdpPair.open(
            connection.local_ip, connection.peer_ip, self._clock, _discard, _discard, connection.fail
        )

    def _accepted(self, answer: dict[str, str], pair: UdpPair | None) -> bool:
        over_tcp = "TCP" in answer[""] or "interleaved" in answer
        if pair is None:
            if answer[""] and not over_tcp:
                return False
            self._channel = (parse_pair(answer.get("interleaved", ""), 256) or (0, 1))[0]
            return True
        ports = parse_pair(answer.get("server_port", ""), 65_536)
        if over_tcp or ports is None:
            return False
        self._pair, self._server_ports = pair, ports
        return True


def _offer(number: int, pair: UdpPair | None) -> str:
    if pair is None:
        return f"RTP/AVP/TCP;unicast;interleaved={2 * number}-{2 * number + 1}"
    return f"RTP/AVP;unicast;client_port={pair.port}-{pair.port + 1}"


def _discard(packet: bytes, arrival_ns: int) -> None:
    """What a camera sends us here nobody wants."""

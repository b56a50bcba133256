"""A camera on loopback that speaks real RTSP, sends real media, and misbehaves as it is told."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from media.packetizer import Packetizer
from media.unit import AccessUnit, Codec, Track
from streaming.rtsp.auth import ServerAuthenticator
from streaming.rtsp.message import Headers, InterleavedFrame, Request, Response, StreamParser, interleaved_header
from streaming.rtsp.sdp import payload_type_of, write_sdp
from tests.support.encoded import g711_units, interleave, video_units

LOOP_S = 2


@cache
def media_loop(video: Codec | None = Codec.H264, sound: bool = True) -> tuple[AccessUnit, ...]:
    """Two seconds of picture and sound that begin with a keyframe, in sending order."""
    tracks = []
    if video is not None:
        tracks.append(video_units(video, frames=25 * LOOP_S, gop=25))
    if sound:
        tracks.append(g711_units(seconds=LOOP_S))
    return tuple(interleave(*tracks))


@dataclass(slots=True)
class Behaviour:
    """How the camera behaves. Change it while it runs; it holds from the next request or packet on."""

    video: Codec | None = Codec.H264
    sound: bool = True
    authenticator: ServerAuthenticator | None = None
    options_protected: bool = False
    public: str = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"
    session: str = "12345678;timeout=60"
    statuses: dict[str, int] = field(default_factory=dict)
    """Method → the status it is always answered with."""
    location: str | None = None
    sdp: bytes | None = None
    one_byte_writes: bool = False
    """Text goes out byte by byte, media in pieces of 100 bytes."""
    play_answer_after: int = 0
    """So many packets go out before PLAY is answered; negative: it never is."""
    silent: bool = False
    mute: frozenset[int] = frozenset()
    """Track ids that are no longer sent."""
    refuse: frozenset[str] = frozenset()
    """Transports refused with 461: tcp, udp."""
    refused_tracks: dict[int, int] = field(default_factory=dict)
    """Track id → the status with which its SETUP is answered; 0: it never is."""
    sound_first: bool = False
    """The sound is described before the picture."""
    channel_shift: int = 0
    """Added to every channel number that was agreed on."""
    answered_channels: str | None = None
    """What SETUP claims the channels are; media then goes there."""
    between_frames: bytes = b""
    """Stray bytes before every interleaved frame."""
    payload: Callable[[bytes], bytes] = lambda packet: packet
    """Mangles each RTP packet."""
    media: tuple[AccessUnit, ...] = ()
    """Two seconds to send in place of those of :func:`media_loop`."""
    mtu: int = 1400
    cut_within: int | None = None
    """The connection is cut, once, after so many bytes of the next interleaved frame."""
    stretch: int = 1
    """Pictures, and so keyframes, come that many times as far apart. Without sound only."""
    loudspeaker: tuple[str, ...] = ()
    """SDP lines of a back-channel's medium, without control and direction; described to who requires it."""
    deaf_to_require: bool = False
    """An option that is required and not known is passed over, not refused with 551."""
    speaker_needs_media: bool = False
    """The back-channel plays only in a session that takes picture or sound too."""
    speaker_alone: bool = False
    """The back-channel plays only in a session of its own."""


class FakeCamera:
    """Serves ``behaviour`` on a port of 127.0.0.1. ``requests`` is all it was asked."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.requests: list[Request] = []
        self.reports: list[bytes] = []
        self.heard: list[tuple[float, bytes]] = []
        """What came by the back-channel: loop time and RTP packet."""
        self.speaker_ports: list[asyncio.DatagramTransport] = []
        self.port = 0
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """The stream's URL."""
        return f"rtsp://127.0.0.1:{self.port}/live"

    def asked(self, method: str) -> list[Request]:
        """The requests of one method."""
        return [request for request in self.requests if request.method == method]

    async def start(self) -> None:
        """Listen, on the port of before if there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut all connections and stop listening."""
        if self._server is not None:
            self._server.close()
            for writer in tuple(self._writers):
                writer.transport.abort()
            await self._server.wait_closed()
        await _until(lambda: not self._writers)
        while self.speaker_ports:
            self.speaker_ports.pop().close()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            await _Session(self, writer).run(reader)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            self._writers.discard(writer)


class _SpeakerPort(asyncio.DatagramProtocol):
    def __init__(self, camera: FakeCamera) -> None:
        self._camera = camera

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._camera.heard.append((asyncio.get_running_loop().time(), data))


class _Session:
    def __init__(self, camera: FakeCamera, writer: asyncio.StreamWriter) -> None:
        self._camera = camera
        self._writer = writer
        self._sender: asyncio.Task[None] | None = None
        self._ways: dict[int, int | tuple[str, int]] = {}
        self._udp: asyncio.DatagramTransport | None = None
        self._sent = 0
        self._speaker: int | None = None

    async def run(self, reader: asyncio.StreamReader) -> None:
        parser = StreamParser()
        try:
            while data := await reader.read(4096):
                for item in parser.feed(data):
                    if isinstance(item, Request):
                        self._camera.requests.append(item)
                        await self._answer(item)
                    elif isinstance(item, InterleavedFrame):
                        if item.channel == self._speaker:
                            self._camera.heard.append((asyncio.get_running_loop().time(), item.payload))
                        else:
                            self._camera.reports.append(item.payload)
        finally:
            if self._sender is not None:
                self._sender.cancel()
                await asyncio.wait((self._sender,))
            if self._udp is not None:
                self._udp.close()

    async def _answer(self, request: Request) -> None:
        behaviour = self._camera.behaviour
        headers = Headers([("CSeq", str(request.cseq))])
        if (request.method != "OPTIONS" or behaviour.options_protected) and behaviour.authenticator is not None:
            verdict = behaviour.authenticator.check(request.method, request.url, request.headers.get("Authorization"))
            if verdict.user is None:
                for challenge in behaviour.authenticator.challenges(stale=verdict.stale):
                    headers.add("WWW-Authenticate", challenge)
                await self._write(Response(401, headers=headers).encode())
                return
        status = behaviour.statuses.get(request.method, 200)
        body = b""
        required = request.headers.get("Require") is not None
        if required and not behaviour.loudspeaker and not behaviour.deaf_to_require:
            status = 551
        if request.method == "PLAY" and self._speaker is not None:
            if (behaviour.speaker_needs_media and not self._ways) or (behaviour.speaker_alone and self._ways):
                status = 453
        if status >= 300:
            if behaviour.location is not None:
                headers.add("Location", behaviour.location)
        elif request.method == "OPTIONS":
            headers.add("Public", behaviour.public)
        elif request.method == "DESCRIBE":
            headers.add("Content-Type", "application/sdp")
            body = behaviour.sdp if behaviour.sdp is not None else write_sdp(self._tracks()).encode()
            if required and behaviour.loudspeaker:
                lines = (*behaviour.loudspeaker, "a=control:track9", "a=sendonly")
                body = body.replace(b"a=sendonly", b"a=recvonly") + "".join(f"{line}\r\n" for line in lines).encode()
        elif request.method == "SETUP":
            status = await self._set_up(request, headers)
            if status == 0:
                return
        elif request.method == "PLAY":
            headers.add("Session", behaviour.session)
            self._sender = asyncio.create_task(self._send())
            if behaviour.play_answer_after < 0:
                return
            await _until(lambda: self._sent >= behaviour.play_answer_after)
        await self._write(Response(status, headers=headers, body=body).encode())

    def _tracks(self) -> Sequence[Track]:
        tracks = {unit.track.id: unit.track for unit in self._loop()}
        return [tracks[track_id] for track_id in sorted(tracks, reverse=self._camera.behaviour.sound_first)]

    def _loop(self) -> tuple[AccessUnit, ...]:
        behaviour = self._camera.behaviour
        return behaviour.media or media_loop(behaviour.video, behaviour.sound)

    async def _set_up(self, request: Request, headers: Headers) -> int:
        behaviour = self._camera.behaviour
        transport = request.headers.get("Transport") or ""
        kind = "tcp" if "TCP" in transport else "udp"
        if kind in behaviour.refuse:
            return 461
        track_id = int(request.url[-1])
        if track_id in behaviour.refused_tracks:
            return behaviour.refused_tracks[track_id]
        headers.add("Session", behaviour.session)
        if track_id == 9:
            await self._set_up_speaker(transport, headers)
            return 200
        if kind == "tcp":
            channels = behaviour.answered_channels or transport.rpartition("interleaved=")[2]
            self._ways[track_id] = int(channels.partition("-")[0]) + behaviour.channel_shift
            headers.add("Transport", f"RTP/AVP/TCP;unicast;interleaved={channels}")
            return 200
        port = int(transport.rpartition("client_port=")[2].partition("-")[0])
        self._ways[track_id] = ("127.0.0.1", port)
        if self._udp is None:
            loop = asyncio.get_running_loop()
            self._udp, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
        server_port = self._udp.get_extra_info("sockname")[1]
        headers.add("Transport", f"{transport};server_port={server_port}-{server_port}")
        return 200

    async def _set_up_speaker(self, transport: str, headers: Headers) -> None:
        if "TCP" in transport:
            channels = transport.rpartition("interleaved=")[2]
            self._speaker = int(channels.partition("-")[0])
            headers.add("Transport", f"RTP/AVP/TCP;unicast;interleaved={channels}")
            return
        loop = asyncio.get_running_loop()
        port_transport, _ = await loop.create_datagram_endpoint(
            lambda: _SpeakerPort(self._camera), local_addr=("127.0.0.1", 0)
        )
        self._speaker = -1
        self._camera.speaker_ports.append(port_transport)
        port = port_transport.get_extra_info("sockname")[1]
        headers.add("Transport", f"{transport};server_port={port}-{port}")

    async def _send(self) -> None:
        started = asyncio.get_running_loop().time()
        behaviour = self._camera.behaviour
        packetizers: dict[int, Packetizer] = {}
        for at_s, unit in _for_ever(self._loop(), behaviour.stretch):
            delay = started + at_s - asyncio.get_running_loop().time()
            if delay > 0:
                await asyncio.sleep(delay)
            way = self._ways.get(unit.track.id)
            await _until(lambda: not behaviour.silent)
            if way is None or unit.track.id in behaviour.mute:
                continue
            packetizer = packetizers.setdefault(
                unit.track.id, Packetizer(unit.track, payload_type_of(unit.track), 1000 + unit.track.id, behaviour.mtu)
            )
            for packet in packetizer.packets(unit):
                await self._send_packet(way, behaviour.payload(packet))
                self._sent += 1

    async def _send_packet(self, way: int | tuple[str, int], packet: bytes) -> None:
        if isinstance(way, int):
            behaviour = self._camera.behaviour
            framed = behaviour.between_frames + interleaved_header(way, len(packet)) + packet
            if behaviour.cut_within is not None:
                framed, behaviour.cut_within = framed[: behaviour.cut_within], None
                await self._write(framed)
                self._writer.close()
                return
            await self._write(framed)
        elif self._udp is not None:
            self._udp.sendto(packet, way)

    async def _write(self, data: bytes) -> None:
        if not self._camera.behaviour.one_byte_writes:
            self._writer.write(data)
            await self._writer.drain()
            return
        step = 100 if data.startswith(b"$") else 1
        for at in range(0, len(data), step):
            self._writer.write(data[at : at + step])
            await asyncio.sleep(0)


async def _until(met: Callable[[], bool]) -> None:
    while not met():  # noqa: ASYNC110 the conditions are plain fields that tests set
        await asyncio.sleep(0.005)


def _for_ever(units: Sequence[AccessUnit], stretch: int) -> Iterator[tuple[float, AccessUnit]]:
    start_s = min(unit.dts / unit.track.clock_rate for unit in units)
    turn = 0
    while True:
        for unit in units:
            at_s = unit.dts / unit.track.clock_rate - start_s + turn * LOOP_S
            shift = turn * LOOP_S * unit.track.clock_rate
            pts, dts = (unit.pts + shift) * stretch, (unit.dts + shift) * stretch
            yield at_s * stretch, dataclasses.replace(unit, pts=pts, dts=dts)
        turn += 1


@contextlib.asynccontextmanager
async def fake_camera(behaviour: Behaviour | None = None) -> AsyncIterator[FakeCamera]:
    """A running FakeCamera."""
    camera = FakeCamera(behaviour or Behaviour())
    await camera.start()
    try:
        yield camera
    finally:
        await camera.stop()


@contextlib.asynccontextmanager
async def plain_server(greeting: bytes, *, answer: bytes = b"", close: bool = False) -> AsyncIterator[int]:
    """A TCP server that is no camera: sends ``greeting``, then ``answer`` to whatever it is told. Yields its port."""
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        with contextlib.suppress(ConnectionError):
            writer.write(greeting)
            while not close and await reader.read(4096):
                writer.write(answer)
                await writer.drain()
        writer.transport.abort()
        writers.discard(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in tuple(writers):
            writer.transport.abort()
        await server.wait_closed()

"""RTSP client for cameras (RFC 2326, and what cameras make of it).

One RtspClient is one try: connect, describe, play, run until something ends it. Whoever owns it decides what comes
next. Every way it can end is an error of :mod:`streaming.errors` or :mod:`media.errors`.

    async with RtspClient(source, clock, guard) as client:
        await client.connect()
        await client.describe()
        await client.play(stream.publish, epoch=0, origin_utc_ns=origin)
        await client.run()
"""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from media.clock import Clock
from media.errors import UnsupportedCodecError
from media.receiver import StreamReceiver
from media.tasks import looked_after
from media.unit import NS_PER_S, StreamItem
from streaming.addresses import AddressGuard, joined, redacted, split_credentials
from streaming.errors import (
    CameraDisconnectedError,
    CameraTimeoutError,
    NoMediaError,
    SdpBrokenError,
    TransportRefusedError,
    UrlInvalidError,
)
from streaming.rtsp.connection import RtspConnection
from streaming.rtsp.intake import Intake, Vigil
from streaming.rtsp.line import CameraLine
from streaming.rtsp.message import Response
from streaming.rtsp.pacing import ReadPacer
from streaming.rtsp.sdp import SessionDescription, parse_sdp
from streaming.rtsp.settings import RtspSettings
from streaming.rtsp.transport import Channels
from streaming.source import CameraSource, Transport

Publish = Callable[[StreamItem], None]


class RtspClient:
    """One connection to one camera. Owned by one task; a context manager that leaves nothing behind.

    With a ``pacer`` the connection is read at its pace from PLAY on; without, whenever something comes. :meth:`pace`
    changes that.
    """

    def __init__(
        self,
        source: CameraSource,
        clock: Clock,
        guard: AddressGuard,
        settings: RtspSettings | None = None,
        pacer: ReadPacer | None = None,
        *,
        require: str = "",
    ) -> None:
        self.source = source
        self.description: SessionDescription | None = None
        self.receiver: StreamReceiver | None = None
        self.transport: Transport | None = None
        self._clock = clock
        self._settings = settings or RtspSettings()
        self._pacer = pacer
        self._line = CameraLine(source, clock, guard, self._settings, self._stray, require=require)
        self._channels: Channels | None = None
        self._intake: Intake | None = None
        self._playing = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    @property
    def url(self) -> str:
        """Where the stream comes from, after redirects; fit to be shown."""
        return redacted(self._line.target.url)

    @property
    def certificate(self) -> str:
        """SHA-256 of the certificate that the camera showed, hexadecimal; empty without TLS."""
        return self._line.certificate

    # Steps

    async def connect(self) -> None:
        """Open the connection and ask for OPTIONS, which tells whether RTSP is spoken there.

        Raises the AddressErrors, CameraUnreachableError, NotRtspError, the RtspErrors, CameraTimeoutError.
        """
        await self._line.connect()

    async def describe(self) -> SessionDescription:
        """Log in and ask what the camera has to offer; follows redirects.

        Raises CredentialsRefusedError, CredentialsMissingError, PathNotFoundError, CameraRefusedError,
        CameraRedirectError, SdpBrokenError, NoMediaError and what :meth:`connect` raises.
        """
        response = await self._line.describe()
        target = self._line.target.url
        base = response.headers.get("Content-Base") or response.headers.get("Content-Location")
        try:
            base_url = joined(target, base) if base and base.lower().startswith("rtsp") else target
        except UrlInvalidError:
            raise SdpBrokenError("the session description names no address", reason="base") from None
        description = parse_sdp(response.body, split_credentials(base_url)[0])
        if not any(media.kind in ("video", "audio") for media in description.media):
            raise NoMediaError("neither picture nor sound in the session description")
        self.description = description
        await self._line.know_options()
        return description

    async def play(self, publish: Publish, *, epoch: int = 0, origin_utc_ns: int = 0, after_utc_ns: int = 0) -> None:
        """SETUP each medium that is taken and PLAY. From here on items go to ``publish``, until the client is left.

        Raises UnsupportedCodecError, TransportRefusedError and what :meth:`describe` raises.
        """
        description = self.description
        connection = self._line.connection
        if description is None:
            raise RuntimeError("play before describe")
        for transport in self.transports(self.source.transport):
            receiver = self._receiver(description, transport, epoch, origin_utc_ns, after_utc_ns)
            channels = Channels(transport, connection, receiver, description, publish, self._clock)
            try:
                if await self._set_up(channels, description, receiver):
                    self._channels, self.receiver, self.transport = channels, receiver, transport
                    self._intake = Intake(description, receiver)
                    break
            except BaseException:
                channels.close()
                raise
            channels.close()
        else:
            raise TransportRefusedError("neither TCP nor UDP is taken")
        connection.tolerant = True
        await self._start_playing(description)
        self._playing = True
        self._apply_pace()

    def pace(self, pacer: ReadPacer | None) -> None:
        """Go on at the pace of ``pacer``, or with None read whenever something comes."""
        if pacer is self._pacer:
            return
        self._pacer = pacer
        # Later, since this may be called by somebody who is just being given what was read.
        asyncio.get_running_loop().call_soon(self._apply_pace)

    def _apply_pace(self) -> None:
        if not self._playing or not self._line.is_open:
            return
        if self._pacer is not None:
            self._line.connection.pace(self._pacer)
        else:
            self._line.connection.unpace()

    async def run(self, on_tick: Callable[[], None] | None = None) -> None:
        """Keep the session alive until it ends; always raises. ``on_tick`` is called about once a second.

        Raises CameraSilentError, DatagramsMissingError, CameraDisconnectedError, SessionLostError, the credential
        errors, and whatever the camera's bytes have set off.
        """
        connection, settings = self._line.connection, self._settings
        if self._intake is None:
            raise RuntimeError("run before play")
        reported = kept_alive = self._clock.monotonic_ns()
        vigil = Vigil(self._intake, settings, reported, datagrams=self.transport is Transport.UDP)

        def look() -> None:
            nonlocal reported, kept_alive
            now = self._clock.monotonic_ns()
            if on_tick is not None:
                on_tick()
            if self._channels is not None:
                self._channels.tell_silences()
            vigil.look(now, forgotten=self._line.forgotten)
            if now - reported >= settings.report_s * NS_PER_S and self._channels is not None:
                reported = now
                self._channels.send_reports()
            if now - kept_alive >= self._line.session_s * NS_PER_S / 2 and self._line.keep_alive(self._control):
                kept_alive = now

        await looked_after(connection.closed, look, settings.tick_s)
        raise connection.failure or CameraDisconnectedError("the connection is over")

    @property
    def keeps_alive_no_more(self) -> bool:
        """Whether the camera refuses whatever says that the session is wanted, so that nothing says so any longer."""
        return self._line.keeps_alive_no_more

    @property
    def packets(self) -> int:
        """RTP packets taken in so far."""
        return self._intake.packets if self._intake is not None else 0

    @property
    def pictures(self) -> int:
        """Pictures put together so far."""
        return self._intake.pictures if self._intake is not None else 0

    @property
    def _control(self) -> str | None:
        return self.description.control if self.description is not None else None

    async def ask(self, method: str, url: str, headers: Sequence[tuple[str, str]]) -> Response:
        """A request of a session that the caller builds by himself, as a back-channel does; logs in, keeps the session.

        Raises CameraRefusedError, SessionLostError, and what the connection raises.
        """
        return await self._line.ask(method, url, headers)

    @property
    def connection(self) -> RtspConnection:
        """The open connection. Raises RuntimeError before :meth:`connect`."""
        return self._line.connection

    @property
    def session_s(self) -> int:
        """After how many seconds without a request the camera may end the session."""
        return self._line.session_s

    def transports(self, first: Transport) -> tuple[Transport, ...]:
        """The ways that may be asked for, ``first`` before the other. Behind TLS there is but one: datagrams would go
        in the clear."""
        if self._line.target.tls:
            return (Transport.TCP,)
        return (Transport.UDP, Transport.TCP) if first is Transport.UDP else (Transport.TCP, Transport.UDP)

    def _stray(self, channel: int, packet: bytes, arrival_ns: int) -> None:
        if self._channels is not None:
            self._channels.stray(channel, packet, arrival_ns)

    # Session

    def _receiver(
        self, description: SessionDescription, transport: Transport, epoch: int, origin_utc_ns: int, after_utc_ns: int
    ) -> StreamReceiver:
        chosen = description.chosen()
        offered = [media.description if index in chosen else None for index, media in enumerate(description.media)]
        receiver = StreamReceiver(
            offered,
            self._clock,
            epoch=epoch,
            reorder=transport is Transport.UDP,
            origin_utc_ns=origin_utc_ns,
            after_utc_ns=after_utc_ns,
        )
        for media, counters in zip(offered, receiver.counters, strict=True):
            # Sound alone where a picture was offered would pass for a working camera.
            if media is not None and media.kind == "video" and counters is None:
                raise UnsupportedCodecError("picture codec not taken", codec=media.encoding)
        return receiver

    async def _set_up(self, channels: Channels, description: SessionDescription, receiver: StreamReceiver) -> bool:
        """SETUP what the receiver takes. False if the transport is refused of what there cannot be done without."""
        media = {index: description.media[index] for index, taken in enumerate(receiver.counters) if taken is not None}
        pictures = any(medium.kind == "video" for medium in media.values())
        for index, medium in media.items():
            # A camera that cannot give its sound still gives its picture.
            spare = pictures and medium.kind != "video"
            try:
                response = await self._line.request(
                    "SETUP", medium.control, [("Transport", await channels.offer(index))]
                )
            except CameraTimeoutError:
                if not spare:
                    raise
                channels.drop(index)
                continue
            if spare and not 200 <= response.status < 300:
                channels.drop(index)
                continue
            if response.status == 461:
                return False
            self._line.granted("SETUP", response)
            if not channels.accepted(index, response.headers.get("Transport") or ""):
                if not spare:
                    return False
                channels.drop(index)
        return True

    async def _start_playing(self, description: SessionDescription) -> None:
        try:
            await self._line.ask("PLAY", description.control, [("Range", "npt=0.000-")])
        except CameraTimeoutError:
            # Some cameras send media at once and forget the answer.
            if not self.packets:
                raise

    async def _close(self) -> None:
        await self._line.let_go()
        if self._channels is not None:
            self._channels.close()
            self._channels.flush()
        self._line.close(self._control)

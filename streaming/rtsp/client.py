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
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urljoin

from media.clock import Clock
from media.errors import UnsupportedCodecError
from media.receiver import StreamReceiver, TrackCounters
from media.unit import NS_PER_S, StreamItem
from streaming.addresses import AddressGuard, RtspUrl, parse_rtsp_url, redacted, split_credentials
from streaming.errors import (
    CameraRedirectError,
    CameraSilentError,
    CameraTimeoutError,
    NoMediaError,
    SessionLostError,
    StreamingError,
    TransportRefusedError,
    UrlInvalidError,
)
from streaming.rtsp.connection import RtspConnection
from streaming.rtsp.dialling import dial
from streaming.rtsp.dialogue import Dialogue, expect_ok
from streaming.rtsp.message import Response
from streaming.rtsp.pacing import ReadPacer
from streaming.rtsp.sdp import SessionDescription, parse_sdp
from streaming.rtsp.transport import Channels
from streaming.source import CameraSource, Transport

Publish = Callable[[StreamItem], None]


@dataclass(frozen=True, slots=True)
class RtspSettings:
    """Times in seconds. ``silence_s`` plus ``tick_s`` stays below 10, the time in which silence must be noticed."""

    connect_s: float = 5.0
    answer_s: float = 8.0
    silence_s: float = 8.5
    tick_s: float = 1.0
    report_s: float = 5.0
    max_redirects: int = 3
    first_picture_s: float = 60.0
    default_session_s: int = 60
    user_agent: str = "Sanhui"


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
        self.certificate = ""
        """SHA-256 of the certificate that the camera showed, hexadecimal; empty without TLS."""
        self._clock = clock
        self._guard = guard
        self._settings = settings or RtspSettings()
        self._pacer = pacer
        self._target: RtspUrl = parse_rtsp_url(source.url)
        self._first_host = self._target.host
        settings = self._settings
        self._dialogue = Dialogue(source, settings.user_agent, settings.answer_s, settings.default_session_s, require)
        self._connection: RtspConnection | None = None
        self._channels: Channels | None = None
        self._public: frozenset[str] = frozenset()
        self._keep_alive_method = "OPTIONS"
        self._keep_alive: asyncio.Task[None] | None = None
        self._redirects = 0
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
        return redacted(self._target.url)

    # Steps

    async def connect(self) -> None:
        """Open the connection and ask for OPTIONS, which tells whether RTSP is spoken there.

        Raises the AddressErrors, CameraUnreachableError, NotRtspError, the RtspErrors, CameraTimeoutError.
        """
        await self._open()
        await self._learn_options()

    async def describe(self) -> SessionDescription:
        """Log in and ask what the camera has to offer; follows redirects.

        Raises CredentialsRefusedError, CredentialsMissingError, PathNotFoundError, CameraRefusedError,
        CameraRedirectError, SdpBrokenError, NoMediaError and what :meth:`connect` raises.
        """
        while True:
            response = await self._request("DESCRIBE", self._target.url, [("Accept", "application/sdp")])
            if 300 <= response.status < 400:
                await self._follow(response.headers.get("Location"))
                continue
            self._expect_ok("DESCRIBE", response)
            break
        base = response.headers.get("Content-Base") or response.headers.get("Content-Location")
        base_url = urljoin(self._target.url, base) if base and base.lower().startswith("rtsp") else self._target.url
        description = parse_sdp(response.body, split_credentials(base_url)[0])
        if not any(media.kind in ("video", "audio") for media in description.media):
            raise NoMediaError("neither picture nor sound in the session description")
        self.description = description
        if not self._public:
            # OPTIONS may have been refused before the log-in; only now does it tell how to keep the session alive.
            await self._learn_options()
        return description

    async def play(self, publish: Publish, *, epoch: int = 0, origin_utc_ns: int = 0, after_utc_ns: int = 0) -> None:
        """SETUP each medium that is taken and PLAY. From here on items go to ``publish``, until the client is left.

        Raises UnsupportedCodecError, TransportRefusedError and what :meth:`describe` raises.
        """
        description = self.description
        connection = self._connected()
        if description is None:
            raise RuntimeError("play before describe")
        for transport in self._transports():
            receiver = self._receiver(description, transport, epoch, origin_utc_ns, after_utc_ns)
            channels = Channels(transport, connection, receiver, description, publish, self._clock)
            try:
                if await self._set_up(channels, description, receiver):
                    self._channels, self.receiver, self.transport = channels, receiver, transport
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
        self._pacer = pacer
        # Later, since this may be called by somebody who is just being given what was read.
        asyncio.get_running_loop().call_soon(self._apply_pace)

    def _apply_pace(self) -> None:
        if not self._playing or self._connection is None:
            return
        if self._pacer is not None:
            self._connection.pace(self._pacer)
        else:
            self._connection.unpace()

    async def run(self, on_tick: Callable[[], None] | None = None) -> None:
        """Keep the session alive until it ends; always raises. ``on_tick`` is called about once a second.

        Raises CameraSilentError, CameraDisconnectedError, SessionLostError, the credential errors, and whatever the
        camera's bytes have set off.
        """
        connection = self._connected()
        settings = self._settings
        now = started = heard = reported = kept_alive = self._clock.monotonic_ns()
        packets = -1
        while True:
            await asyncio.wait((connection.closed,), timeout=settings.tick_s)
            if connection.failure is not None:
                raise connection.failure
            now = self._clock.monotonic_ns()
            if on_tick is not None:
                on_tick()
            # Counting at each tick costs nothing per packet.
            if (seen := self._main_packets()) != packets:
                packets, heard = seen, now
            elif now - heard >= settings.silence_s * NS_PER_S:
                raise CameraSilentError("no media", seconds=round((now - heard) / NS_PER_S, 1))
            if now - started >= settings.first_picture_s * NS_PER_S and not self._has_begun():
                raise CameraSilentError("packets, yet no picture", seconds=settings.first_picture_s)
            if now - reported >= settings.report_s * NS_PER_S and self._channels is not None:
                reported = now
                self._channels.send_reports()
            if now - kept_alive >= self._dialogue.session_s * NS_PER_S / 2 and self._keep_alive is None:
                kept_alive = now
                self._keep_alive = asyncio.create_task(self._send_keep_alive(connection))

    @property
    def packets(self) -> int:
        """RTP packets taken in so far."""
        if self.receiver is None:
            return 0
        return sum(counters.packets for counters in self.receiver.counters if counters is not None)

    @property
    def pictures(self) -> int:
        """Pictures put together so far."""
        return sum(counters.units for counters in self._video_counters())

    def _video_counters(self) -> list[TrackCounters]:
        if self.receiver is None or self.description is None:
            return []
        pairs = zip(self.description.media, self.receiver.counters, strict=True)
        return [counters for media, counters in pairs if media.kind == "video" and counters is not None]

    def _main_packets(self) -> int:
        """Packets of the picture; of everything where there is none. Sound alone must not pass for a living camera."""
        video = self._video_counters()
        return sum(counters.packets for counters in video) if video else self.packets

    def _has_begun(self) -> bool:
        return self.pictures > 0 or not self._video_counters()

    async def ask(self, method: str, url: str, headers: Sequence[tuple[str, str]]) -> Response:
        """A request of a session that the caller builds by himself, as a back-channel does; logs in, keeps the session.

        Raises CameraRefusedError, SessionLostError, and what the connection raises.
        """
        response = await self._request(method, url, headers)
        self._expect_ok(method, response)
        self._dialogue.take_session(response)
        return response

    @property
    def connection(self) -> RtspConnection:
        """The open connection. Raises RuntimeError before :meth:`connect`."""
        return self._connected()

    @property
    def session_s(self) -> int:
        """After how many seconds without a request the camera may end the session."""
        return self._dialogue.session_s

    # Connection

    def _connected(self) -> RtspConnection:
        if self._connection is None:
            raise RuntimeError("not connected")
        return self._connection

    async def _open(self) -> None:
        target = self._target
        self._connection, self.certificate = await dial(
            target,
            self.source,
            self._guard,
            lambda: RtspConnection(self._clock, target.host, target.port, self._stray),
            self._settings.connect_s,
        )

    def _stray(self, channel: int, packet: bytes, arrival_ns: int) -> None:
        if self._channels is not None:
            self._channels.stray(channel, packet, arrival_ns)

    async def _learn_options(self) -> None:
        response = await self._request("OPTIONS", self._target.url, [], log_in=False)
        if 300 <= response.status < 400:
            await self._follow(response.headers.get("Location"))
            return
        public = ",".join(response.headers.get_all("Public"))
        self._public = frozenset(method.strip().upper() for method in public.split(",") if method.strip())
        self._keep_alive_method = "GET_PARAMETER" if "GET_PARAMETER" in self._public else "OPTIONS"

    async def _follow(self, location: str | None) -> None:
        self._redirects += 1
        if self._redirects > self._settings.max_redirects:
            raise CameraRedirectError("redirected too often", reason="too-often")
        if not location:
            raise CameraRedirectError("redirected without a place to go", reason="no-location")
        clean, _ = split_credentials(urljoin(self._target.url, location))
        secure = self._target.tls
        try:
            self._target = parse_rtsp_url(clean)
        except UrlInvalidError as error:
            raise CameraRedirectError("redirected to no camera", reason=str(error.params["reason"])) from None
        if secure and not self._target.tls:
            raise CameraRedirectError("redirected out of TLS", reason="insecure")
        # A password in clear text goes to no host but the one it was set for.
        self._dialogue.log_in_anew(allow_basic=self._target.host == self._first_host)
        self._connected().close()
        await self._open()
        await self._learn_options()

    # Requests

    async def _request(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], *, log_in: bool = True
    ) -> Response:
        return await self._dialogue.request(self._connected(), method, url, headers, log_in=log_in)

    def _expect_ok(self, method: str, response: Response) -> None:
        expect_ok(method, response, self._target)

    # Session

    def _transports(self) -> tuple[Transport, ...]:
        if self._target.tls:
            # Datagrams would go in the clear.
            return (Transport.TCP,)
        if self.source.transport is Transport.UDP:
            return (Transport.UDP, Transport.TCP)
        return (Transport.TCP, Transport.UDP)

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
        """SETUP what the receiver takes. False if the first medium's transport is refused."""
        done = 0
        for index, counters in enumerate(receiver.counters):
            if counters is None:
                continue
            media = description.media[index]
            response = await self._request("SETUP", media.control, [("Transport", await channels.offer(index))])
            if response.status == 461 and not done:
                return False
            # A camera that cannot give its second medium still gives the first.
            if done and not 200 <= response.status < 300 and response.status not in (454, 455):
                channels.drop(index)
                continue
            self._expect_ok("SETUP", response)
            self._dialogue.take_session(response)
            if not channels.accepted(index, response.headers.get("Transport") or ""):
                if done:
                    channels.drop(index)
                    continue
                return False
            done += 1
        return True

    async def _start_playing(self, description: SessionDescription) -> None:
        try:
            response = await self._request("PLAY", description.control, [("Range", "npt=0.000-")])
        except CameraTimeoutError:
            # Some cameras send media at once and forget the answer.
            if not self.packets:
                raise
            return
        self._expect_ok("PLAY", response)
        self._dialogue.take_session(response)

    async def _send_keep_alive(self, connection: RtspConnection) -> None:
        try:
            url = self.description.control if self.description is not None else self._target.url
            response = await self._request(self._keep_alive_method, url, [])
            if response.status == 454:
                raise SessionLostError("the camera forgot the session")
            if response.status >= 400:
                # Public says it, yet it is not there: OPTIONS always is.
                self._keep_alive_method = "OPTIONS"
        except CameraTimeoutError:
            # As long as media comes an unanswered keep-alive does not matter; silence is noticed by itself.
            pass
        except StreamingError as error:
            connection.fail(error)
        finally:
            self._keep_alive = None

    async def _close(self) -> None:
        if self._keep_alive is not None:
            keep_alive = self._keep_alive
            keep_alive.cancel()
            await asyncio.wait((keep_alive,))
        connection, self._connection = self._connection, None
        if self._channels is not None:
            self._channels.close()
            self._channels.flush()
        if connection is not None:
            if self.description is not None:
                self._dialogue.tear_down(connection, self.description.control)
            connection.close()

"""WebRTC of one node: the port, the relays, the sessions of viewers. What handlers and the WHIP side share."""

import base64
import contextlib
import errno
import hashlib
import hmac
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from aiohttp import web

from media.clock import Clock
from media.opus_live import OpusTranscoders
from media.plain_picture import PlainSettings
from media.stream import LiveStream, StreamId
from media.tasks import Failures
from media.unit import NS_PER_S
from streaming.pushed_session import PushedSession
from streaming.webrtc.dtls import Certificates
from streaming.webrtc.port import PortSettings, WebRtcPort
from streaming.webrtc.relay import Relays
from streaming.webrtc.transcodes import Transcodes, TranscodeSettings
from streaming.webrtc.whep import WhepSessions, WhepSettings
from streaming.webrtc.whip_sessions import WhipSessions
from web.access.view_tokens import ViewTokens
from web.config import Settings
from web.county import County
from web.errors import SettingsError

_TURN_S = 12 * 3600


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server that clients may use; ``secret`` makes log-ins that end by themselves."""

    url: str
    username: str = ""
    password: str = ""
    secret: str = ""

    def link(self, now_utc_ns: int) -> str:
        """The value of a Link header (RFC 9725, 4.6). With a shared secret the name is the time until which the log-in
        is good, and the password its HMAC, as TURN servers know it."""
        name, password = self.username, self.password
        if self.secret:
            name = f"{now_utc_ns // NS_PER_S + _TURN_S}:sanhui"
            password = base64.b64encode(hmac.new(self.secret.encode(), name.encode(), hashlib.sha1).digest()).decode()
        found = f'<{self.url}>; rel="ice-server"'
        if self.url.startswith("turn") and name:
            found += f'; username="{name}"; credential="{password}"; credential-type="password"'
        return found


@dataclass(frozen=True, slots=True)
class WebRtc:
    """The parts, handed in by the composition root."""

    port: WebRtcPort
    certificates: Certificates
    relays: Relays
    whep: WhepSessions
    whip: WhipSessions
    tokens: ViewTokens
    ice_servers: tuple[IceServer, ...]
    clock: Clock

    def links(self) -> list[str]:
        """Link headers for an answer to an offer."""
        return [server.link(self.clock.utc_ns()) for server in self.ice_servers]


WEBRTC = web.AppKey("webrtc", WebRtc)


async def start_webrtc(
    settings: Settings,
    clock: Clock,
    county: County,
    streams: Callable[[StreamId], LiveStream | None],
    pushed: Callable[[StreamId], PushedSession | None],
    executor: Executor,
    failures: Failures,
    stack: contextlib.AsyncExitStack,
) -> WebRtc | None:
    """Open the port and what stands on it, until the stack is left; None where it is turned off.

    Raises SettingsError if the port is taken.
    """
    if not settings.webrtc_enabled:
        return None
    try:
        port = await stack.enter_async_context(WebRtcPort(port_settings(settings), clock))
    except OSError as error:
        if error.errno not in {errno.EADDRINUSE, errno.EADDRNOTAVAIL}:
            raise
        raise SettingsError("SANHUI_WEBRTC_PORT", _taken(settings)) from error
    relays = await stack.enter_async_context(Relays(clock, OpusTranscoders(executor)))
    certificates = Certificates(clock)
    transcodes = await stack.enter_async_context(Transcodes(clock, transcode_settings(settings)))
    plainer = transcodes.plain if settings.transcodes_max else None
    limits = WhepSettings(max_sessions=settings.webrtc_max_viewers)
    whep = await stack.enter_async_context(
        WhepSessions(
            port, relays, streams, clock, limits, certificates=certificates, plainer=plainer, failures=failures
        )
    )
    whip = await stack.enter_async_context(WhipSessions(port, pushed, clock, certificates=certificates))
    return WebRtc(port, certificates, relays, whep, whip, ViewTokens(clock, county), ice_servers(settings), clock)


def port_settings(settings: Settings) -> PortSettings:
    """Where WebRTC listens."""
    return PortSettings(
        host=settings.webrtc_host,
        port=settings.webrtc_port,
        tcp_port=settings.webrtc_port if settings.webrtc_tcp else None,
        public_addresses=tuple(settings.webrtc_public_addresses),
    )


def transcode_settings(settings: Settings) -> TranscodeSettings:
    """How many streams are converted, and into what."""
    return TranscodeSettings(settings.transcodes_max, picture=PlainSettings(settings.transcode_height))


def ice_servers(settings: Settings) -> tuple[IceServer, ...]:
    """The servers that clients are told of."""
    return tuple(
        IceServer(
            url,
            settings.webrtc_turn_username,
            settings.webrtc_turn_password.get_secret_value(),
            settings.webrtc_turn_secret.get_secret_value(),
        )
        for url in settings.webrtc_ice_servers
    )


def _taken(settings: Settings) -> dict[str, str]:
    port, setting = settings.webrtc_port, "SANHUI_WEBRTC_PORT"
    return {
        "zh-CN": f"端口 {port}（UDP 或 TCP）用不了。请停掉占用它的程序，或用 {setting} 换一个端口，"
        "并检查 SANHUI_WEBRTC_HOST。",
        "en": f"Port {port} (UDP or TCP) cannot be used. Stop the program that has it, or choose another port with "
        f"{setting}; check SANHUI_WEBRTC_HOST too.",
    }

"""One client's connection to our RTSP server: requests in, responses and media out (RFC 2326).

A connection has at most one session, and the session ends with the connection. Everything here runs in callbacks of
the event loop and never waits.
"""

import asyncio
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast
from urllib.parse import unquote, urlsplit, urlunsplit

from media.clock import Clock
from media.stream import LiveStream
from media.unit import NS_PER_S, Track
from streaming.errors import MessageTooLargeError, RtspError
from streaming.rtsp.auth import ServerAuthenticator
from streaming.rtsp.message import Headers, InterleavedFrame, Request, Response, StreamParser
from streaming.rtsp.sdp import track_control, write_sdp
from streaming.rtsp.server_feed import Output, StreamFeed
from streaming.rtsp.server_output import InterleavedOutput, UdpOutput, UdpTrack

MAX_REQUEST_HEADER_BYTES = 16 * 1024
MAX_REQUEST_BODY_BYTES = 16 * 1024
MAX_LOGIN_FAILURES = 5
MAX_UNREAD_BYTES = 16 * 1024 * 1024
PUBLIC = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER, SET_PARAMETER"
_TRACK = re.compile(r"/track(\d{1,3})/?$")
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


class FeedKeeper(Protocol):
    """Who keeps the feeds; the server."""

    def join(self, stream: LiveStream, output: Output) -> None:
        """Begin to send a stream to a viewer."""
        ...

    def leave(self, stream: LiveStream, output: Output) -> None:
        """Stop that."""
        ...

    def feed(self, stream: LiveStream) -> StreamFeed | None:
        """The stream's feed, if somebody watches it."""
        ...


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Limits of one connection. Times in seconds."""

    session_timeout_s: int = 60
    allow_udp: bool = True


@dataclass(slots=True)
class _TransportRequest:
    """What a SETUP asks for: channels inside the connection, or ports of the client."""

    interleaved: bool
    pair: tuple[int, int] | None


class ServerConnection(asyncio.Protocol):
    """The protocol of one client connection. Owned by the server that made it."""

    def __init__(
        self,
        provider: Callable[[str], LiveStream | None],
        authenticator: ServerAuthenticator | None,
        keeper: FeedKeeper,
        clock: Clock,
        settings: ConnectionSettings,
        on_closed: Callable[["ServerConnection"], None],
        *,
        refused: bool = False,
    ) -> None:
        self._provider = provider
        self._authenticator = authenticator
        self._keeper = keeper
        self._clock = clock
        self._settings = settings
        self._on_closed = on_closed
        self._refused = refused
        self._parser = StreamParser(MAX_REQUEST_HEADER_BYTES, MAX_REQUEST_BODY_BYTES)
        self._transport: asyncio.Transport | None = None
        self._session_id = ""
        self._stream: LiveStream | None = None
        self._stream_path = ""
        self._stream_url = ""
        self._tracks: dict[int, Track] = {}
        self._channels: dict[int, tuple[int, int]] = {}
        self._udp: dict[int, UdpTrack] = {}
        self._output: InterleavedOutput | UdpOutput | None = None
        self._login_failures = 0
        self._alive_ns = clock.monotonic_ns()

    @property
    def playing(self) -> bool:
        """Whether media is being sent."""
        return self._output is not None

    @property
    def overflows(self) -> int:
        """How often this viewer was cut to the next keyframe."""
        return self._output.overflows if self._output is not None else 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being one.
        self._transport = cast(asyncio.Transport, transport)
        if self._refused:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._alive_ns = self._clock.monotonic_ns()
        try:
            messages = self._parser.feed(data)
        except MessageTooLargeError:
            self._respond(Response(413), None)
            self.close()
            return
        except RtspError:
            self._respond(Response(400), None)
            self.close()
            return
        for message in messages:
            if self._transport is None or self._transport.is_closing():
                return
            if isinstance(message, Request):
                self._handle(message)
            elif not isinstance(message, InterleavedFrame):
                # A response: we ask nothing, so there is nothing to answer.
                continue

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_session()
        self._transport = None
        self._on_closed(self)

    def check_alive(self) -> None:
        """Close the connection if its client has gone. Called now and then by the server.

        A viewer inside the connection is alive while it takes what is sent; others have to give a sign of life.
        """
        if self._transport is None:
            return
        if isinstance(self._output, InterleavedOutput) and self._transport.get_write_buffer_size() == 0:
            self._alive_ns = self._clock.monotonic_ns()
        elif self._clock.monotonic_ns() - self._alive_ns > (self._settings.session_timeout_s + 10) * NS_PER_S:
            self._transport.abort()

    def close(self) -> None:
        """End the session and close the connection once all is written."""
        self._end_session()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self._end_session()
        if self._transport is not None:
            self._transport.abort()

    def _handle(self, request: Request) -> None:
        if self._transport is not None and self._transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            self._transport.abort()
            return
        if (required := request.headers.get("Require")) is not None:
            self._respond(Response(551, headers=Headers([("Unsupported", required)])), request)
            return
        if request.method != "OPTIONS" and not self._authorized(request):
            return
        handler = {
            "OPTIONS": self._options,
            "DESCRIBE": self._describe,
            "SETUP": self._setup,
            "PLAY": self._play,
            "TEARDOWN": self._teardown,
            "GET_PARAMETER": self._parameter,
            "SET_PARAMETER": self._parameter,
        }.get(request.method)
        if handler is None:
            self._respond(Response(501, headers=Headers([("Public", PUBLIC)])), request)
            return
        try:
            split_path(request.url)
        except ValueError:
            self._respond(Response(400), request)
            return
        response = handler(request)
        if response is not None:
            self._respond(response, request)

    def _authorized(self, request: Request) -> bool:
        if self._authenticator is None:
            return True
        verdict = self._authenticator.check(request.method, request.url, request.headers.get("Authorization"))
        if verdict.user is not None:
            self._login_failures = 0
            return True
        if "Authorization" in request.headers and not verdict.stale:
            self._login_failures += 1
        headers = Headers(
            [("WWW-Authenticate", value) for value in self._authenticator.challenges(stale=verdict.stale)]
        )
        self._respond(Response(401, headers=headers), request)
        if self._login_failures >= MAX_LOGIN_FAILURES:
            self.close()
        return False

    def _respond(self, response: Response, request: Request | None) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        fields = [("CSeq", str(request.cseq))] if request is not None and request.cseq is not None else []
        fields.append(("Server", "Sanhui"))
        if self._session_id and response.status == 200:
            fields.append(("Session", f"{self._session_id};timeout={self._settings.session_timeout_s}"))
        response.headers = Headers([*fields, *response.headers])
        self._transport.write(response.encode())

    def _options(self, request: Request) -> Response:
        return Response(200, headers=Headers([("Public", PUBLIC)]))

    def _describe(self, request: Request) -> Response:
        path, _ = split_path(request.url)
        stream = self._provider(path)
        if stream is None:
            return Response(404)
        tracks = stream.tracks
        if not tracks:
            return Response(503, headers=Headers([("Retry-After", "2")]))
        base = _content_base(request.url)
        body = write_sdp(tracks, address=self._local_address()).encode()
        headers = Headers([("Content-Base", base), ("Content-Type", "application/sdp"), ("Cache-Control", "no-cache")])
        return Response(200, headers=headers, body=body)

    def _setup(self, request: Request) -> Response:
        if self._output is not None:
            return Response(455)
        path, track_id = split_path(request.url)
        stream = self._provider(path)
        if stream is None or (self._stream is not None and stream is not self._stream):
            return Response(404 if stream is None else 459)
        tracks = {track.id: track for track in stream.tracks}
        if track_id is None and len(tracks) == 1:
            track_id = next(iter(tracks))
        if track_id not in tracks or track_id is None:
            return Response(404)
        wanted = self._transport_request(request.headers.get("Transport") or "")
        if wanted is None or (self._tracks and wanted.interleaved != bool(self._channels)):
            return Response(461)
        answer = self._take_channels(track_id, wanted) if wanted.interleaved else self._open_udp(track_id, wanted)
        if answer is None:
            return Response(461)
        if not self._session_id:
            self._session_id = secrets.token_hex(8)
        self._stream, self._stream_path = stream, path
        self._stream_url = _content_base(request.url, without_track=True)
        self._tracks[track_id] = tracks[track_id]
        return Response(200, headers=Headers([("Transport", answer)]))

    def _transport_request(self, text: str) -> _TransportRequest | None:
        """The first transport offered that we can do (RFC 2326, 12.39)."""
        for offer in text.split(","):
            words = [word.strip() for word in offer.split(";")]
            profile = words[0].upper()
            options = {key.lower(): value for key, _, value in (word.partition("=") for word in words[1:])}
            if "multicast" in options or options.get("mode", "PLAY").strip('"').upper() not in ("PLAY", ""):
                continue
            if profile == "RTP/AVP/TCP":
                return _TransportRequest(True, _pair(options.get("interleaved", ""), 255))
            pair = _pair(options.get("client_port", ""), 65_535)
            if profile in ("RTP/AVP", "RTP/AVP/UDP") and pair is not None and pair[0] > 0 and self._settings.allow_udp:
                return _TransportRequest(False, pair)
        return None

    def _take_channels(self, track_id: int, wanted: _TransportRequest) -> str | None:
        used = {channel for number, pair in self._channels.items() if number != track_id for channel in pair}
        pair = wanted.pair
        if pair is None:
            first = next(channel for channel in range(0, 254, 2) if channel not in used)
            pair = (first, first + 1)
        if used.intersection(pair) or pair[0] == pair[1]:
            return None
        self._channels[track_id] = pair
        return f"RTP/AVP/TCP;unicast;interleaved={pair[0]}-{pair[1]}"

    def _open_udp(self, track_id: int, wanted: _TransportRequest) -> str | None:
        assert wanted.pair is not None
        peer, local = self._address("peername"), self._address("sockname")
        if not peer or not local:
            return None
        try:
            opened = UdpTrack(local, peer, wanted.pair, self._sign_of_life)
        except OSError:
            return None
        if (before := self._udp.pop(track_id, None)) is not None:
            before.close()
        self._udp[track_id] = opened
        client, server = wanted.pair, opened.ports
        return f"RTP/AVP;unicast;client_port={client[0]}-{client[1]};server_port={server[0]}-{server[1]}"

    def _play(self, request: Request) -> Response | None:
        if (refusal := self._refused_session(request)) is not None:
            return refusal
        if self._stream is None or self._transport is None or not self._tracks:
            return Response(455)
        if split_path(request.url)[0] != self._stream_path:
            # What was authorized, and goes on record, is this URL: it has to be that of the stream.
            return Response(404)
        if self._output is not None:
            return Response(200)
        if self._channels:
            self._output = InterleavedOutput(self._transport, dict(self._channels), self._stream_ended)
        else:
            self._output = UdpOutput(dict(self._udp), self._stream_ended)
        headers = Headers([("Range", "npt=now-")])
        if info := self._rtp_info():
            headers.add("RTP-Info", info)
        # The answer first: interleaved packets before it confuse some clients.
        self._respond(Response(200, headers=headers), request)
        self._keeper.join(self._stream, self._output)
        return None

    def _rtp_info(self) -> str:
        """Which packet comes first, for each track where that is known (RFC 2326, 12.33)."""
        feed = self._keeper.feed(self._stream) if self._stream is not None else None
        parts = []
        for track_id, track in self._tracks.items():
            first = feed.first_packet(track_id) if feed is not None else None
            if first is None:
                return ""
            parts.append(f"url={self._stream_url}{track_control(track)};seq={first[0]};rtptime={first[1]}")
        return ",".join(parts)

    def _teardown(self, request: Request) -> Response | None:
        if (refusal := self._refused_session(request)) is not None:
            return refusal
        self._respond(Response(200, headers=Headers([("Connection", "close")])), request)
        self.close()
        return None

    def _parameter(self, request: Request) -> Response:
        """Clients send these to keep the session alive; there is no parameter to get or set."""
        if request.headers.get("Session") is not None and (refusal := self._refused_session(request)) is not None:
            return refusal
        return Response(451) if request.body.strip() else Response(200)

    def _refused_session(self, request: Request) -> Response | None:
        named = (request.headers.get("Session") or "").partition(";")[0].strip()
        return None if self._session_id and named == self._session_id else Response(454)

    def _sign_of_life(self) -> None:
        self._alive_ns = self._clock.monotonic_ns()

    def _stream_ended(self, reason: str) -> None:
        self.close()

    def _end_session(self) -> None:
        output, self._output = self._output, None
        if self._stream is not None and output is not None:
            self._keeper.leave(self._stream, output)
        if isinstance(output, UdpOutput):
            output.close()
        tracks, self._udp = self._udp, {}
        for track in tracks.values():
            track.close()

    def _address(self, name: str) -> str:
        address = self._transport.get_extra_info(name) if self._transport is not None else None
        return str(address[0]) if address else ""

    def _local_address(self) -> str:
        return self._address("sockname") or "0.0.0.0"


def _pair(text: str, highest: int) -> tuple[int, int] | None:
    match = _PORTS.fullmatch(text.strip())
    if match is None:
        return None
    first = int(match[1])
    second = int(match[2]) if match[2] is not None else first + 1
    return (first, second) if first <= highest and second <= highest else None


def split_path(url: str) -> tuple[str, int | None]:
    """(path without the track and without percent signs, track id) of a request's URL: what the server's provider is
    asked for, and so what an authenticator has to judge. Raises ValueError for what is no URL."""
    path = unquote(urlsplit(url).path)
    match = _TRACK.search(path)
    if match is None:
        return path.rstrip("/"), None
    return path[: match.start()].rstrip("/"), int(match[1])


def _content_base(url: str, *, without_track: bool = False) -> str:
    """The URL under which the tracks are, without log-in."""
    parts = urlsplit(url)
    path = _TRACK.sub("", parts.path) if without_track else parts.path
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path.rstrip("/") + "/", "", ""))

"""One client's connection to our RTSP server: requests in, responses and media out (RFC 2326).

A connection has at most one session, and the session ends with the connection. Everything about live streams runs in
callbacks of the event loop and never waits; a request about a recording is a task, and further requests wait for it.
"""

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, cast
from urllib.parse import urlsplit

from media.clock import Clock
from media.stream import LiveStream
from media.unit import NS_PER_S
from streaming.errors import MessageTooLargeError, RecordingError, RtspError
from streaming.rtsp.auth import ServerAuthenticator
from streaming.rtsp.message import Headers, InterleavedFrame, Request, Response, StreamParser
from streaming.rtsp.sdp import write_sdp
from streaming.rtsp.server_multicast import MulticastSeat
from streaming.rtsp.server_output import InterleavedOutput
from streaming.rtsp.server_play import Feeds, LivePlay, Play, RecordedPlay, status_of
from streaming.rtsp.server_range import RangeInvalidError, read_range
from streaming.rtsp.server_recorded import RecordedLibrary
from streaming.rtsp.server_transport import MulticastKeeper, SessionOutput, SessionTransport
from streaming.rtsp.server_url import content_base, split_path
from streaming.secret import Secret

MAX_REQUEST_HEADER_BYTES = 16 * 1024
MAX_REQUEST_BODY_BYTES = 16 * 1024
MAX_LOGIN_FAILURES = 5
MAX_UNREAD_BYTES = 16 * 1024 * 1024
MAX_WAITING_REQUESTS = 16
PUBLIC = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER"


class FeedKeeper(Feeds, MulticastKeeper, Protocol):
    """Who keeps the feeds and the multicast groups; the server."""


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Limits of one connection. Times in seconds."""

    session_timeout_s: int = 60
    allow_udp: bool = True


@dataclass(frozen=True, slots=True)
class Library:
    """What can be had: live streams by path, and recordings."""

    live: Callable[[str], LiveStream | None]
    recorded: RecordedLibrary | None = None


class ServerConnection(asyncio.Protocol):
    """The protocol of one client connection. Owned by the server that made it."""

    def __init__(
        self,
        library: Library,
        authenticator: ServerAuthenticator | None,
        keeper: FeedKeeper,
        clock: Clock,
        settings: ConnectionSettings,
        on_closed: Callable[["ServerConnection"], None],
    ) -> None:
        self._library = library
        self._authenticator = authenticator
        self._keeper = keeper
        self._clock = clock
        self._settings = settings
        self._on_closed = on_closed
        self._parser = StreamParser(MAX_REQUEST_HEADER_BYTES, MAX_REQUEST_BODY_BYTES)
        self._transport: asyncio.Transport | None = None
        self._session_id = ""
        # What DESCRIBE found last, and what the session is set up with; the same in all but odd cases.
        self._found: Play | None = None
        self._play: Play | None = None
        self._delivery: SessionTransport | None = None
        self._output: SessionOutput | None = None
        # Open while a live stream is being sent.
        self._look = contextlib.ExitStack()
        self._work: asyncio.Task[None] | None = None
        self._waiting: deque[Request] = deque()
        self._user: str | None = None
        self._password: Secret | None = None
        self._url = ""
        self._login_failures = 0
        self.asked_ns: int | None = None
        """When the last request came; None before the first."""
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

    def data_received(self, data: bytes) -> None:
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
            # Whole messages alone: a client that sends an octet now and then gives no sign of life.
            self._sign_of_life()
            if isinstance(message, Request):
                self.asked_ns = self._alive_ns
                self._take(message)
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
            self._sign_of_life()
        elif self._clock.monotonic_ns() - self._alive_ns > (self._settings.session_timeout_s + 10) * NS_PER_S:
            self._transport.abort()

    def check_access(self) -> None:
        """Close the connection if its person may no longer have what is set up. Called when rights may have changed."""
        if self._authenticator is None or self._play is None or self._user is None:
            return
        if self._authenticator.standing(self._user, self._url) != self._password:
            self.close()

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

    # Requests

    def _take(self, request: Request) -> None:
        """Handle it, or let it wait for the one before."""
        if self._work is None:
            self._handle(request)
        elif len(self._waiting) < MAX_WAITING_REQUESTS:
            self._waiting.append(request)
        else:
            self.abort()

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
            "PLAY": self._start,
            "PAUSE": self._pause,
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
        answer = handler(request)
        if isinstance(answer, Response):
            self._respond(answer, request)
        elif answer is not None:
            self._work = asyncio.create_task(self._answer_later(answer, request), name=f"rtsp {request.method}")

    async def _answer_later(self, answer: Awaitable[Response | None], request: Request) -> None:
        try:
            response = await answer
        except RecordingError as error:
            response = Response(status_of(error))
        self._work = None
        if response is not None:
            self._respond(response, request)
        while self._waiting and self._work is None and self._transport is not None:
            self._handle(self._waiting.popleft())

    def _authorized(self, request: Request) -> bool:
        if self._authenticator is None:
            return True
        verdict = self._authenticator.check(request.method, request.url, request.headers.get("Authorization"))
        if verdict.user is not None:
            self._login_failures = 0
            self._user = verdict.user
            if request.method in ("SETUP", "PLAY"):
                self._url, self._password = request.url, self._authenticator.standing(verdict.user, request.url)
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

    def _describe(self, request: Request) -> Response | Awaitable[Response]:
        path, _ = split_path(request.url)
        if self._library.recorded is not None and self._library.recorded.names(path):
            return self._describe_recorded(self._library.recorded, path, request)
        stream = self._library.live(path)
        if stream is None:
            return Response(404)
        if not stream.tracks:
            return Response(503, headers=Headers([("Retry-After", "2")]))
        self._found = LivePlay(path, stream, self._keeper)
        return self._description(self._found, request)

    async def _describe_recorded(self, recorded: RecordedLibrary, path: str, request: Request) -> Response:
        self._found = await self._open(recorded, path, request)
        return self._description(self._found, request)

    async def _open(self, recorded: RecordedLibrary, path: str, request: Request) -> Play:
        source = await recorded.open(path, urlsplit(request.url).query, self._user)
        return RecordedPlay(path, source, recorded, self._clock)

    def _description(self, play: Play, request: Request) -> Response:
        body = write_sdp(
            tuple(play.tracks.values()), address=self._address("sockname") or "0.0.0.0", play_range=play.range
        ).encode()
        headers = Headers([("Content-Base", content_base(request.url)), ("Content-Type", "application/sdp")])
        headers.add("Cache-Control", "no-cache")
        return Response(200, headers=headers, body=body)

    def _setup(self, request: Request) -> Response | Awaitable[Response]:
        if self._output is not None:
            return Response(455)
        path, _ = split_path(request.url)
        if self._play is not None and path != self._play.path:
            return Response(404 if self._library.live(path) is None else 459)
        if self._library.recorded is not None and self._library.recorded.names(path):
            return self._setup_recorded(self._library.recorded, path, request)
        stream = self._library.live(path)
        if stream is None or (self._play is not None and not self._play.plays(stream)):
            return Response(404 if stream is None else 459)
        return self._set_up(self._play or LivePlay(path, stream, self._keeper), stream, request)

    async def _setup_recorded(self, recorded: RecordedLibrary, path: str, request: Request) -> Response:
        play = self._play or self._found
        if play is None or play.path != path:
            play = await self._open(recorded, path, request)
        return self._set_up(play, None, request)

    def _set_up(self, play: Play, stream: LiveStream | None, request: Request) -> Response:
        _, track_id = split_path(request.url)
        tracks = play.tracks
        if track_id is None and len(tracks) == 1:
            track_id = next(iter(tracks))
        if track_id not in tracks or track_id is None:
            return Response(404)
        if self._transport is None:
            return Response(500)
        delivery = self._delivery or SessionTransport(
            self._transport, self._keeper, stream, self._sign_of_life, allow_udp=self._settings.allow_udp
        )
        answer = delivery.set_up(track_id, request.headers.get("Transport") or "")
        if answer is None:
            return Response(461)
        self._play, self._delivery = play, delivery
        play.take(track_id, content_base(request.url, without_track=True))
        self._session_id = self._session_id or secrets.token_hex(8)
        return Response(200, headers=Headers([("Transport", answer)]))

    def _start(self, request: Request) -> Response | Awaitable[Response | None] | None:
        if (refusal := self._refused_session(request)) is not None:
            return refusal
        if self._play is None or self._delivery is None:
            return Response(455)
        if split_path(request.url)[0] != self._play.path:
            # What was authorized, and goes on record, is this URL: it has to be that of the stream.
            return Response(404)
        try:
            wanted = read_range(request.headers.get("Range"))
        except RangeInvalidError:
            return Response(457)
        if isinstance(self._play, RecordedPlay):
            return self._start_recorded(
                self._play, self._play.cue(wanted, self._user, self._address("peername")), request
            )
        if self._output is not None:
            return Response(200)
        self._output = self._delivery.output(self._stream_ended)
        shared = isinstance(self._output, MulticastSeat)
        # The answer first: interleaved packets before it confuse some clients.
        self._respond(Response(200, headers=self._play_headers(request, self._play.answer(shared=shared))), request)
        self._play.start(self._output)
        if self._authenticator is not None and self._user is not None:
            self._look.enter_context(self._authenticator.looking(self._user, self._url))
        return None

    async def _start_recorded(
        self, play: RecordedPlay, cue: Awaitable[Headers | None], request: Request
    ) -> Response | None:
        headers = await cue
        if headers is None:
            return Response(457)
        if self._delivery is None:
            return Response(454)
        output = self._output or self._delivery.output(self._stream_ended)
        self._output = output
        self._respond(Response(200, headers=self._play_headers(request, headers)), request)
        play.start(output)
        return None

    @staticmethod
    def _play_headers(request: Request, headers: Headers) -> Headers:
        """Whoever asks for another pace or rate is told the one there is (RFC 2326, 12.34 and 12.35)."""
        for name in ("Scale", "Speed"):
            if name in request.headers:
                headers.add(name, "1.0")
        return headers

    def _pause(self, request: Request) -> Response:
        if (refusal := self._refused_session(request)) is not None:
            return refusal
        if self._play is None or self._output is None:
            return Response(455 if self._play is None else 200)
        output, self._output = self._output, None
        self._look.close()
        headers = self._play.pause(output)
        output.close()
        return Response(200, headers=headers)

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
        work, self._work = self._work, None
        if work is not None and work is not asyncio.current_task():
            work.cancel()
        self._waiting.clear()
        self._look.close()
        play, self._play = self._play, None
        output, self._output = self._output, None
        if play is not None and output is not None:
            play.pause(output)
        if output is not None:
            output.close()
        for each in {play, self._found} - {None}:
            assert each is not None
            each.close()
        self._found = None
        if self._delivery is not None:
            self._delivery.close()
            self._delivery = None

    def _address(self, name: str) -> str:
        address = self._transport.get_extra_info(name) if self._transport is not None else None
        return str(address[0]) if address else ""

"""One client's session with our RTSP server: what was described, set up and is played (RFC 2326, section 10).

Everything about live streams is answered at once; what is asked of a recording is awaited.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from media.clock import Clock
from media.stream import LiveStream
from streaming.rtsp.message import Headers, Request, Response
from streaming.rtsp.sdp import write_sdp
from streaming.rtsp.server_login import LogIn
from streaming.rtsp.server_multicast import MulticastSeat
from streaming.rtsp.server_output import InterleavedOutput
from streaming.rtsp.server_play import Feeds, LivePlay, Play, RecordedPlay
from streaming.rtsp.server_range import RangeInvalidError, read_range
from streaming.rtsp.server_recorded import RecordedLibrary
from streaming.rtsp.server_transport import MulticastKeeper, SessionOutput, SessionTransport
from streaming.rtsp.server_url import content_base, split_path

PUBLIC = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER"

Answer = Response | Awaitable[Response | None] | None
"""A response, one that takes its time, or None where the response is on its way already."""


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


class Line(Protocol):
    """The connection that a session lives on."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """What it writes to; None once the connection is lost."""

    def respond(self, response: Response, request: Request | None) -> None:
        """Write a response."""

    def sign_of_life(self) -> None:
        """Its client is there."""

    def address(self, end: str) -> str:
        """The IP address of one end, ``sockname`` or ``peername``; empty if unknown."""

    def close(self) -> None:
        """End the session and the connection."""


class ServerSession:
    """The session of one connection, which there may be none of yet. Owned by the connection."""

    def __init__(
        self,
        library: Library,
        keeper: FeedKeeper,
        clock: Clock,
        settings: ConnectionSettings,
        log_in: LogIn,
        line: Line,
    ) -> None:
        self.id = ""
        """Empty before the first SETUP."""
        self._library = library
        self._keeper = keeper
        self._clock = clock
        self._settings = settings
        self._log_in = log_in
        self._line = line
        # What DESCRIBE found last, and what the session is set up with; the same in all but odd cases.
        self._found: Play | None = None
        self._play: Play | None = None
        self._delivery: SessionTransport | None = None
        self._output: SessionOutput | None = None
        # Of outputs before: each time it plays anew it gets another.
        self._overflows = 0
        # Open while a live stream is being sent.
        self._look = contextlib.ExitStack()

    @property
    def playing(self) -> bool:
        """Whether media is being sent."""
        return self._output is not None

    @property
    def interleaved(self) -> bool:
        """Whether media is being sent through the connection itself."""
        return isinstance(self._output, InterleavedOutput)

    @property
    def overflows(self) -> int:
        """How often this viewer was cut to the next keyframe."""
        return self._overflows + (self._output.overflows if self._output is not None else 0)

    @property
    def path(self) -> str:
        """What its person must still be allowed to have; empty while nothing is set up."""
        return self._play.path if self._play is not None else ""

    def answer(self, request: Request) -> Answer:
        """What to say to a request whose person may ask it. Awaiting raises the RecordingErrors."""
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
            return Response(501, headers=Headers([("Public", PUBLIC)]))
        try:
            split_path(request.url)
        except ValueError:
            return Response(400)
        return handler(request)

    def end(self) -> None:
        """Stop sending and give back all that the session holds. It may be called again."""
        self._look.close()
        play, self._play = self._play, None
        output, self._output = self._output, None
        if play is not None and output is not None:
            play.pause(output)
        if output is not None:
            self._let_go(output)
        for each in {play, self._found} - {None}:
            assert each is not None
            each.close()
        self._found = None
        if self._delivery is not None:
            self._delivery.close()
            self._delivery = None

    def _options(self, request: Request) -> Response:
        return Response(200, headers=Headers([("Public", PUBLIC)]))

    # What there is

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
        source = await recorded.open(path, urlsplit(request.url).query, self._log_in.user)
        return RecordedPlay(path, source, recorded, self._clock)

    def _description(self, play: Play, request: Request) -> Response:
        body = write_sdp(
            tuple(play.tracks.values()), address=self._line.address("sockname") or "0.0.0.0", play_range=play.range
        ).encode()
        headers = Headers([("Content-Base", content_base(request.url)), ("Content-Type", "application/sdp")])
        headers.add("Cache-Control", "no-cache")
        return Response(200, headers=headers, body=body)

    # What it leaves through

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
        transport = self._line.transport
        if transport is None:
            return Response(500)
        delivery = self._delivery or SessionTransport(
            transport, self._keeper, stream, self._line.sign_of_life, allow_udp=self._settings.allow_udp
        )
        answer = delivery.set_up(track_id, request.headers.get("Transport") or "")
        if answer is None:
            return Response(461)
        self._play, self._delivery = play, delivery
        play.take(track_id, content_base(request.url, without_track=True))
        self.id = self.id or secrets.token_hex(8)
        return Response(200, headers=Headers([("Transport", answer)]))

    # Sending

    def _start(self, request: Request) -> Answer:
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
                self._play, self._play.cue(wanted, self._log_in.user, self._line.address("peername")), request
            )
        if self._output is not None:
            return Response(200)
        self._output = self._delivery.output(self._stream_ended)
        shared = isinstance(self._output, MulticastSeat)
        # The answer first: interleaved packets before it confuse some clients.
        self._line.respond(
            Response(200, headers=self._play_headers(request, self._play.answer(shared=shared))), request
        )
        self._play.start(self._output)
        self._look.enter_context(self._log_in.looking())
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
        self._line.respond(Response(200, headers=self._play_headers(request, headers)), request)
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
        self._let_go(output)
        return Response(200, headers=headers)

    def _let_go(self, output: SessionOutput) -> None:
        self._overflows += output.overflows
        output.close()

    def _teardown(self, request: Request) -> Response | None:
        if (refusal := self._refused_session(request)) is not None:
            return refusal
        self._line.respond(Response(200, headers=Headers([("Connection", "close")])), request)
        self._line.close()
        return None

    def _parameter(self, request: Request) -> Response:
        """Clients send these to keep the session alive; there is no parameter to get or set."""
        if request.headers.get("Session") is not None and (refusal := self._refused_session(request)) is not None:
            return refusal
        return Response(451) if request.body.strip() else Response(200)

    def _refused_session(self, request: Request) -> Response | None:
        named = (request.headers.get("Session") or "").partition(";")[0].strip()
        return None if self.id and named == self.id else Response(454)

    def _stream_ended(self, reason: str) -> None:
        self._line.close()

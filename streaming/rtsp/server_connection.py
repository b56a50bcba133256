"""One client's connection to our RTSP server: requests in, responses and media out (RFC 2326).

A connection has at most one session, and the session ends with the connection. Everything about live streams runs in
callbacks of the event loop and never waits; a request about a recording is a task, and further requests wait for it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import cast

from media.clock import Clock
from media.unit import NS_PER_S
from streaming.errors import MessageTooLargeError, RecordingError, RtspError
from streaming.rtsp.auth import ServerAuthenticator
from streaming.rtsp.message import Headers, InterleavedFrame, Request, Response, StreamParser
from streaming.rtsp.server_login import LogIn
from streaming.rtsp.server_play import status_of
from streaming.rtsp.server_session import ConnectionSettings, FeedKeeper, Library, ServerSession

log = logging.getLogger(__name__)

MAX_REQUEST_HEADER_BYTES = 16 * 1024
MAX_REQUEST_BODY_BYTES = 16 * 1024
MAX_UNREAD_BYTES = 16 * 1024 * 1024
MAX_WAITING_REQUESTS = 16


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
        self.transport: asyncio.Transport | None = None
        """What it writes to; None once the connection is lost."""
        self.asked_ns: int | None = None
        """When the last request came; None before the first."""
        self._clock = clock
        self._settings = settings
        self._on_closed = on_closed
        self._parser = StreamParser(MAX_REQUEST_HEADER_BYTES, MAX_REQUEST_BODY_BYTES)
        self._log_in = LogIn(authenticator)
        self._session = ServerSession(library, keeper, clock, settings, self._log_in, self)
        self._work: asyncio.Task[None] | None = None
        self._waiting: deque[Request] = deque()
        self._alive_ns = clock.monotonic_ns()

    @property
    def playing(self) -> bool:
        """Whether media is being sent."""
        return self._session.playing

    @property
    def overflows(self) -> int:
        """How often this viewer was cut to the next keyframe."""
        return self._session.overflows

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being one.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._parser.feed(data)
        except MessageTooLargeError:
            self.respond(Response(413), None)
            self.close()
            return
        except RtspError:
            self.respond(Response(400), None)
            self.close()
            return
        for message in messages:
            if self.transport is None or self.transport.is_closing():
                return
            # Whole messages alone: a client that sends an octet now and then gives no sign of life.
            self.sign_of_life()
            if isinstance(message, Request):
                self.asked_ns = self._alive_ns
                self._take(message)
            elif not isinstance(message, InterleavedFrame):
                # A response: we ask nothing, so there is nothing to answer.
                continue

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_session()
        self.transport = None
        self._on_closed(self)

    def check_alive(self) -> None:
        """Close the connection if its client has gone. Called now and then by the server.

        A viewer inside the connection is alive while it takes what is sent; others have to give a sign of life.
        """
        if self.transport is None:
            return
        if self._session.interleaved and self.transport.get_write_buffer_size() == 0:
            self.sign_of_life()
        elif self._clock.monotonic_ns() - self._alive_ns > (self._settings.session_timeout_s + 10) * NS_PER_S:
            self.transport.abort()

    def check_access(self) -> None:
        """Close the connection if its person may no longer have what is set up. Called when rights may have changed."""
        if self._session.path and not self._log_in.stands(self._session.path):
            self.close()

    def close(self) -> None:
        """End the session and close the connection once all is written."""
        self._end_session()
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self._end_session()
        if self.transport is not None:
            self.transport.abort()

    def respond(self, response: Response, request: Request | None) -> None:
        """Write a response, unless there is nobody to take it any more."""
        if self.transport is None or self.transport.is_closing():
            return
        fields = [("CSeq", str(request.cseq))] if request is not None and request.cseq is not None else []
        fields.append(("Server", "Sanhui"))
        if self._session.id and response.status == 200:
            fields.append(("Session", f"{self._session.id};timeout={self._settings.session_timeout_s}"))
        response.headers = Headers([*fields, *response.headers])
        self.transport.write(response.encode())

    def sign_of_life(self) -> None:
        """Its client is there."""
        self._alive_ns = self._clock.monotonic_ns()

    def address(self, end: str) -> str:
        """The IP address of one end, ``sockname`` or ``peername``; empty if unknown."""
        found = self.transport.get_extra_info(end) if self.transport is not None else None
        return str(found[0]) if found else ""

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
        if self.transport is not None and self.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            self.transport.abort()
            return
        if (required := request.headers.get("Require")) is not None:
            self.respond(Response(551, headers=Headers([("Unsupported", required)])), request)
            return
        if request.method != "OPTIONS" and (challenge := self._log_in.refused(request)) is not None:
            self.respond(challenge, request)
            if self._log_in.exhausted:
                self.close()
            return
        answer = self._session.answer(request)
        if isinstance(answer, Response):
            self.respond(answer, request)
        elif answer is not None:
            self._work = asyncio.create_task(self._answer_later(answer, request), name=f"rtsp {request.method}")

    async def _answer_later(self, answer: Awaitable[Response | None], request: Request) -> None:
        try:
            response = await answer
        except RecordingError as error:
            response = Response(status_of(error))
        except Exception:
            # Or whoever asked, and all they ask for next, would wait for ever.
            log.exception("an RTSP request could not be answered")
            response = Response(500)
        self._work = None
        if response is not None:
            self.respond(response, request)
        while self._waiting and self._work is None and self.transport is not None:
            self._handle(self._waiting.popleft())

    def _end_session(self) -> None:
        work, self._work = self._work, None
        if work is not None and work is not asyncio.current_task():
            work.cancel()
        self._waiting.clear()
        self._session.end()

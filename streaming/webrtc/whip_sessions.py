"""All WHIP sessions of a node, over HTTP handlers that know nothing of media.

async with WhipSessions(port, cameras.pushed, clock) as whip:
    session = await whip.offer(StreamId("hall"), "device/7", text)
    … 201, Location: …/{session.id}, ETag: session.etag, session.answer
    await whip.close(session.id)
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from media.clock import Clock
from media.stream import StreamId
from streaming.errors import PublisherThereError
from streaming.pushed_session import PushedSession
from streaming.webrtc.admission import Admission, new_etag
from streaming.webrtc.dtls import Certificates
from streaming.webrtc.errors import SessionGoneError, StreamAwayError
from streaming.webrtc.patch import patched
from streaming.webrtc.port import WebRtcPort
from streaming.webrtc.whip import IngestSettings, Publisher

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WhipSettings:
    """``max_sessions`` at a time; ``offers_per_s`` are read, ``offers_burst`` at once."""

    max_sessions: int = 400
    offers_per_s: float = 20.0
    offers_burst: float = 40.0
    ingest: IngestSettings = field(default_factory=IngestSettings)


@dataclass
class WhipSession:
    """One publisher's session as HTTP knows it. ``owner`` tells who it is: who comes back replaces themselves."""

    id: str
    stream_id: StreamId
    owner: str
    publisher: Publisher
    answer: str
    etag: str


class WhipSessions:
    """An async context manager; leaving it ends all sessions. ``pushed`` gives where a stream's media goes, None for a
    stream that nobody may send."""

    def __init__(
        self,
        port: WebRtcPort,
        pushed: Callable[[StreamId], PushedSession | None],
        clock: Clock,
        settings: WhipSettings | None = None,
        *,
        certificates: Certificates | None = None,
    ) -> None:
        self.settings = settings or WhipSettings()
        self._port = port
        self._pushed = pushed
        self._clock = clock
        self._certificates = certificates or Certificates(clock)
        self._sessions: dict[str, WhipSession] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        limits = self.settings
        self._admission = Admission(
            clock, lambda: len(self._tasks), limits.max_sessions, limits.offers_per_s, limits.offers_burst
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __len__(self) -> int:
        """How many sessions there are."""
        return len(self._sessions)

    def session(self, session_id: str) -> WhipSession:
        """A session. Raises SessionGoneError."""
        session = self._sessions.get(session_id)
        if session is None:
            raise SessionGoneError("no such session")
        return session

    async def offer(self, stream_id: StreamId, owner: str, text: str) -> WhipSession:
        """Begin a session: answer an offer. A session that ``owner`` left behind on this stream ends.

        Raises StreamAwayError for a stream that is not sent, PublisherThereError, OfferBrokenError,
        OfferUnsuitableError, CodecMismatchError, PictureUnsendableError, TooManySessionsError.
        """
        with self._admission.opening():
            target = self._pushed(stream_id)
            if target is None:
                raise StreamAwayError("nobody sends to this camera", camera=stream_id.camera)
            publisher = Publisher(text, target, self._port, self._certificates, self._clock, self.settings.ingest)
            await self._let_go(stream_id, owner)
            session_id = secrets.token_urlsafe(18)
            started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(self._serve(session_id, publisher, started), name=f"whip {stream_id.camera}")
            self._tasks[session_id] = task
            task.add_done_callback(lambda done: self._served(session_id, done))
            try:
                answer = await started
            except asyncio.CancelledError:
                task.cancel()
                raise
            finally:
                # A refusal knows the frames it came through, and must not be known to them: see WhepSessions.offer.
                del started, task
            session = WhipSession(session_id, stream_id, owner, publisher, answer, new_etag())
            if session_id in self._tasks:
                self._sessions[session_id] = session
            return session

    def patch(self, session_id: str, text: str, if_match: str | None) -> tuple[WhipSession, str | None]:
        """Take candidates, or begin ICE anew: a phone has changed networks. The answer's fragment in the latter case.

        Raises SessionGoneError, SessionUnnamedError, SessionChangedError, OfferBrokenError.
        """
        session = self.session(session_id)
        mid = next(item.mid for item in session.publisher.offer.media if item.usable)
        session.etag, answer = patched(session.publisher.peer, mid, session.etag, text, if_match)
        return session, answer

    async def close(self, session_id: str) -> None:
        """End a session. Raises SessionGoneError."""
        session = self.session(session_id)
        task = self._tasks[session_id]
        await session.publisher.peer.close()
        await asyncio.gather(task, return_exceptions=True)

    async def _let_go(self, stream_id: StreamId, owner: str) -> None:
        for session in list(self._sessions.values()):
            if session.stream_id == stream_id and session.owner == owner:
                await self.close(session.id)

    async def _serve(self, session_id: str, publisher: Publisher, started: "asyncio.Future[str]") -> None:
        try:
            reason = await publisher.run(started)
            log.info("whip: session over (%s)", reason)
        finally:
            self._sessions.pop(session_id, None)
            del started

    def _served(self, session_id: str, task: "asyncio.Task[None]") -> None:
        self._tasks.pop(session_id, None)
        self._sessions.pop(session_id, None)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, PublisherThereError):
            log.error("%s has failed", task.get_name(), exc_info=error)

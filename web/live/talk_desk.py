"""Talking into rooms, as the service has it: which rooms are open, whose session holds a floor, who is told."""

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog
from aiohttp import web

from media.clock import Clock
from media.tasks import Failures, lasting
from storage.database import Database
from storage.errors import DatabaseError
from storage.records import MeetingPlace, MeetingState, TalkEntry, new_id
from streaming.pushed_session import PUSHED_URL
from streaming.source import CameraSource
from streaming.talk import Talker
from streaming.talk_errors import TalkBusyError, TalkClosedError, TalkError
from streaming.talk_rooms import TalkRooms, Turn, talk_stream_id
from streaming.webrtc.errors import SessionGoneError
from streaming.webrtc.whip import IngestSettings
from streaming.webrtc.whip_sessions import WhipSession, WhipSessions, WhipSettings
from web.api.schemas.guidance import Talk, TalkSpeaker
from web.live.events_board import BOARD
from web.live.webrtc import WebRtc
from web.services import SERVICES

log = structlog.get_logger("web.talk")

_LOOK_S = 3.0
_RETRY_S = 2.0
_CLOSE_S = 5.0
_MOST_UNWRITTEN = 1_000


@dataclass
class _Session:
    """Whose voice comes by which session."""

    talker: str
    session: str


@dataclass
class TalkDesk:
    """Owned by the application's event loop. ``cameras`` gives the source whose loudspeaker a room has."""

    rooms: TalkRooms
    whip: WhipSessions
    database: Database
    clock: Clock
    cameras: Callable[[str], CameraSource | None]
    on_change: Callable[[str, Talk], None] = lambda *_: None
    _sessions: dict[str, _Session] = field(default_factory=dict)
    _lines: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    _entries: dict[str, TalkEntry] = field(default_factory=dict)
    _over: deque[tuple[str, int, str]] = field(default_factory=lambda: deque(maxlen=_MOST_UNWRITTEN))
    _written: asyncio.Event = field(default_factory=asyncio.Event)
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    async def close(self, meeting_id: str) -> None:
        """The meeting is over: the line is closed first, so that the last words are in the stream before it ends."""
        known = self._sessions.pop(meeting_id, None)
        if known is not None:
            await self._close(known.session)
        await self.rooms.close(meeting_id)
        self._lines.pop(meeting_id, None)

    def open(self, place: MeetingPlace) -> None:
        """The meeting's room may be spoken and listened to. Raises TalkClosedError unless it runs."""
        if place.meeting.state is not MeetingState.RUNNING:
            raise TalkClosedError("the meeting is not running")
        source = self.cameras(place.camera.id)
        self.rooms.open(place.meeting.id, source if source is not None and source.url != PUSHED_URL else None)

    async def speak(self, place: MeetingPlace, talker: Talker, offer: str) -> WhipSession:
        """Take the floor and answer the offer of whose voice it is.

        Raises TalkBusyError, TalkClosedError and what :meth:`WhipSessions.offer` raises.
        """
        self.open(place)
        meeting_id = place.meeting.id
        self.rooms.request(meeting_id, talker)
        try:
            async with self._lines[meeting_id]:
                return await self._line(meeting_id, talker, offer)
        except TalkBusyError:
            # Somebody took the floor while the line was being opened: the talker waits for it.
            raise
        except BaseException:
            with contextlib.suppress(TalkError):
                self.rooms.release(meeting_id, talker.id)
            raise

    async def _line(self, meeting_id: str, talker: Talker, offer: str) -> WhipSession:
        """Open the talker's line, one at a time in each room: two voices cannot come."""
        while True:
            self.rooms.request(meeting_id, talker)
            before = self._sessions.pop(meeting_id, None)
            if before is not None:
                # Their own, left behind: that it ends is not the end of their turn.
                await self._close(before.session)
            await self._settled(meeting_id)
            session = await self.whip.offer(talk_stream_id(meeting_id), talker.id, offer)
            holding, _ = self.rooms.state(meeting_id)
            if holding is not None and holding.talker.id == talker.id:
                break
            await self._close(session.id)
        self._sessions[meeting_id] = _Session(talker.id, session.id)
        task = asyncio.create_task(self._until_over(meeting_id, talker.id, session), name=f"talk {meeting_id}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return session

    def entry_for(self, meeting_id: str, talker: Talker) -> TalkEntry | None:
        """The entry to write of who has just got the floor; None if it is written: they only changed their line."""
        known = self._entries.get(meeting_id)
        if known is not None and known.talker_id == talker.id:
            return None
        return TalkEntry(
            id=new_id(),
            meeting_id=meeting_id,
            talker_id=talker.id,
            talker_name=talker.name,
            office_name=talker.office,
            started_utc_ns=self.clock.utc_ns(),
        )

    def on_record(self, entry: TalkEntry) -> None:
        """The entry is written. It is closed when the turn is over, at once if it is already."""
        holding, _ = self.rooms.state(entry.meeting_id)
        if holding is not None and holding.talker.id == entry.talker_id:
            self._entries[entry.meeting_id] = entry
        else:
            self._close_entry(entry, self.clock.utc_ns(), "vanished")

    def _turn_over(self, turn: Turn) -> None:
        entry = self._entries.get(turn.meeting_id)
        if entry is not None and entry.talker_id == turn.talker.id:
            del self._entries[turn.meeting_id]
            self._close_entry(entry, turn.end_utc_ns, turn.reason)

    def _close_entry(self, entry: TalkEntry, utc_ns: int, reason: str) -> None:
        self._over.append((entry.id, max(utc_ns, entry.started_utc_ns), reason))
        self._written.set()

    async def _write(self) -> None:
        """Ends of turns go to the database; what it does not take is tried again."""
        while True:
            # First: what waits may be left from a time that failed.
            await self._write_over()
            await self._written.wait()
            self._written.clear()

    async def _write_over(self) -> None:
        while self._over:
            entry_id, utc_ns, reason = self._over[0]
            try:
                async with self.database.transaction() as repos:
                    await repos.talks.close(entry_id, utc_ns, reason)
            except DatabaseError:
                self._written.set()
                await asyncio.sleep(_RETRY_S)
                return
            self._over.popleft()

    def state(self, meeting_id: str) -> Talk:
        """Who speaks, and who waits."""
        holding, queue = self.rooms.state(meeting_id)
        return Talk(
            speaker=self._shown(holding.talker, holding.since_ns) if holding is not None else None,
            queue=[self._shown(item.talker, item.since_ns) for item in queue],
        )

    def _shown(self, talker: Talker, since_ns: int) -> TalkSpeaker:
        since_utc_ns = self.clock.utc_ns() - self.clock.monotonic_ns() + since_ns
        since = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=since_utc_ns // 1000)
        return TalkSpeaker(id=talker.id, name=talker.name, office=talker.office, since=since)

    @contextlib.asynccontextmanager
    async def running(self, failures: Failures) -> AsyncIterator[None]:
        """Close rooms with their meetings, for as long as the context is open. Raises DatabaseError."""
        # Here and nowhere else: nobody speaks yet, so whatever is open was left so.
        async with self.database.transaction() as repos:
            await repos.talks.close_forgotten(self.clock.utc_ns())
        self.rooms.changed = lambda meeting_id: self.on_change(meeting_id, self.state(meeting_id))
        self.rooms.lost = self._lost
        self.rooms.ended = self._turn_over
        lives = [
            asyncio.create_task(lasting("talk rooms", self._follow, failures), name="talk rooms"),
            asyncio.create_task(lasting("talk entries", self._write, failures), name="talk entries"),
        ]
        try:
            yield
        finally:
            for meeting_id in self.rooms.meetings:
                await self.rooms.close(meeting_id)
            for item in lives:
                item.cancel()
            # Lines end with their rooms.
            closing = list(self._closing)
            if closing:
                await asyncio.wait(closing, timeout=_CLOSE_S)
            for item in closing:
                item.cancel()
            await asyncio.gather(*lives, *closing, return_exceptions=True)
            await self._write_over()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            if not self.rooms.meetings:
                continue
            async with self.database.read() as repos:
                running = {place.meeting.id for place in await repos.meetings.running()}
            for meeting_id in self.rooms.meetings - running:
                await self.close(meeting_id)

    async def _until_over(self, meeting_id: str, talker_id: str, session: WhipSession) -> None:
        """The floor is held for as long as the voice's session lasts."""
        await session.publisher.peer.closed()
        known = self._sessions.get(meeting_id)
        if known is None or known.session != session.id:
            # They came back on another line, or somebody else has the floor.
            return
        del self._sessions[meeting_id]
        with contextlib.suppress(TalkError):
            self.rooms.release(meeting_id, talker_id)

    def _lost(self, meeting_id: str, talker: Talker) -> None:
        """The floor is no longer theirs: nor is the line."""
        known = self._sessions.get(meeting_id)
        if known is None or known.talker != talker.id:
            return
        del self._sessions[meeting_id]
        task = asyncio.create_task(self._close(known.session), name=f"talk over {meeting_id}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, session_id: str) -> None:
        with contextlib.suppress(SessionGoneError):
            await self.whip.close(session_id)

    async def _settled(self, meeting_id: str) -> None:
        """Wait for the lines of those who have lost the floor."""
        ending = [task for task in self._closing if task.get_name() == f"talk over {meeting_id}"]
        if ending:
            await asyncio.wait(ending, timeout=_CLOSE_S)


TALK = web.AppKey("talk", TalkDesk)


async def start_talk(
    app: web.Application,
    rooms: TalkRooms,
    webrtc: WebRtc,
    cameras: Callable[[str], CameraSource | None],
    failures: Failures,
    stack: contextlib.AsyncExitStack,
) -> None:
    """Let officials speak into rooms until the stack is left. After the services and the live board. Raises
    DatabaseError."""
    services, board = app[SERVICES], app[BOARD]
    limits = WhipSettings(max_sessions=200, ingest=IngestSettings(sound_only=True, highest_bps=128_000))
    whip = await stack.enter_async_context(
        WhipSessions(webrtc.port, rooms.pushed, services.clock, limits, certificates=webrtc.certificates)
    )
    desk = TalkDesk(rooms, whip, services.database, services.clock, cameras)
    desk.on_change = board.talk_changed
    await stack.enter_async_context(desk.running(failures))
    services.recorder.on_end.append(desk.close)
    stack.callback(services.recorder.on_end.remove, desk.close)
    app[TALK] = desk

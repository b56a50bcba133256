"""Talking into rooms: each running meeting has a floor, a stream of guidance, and perhaps a loudspeaker to feed.

The voice of whoever holds the floor comes by WHIP (:meth:`TalkRooms.pushed`) into one LiveStream per meeting,
``StreamId("talk:<meeting>")``: Opus, sound alone, an epoch for each turn. The TV page and everybody who watches listens
to it by WHEP, the recorder records it, the camera's loudspeaker is fed from it.

Echo: the room's own sound is ducked for the speaker (their page lowers it while they hold the floor; the ``talk`` event
says who does), so nobody hears himself come back; browsers' echo cancellation does the rest at the microphone.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from media.clock import Clock
from media.codecs.opus import OPUS_CLOCK_RATE
from media.description import MediaDescription
from media.stream import LiveStream, StreamId
from media.tasks import Failures, lasting
from media.unit import AccessUnit, AudioTrack, Codec, StreamItem
from streaming.camera_status import CameraState, CameraStatus
from streaming.errors import StreamingError
from streaming.loudspeaker import Loudspeakers
from streaming.pushed_session import PUSHED_URL, PushedFeed, PushedSession
from streaming.source import CameraSource
from streaming.talk import Ended, Floor, Holding, Talker, TalkSettings, Waiting
from streaming.talk_errors import TalkClosedError

log = logging.getLogger(__name__)

_PREFIX = "talk:"
_TICK_S = 0.5
_LINGER_S = 15.0
# What Opus codes silence with: two octets after the table of contents, or one of comfort noise (RFC 6716, 2.1.9).
_SILENT_BYTES = 8
VOICE = AudioTrack(Codec.OPUS, OPUS_CLOCK_RATE, 2)
"""What a voice is: Opus as WebRTC has it (RFC 7587, 7: always 48000/2)."""


def talk_stream_id(meeting_id: str) -> StreamId:
    """The name of a meeting's stream of guidance."""
    return StreamId(f"{_PREFIX}{meeting_id}")


def meeting_of(stream_id: StreamId) -> str | None:
    """The meeting whose guidance this stream is; None for a camera's."""
    return stream_id.camera.removeprefix(_PREFIX) if stream_id.camera.startswith(_PREFIX) else None


@dataclass(frozen=True, slots=True)
class Turn:
    """Somebody's turn to speak into a room is over; ``spoke`` if anything was heard. UTC, Unix nanoseconds."""

    meeting_id: str
    talker: Talker
    start_utc_ns: int
    end_utc_ns: int
    reason: str
    spoke: bool


class _Voice(PushedSession):
    """What feeds a room's stream. Between two turns nothing is missing, so there are no gaps."""

    def __init__(self, stream: LiveStream, clock: Clock, heard: Callable[[bool], None]) -> None:
        super().__init__(CameraSource(stream.id.camera, PUSHED_URL), stream, clock, _unheeded)
        self._heard = heard

    def take(self, item: StreamItem) -> None:
        if isinstance(item, AccessUnit):
            self._heard(len(item.data) > _SILENT_BYTES)
        super().take(item)

    @contextlib.contextmanager
    def feeding(self, media: Sequence[MediaDescription | None]) -> Iterator[PushedFeed]:
        with super().feeding(media) as feed:
            try:
                yield feed
            finally:
                for item in feed.receiver.flush():
                    self.take(item)
                # The recorder has the last words now, not with the next turn's first.
                self.stream.pause()

    def _came(self, first: AccessUnit) -> None:
        self._publisher.newest_utc_ns = first.utc_ns
        self._enter(CameraState.ONLINE, None)


def _unheeded(status: CameraStatus) -> None:
    """A voice's states are the floor's, and told there."""


class _Room:
    """One meeting's floor, stream and loudspeaker. Owned by TalkRooms."""

    def __init__(self, meeting_id: str, clock: Clock, settings: TalkSettings) -> None:
        self.meeting_id = meeting_id
        self.floor = Floor(settings)
        self.stream = LiveStream(talk_stream_id(meeting_id), clock)
        self.stream.announced = VOICE
        self.voice = _Voice(self.stream, clock, self._on_voice)
        self.camera: CameraSource | None = None
        self.speaking: asyncio.Task[None] | None = None
        self.spoke_ns = 0
        self._clock = clock

    def _on_voice(self, voice: bool) -> None:
        holding = self.floor.holding
        if holding is not None:
            self.floor.heard(holding.talker.id, self._clock.monotonic_ns(), voice=voice)


class TalkRooms:
    """The rooms of this node that may be spoken to. An async context manager; owned by one event loop.

    ``changed`` is called with a meeting's id when its floor has changed; ``ended`` with every turn that is over,
    and ``lost`` with a talker who lost the floor without letting go (their session is to be closed).
    Neither may block.
    """

    def __init__(
        self,
        clock: Clock,
        loudspeakers: Loudspeakers | None = None,
        settings: TalkSettings | None = None,
        failures: Failures | None = None,
    ):
        self.changed: Callable[[str], None] = lambda _: None
        self.ended: Callable[[Turn], None] = lambda _: None
        self.lost: Callable[[str, Talker], None] = lambda *_: None
        self._clock = clock
        self._loudspeakers = loudspeakers
        self._settings = settings or TalkSettings()
        self._failures = failures or Failures(clock)
        self._rooms: dict[str, _Room] = {}
        self._ticker: asyncio.Task[None] | None = None
        self._hushing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        work = lasting("talk floors", self._tick_forever, self._failures)
        self._ticker = asyncio.create_task(work, name="talk floors")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        for meeting_id in list(self._rooms):
            await self.close(meeting_id)
        await asyncio.gather(*self._hushing, return_exceptions=True)

    # Rooms

    def open(self, meeting_id: str, camera: CameraSource | None) -> None:
        """A meeting runs: its room may be spoken to. ``camera`` is the one whose loudspeaker is fed; None for none.
        Opening an open room only changes its camera."""
        room = self._rooms.get(meeting_id)
        if room is None:
            room = self._rooms[meeting_id] = _Room(meeting_id, self._clock, self._settings)
        room.camera = camera

    async def close(self, meeting_id: str) -> None:
        """The meeting is over: nobody speaks any more, the stream ends. Nothing happens where no room is open."""
        room = self._rooms.pop(meeting_id, None)
        if room is None:
            return
        ended = room.floor.close(self._clock.monotonic_ns())
        if ended is not None:
            self._over(room, ended)
        hushing = self._hush(room)
        if hushing is not None:
            await asyncio.gather(hushing, return_exceptions=True)
        room.stream.end()
        self.changed(meeting_id)

    @property
    def meetings(self) -> frozenset[str]:
        """The meetings whose rooms are open."""
        return frozenset(self._rooms)

    def stream(self, stream_id: StreamId) -> LiveStream | None:
        """The guidance stream of an open room."""
        room = self._find(stream_id)
        return room.stream if room is not None else None

    def pushed(self, stream_id: StreamId) -> PushedSession | None:
        """Where the holder's voice goes; None for a room that is not open, or whose floor nobody holds."""
        room = self._find(stream_id)
        return room.voice if room is not None and room.floor.holding is not None else None

    # The floor

    def state(self, meeting_id: str) -> tuple[Holding | None, tuple[Waiting, ...]]:
        """Who speaks, and who waits."""
        room = self._rooms.get(meeting_id)
        return (room.floor.holding, tuple(room.floor.queue)) if room is not None else (None, ())

    def request(self, meeting_id: str, talker: Talker) -> None:
        """Take the floor. Raises TalkBusyError (then the talker waits), TalkClosedError."""
        room = self._rooms.get(meeting_id)
        if room is None:
            raise TalkClosedError("the meeting is not running")
        with self._telling(room):
            ended = room.floor.request(talker, self._clock.monotonic_ns())
            if ended is not None:
                self._over(room, ended)
        if (
            room.camera is not None
            and self._loudspeakers is not None
            and (room.speaking is None or room.speaking.done())
        ):
            room.speaking = asyncio.create_task(
                self._speak(self._loudspeakers, room.camera, room.stream), name=f"loudspeaker {room.camera.camera_id}"
            )

    def release(self, meeting_id: str, talker_id: str) -> None:
        """Let go of the floor, or of a place in the queue. Raises TalkUnknownError, TalkClosedError."""
        room = self._rooms.get(meeting_id)
        if room is None:
            raise TalkClosedError("the meeting is not running")
        with self._telling(room):
            ended = room.floor.release(talker_id, self._clock.monotonic_ns())
            if ended is not None:
                self._over(room, ended)

    # Inside

    def _find(self, stream_id: StreamId) -> _Room | None:
        meeting_id = meeting_of(stream_id)
        return self._rooms.get(meeting_id) if meeting_id is not None else None

    @contextlib.contextmanager
    def _telling(self, room: _Room) -> Iterator[None]:
        """Tell what the inside has changed, even if it raises: who asks in vain waits from then on."""
        before = _shown(room)
        try:
            yield
        finally:
            if _shown(room) != before:
                self.changed(room.meeting_id)

    def _over(self, room: _Room, ended: Ended) -> None:
        room.spoke_ns = self._clock.monotonic_ns()
        self.lost(room.meeting_id, ended.talker)
        to_utc_ns = self._clock.utc_ns() - self._clock.monotonic_ns()
        start, end = ended.since_ns + to_utc_ns, ended.until_ns + to_utc_ns
        self.ended(Turn(room.meeting_id, ended.talker, start, end, ended.reason.value, ended.spoke))

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            for room in list(self._rooms.values()):
                with self._telling(room):
                    for ended in room.floor.tick(self._clock.monotonic_ns()):
                        self._over(room, ended)
                if room.floor.holding is None and room.speaking is not None:
                    if self._clock.monotonic_ns() - room.spoke_ns >= _LINGER_S * 1e9:
                        # Not waited for: a camera that does not answer must not hold up the other rooms' floors.
                        self._hush(room)

    async def _speak(self, loudspeakers: Loudspeakers, camera: CameraSource, stream: LiveStream) -> None:
        try:
            await loudspeakers.speak(camera, stream)
        except StreamingError as error:
            log.info("camera %s: no loudspeaker (%s)", camera.camera_id, error.code)
        except Exception:
            log.exception("loudspeaker of camera %s failed", camera.camera_id)

    def _hush(self, room: _Room) -> asyncio.Task[None] | None:
        """Close the loudspeaker's session: nobody has spoken for a while. What does so."""
        task, room.speaking = room.speaking, None
        if task is not None:
            task.cancel()
            self._hushing.add(task)
            task.add_done_callback(self._hushing.discard)
        return task


def _shown(room: _Room) -> object:
    """What others see of a floor."""
    holding = room.floor.holding
    return (holding.talker, holding.since_ns) if holding else None, [item.talker for item in room.floor.queue]

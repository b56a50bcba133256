"""Who may speak into a room: floor control for one room (the words are those of RFC 8855), pure state without clock.

* One holder at a time. Who asks while nobody speaks has the floor at once.
* **County before town.** An office of higher rank takes the floor over; who was interrupted goes to the head of their
  own rank in the queue. Among equals nobody is interrupted: the queue is by rank, then by time of asking.
* Nobody holds the floor by accident: it falls to the next one when the holder lets go, sends nothing (vanished), sends
  only silence for a while, or speaks too long while others wait (very long, though nobody waits).
* Who gets the floor out of the queue has to begin within the same time as a holder who vanishes; who waits has to ask
  again now and then, so that a closed page does not wait for ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

from media.unit import NS_PER_S
from streaming.talk_errors import TalkBusyError, TalkUnknownError


class Rank(IntEnum):
    """Rank of an office; the higher goes first."""

    VILLAGE = 0
    TOWN = 1
    COUNTY = 2


class EndReason(StrEnum):
    """Why somebody no longer holds the floor."""

    RELEASED = "released"
    VANISHED = "vanished"
    SILENT = "silent"
    TOO_LONG = "too-long"
    SUPERIOR = "superior"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class TalkSettings:
    """Times in seconds. ``vanished_s`` without any packet; ``silent_s`` with packets that carry no sound; ``long_s``
    while others wait, ``longest_s`` in any case; who waits asks again within ``asks_again_s``."""

    vanished_s: float = 6.0
    silent_s: float = 20.0
    long_s: float = 120.0
    longest_s: float = 900.0
    asks_again_s: float = 6.0
    max_queue: int = 16


@dataclass(frozen=True, slots=True)
class Talker:
    """Somebody who wants to speak. ``id`` is the person's, ``office`` the name of theirs."""

    id: str
    name: str
    office: str
    rank: Rank


@dataclass(frozen=True, slots=True)
class Waiting:
    """A place in the queue; ``since_ns`` on the clock that is passed in, ``asked_ns`` the last time they asked."""

    talker: Talker
    since_ns: int
    asked_ns: int
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Holding:
    """Who holds the floor. ``heard_ns`` the last packet, ``voice_ns`` the last that carried sound; ``spoke`` once any
    has."""

    talker: Talker
    since_ns: int
    heard_ns: int
    voice_ns: int
    spoke: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """Somebody's turn is over. ``spoke``: whether anything came from them."""

    talker: Talker
    since_ns: int
    until_ns: int
    reason: EndReason
    spoke: bool


class Floor:
    """One room's floor. Owned by whoever calls it; every ``now_ns`` is of one monotonic clock, in nanoseconds."""

    def __init__(self, settings: TalkSettings | None = None) -> None:
        self._settings = settings or TalkSettings()
        self._holding: Holding | None = None
        self._queue: list[Waiting] = []

    @property
    def holding(self) -> Holding | None:
        """Who holds the floor."""
        return self._holding

    @property
    def queue(self) -> Sequence[Waiting]:
        """Who waits, the next one first."""
        return tuple(self._queue)

    def request(self, talker: Talker, now_ns: int) -> Ended | None:
        """Ask for the floor; on return the talker has it. The turn that it ended, if it was somebody else's.

        Raises TalkBusyError with the place in the queue, where the talker waits now (0 if the queue is full).
        """
        holding = self._holding
        if holding is not None and holding.talker.id == talker.id:
            # Came back, on another line maybe.
            self._holding = replace(holding, talker=talker, heard_ns=now_ns, voice_ns=now_ns)
            return None
        if holding is None and (not self._queue or self._queue[0].talker.id == talker.id):
            self._grant(talker, now_ns)
            return None
        if holding is not None and talker.rank > holding.talker.rank:
            ended = self._end(now_ns, EndReason.SUPERIOR)
            self._insert(Waiting(holding.talker, holding.since_ns, now_ns, interrupted=True))
            self._grant(talker, now_ns)
            return ended
        place = self._wait(talker, now_ns)
        first = holding.talker if holding is not None else self._queue[0].talker
        raise TalkBusyError("somebody else speaks", speaker=first.name, office=first.office, place=place)

    def heard(self, talker_id: str, now_ns: int, *, voice: bool) -> None:
        """A packet of the holder's came; ``voice`` if it carries any sound. Anybody else's is nobody's business."""
        holding = self._holding
        if holding is None or holding.talker.id != talker_id:
            return
        spoke, voice_ns = (True, now_ns) if voice else (holding.spoke, holding.voice_ns)
        self._holding = replace(holding, heard_ns=now_ns, voice_ns=voice_ns, spoke=spoke)

    def release(self, talker_id: str, now_ns: int) -> Ended | None:
        """Let go of the floor, or of a place in the queue. The turn that ended, if it was the holder's.

        Raises TalkUnknownError if the talker has neither.
        """
        if self._holding is not None and self._holding.talker.id == talker_id:
            ended = self._end(now_ns, EndReason.RELEASED)
            self._next(now_ns)
            return ended
        remaining = [waiting for waiting in self._queue if waiting.talker.id != talker_id]
        if len(remaining) == len(self._queue):
            raise TalkUnknownError("this person neither speaks nor waits")
        self._queue = remaining
        return None

    def tick(self, now_ns: int) -> list[Ended]:
        """Let time do its work: turns that are over, in order. To be called about twice a second."""
        settings, ended = self._settings, []
        self._queue = [item for item in self._queue if now_ns - item.asked_ns < settings.asks_again_s * NS_PER_S]
        while (reason := self._overdue(now_ns)) is not None:
            ended.append(self._end(now_ns, reason))
            self._next(now_ns)
        return ended

    def close(self, now_ns: int) -> Ended | None:
        """The meeting is over: nobody speaks, nobody waits."""
        self._queue.clear()
        return self._end(now_ns, EndReason.CLOSED) if self._holding is not None else None

    def _overdue(self, now_ns: int) -> EndReason | None:
        holding, settings = self._holding, self._settings
        if holding is None:
            return None
        if now_ns - holding.heard_ns >= settings.vanished_s * NS_PER_S:
            return EndReason.VANISHED
        if now_ns - holding.voice_ns >= settings.silent_s * NS_PER_S:
            return EndReason.SILENT
        longest_s = settings.long_s if self._queue else settings.longest_s
        return EndReason.TOO_LONG if now_ns - holding.since_ns >= longest_s * NS_PER_S else None

    def _grant(self, talker: Talker, now_ns: int) -> None:
        self._queue = [waiting for waiting in self._queue if waiting.talker.id != talker.id]
        self._holding = Holding(talker, now_ns, now_ns, now_ns)

    def _end(self, now_ns: int, reason: EndReason) -> Ended:
        assert self._holding is not None
        holding, self._holding = self._holding, None
        return Ended(holding.talker, holding.since_ns, now_ns, reason, holding.spoke)

    def _next(self, now_ns: int) -> None:
        if self._queue:
            self._grant(self._queue[0].talker, now_ns)

    def _wait(self, talker: Talker, now_ns: int) -> int:
        """Keep or take a place in the queue; which one, from 1. 0 if there is none left."""
        known = next((item for item in self._queue if item.talker.id == talker.id), None)
        if known is not None:
            self._queue.remove(known)
            self._insert(replace(known, talker=talker, asked_ns=now_ns))
        elif len(self._queue) < self._settings.max_queue:
            self._insert(Waiting(talker, now_ns, now_ns))
        places = [item.talker.id for item in self._queue]
        return places.index(talker.id) + 1 if talker.id in places else 0

    def _insert(self, waiting: Waiting) -> None:
        self._queue.append(waiting)
        self._queue.sort(key=lambda item: (-item.talker.rank, not item.interrupted, item.since_ns))

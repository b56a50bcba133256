"""One medium to one viewer: where its numbers and times stand, and what it was sent.

While a viewer is in a :class:`~streaming.webrtc.lane.Lane`, what it was sent is what the lane was given; it is worked
out when somebody asks, and costs nothing per picture.
"""

import bisect
from collections import deque
from typing import TYPE_CHECKING, Protocol

from streaming.webrtc.relay_track import AGAIN_WITHIN, Batch, History, RelayTrack, Shape

if TYPE_CHECKING:
    from streaming.webrtc.lane import Lane

_KEPT = 256


class Owner(Protocol):
    """What is told of what a lane did for it."""

    def went(self, packets: int, size: int) -> None:
        """So many packets left, with so many octets on the wire."""
        ...

    def refused(self, packets: int) -> None:
        """Of those that are, or will be, told to have left, so many did not."""
        ...

    def failed(self) -> None:
        """Its packets can no longer be protected."""
        ...


class _Stretch:
    """What a lane sent: packets of the relay from its number ``start`` on, as they came."""

    __slots__ = ("history", "start")

    def __init__(self, history: History, start: int) -> None:
        self.history = history
        self.start = start


class Outgoing:
    """One medium to one viewer. In a lane, call :meth:`settle` before the numbers are read."""

    __slots__ = (
        "_bytes_mark",
        "_number_mark",
        "_octets_mark",
        "_sent",
        "due",
        "first",
        "lane",
        "octets",
        "owner",
        "packets",
        "place",
        "shape",
        "shift",
        "timestamp",
        "track",
        "waiting",
    )

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.owner: Owner | None = None
        self.first = 0
        """The number of the next packet; it never wraps."""
        self.shift = 0
        """What is added to the relay's timestamps."""
        self.timestamp: int | None = None
        """The last one sent."""
        self.packets = 0
        self.octets = 0
        self.track: RelayTrack | None = None
        """Where it comes from."""
        self.due = 0
        """The relay's number of what it has not been given yet."""
        self.waiting = True
        """For a place to begin."""
        self.lane: Lane | None = None
        self.place = 0
        """In the lane."""
        self._number_mark = self._octets_mark = self._bytes_mark = 0
        # (number of the first, what it was, moved by, at abs-send-time)
        self._sent: deque[tuple[int, Batch | _Stretch, int, int]] = deque(maxlen=_KEPT)

    def note(self, batch: Batch, shift: int, sent: int) -> int:
        """The batch goes out now, moved by ``shift``, at abs-send-time ``sent``; the number of its first packet."""
        if self.packets == 0:
            # The relay's own numbers, so that packets are the same for many. Not close before they wrap: a receiver
            # that lost the first ones would count the rollover otherwise than libsrtp (RFC 3711, 3.3.1).
            self.first = batch.first - (batch.first & 0x8000)
        first = self.first
        self._sent.append((first, batch, shift, sent))
        count = len(batch.packets)
        self.first = first + count
        self.packets += count
        self.octets += batch.size
        self.timestamp = batch.timestamp + shift
        return first

    def given(self, batch: Batch, track: RelayTrack) -> bool:
        """Whether it has had a batch of ``track``."""
        return self.track is track and self.due > batch.first

    def enter(self, lane: "Lane", place: int) -> None:
        """What comes goes with a lane's."""
        assert self.track is not None
        self.lane, self.place = lane, place
        self._number_mark, self._octets_mark, self._bytes_mark = lane.number, lane.octets, lane.size
        self._sent.append((self.first, _Stretch(self.track.history, lane.number), self.shift, 0))

    def settle(self) -> None:
        """Work out what the lane has sent so far."""
        lane = self.lane
        if lane is None or lane.number == self._number_mark:
            return
        count = lane.number - self._number_mark
        self.first += count
        self.packets += count
        self.octets += lane.octets - self._octets_mark
        self.timestamp = lane.timestamp + self.shift
        self.due = lane.number
        if self.owner is not None:
            self.owner.went(count, lane.size - self._bytes_mark)
        self._number_mark, self._octets_mark, self._bytes_mark = lane.number, lane.octets, lane.size
        # What it began with is too old to be sent again, and would stay in memory as long as the viewer.
        while len(self._sent) > 1 and self.first - self._sent[1][0] >= AGAIN_WITHIN:
            self._sent.popleft()

    def close(self) -> None:
        """Nothing is sent any more, nor sent again."""
        self.leave()
        self.owner = self.track = None
        self._sent.clear()

    def leave(self) -> None:
        """Go alone from now on."""
        if self.lane is not None:
            self.settle()
            lane, self.lane = self.lane, None
            lane.remove(self)

    def again(self, sequence: int) -> bytes | None:
        """Packet ``sequence`` (16 bits) as it was; None if it is too old or was never sent."""
        self.settle()
        number = self.first - ((self.first - sequence) & 0xFFFF)
        if self.first - number > AGAIN_WITHIN or number >= self.first:
            return None
        index = bisect.bisect_right(self._sent, number, key=lambda item: item[0]) - 1
        if index < 0:
            return None
        first, batch, shift, sent = self._sent[index]
        if isinstance(batch, _Stretch):
            found = batch.history.find(batch.start + number - first)
            if found is None:
                return None
            first += found.first - batch.start
            batch, sent = found, found.sent
        if number - first >= len(batch.packets):
            return None
        return batch.plain(self.shape, first, shift, sent)[number - first]

    def monotonic(self, timestamp: int) -> int:
        """The shift for a picture of the relay, so that time goes on."""
        if self.timestamp is not None and timestamp + self.shift <= self.timestamp:
            self.shift = self.timestamp + 1 - timestamp
        return self.shift

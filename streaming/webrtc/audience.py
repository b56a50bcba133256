"""Who gets one medium of a relay: most together, in lanes; who begins, is behind, or comes by TCP, alone."""

import asyncio
import logging
import time

from streaming.webrtc.lane import MAX_MEMBERS, Key, Lane
from streaming.webrtc.outgoing import Outgoing
from streaming.webrtc.relay_track import Batch, RelayTrack
from streaming.webrtc.viewer import PACE_BYTES, Viewer

log = logging.getLogger(__name__)

_TURN_S = 0.004
_LONGEST_TURN_S = 0.02
"""How long handing out packets, to all viewers of all streams, may keep the loop from cameras and everybody else: as
long as they have had it since the turn before, within these bounds. A loop with too much to do is shared by halves."""

_LOOK_EVERY = 8
"""Of viewers who are served alone."""


class Turns:
    """The event loop's turns, shared by all who hand out packets on it: each of a hundred streams alone takes little,
    but in one turn there may be some packets of every one. Used from one event loop only."""

    def __init__(self) -> None:
        self._is_new = True
        self._until = 0.0
        self._ended = 0.0

    def is_over(self) -> bool:
        """Whether it is others' turn."""
        # Not the loop's clock: uvloop's stands still during a turn.
        now = time.monotonic()
        if self._is_new:
            self._is_new = False
            self._until = now + min(max(now - self._ended, _TURN_S), _LONGEST_TURN_S)
            asyncio.get_running_loop().call_soon(self._begin)
        self._ended = now
        return now > self._until

    async def wait(self) -> None:
        """Until the turn of who asks."""
        while self.is_over():  # noqa: ASYNC110 - the next turn comes by itself
            await asyncio.sleep(0)

    def _begin(self) -> None:
        self._is_new = True


class Audience:
    """Owned by the relay; used from its event loop only."""

    def __init__(self, turns: Turns, *, pictures: bool) -> None:
        self._turns = turns
        self._pictures = pictures
        self._viewers: dict[Viewer, None] = {}
        self._alone: dict[Viewer, None] = {}
        self._lanes: dict[Lane, Key] = {}
        # Of each kind the one with room.
        self._open: dict[Key, Lane] = {}

    def __len__(self) -> int:
        return len(self._viewers)

    @property
    def viewers(self) -> tuple[Viewer, ...]:
        """All of them."""
        return tuple(self._viewers)

    @property
    def lanes(self) -> int:
        """How many lanes there are."""
        return len(self._lanes)

    def add(self, viewer: Viewer) -> None:
        """One more."""
        self._viewers[viewer] = self._alone[viewer] = None

    def remove(self, viewer: Viewer) -> None:
        """One less, if it was there."""
        if viewer in self._viewers:
            del self._viewers[viewer]
            outgoing = self._outgoing(viewer)
            if outgoing is not None:
                outgoing.leave()
            self._alone.pop(viewer, None)

    def clear(self) -> None:
        """Nobody any more."""
        for viewer in self.viewers:
            self.remove(viewer)

    async def give(self, batch: Batch, track: RelayTrack) -> None:
        """The batch to all who are there now; who comes meanwhile begins with it in the backlog."""
        turns = self._turns
        together = []
        for lane in tuple(self._lanes):
            wire = lane.wire(batch, track) if batch.size <= PACE_BYTES else None
            if wire is not None:
                together.append((lane, wire))
            else:
                for member in tuple(lane.members):
                    member.leave()
        for lane, wire in together:
            lane.give(batch, wire)
            if turns.is_over():
                await turns.wait()
        for number, viewer in enumerate(tuple(self._alone)):
            outgoing = self._outgoing(viewer)
            # Others had their turn meanwhile: it may have gone, or begun anew with this batch.
            if viewer in self._alone and outgoing is not None and not outgoing.given(batch, track):
                try:
                    self._deliver(viewer, outgoing, batch, track)
                except Exception:
                    # Whatever is wrong with one, the room's picture is everybody's.
                    log.exception("a viewer cannot be served")
                    self.remove(viewer)
                    viewer.dismiss()
            if number % _LOOK_EVERY == 0 and turns.is_over():
                await turns.wait()

    def _outgoing(self, viewer: Viewer) -> Outgoing | None:
        return viewer.video if self._pictures else viewer.audio

    def _deliver(self, viewer: Viewer, outgoing: Outgoing, batch: Batch, track: RelayTrack) -> None:
        if self._pictures:
            viewer.picture(batch, track)
        else:
            viewer.sound(batch, track)
        path = viewer.peer.shared_path if viewer.is_level(outgoing, batch) else None
        if path is None:
            return
        key = Lane.key_of(outgoing, viewer.peer.tag_bytes, path.outlet)
        lane = self._open.get(key)
        if lane is None:
            lane = Lane(batch, track, viewer.peer.tag_bytes, path.outlet, viewer.peer.scratch, self._left)
            self._open[key] = lane
            self._lanes[lane] = key
        lane.add(outgoing, path, viewer.peer.keys)
        self._alone.pop(viewer, None)
        if len(lane.members) >= MAX_MEMBERS:
            del self._open[key]

    def _left(self, lane: Lane, member: Outgoing) -> None:
        if isinstance(member.owner, Viewer) and member.owner in self._viewers:
            self._alone[member.owner] = None
        if lane.members:
            self._open.setdefault(self._lanes[lane], lane)
            return
        key = self._lanes.pop(lane)
        if self._open.get(key) is lane:
            del self._open[key]

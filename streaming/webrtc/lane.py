"""Viewers of one medium whose packets are the same but for their keys.

With a hundred viewers it is not the instructions that cost, but that each viewer's state has left the processor's
caches since the picture before. So nothing of a viewer is touched here but its keys and its address; the packets of
many viewers are protected side by side, and leave in one system call.
"""

from collections.abc import Callable
from typing import Any

from streaming.webrtc.dtls import Scratch
from streaming.webrtc.outgoing import Outgoing
from streaming.webrtc.relay_track import Batch, RelayTrack, Shape
from streaming.webrtc.udp import UdpOutlet, UdpPath
from streaming.webrtc.volley import MAX_MESSAGES, MAX_VIEWERS, NAME_BYTES, Volley
from streaming.webrtc.wire import SCRATCH_BYTES, Run, Wire

MAX_MEMBERS = 64
"""So many are served without giving way to anybody else: one or two milliseconds, ten for the largest picture."""

_LINE = 64

Key = tuple[bool, int, int]


class _Kind:
    """Members whose packets are the same: shape, and where their numbers and times stand against the relay's."""

    __slots__ = ("members", "offset", "plain", "shape", "shift")

    def __init__(self, shape: Shape, offset: int, shift: int) -> None:
        self.shape = shape
        self.offset = offset
        self.shift = shift
        self.members = 0
        self.plain = b""
        """Of the batch that is being given."""


class Lane:
    """Owned by the relay; used from its event loop only. ``number``, ``octets``, ``size`` (on the wire) and
    ``timestamp`` are where its members stand on the relay's counts."""

    def __init__(
        self,
        batch: Batch,
        track: RelayTrack,
        tag_bytes: int,
        outlet: UdpOutlet,
        scratch: Scratch,
        on_left: "Callable[[Lane, Outgoing], None]",
    ) -> None:
        assert outlet.volley is not None
        self.number = batch.next
        self.timestamp = batch.timestamp
        self.octets = 0
        self.size = 0
        self.members: list[Outgoing] = []
        self._on_left = on_left
        self._track = track
        self._tag_bytes = tag_bytes
        self._outlet = outlet
        self._volley: Volley = outlet.volley
        self._scratch = scratch
        self._kinds: dict[tuple[int, int, int], _Kind] = {}
        # By place, as the members are.
        self._kind_of: list[_Kind] = []
        self._paths: list[UdpPath] = []
        self._keys: list[Any] = []
        # So that they outlive what points into them.
        self._sessions: list[Any] = []
        self._names = bytearray()
        self._name_bytes = 0
        # Of the batch that is being given: another lane may learn meanwhile that the kernel cuts nothing.
        self._runs: tuple[Run, ...] = ()

    @staticmethod
    def key_of(member: Outgoing, tag_bytes: int, outlet: UdpOutlet) -> Key:
        """Members with the same key get packets of the same sizes through the same socket."""
        return (member.shape.send_time_id != 0, tag_bytes, id(outlet))

    def add(self, member: Outgoing, path: UdpPath, keys: tuple[Any, Any]) -> None:
        """Send to one more, who has had everything up to now."""
        offset = member.first - self.number
        name = (member.shape.key, offset & 0xFFFF, member.shift)
        kind = self._kinds.get(name)
        if kind is None:
            kind = self._kinds[name] = _Kind(member.shape, offset, member.shift)
        kind.members += 1
        member.enter(self, len(self.members))
        self.members.append(member)
        self._kind_of.append(kind)
        self._paths.append(path)
        self._sessions.append(keys[0])
        self._keys.append(keys[1])
        self._names += path.name.ljust(NAME_BYTES, b"\0")
        self._name_bytes = len(path.name)

    def remove(self, member: Outgoing) -> None:
        """Called by the member, who is in no lane any more."""
        place, last = member.place, len(self.members) - 1
        kind = self._kind_of[place]
        kind.members -= 1
        if not kind.members:
            del self._kinds[kind.shape.key, kind.offset & 0xFFFF, kind.shift]
        columns: tuple[list[Any], ...] = (self.members, self._kind_of, self._paths, self._sessions, self._keys)
        for column in columns:
            column[place] = column[last]
            column.pop()
        self._names[place * NAME_BYTES : (place + 1) * NAME_BYTES] = self._names[last * NAME_BYTES :]
        del self._names[last * NAME_BYTES :]
        if place < last:
            self.members[place].place = place
        self._on_left(self, member)

    def wire(self, batch: Batch, track: RelayTrack) -> Wire | None:
        """How the members' packets lie; None if the batch is not for them all as it comes."""
        if track is not self._track or batch.first != self.number or batch.timestamp <= self.timestamp:
            return None
        found: Wire | None = None
        for kind in self._kinds.values():
            first = batch.first + kind.offset
            if found is None:
                found = batch.live(kind.shape, first, kind.shift, self._tag_bytes)
                kind.plain = found.plain
            else:
                kind.plain = batch.like(found, kind.shape, first, kind.shift)
        if found is None or not found.fits:
            return None
        self._runs = found.runs if self._outlet.segmentation else found.single()
        return found if len(self._runs) <= MAX_MESSAGES else None

    def give(self, batch: Batch, wire: Wire) -> None:
        """Send a batch to all members, as :meth:`wire` has laid it out."""
        self.number += wire.count
        self.octets += batch.size
        self.size += wire.size
        self.timestamp = batch.timestamp
        count = len(self.members)
        if not count:
            return
        scratch, kinds = self._scratch, self._kind_of
        runs = self._runs
        stride = (wire.room + _LINE - 1) // _LINE * _LINE
        at_once = max(1, min(count, MAX_VIEWERS, SCRATCH_BYTES // stride, MAX_MESSAGES // len(runs)))
        places = scratch.places(wire, at_once, stride)
        self._volley.lay(runs, at_once, scratch.address, stride, self._name_bytes)
        protect, lengths = scratch.protect, wire.lengths
        cuts = any(run.count > 1 for run in runs)
        leaving: list[Outgoing] = []
        for start in range(0, count, at_once):
            end = min(start + at_once, count)
            for kind, keys, (at, pointers) in zip(kinds[start:end], self._keys[start:end], places, strict=False):
                if not protect(keys, kind.plain, at, pointers, lengths):
                    leaving.append(self._broken(start + at // stride, wire, at))
            # A copy: whoever still holds a view of them, if only in a traceback, would keep the next member out.
            names = bytes(self._names[start * NAME_BYTES : end * NAME_BYTES])
            refused = self._volley.fire(names, end - start)
            if cuts and len(refused) < end - start:
                # Somebody's were all taken: what was refused is not for want of a kernel that cuts.
                self._outlet.cut()
            for place, error in refused:
                slot, number = divmod(place, len(runs))
                leaving += self._refused(start + slot, runs[number], error, slot * stride)
        counters = self._outlet.counters
        counters.calls += -(-count // at_once)
        counters.sent += wire.count * count
        for member in leaving:
            member.leave()

    def _broken(self, place: int, wire: Wire, at: int) -> Outgoing:
        """Without keys nothing of the packets may leave."""
        self._scratch.view[at : at + wire.size] = bytes(wire.size)
        member = self.members[place]
        if member.owner is not None:
            member.owner.failed()
        return member

    def _refused(self, place: int, run: Run, error: int, at: int) -> list[Outgoing]:
        """The system did not take a run: packet by packet it may. Who is to leave the lane."""
        counters, member, path = self._outlet.counters, self.members[place], self._paths[place]
        counters.sent -= run.count
        went, leaving = 0, []
        if run.count > 1 and self._outlet.uncut(error):
            path.segments = False
            leaving.append(member)
            went = path.send_run(self._scratch.view[at:], run)
        else:
            counters.refused += run.count
        if went < run.count and member.owner is not None:
            member.owner.refused(run.count - went)
        return leaving

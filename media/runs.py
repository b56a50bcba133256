"""The two halves of a part that is being made: pictures with one held back, and sound that waits for its time."""

from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter
from typing import Final

from media.fmp4 import NON_SYNC_FLAGS, SYNC_FLAGS, sync_head, video_head
from media.segments import Chunk
from media.unit import NS_PER_S, AccessUnit

_by_dts = attrgetter("dts")
_DEFAULT_FPS: Final = 25
_DEFAULT_SOUND_UNIT_S: Final = 0.02
# A hole in the sound that one sample may span; past it a new fragment with its own tfdt begins.
_MAX_HOLE_S: Final = 1


class PictureRun:
    """Pictures of the open part. The newest is ``held`` until the next one tells how long it is shown.

    ``start`` is the decode time (ticks of ``rate``) of the part's first picture, ``held_dts`` that of the held one.
    """

    __slots__ = ("_duration", "_entries", "_payload", "held", "held_dts", "rate", "size", "start")

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.held: AccessUnit | None = None
        self.held_dts = 0
        self.start = 0
        self.size = 0
        self._duration = rate // _DEFAULT_FPS
        self._entries: list[int] = []
        self._payload: list[bytes] = []

    def __len__(self) -> int:
        return len(self._payload)

    def begin(self, unit: AccessUnit) -> None:
        """Hold the first picture after a pause. The part must be empty."""
        self.held = unit
        self.held_dts = self.start = unit.dts

    def add(self, held: AccessUnit, unit: AccessUnit, dts: int) -> None:
        """The ``held`` picture is shown until ``dts``; now ``unit`` is held."""
        data = held.data
        self._duration = duration = dts - self.held_dts
        flags = SYNC_FLAGS if held.keyframe else NON_SYNC_FLAGS
        self._entries += (duration, len(data), flags, (held.pts - self.held_dts) & 0xFFFFFFFF)
        self._payload.append(data)
        self.size += len(data)
        self.held = unit
        self.held_dts = dts

    def finish(self, until: int | None = None) -> None:
        """Let the held picture go: it is shown until ``until``, or as long as the one before it was."""
        if self.held is not None:
            self.add(self.held, self.held, self.held_dts + self._duration if until is None else until)
            self.held = None

    def chunk(self, number: int, track_id: int) -> Chunk:
        """The part's pictures as fragment ``number``; at least one must be there. The next part begins."""
        start, count = self.start, len(self._payload)
        head = video_head(number, track_id, start, self._entries, self.size)
        chunk = Chunk((head, *self._payload), start, self.held_dts - start, count, len(head) + self.size)
        self._entries = []
        self._payload = []
        self.size = 0
        self.start = self.held_dts
        return chunk

    @property
    def starts_with_keyframe(self) -> bool:
        """True if the part's first picture is a keyframe."""
        return bool(self._entries) and self._entries[2] == SYNC_FLAGS


class SoundRun:
    """Sound that is not in a part yet. ``end`` is where the sound given out so far ends, ticks of ``rate``."""

    __slots__ = ("end", "rate", "units")

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.end = 0
        self.units: list[AccessUnit] = []

    def ticks(self, ns: int) -> int:
        """The first tick at or after ``ns`` of the timeline."""
        return -(-ns * self.rate // NS_PER_S)

    def chunk(self, number: int, track_id: int, before: int | None) -> Chunk | None:
        """Sound that starts before tick ``before`` (all for None) as fragment ``number``; None if there is none.

        Time must not run backwards nor leap inside a fragment, so it may give less than all.
        """
        units = self.units
        if not units:
            return None
        if before is not None and units[-1].dts >= before:
            self.units = [unit for unit in units if unit.dts >= before]
            units = [unit for unit in units if unit.dts < before]
            if not units:
                return None
        else:
            self.units = []
        durations = [unit.duration for unit in units]
        start = units[0].dts
        last = durations[-1]
        if not last or units[-1].dts - start != sum(durations) - last:
            units, rest, durations = self._uneven(units)
            self.units = rest + self.units
            start = units[0].dts
        payload = [unit.data for unit in units]
        sizes = [len(data) for data in payload]
        head = sync_head(number, track_id, start, durations, sizes)
        duration = units[-1].dts - start + durations[-1]
        self.end = start + duration
        return Chunk((head, *payload), start, duration, len(units), len(head) + sum(sizes))

    def _uneven(self, units: Sequence[AccessUnit]) -> tuple[list[AccessUnit], list[AccessUnit], list[int]]:
        """Sound with holes, overlaps or of unknown length: each unit lasts until the next one begins.

        Units in order up to the first wide hole, those after it, and the durations of the former.
        """
        ordered = sorted(units, key=_by_dts)
        durations: list[int] = []
        widest = _MAX_HOLE_S * self.rate
        for unit, after in pairwise(ordered):
            step = after.dts - unit.dts
            if step > unit.duration + widest:
                break
            durations.append(step)
        count = len(durations) + 1
        durations.append(ordered[count - 1].duration or round(_DEFAULT_SOUND_UNIT_S * self.rate))
        return ordered[:count], ordered[count:], durations

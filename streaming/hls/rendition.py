"""One rendition of a window: its newest segments with their parts, and its playlist.

Segments here are those of the archive, except that one may be cut into several at part boundaries: the first ones after
a window opens, so that a player has whole segments at once, and those of cameras with very long GOPs, so that none
outgrows the target duration that a playlist must keep for life (RFC 8216, 6.2.1). Parts of the picture are the
archive's bytes; those of the sound hold its frames in groups of their own (:mod:`streaming.hls.sound`).
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from media.playlist import (
    InitMap,
    MediaPlaylist,
    PartEntry,
    RenditionReport,
    SegmentEntry,
    ServerControl,
    segment_text,
)
from media.unit import NS_PER_S, Track

LEAST_LISTED_TARGETS = 3
"""No segment is taken from a playlist that would be shorter than this without it, in target durations (6.2.2)."""
SHORTEST_PART = 0.85
"""Of the part target; all but a segment's last part are at least that long (RFC 8216bis, 4.4.4.9)."""
PART_SLACK = 1.02
"""Clocks of cameras are uneven: what is longer than a part may be by no more than this factor counts as that long."""
HOLE_S = 0.5
"""Renditions never end at the same moment; what is further off than this is missing."""
_UNHEARD_S = 0.03
"""So much may lie between the parts of a segment, all told, without being a hole."""
_ROUNDED_S = 0.49
"""Durations are rounded before they are compared to the target duration (RFC 8216, 4.3.3.1)."""
HOLD_BACK_PARTS = 3
"""PART-HOLD-BACK in part targets; RFC 8216bis, 4.4.3.8 wants at least two and recommends three."""


@dataclass(frozen=True, slots=True)
class WindowPart:
    """``moof`` + ``mdat`` of one part; ``dts`` in ticks of the track."""

    data: bytes
    dts: int
    duration_s: float
    independent: bool


@dataclass(slots=True)
class WindowSegment:
    """A segment in a window. ``init`` is the number in its init segment's address. ``track`` None: nothing in it.

    ``duration_s`` is seconds, so far. A whole segment with a hole (:attr:`has_hole`: sound that began late, or broke
    off; a picture that stood) lasts as long as if it had none, lest the renditions come apart; so does one without
    parts. ``start_utc_ns`` and ``whole_s`` are what all renditions last together, ``media_utc_ns`` when the first part
    is from.
    """

    msn: int
    init: int
    track: Track | None
    start_utc_ns: int
    discontinuity: bool
    parts: list[WindowPart] = field(default_factory=list)
    complete: bool = False
    duration_s: float = 0.0
    whole_s: float = 0.0
    media_utc_ns: int | None = None
    has_hole: bool = False
    _entries: dict[bool, SegmentEntry] = field(default_factory=dict)
    _part_entries: list[PartEntry] = field(default_factory=list)

    @property
    def ends_utc_ns(self) -> int:
        """Where it is told to end, so far."""
        return self.start_utc_ns + round(self.duration_s * NS_PER_S)

    def append(self, part: WindowPart) -> None:
        """One more part."""
        self.parts.append(part)
        self.duration_s += part.duration_s
        if self.track is not None:
            # With the time between two parts in which there was nothing.
            since_s = (part.dts - self.parts[0].dts) / self.track.clock_rate
            self.duration_s = max(self.duration_s, since_s + part.duration_s)

    def end(self, whole_s: float, part_s: float, longest_s: float) -> None:
        """It is whole, and lasts ``whole_s`` seconds, whatever there is in it. Its parts are to be ``part_s`` long, and
        it no longer than ``longest_s``."""
        self.complete = True
        self.whole_s = whole_s
        stood = any(part.duration_s > part_s * PART_SLACK for part in self.parts)
        apart = stood or abs(self.duration_s - whole_s) > HOLE_S or self.duration_s > longest_s
        self.has_hole = apart or self.duration_s - sum(part.duration_s for part in self.parts) > _UNHEARD_S
        if apart or not self.parts:
            self.duration_s = min(whole_s, longest_s)

    def entry(self, name: str, part_target_s: float, *, with_parts: bool) -> SegmentEntry:
        """How it stands in the playlist of the rendition ``name``, where no part may be told longer than its target."""
        found = self._entries.get(with_parts)
        if found is None:
            found = self._entry(name, part_target_s, with_parts=with_parts)
            if self.complete:
                # Nothing of it changes any more, and many playlists list it.
                found = self._entries[with_parts] = replace(found, text=segment_text(found))
        return found

    def _entry(self, name: str, part_target_s: float, *, with_parts: bool) -> SegmentEntry:
        known = self._part_entries
        for index, part in enumerate(self.parts[len(known) :], len(known)):
            uri = f"{name}/{self.msn}.{index}.m4s"
            known.append(PartEntry(uri, min(part.duration_s, part_target_s), part.independent))
        return SegmentEntry(
            uri=f"{name}/{self.msn}.m4s",
            duration_s=self.duration_s,
            start_utc_ns=self.start_utc_ns,
            map=InitMap(f"{name}/init-{self.init}.mp4") if self.track is not None else None,
            discontinuity=self.discontinuity,
            gap=self.complete and not self.parts,
            # Parts that do not add up to their segment would say that the hole is not there.
            parts=tuple(known) if with_parts and not self.has_hole else (),
        )

    @property
    def data(self) -> bytes:
        """All parts joined."""
        return b"".join([part.data for part in self.parts])

    @property
    def size(self) -> int:
        """Bytes, so far."""
        return sum(len(part.data) for part in self.parts)


@dataclass(frozen=True, slots=True)
class RenditionSettings:
    """``listed`` whole segments are in the playlist, more where they are short; the newest ``with_parts`` of them with
    their parts. ``part_target_s`` is the longest a part may be."""

    name: str
    part_target_s: float
    target_s: int
    listed: int = 6
    with_parts: int = 3


class Rendition:
    """Segments of one rendition, oldest first. Owned by the window's task, or by its sound's.

    What is no longer listed can still be fetched, for as long as it lasts itself and the longest playlist that had it
    (RFC 8216, 6.2.2): a player may be that far behind.
    """

    def __init__(self, settings: RenditionSettings) -> None:
        self.settings = settings
        self.part_target_s = settings.part_target_s
        """EXT-X-PART-INF's PART-TARGET: settled with the first playlist, the same ever after."""
        self._settled = False
        self.segments: deque[WindowSegment] = deque()
        self.version = 0
        self.unlisted_discontinuities = 0
        self.first_listed = 0
        self._longest_s = 0.0

    # Writing

    def begin(
        self, msn: int, *, init: int, track: Track | None, start_utc_ns: int, discontinuity: bool
    ) -> WindowSegment:
        """Open the next segment."""
        segment = WindowSegment(msn, init, track, start_utc_ns, discontinuity)
        if not self.segments:
            self.first_listed = max(self.first_listed, msn)
        self.segments.append(segment)
        self._prune()
        self.version += 1
        return segment

    def append(self, part: WindowPart) -> None:
        """Add a part to the open segment."""
        self.segments[-1].append(part)
        self.version += 1

    def end(self, gap_s: float) -> None:
        """Close the open segment, which lasts ``gap_s`` seconds, whatever there is in it."""
        self.segments[-1].end(gap_s, self.part_target_s, self.settings.target_s + _ROUNDED_S)
        self._prune()
        self.version += 1

    def clear(self) -> None:
        """Forget everything."""
        self.segments.clear()
        self.version += 1

    def follow(self, other: "Rendition") -> None:
        """Start anew at the first segment that ``other`` lists, and count discontinuities as it does."""
        self.segments.clear()
        self.first_listed = other.first_listed
        self.unlisted_discontinuities = other.unlisted_discontinuities
        self.version += 1

    def _prune(self) -> None:
        last = self.segments[-1]
        first = max(self.segments[0].msn, last.msn + last.complete - self.settings.listed)
        first = min(first, self._least_listed())
        for segment in self.segments:
            if self.first_listed <= segment.msn < first and segment.discontinuity:
                self.unlisted_discontinuities += 1
        self.first_listed = max(first, self.first_listed)
        # Of what came after a segment its last playlist had the first, and it was listed until one more was whole: only
        # what came then tells for how long players have had to do without it.
        self._longest_s = max(self._longest_s, sum(segment.duration_s for segment in self.listed()))
        listed_s = 2 * self._longest_s + self.settings.target_s
        since_s = sum(segment.duration_s for segment in self.segments if segment.complete)
        while self.segments[0].msn < self.first_listed and since_s >= self.segments[0].duration_s + listed_s:
            since_s -= self.segments.popleft().duration_s

    def _least_listed(self) -> int:
        """The number of the newest segment that must be the first one listed, lest too little is left."""
        left = LEAST_LISTED_TARGETS * self.settings.target_s
        seconds = 0.0
        for segment in reversed(self.segments):
            seconds += segment.duration_s if segment.complete else 0.0
            if seconds >= left:
                return segment.msn
        return self.segments[0].msn

    def settle_part_target(self) -> None:
        """What PART-TARGET is from the first playlist on: higher where pictures come more slowly than parts should,
        lower where so slowly that parts stay well below what they may be."""
        if self._settled:
            return
        self._settled = True
        every = [part.duration_s for segment in self.segments for part in segment.parts]
        # A segment's last part may be as short as it likes, and where it is the only one, it tells nothing.
        telling = any(len(segment.parts) > 1 for segment in self.segments)
        if every and min(every) > self.part_target_s:
            self.part_target_s = math.ceil(min(every) * PART_SLACK * 1e6) / 1e6
        elif telling and max(every) < SHORTEST_PART * self.part_target_s:
            self.part_target_s = math.ceil(max(every) * PART_SLACK * 1e6) / 1e6

    # Reading

    @property
    def longest_part_s(self) -> float:
        """What is longer is no part as it should be: something stood still meanwhile."""
        return max(self.part_target_s, self.settings.part_target_s)

    @property
    def whole(self) -> int:
        """How many whole segments can be fetched."""
        return sum(segment.complete for segment in self.segments)

    @property
    def next_msn(self) -> int:
        """The number of the segment that is open, or opens next; 0 while there is none at all."""
        if not self.segments:
            return 0
        last = self.segments[-1]
        return last.msn + 1 if last.complete else last.msn

    @property
    def next_part(self) -> int:
        """The index that the next part of the segment :attr:`next_msn` will have."""
        return 0 if not self.segments or self.segments[-1].complete else len(self.segments[-1].parts)

    def find(self, msn: int) -> WindowSegment | None:
        """The segment of this number, if it is still here."""
        if not self.segments:
            return None
        index = msn - self.segments[0].msn
        return self.segments[index] if 0 <= index < len(self.segments) else None

    def has(self, msn: int, part: int | None) -> bool:
        """Whether the playlist holds this segment (``part`` None: whole) or part, or something after it. A part past
        the last one of a whole segment counts as the first of the segment after it (RFC 8216bis, 6.2.5.2)."""
        if msn < self.next_msn:
            segment = self.find(msn)
            if part is None or segment is None or not segment.parts or part < len(segment.parts):
                return True
            msn, part = msn + 1, 0
            if msn < self.next_msn:
                return True
        return part is not None and msn == self.next_msn and part < self.next_part

    def listed(self) -> list[WindowSegment]:
        """The whole segments in the playlist."""
        return [segment for segment in self.segments if segment.complete and segment.msn >= self.first_listed]

    def discontinuities_before(self, msn: int) -> int:
        """EXT-X-DISCONTINUITY-SEQUENCE of a playlist that begins with segment ``msn``, itself listed."""
        inside = sum(s.discontinuity for s in self.segments if self.first_listed <= s.msn < msn)
        return self.unlisted_discontinuities + inside

    def report(self) -> RenditionReport | None:
        """How far this rendition has come, for the playlists of others (RFC 8216bis, 4.4.5.4)."""
        newest = next((segment for segment in reversed(self.segments) if segment.parts), None)
        if newest is None:
            return None
        return RenditionReport(f"{self.settings.name}.m3u8", newest.msn, len(newest.parts) - 1)

    def playlist(self, reports: Sequence[RenditionReport] = (), *, ended: bool) -> MediaPlaylist:
        """The low-latency playlist of now."""
        settings = self.settings
        self.settle_part_target()
        whole = self.listed()
        detailed = whole[-settings.with_parts].msn if len(whole) >= settings.with_parts else 0
        target_s = self.part_target_s
        entries = [segment.entry(settings.name, target_s, with_parts=segment.msn >= detailed) for segment in whole]
        last = self.segments[-1] if self.segments and not self.segments[-1].complete else None
        opened = last if last is not None and last.parts else None
        hint = None if ended else f"{settings.name}/{self.next_msn}.{self.next_part}.m4s"
        return MediaPlaylist(
            segments=entries,
            media_sequence=whole[0].msn if whole else self.next_msn,
            discontinuity_sequence=self.unlisted_discontinuities,
            target_duration_s=settings.target_s,
            ended=ended,
            independent_segments=False,
            part_target_s=target_s,
            server_control=ServerControl(
                can_block_reload=True,
                part_hold_back_s=HOLD_BACK_PARTS * target_s,
                hold_back_s=3.0 * settings.target_s,
            ),
            open_segment=opened.entry(settings.name, target_s, with_parts=True) if opened is not None else None,
            preload_uri=hint,
            rendition_reports=reports,
            start_offset_s=self._start_offset([*whole, opened] if opened is not None else whole),
        )

    def _start_offset(self, newest: list[WindowSegment]) -> float | None:
        """Where players should start if not near the end: at the newest keyframe of a camera with long GOPs."""
        distance = 0.0
        for back, segment in enumerate(reversed(newest)):
            # Of the open one players know its parts alone, and none as longer than it may be.
            told = (min(part.duration_s, self.part_target_s) for part in segment.parts)
            distance += segment.duration_s if segment.complete else sum(told)
            if segment.parts and segment.parts[0].independent:
                return -distance if back > 0 and not self._begins_independent(newest[-1]) else None
        return None

    @staticmethod
    def _begins_independent(segment: WindowSegment) -> bool:
        return any(part.independent for part in segment.parts)

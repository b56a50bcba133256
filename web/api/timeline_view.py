"""A meeting's timeline and story, composed from rows. Pure functions."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from media.unit import NS_PER_S, GapCause
from storage.records import GapRecord, StoryEntry
from web.api.present import PLAN, at, at_or_none
from web.api.schemas.meetings import Span, StoryKind, TimelineGap
from web.api.schemas.meetings import StoryEntry as ShownEntry
from web.county import CountyPicture
from web.messages import Catalog

# Segments of one recording meet to within a picture; what is further apart is a gap.
JOIN_NS = NS_PER_S // 2

_DAMAGE = GapCause.PACKETS_LOST

# Icons by kind of story entry; the sentences are in the catalogs' group ``story``.
_ICONS = {
    "meeting-planned": StoryKind.PLAN,
    "meeting-changed": StoryKind.PLAN,
    "meeting-cancelled": StoryKind.END,
    "meeting-missed": StoryKind.END,
    "meeting-started": StoryKind.START,
    "meeting-started-late": StoryKind.START,
    "meeting-ended": StoryKind.END,
    "recording-runs": StoryKind.START,
    "recording-resumed": StoryKind.RETURN,
    "not-recorded": StoryKind.LOSS,
    "recorded-late": StoryKind.LOSS,
    "looked-in": StoryKind.LOOK,
    "looked-back": StoryKind.LOOK,
    "downloaded": StoryKind.DOWNLOAD,
}


_TOLD_BY_GAPS = {"media-lost", "media-back"}


@dataclass(frozen=True, slots=True)
class Stretch:
    """From and to, Unix nanoseconds."""

    start_ns: int
    end_ns: int


def joined(stretches: Iterable[Stretch], within_ns: int = JOIN_NS) -> list[Stretch]:
    """Stretches in order, those that meet or overlap made one."""
    result: list[Stretch] = []
    for stretch in sorted(stretches, key=lambda item: item.start_ns):
        if result and stretch.start_ns - result[-1].end_ns <= within_ns:
            result[-1] = Stretch(result[-1].start_ns, max(result[-1].end_ns, stretch.end_ns))
        else:
            result.append(stretch)
    return result


def length_s(stretches: Iterable[Stretch]) -> float:
    """Seconds of all stretches together."""
    return round(sum(item.end_ns - item.start_ns for item in stretches) / NS_PER_S, 1)


def missing_s(gaps: Iterable[GapRecord], now_ns: int) -> float:
    """Seconds in which nothing was recorded, open gaps up to now; damaged stretches are not missing."""
    stretches = [
        Stretch(gap.start_utc_ns, gap.end_utc_ns if gap.end_utc_ns is not None else max(now_ns, gap.start_utc_ns))
        for gap in gaps
        if gap.cause != _DAMAGE
    ]
    return length_s(joined(stretches, 0))


def shown_spans(stretches: Sequence[Stretch]) -> list[Span]:
    """Spans for the API."""
    return [Span(starts_at=at(item.start_ns), ends_at=at(item.end_ns)) for item in stretches]


def shown_gaps(gaps: Iterable[GapRecord], catalog: Catalog) -> list[TimelineGap]:
    """Gaps for the API, with their cause in words."""
    return [
        TimelineGap(
            starts_at=at(gap.start_utc_ns),
            ends_at=at_or_none(gap.end_utc_ns),
            cause=_cause(gap.cause),
            cause_text=catalog.text("gaps", gap.cause),
            packets=gap.packets,
            damaged_only=gap.cause == _DAMAGE,
        )
        for gap in gaps
    ]


def _cause(name: str) -> GapCause:
    try:
        return GapCause(name)
    except ValueError:
        return GapCause.DISCONNECTED


def story(
    entries: Iterable[StoryEntry], gaps: Iterable[GapRecord], picture: CountyPicture, catalog: Catalog
) -> list[ShownEntry]:
    """The story in order of time: what was written down, and each loss and return of the picture. Losses are taken from
    the gaps, which are evidence, and not told a second time."""
    shown = [_entry(entry, picture, catalog) for entry in entries if entry.kind not in _TOLD_BY_GAPS]
    for gap in gaps:
        shown.extend(_loss(gap, catalog))
    return sorted(shown, key=lambda item: item.at)


def _entry(entry: StoryEntry, picture: CountyPicture, catalog: Catalog) -> ShownEntry:
    params = {key: value for key, value in entry.params.items() if isinstance(value, str | int | float)}
    code = entry.kind
    by = params.get("by")
    if by == PLAN and catalog.knows("story", f"{code}-by-plan"):
        code = f"{code}-by-plan"
    elif isinstance(by, str) and by in picture.users:
        params["name"] = picture.users[by].display_name
    return ShownEntry(
        at=at(entry.at_utc_ns),
        until=None,
        kind=_ICONS.get(entry.kind, StoryKind.NOTE),
        code=code,
        params=params,
        text=catalog.text("story", code, params),
    )


def _loss(gap: GapRecord, catalog: Catalog) -> list[ShownEntry]:
    cause = catalog.text("gaps", gap.cause)
    start, end = at(gap.start_utc_ns), at_or_none(gap.end_utc_ns)
    if gap.cause == _DAMAGE:
        params: dict[str, str | int | float] = {"cause": cause, "packets": gap.packets}
        text = catalog.text("story", "damaged", params)
        return [ShownEntry(at=start, until=end, kind=StoryKind.LOSS, code="damaged", params=params, text=text)]
    # Rounded up: a gap on record is never told as none.
    seconds = 0 if gap.end_utc_ns is None else math.ceil((gap.end_utc_ns - gap.start_utc_ns) * 10 / NS_PER_S) / 10
    params = {"cause": cause, "seconds": seconds}
    code = "gap-open" if end is None else "gap"
    text = catalog.text("story", code, params)
    entries = [ShownEntry(at=start, until=end, kind=StoryKind.LOSS, code=code, params=params, text=text)]
    if end is not None:
        back = catalog.text("story", "picture-back")
        entries.append(ShownEntry(at=end, until=None, kind=StoryKind.RETURN, code="picture-back", params={}, text=back))
    return entries

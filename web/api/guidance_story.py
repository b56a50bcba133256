"""Notes and who looked in, as entries of a meeting's story. Pure functions."""

from collections.abc import Iterable, Sequence

from media.unit import NS_PER_S
from storage.records import Attendance, GuidanceNote, StoryEntry
from web.api.present import at, at_or_none
from web.api.schemas.meetings import StoryEntry as ShownEntry
from web.api.schemas.meetings import StoryKind
from web.messages import Catalog

_NEAR_NS = 120 * NS_PER_S


def without_looks(entries: Iterable[StoryEntry], attendance: Sequence[Attendance]) -> list[StoryEntry]:
    """The story without the lines of looks that attendance tells better, with both ends."""

    def is_told(entry: StoryEntry) -> bool:
        return entry.kind == "looked-in" and any(
            item.user_id == entry.params.get("user") and item.from_utc_ns - _NEAR_NS <= entry.at_utc_ns <= _end(item)
            for item in attendance
        )

    return [entry for entry in entries if not is_told(entry)]


def _end(item: Attendance) -> int:
    return (item.to_utc_ns or item.seen_utc_ns) + _NEAR_NS


def guidance_story(
    notes: Iterable[GuidanceNote], attendance: Iterable[Attendance], catalog: Catalog
) -> list[ShownEntry]:
    """Entries for the API, in no order."""
    found: list[ShownEntry] = []
    for note in notes:
        found.extend(_note(note, catalog))
    for item in attendance:
        params: dict[str, str | int | float] = {"office": item.office_name, "name": item.name, "user": item.user_id}
        text = catalog.text("story", "attended", params).strip()
        start, end = at(item.from_utc_ns), at_or_none(item.to_utc_ns)
        found.append(ShownEntry(at=start, until=end, kind=StoryKind.LOOK, code="attended", params=params, text=text))
    return found


def _note(note: GuidanceNote, catalog: Catalog) -> list[ShownEntry]:
    params: dict[str, str | int | float] = {
        "note": note.id,
        "note_kind": catalog.text("notes", note.kind.value),
        "office": note.office_name,
        "name": note.author_name,
        "text": note.text,
    }
    text = catalog.text("story", "note", params)
    entries = [
        ShownEntry(at=at(note.at_utc_ns), until=None, kind=StoryKind.NOTE, code="note", params=params, text=text)
    ]
    if note.answered_utc_ns is not None:
        answered = catalog.text("story", "note-answered", params)
        entries.append(
            ShownEntry(
                at=at(note.answered_utc_ns),
                until=None,
                kind=StoryKind.NOTE,
                code="note-answered",
                params={"note": note.id},
                text=answered,
            )
        )
    return entries

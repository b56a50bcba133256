"""The manifest: at the end of a recording, all that is known of it in one JSON object beside its media.

Everything that it says can be checked with the objects alone, without Sanhui or its database:

1. ``sha256sum`` of each object is ``objects[].sha256``.
2. The bytes ``offset … offset + size`` of an object hash to ``objects[].segments[].ranges[].sha256``
   (``tail -c +$((offset + 1)) file | head -c size | sha256sum``).
3. ``chain``: start with 32 octets of zero; for each segment, SHA-256 over the hash before, the SHA-256 of its video
   (track 1), that of its sound (track 2; of nothing where it lacks) and the canonical JSON of its facts gives
   ``segments[].chain``. The facts and their canonical form are in recorder.chain.
4. Where a segment does not begin where the one before ended, ``gaps`` says why.

``notes`` are what officials wrote while it was recorded, with the moments they are about, and when the room was shown
and answered each; ``attendance`` is who looked in, from when to when.
"""

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from media.unit import NS_PER_S
from recorder.facts import segment_to_json
from recorder.spool_format import SpoolFile
from storage.records import (
    GENESIS_HASH,
    Attendance,
    GapRecord,
    GuidanceNote,
    MediaObject,
    Recording,
    RecordingPeriod,
    TalkEntry,
)

CONTENT_TYPE = "application/json"
VERSION = 1


def manifest_key(recording_id: str) -> str:
    """Where a recording's manifest lies."""
    return f"recordings/{recording_id}/manifest.json"


def build_manifest(
    recording: Recording,
    periods: Sequence[RecordingPeriod],
    objects: Sequence[MediaObject],
    gaps: Sequence[GapRecord],
    notes: Sequence[GuidanceNote] = (),
    attendance: Sequence[Attendance] = (),
    talks: Sequence[TalkEntry] = (),
) -> bytes:
    """The manifest's octets: the same for the same rows."""
    value: dict[str, Any] = {
        "version": VERSION,
        "recording": recording.id,
        "meeting": recording.meeting_id,
        "camera": recording.camera_id,
        "content": recording.kind.value,
        "started_utc_ns": recording.started_utc_ns,
        "ended_utc_ns": recording.ended_utc_ns,
        "periods": [
            {
                "number": period.number,
                "tracks": period.tracks,
                "init": {str(track): base64.b64encode(data).decode() for track, data in sorted(period.init.items())},
            }
            for period in periods
        ],
        "objects": [
            {
                "number": item.number,
                "key": item.key,
                "size": item.size,
                "sha256": item.sha256,
                "period": item.period,
                "start_utc_ns": item.start_utc_ns,
                "end_utc_ns": item.end_utc_ns,
                "segments": [segment_to_json(segment) for segment in item.segments],
            }
            for item in objects
        ],
        "gaps": [
            {
                "start_utc_ns": gap.start_utc_ns,
                "end_utc_ns": gap.end_utc_ns,
                "cause": gap.cause,
                "packets": gap.packets,
                "detail": gap.detail,
            }
            for gap in gaps
        ],
        **_guidance(recording, notes, attendance, talks),
        "chain": {"first": GENESIS_HASH, "last": objects[-1].chain if objects else GENESIS_HASH},
    }
    return json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1).encode()


def _guidance(
    recording: Recording, notes: Sequence[GuidanceNote], attendance: Sequence[Attendance], talks: Sequence[TalkEntry]
) -> dict[str, Any]:
    """Who looked in, what they wrote and when they spoke."""
    return {
        "notes": [
            {
                "id": note.id,
                "kind": note.kind.value,
                "text": note.text,
                "author": note.author_name,
                "office": note.office_name,
                "at_utc_ns": note.at_utc_ns,
                "written_utc_ns": note.written_utc_ns,
                "shown_utc_ns": note.shown_utc_ns,
                "answered_utc_ns": note.answered_utc_ns,
            }
            for note in notes
        ],
        "attendance": [
            {
                "name": entry.name,
                "office": entry.office_name,
                "superior": entry.superior,
                "from_utc_ns": entry.from_utc_ns,
                "to_utc_ns": _end(entry.to_utc_ns, recording),
            }
            for entry in attendance
        ],
        "talks": [
            {
                "id": talk.id,
                "name": talk.talker_name,
                "office": talk.office_name,
                "started_utc_ns": talk.started_utc_ns,
                "ended_utc_ns": _end(talk.ended_utc_ns, recording),
            }
            for talk in talks
        ],
    }


def _end(known_utc_ns: int | None, recording: Recording) -> int | None:
    """Whoever looked or spoke until the end is noticed to be gone a moment after it."""
    ends = [utc_ns for utc_ns in (known_utc_ns, recording.ended_utc_ns) if utc_ns is not None]
    return min(ends, default=None)


def object_metadata(spool: SpoolFile, sha256: str) -> dict[str, str]:
    """What goes to the store with an object, and lets the archive be read without the database."""
    first, last = spool.segments[0].facts, spool.segments[-1].facts
    return {
        **spool.header.metadata,
        "recording": spool.header.recording,
        "meeting": spool.header.meeting,
        "camera": spool.header.camera,
        "object": str(spool.header.number),
        "period": str(spool.header.period),
        "start": _utc(first.start_utc_ns),
        "end": _utc(last.end_utc_ns),
        "segments": str(len(spool.segments)),
        "sha256": sha256,
        "chain-before": spool.header.chain,
        "chain-after": last.chain,
    }


def _utc(utc_ns: int) -> str:
    return datetime.fromtimestamp(utc_ns / NS_PER_S, UTC).isoformat(timespec="milliseconds")

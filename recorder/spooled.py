"""What of a recording is still in the spool: whole segments that no row tells of yet, for whoever plays them."""

import asyncio
from pathlib import Path

from recorder.facts import tracks_to_json
from recorder.running import RunningRecordings
from recorder.spool_format import SpooledSegment, SpoolHeader
from recorder.spool_object import read_pieces
from recorder.uploader import Uploader
from storage.records import RecordingPeriod, StoredSegment


class SpooledMedia:
    """Looks at the files that wait for the uploader and at those that recordings here still write. Owned by their event
    loop."""

    def __init__(self, uploader: Uploader, recordings: RunningRecordings) -> None:
        self._uploader = uploader
        self._recordings = recordings

    def grows(self, recording_id: str) -> bool:
        """Whether the recording is still written: that its meeting has ended is on record before its last part is."""
        return self._recordings.running(recording_id) is not None

    async def spooled_segments(self, recording_id: str) -> tuple[tuple[int, StoredSegment], ...]:
        """Whole segments of a recording that are still in the spool, in order (those in rows may be among them), each
        with the number of its period.

        ``offset`` of their track ranges is where they will be in their object.
        """
        return tuple((header.period, item.facts) for header, _, item in self._spooled(recording_id))

    async def spooled_periods(self, recording_id: str) -> tuple[RecordingPeriod, ...]:
        """Periods of :meth:`spooled_segments`, in order; their rows may not be there yet."""
        found: dict[int, RecordingPeriod] = {}
        for header, _, _ in self._spooled(recording_id):
            if header.period not in found:
                found[header.period] = RecordingPeriod(
                    recording_id=recording_id,
                    number=header.period,
                    tracks=tracks_to_json(header.tracks),
                    init=dict(header.track_init),
                )
        return tuple(found[number] for number in sorted(found))

    async def read_spooled(self, recording_id: str, sequence: int, track_id: int) -> bytes | None:
        """A track's bytes of a spooled segment; None if it has left the spool (then its object is committed), or has
        nothing of that track. Raises SpoolError, OSError."""
        for _, path, item in self._spooled(recording_id):
            if item.facts.sequence == sequence and track_id in item.pieces:
                try:
                    return await asyncio.to_thread(read_pieces, path, item.pieces[track_id])
                except FileNotFoundError:
                    return None
        return None

    def _spooled(self, recording_id: str) -> list[tuple[SpoolHeader, Path, SpooledSegment]]:
        found = [
            (spool.header, spool.path, item)
            for spool in self._uploader.pending(recording_id)
            for item in spool.segments
        ]
        recording = self._recordings.known(recording_id)
        if recording is not None:
            found += [(file.header, file.path, item) for file in recording.files for item in file.segments]
        return found

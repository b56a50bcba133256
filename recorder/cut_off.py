"""Recordings that were cut off, by a crash or by an outage: where they go on, and how they end."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from media.unit import NS_PER_S, GapCause
from recorder.plan import ResumePoint
from recorder.spool_format import SpoolFile
from storage.database import Database
from storage.records import GapRecord, MediaObject, Recording, RecordingKind, RecordingPeriod, RecordingState


def resume_point(
    row: Recording,
    last: MediaObject | None,
    periods: Sequence[RecordingPeriod],
    gaps: Sequence[GapRecord],
    pending: Sequence[SpoolFile],
) -> ResumePoint:
    """Where a recording goes on after its ``last`` committed object and what is ``pending``: its spool files that are
    not yet stored, in order. At its own start where there is neither. What ``gaps``, or those in the files, tell of
    already is not told again."""
    point = ResumePoint.fresh(row.started_utc_ns)
    if last is not None:
        number = max((period.number for period in periods), default=last.period)
        point = ResumePoint(last.number + 1, last.chain, number + 1, last.end_utc_ns, GapCause.SERVICE_DOWN)
    spooled = [spool for spool in pending if spool.segments]
    if spooled and spooled[-1].header.number >= point.number:
        newest = spooled[-1]
        point = ResumePoint(
            newest.header.number + 1,
            newest.chain,
            max(point.period, newest.header.period + 1),
            newest.segments[-1].facts.end_utc_ns,
            GapCause.SERVICE_DOWN,
        )
    return replace(point, missing_since_utc_ns=_told_until(point.missing_since_utc_ns, gaps, pending))


def lasting(gaps: Sequence[GapRecord], pending: Sequence[SpoolFile]) -> GapRecord | None:
    """The gap that lasts, if one does. The spool may know the end of one whose row the database did not take."""
    ends = _ends(pending)
    return next((gap for gap in reversed(gaps) if gap.end_utc_ns is None and ends.get(gap.start_utc_ns) is None), None)


def _ends(pending: Sequence[SpoolFile]) -> Mapping[int, int | None]:
    """When gaps end of which spool files tell, by their beginning."""
    return {gap.start_utc_ns: gap.end_utc_ns for spool in pending for gap in spool.gaps}


def _told_until(media_end_utc_ns: int, gaps: Sequence[GapRecord], pending: Sequence[SpoolFile]) -> int:
    """Up to when it is known what became of the media that is missing after ``media_end_utc_ns``."""
    until = media_end_utc_ns
    told = [(gap.start_utc_ns, gap.end_utc_ns) for gap in (*gaps, *(gap for spool in pending for gap in spool.gaps))]
    for start, end in sorted((start, end) for start, end in told if end is not None):
        if start <= until < end:
            until = end
    return until


async def finish_cut_off(
    database: Database, row: Recording, pending: Sequence[SpoolFile], end_utc_ns: int, *, tolerance_s: float
) -> None:
    """End a recording that no task here runs: what is missing up to its end is on record as the service's absence,
    unless it is shorter than ``tolerance_s``, a gap that lasted tells of it, or nothing was missing: guidance is spoken
    now and then. Raises DatabaseError."""
    async with database.read() as repos:
        last = await repos.objects.last(row.id)
        gaps = await repos.gaps.of_recording(row.id)
    stored_end = last.end_utc_ns if last is not None else row.started_utc_ns
    media_end = max([*(spool.segments[-1].facts.end_utc_ns for spool in pending if spool.segments), stored_end])
    media_end = _told_until(media_end, gaps, pending)
    ends = _ends(pending)
    async with database.transaction() as repos:
        until = end_utc_ns
        for gap in await repos.gaps.open(row.id):
            end = ends.get(gap.start_utc_ns)
            await repos.gaps.close(gap.id, max(end_utc_ns, gap.start_utc_ns) if end is None else end)
            until = min(until, gap.start_utc_ns) if end is None else until
        if row.kind is RecordingKind.CAMERA and until - media_end > int(tolerance_s * NS_PER_S):
            gap = GapRecord(
                recording_id=row.id,
                start_utc_ns=media_end,
                end_utc_ns=until,
                cause=GapCause.SERVICE_DOWN.value,
            )
            await repos.gaps.save(gap)
        if row.state is RecordingState.RECORDING:
            await repos.recordings.set_state(row.id, RecordingState.FINISHING, end_utc_ns)


def with_torn_marked(recovered: Sequence[SpoolFile]) -> list[SpoolFile]:
    """Only the newest file of a recording may have a torn tail; in an older one that is damage."""
    newest = {spool.header.recording: spool.header.number for spool in recovered}
    return [
        replace(spool, torn_inside=True)
        if spool.valid_bytes < spool.size and spool.header.number < newest[spool.header.recording]
        else spool
        for spool in recovered
    ]

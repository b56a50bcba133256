"""What should run, compared with what does: pure decisions over rows, so that every case can be tested alone."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from media.unit import NS_PER_S
from recorder.meetings import datetime_of, ends_at, utc_ns_of
from recorder.state import RecorderSettings
from storage.database import Database
from storage.records import MeetingState, OpenMeeting, RecordingKind, RecordingState, UnfinishedRecording


@dataclass(frozen=True, slots=True)
class Rows:
    """What the database says at one moment."""

    meetings: tuple[OpenMeeting, ...]
    active: tuple[UnfinishedRecording, ...]


@dataclass(frozen=True, slots=True)
class Todo:
    """What has to be done so that what runs is what should run, in this order.

    ``miss`` and ``start``: meetings whose time has passed, and those that are due. All others are ids. ``end``:
    meetings whose time is over, with the time at which they ended. ``record``: meetings that run and are to be
    recorded, yet are not; with their recording where it has a row. ``finish``: recordings of meetings that are over.
    ``stop``: recordings that run though their meeting does not.
    """

    miss: tuple[OpenMeeting, ...]
    end: tuple[tuple[str, int], ...]
    start: tuple[OpenMeeting, ...]
    record: tuple[tuple[str, str | None], ...]
    finish: tuple[str, ...]
    stop: tuple[str, ...]


async def read_rows(database: Database, utc_ns: int) -> Rows:
    """Raises DatabaseError."""
    now = datetime_of(utc_ns)
    async with database.read() as repos:
        return Rows(meetings=await repos.meetings.open(now), active=await repos.recordings.unfinished())


def compare(
    rows: Rows,
    utc_ns: int,
    *,
    recorded: Collection[str],
    finishing: Collection[str],
    settings: RecorderSettings,
    settled: bool = True,
) -> Todo:
    """``recorded``: ids of recordings that run here; ``finishing``: of those whose end is under way here. ``settled``:
    whether the clock can be trusted; while it cannot, a meeting that seems to be over and is not recorded here is let
    be: what is ended does not go on, and a room is not recorded after its meeting. None is called missed either: one
    without a planned end would stay so."""
    over: list[tuple[str, int]] = []
    record: list[tuple[str, str | None]] = []
    by_meeting: dict[str, list[UnfinishedRecording]] = {}
    for recording in rows.active:
        by_meeting.setdefault(recording.meeting_id, []).append(recording)
    running = [meeting for meeting in rows.meetings if meeting.state is MeetingState.RUNNING]
    for meeting in running:
        end = ends_at(meeting, settings.end_grace_s, settings.longest_s)
        if end is not None and end <= utc_ns:
            if settled or any(recording.id in recorded for recording in by_meeting.get(meeting.id, ())):
                over.append((meeting.id, end))
        elif meeting.recorded:
            known = _of_camera(by_meeting.get(meeting.id, ()), meeting.camera_id)
            if known is None or (known.state is RecordingState.RECORDING and known.id not in recorded):
                record.append((meeting.id, known.id if known is not None else None))
            for guidance in by_meeting.get(meeting.id, ()):
                lost = guidance.state is RecordingState.RECORDING and guidance.id not in recorded
                if guidance.kind is RecordingKind.GUIDANCE and lost:
                    record.append((meeting.id, guidance.id))
    miss, start = _come(rows.meetings, utc_ns, settings.longest_s)
    held = {meeting.id for meeting in running}
    finish = tuple(
        recording.id for recording in rows.active if recording.meeting_id not in held and recording.id not in finishing
    )
    wanted = {recording.id for recording in rows.active if recording.meeting_id in held}
    stop = tuple(recording for recording in recorded if recording not in wanted)
    return Todo(tuple(miss) if settled else (), tuple(over), tuple(start), tuple(record), finish, stop)


def _come(
    meetings: Sequence[OpenMeeting], utc_ns: int, longest_s: float
) -> tuple[list[OpenMeeting], list[OpenMeeting]]:
    """Of those that were not held yet: who has missed its time, and who is to start."""
    miss: list[OpenMeeting] = []
    start: list[OpenMeeting] = []
    # Without a planned end a meeting cannot be overdue by plan; yet nobody expects last week's to begin now.
    oldest = utc_ns - int(longest_s * NS_PER_S)
    for meeting in meetings:
        if meeting.state is MeetingState.RUNNING:
            continue
        is_over = meeting.planned_end is not None and utc_ns_of(meeting.planned_end) <= utc_ns
        if not is_over and utc_ns_of(meeting.planned_start) >= oldest:
            start.append(meeting)
        elif meeting.state is MeetingState.PLANNED:
            miss.append(meeting)
    return miss, start


def _of_camera(recordings: Sequence[UnfinishedRecording], camera_id: str) -> UnfinishedRecording | None:
    of_kind = (recording for recording in recordings if recording.kind is RecordingKind.CAMERA)
    return next((recording for recording in of_kind if recording.camera_id == camera_id), None)

"""What should run, compared with what does: every case, over rows alone."""

from dataclasses import replace
from datetime import timedelta

from media.unit import NS_PER_S
from recorder.meetings import datetime_of, ends_at, utc_ns_of
from recorder.reconcile import Rows, compare
from recorder.state import RecorderSettings
from storage.records import (
    MeetingState,
    OpenMeeting,
    RecordingKind,
    RecordingState,
    UnfinishedRecording,
)
from tests.recorder.house import START_NS

NOW = START_NS
SETTINGS = RecorderSettings()
AT = datetime_of(START_NS)
RECORDING = UnfinishedRecording("r1", "m1", "cam", RecordingState.RECORDING, RecordingKind.CAMERA)


RUNNING = OpenMeeting(
    "m1", "cam", MeetingState.RUNNING, AT, AT + timedelta(hours=1), started_utc_ns=START_NS, recorded=True
)


def rows(**given: tuple[object, ...]) -> Rows:
    empty = Rows(meetings=(), active=())
    return replace(empty, **given)  # type: ignore[arg-type]


def test_nothing_to_do() -> None:
    todo = compare(
        rows(meetings=(RUNNING,), active=(RECORDING,)), NOW, recorded=["r1"], finishing=[], settings=SETTINGS
    )
    assert (todo.miss, todo.end, todo.start, todo.record, todo.finish, todo.stop) == ((), (), (), (), (), ())


def test_what_is_recorded_here_ends_at_its_time_also_soon_after_the_machines_start() -> None:
    later = NOW + 7200 * NS_PER_S
    given = rows(meetings=(RUNNING,), active=(RECORDING,))
    for recorded, ended in (([], ()), (["r1"], ("m1",))):
        todo = compare(given, later, recorded=recorded, finishing=[], settings=SETTINGS, settled=False)
        assert tuple(meeting for meeting, _ in todo.end) == ended
        assert todo.record == ()


def test_due_is_started_but_not_what_was_forgotten_long_ago() -> None:
    planned = replace(RUNNING, state=MeetingState.PLANNED, started_utc_ns=None)
    forgotten = replace(planned, id="m0", planned_start=AT - timedelta(days=3), planned_end=None)
    over = replace(planned, id="m2", planned_start=AT - timedelta(hours=1), planned_end=AT)
    too_soon = replace(planned, id="m3", state=MeetingState.MISSED)
    given = rows(meetings=(planned, forgotten, over, too_soon, replace(over, id="m4", state=MeetingState.MISSED)))
    todo = compare(given, NOW, recorded=[], finishing=[], settings=SETTINGS)
    assert todo.start == (planned, too_soon)
    assert todo.miss == (forgotten, over)


def test_running_without_recording_is_recorded() -> None:
    todo = compare(rows(meetings=(RUNNING,)), NOW, recorded=[], finishing=[], settings=SETTINGS)
    assert todo.record == (("m1", None),)
    todo = compare(rows(meetings=(RUNNING,), active=(RECORDING,)), NOW, recorded=[], finishing=[], settings=SETTINGS)
    assert todo.record == (("m1", "r1"),)


def test_refused_or_switched_off_is_not() -> None:
    refused = replace(RUNNING, recorded=False)
    todo = compare(rows(meetings=(refused,)), NOW, recorded=[], finishing=[], settings=SETTINGS)
    assert todo.record == ()


def test_the_plans_end_counts_unless_the_meeting_was_started_after_it() -> None:
    over = NOW + 3600 * NS_PER_S
    todo = compare(
        rows(meetings=(RUNNING,), active=(RECORDING,)), over, recorded=["r1"], finishing=[], settings=SETTINGS
    )
    assert todo.end == (("m1", over),)
    by_hand = replace(RUNNING, started_utc_ns=over + NS_PER_S)
    todo = compare(
        rows(meetings=(by_hand,), active=(RECORDING,)),
        over + 60 * NS_PER_S,
        recorded=["r1"],
        finishing=[],
        settings=SETTINGS,
    )
    assert todo.end == ()
    assert ends_at(by_hand, 0, 12 * 3600) == over + NS_PER_S + 12 * 3600 * NS_PER_S


def test_recordings_of_what_is_over_are_finished_once() -> None:
    finishing = replace(RECORDING, state=RecordingState.FINISHING)
    given = rows(active=(finishing,))
    assert compare(given, NOW, recorded=[], finishing=[], settings=SETTINGS).finish == ("r1",)
    assert compare(given, NOW, recorded=[], finishing=["r1"], settings=SETTINGS).finish == ()


def test_what_runs_here_and_should_not_is_stopped() -> None:
    assert compare(rows(), NOW, recorded=["r9"], finishing=[], settings=SETTINGS).stop == ("r9",)


def test_times_survive_the_way_there_and_back() -> None:
    assert utc_ns_of(datetime_of(1_760_000_000_123_456_000)) == 1_760_000_000_123_456_000

"""Where a recording goes on after a crash, and how one ends that nobody runs any more: no time is told of twice."""

from dataclasses import replace
from pathlib import Path

import pytest

from media.unit import NS_PER_S, GapCause
from recorder import meetings
from recorder.cut_off import finish_cut_off, lasting, resume_point
from recorder.spool_format import media_path
from recorder.spool_read import read_spool
from storage.records import GapRecord, Recording, RecordingKind
from tests.recorder.house import START_NS, house
from tests.recorder.spooled import written
from tests.support import events

ROW = Recording(id="rec1", meeting_id="meeting1", camera_id="camera1", started_utc_ns=START_NS)


def gap(start_s: float, end_s: float | None, cause: GapCause = GapCause.STORAGE_LOST) -> GapRecord:
    end = None if end_s is None else START_NS + round(end_s * NS_PER_S)
    return GapRecord(
        recording_id="rec1", start_utc_ns=START_NS + round(start_s * NS_PER_S), end_utc_ns=end, cause=cause.value
    )


@pytest.mark.parametrize(
    ("gaps", "since_s"),
    [
        ([], 0),
        ([gap(0, 2)], 2),
        ([gap(2, 3), gap(0, 2)], 3),
        ([gap(1, 3)], 0),  # what is missing before it is told of nowhere
        ([gap(-5, 1)], 1),
        ([gap(0, None)], 0),  # it lasts, and is the recording's own to go on with
    ],
)
def test_what_a_gap_tells_of_already_is_not_the_services_absence(gaps: list[GapRecord], since_s: float) -> None:
    point = resume_point(ROW, None, (), gaps, ())
    assert point.missing_since_utc_ns == START_NS + round(since_s * NS_PER_S)


async def test_media_that_a_spool_file_tells_of_as_lost_is_lost_by_the_storage_alone(tmp_path: Path) -> None:
    spool = await written(tmp_path, 3)
    media_path(spool.path).write_bytes(b"")
    damaged = read_spool(spool.path)
    assert damaged is not None
    assert [item.cause for item in damaged.gaps] == [GapCause.STORAGE_LOST] * len(damaged.gaps)
    row = Recording(id="rec1", meeting_id="meeting1", camera_id="camera1", started_utc_ns=events.START_NS)
    point = resume_point(row, None, (), (), [damaged])
    assert point.missing_since_utc_ns == spool.segments[-1].facts.end_utc_ns


async def test_what_nobody_runs_any_more_ends_with_what_is_not_yet_told(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan()
        begun = await meetings.begin(home.database, meeting, START_NS, "user1", late_ns=10**15)
        row = begun.recording
        assert row is not None
        async with home.database.transaction() as repos:
            await repos.gaps.save(replace(gap(0, 2), recording_id=row.id))
        await finish_cut_off(home.database, row, (), START_NS + 10 * NS_PER_S, tolerance_s=0.5)
        lost, away = await home.gaps(meeting)
    assert (lost.cause, lost.end_utc_ns) == (GapCause.STORAGE_LOST, START_NS + 2 * NS_PER_S)
    assert (away.cause, away.start_utc_ns) == (GapCause.SERVICE_DOWN, lost.end_utc_ns)
    assert away.end_utc_ns == START_NS + 10 * NS_PER_S


async def test_a_camera_that_was_away_when_the_service_went_is_why_nothing_came(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan()
        row = (await meetings.begin(home.database, meeting, START_NS, "user1", late_ns=10**15)).recording
        assert row is not None
        async with home.database.transaction() as repos:
            await repos.gaps.save(replace(gap(0, None, GapCause.DISCONNECTED), recording_id=row.id))
        await finish_cut_off(home.database, row, (), START_NS + 10 * NS_PER_S, tolerance_s=0.5)
        (away,) = await home.gaps(meeting)
    assert (away.cause, away.start_utc_ns) == (GapCause.DISCONNECTED, START_NS)
    assert away.end_utc_ns == START_NS + 10 * NS_PER_S


async def test_a_gap_that_the_spool_knows_to_be_over_does_not_reach_over_its_media(tmp_path: Path) -> None:
    spool = await written(tmp_path / "apart", 3)
    start, end = spool.segments[0].facts.start_utc_ns, spool.segments[-1].facts.end_utc_ns
    async with house(tmp_path) as home:
        meeting = await home.plan()
        row = (await meetings.begin(home.database, meeting, START_NS, "user1", late_ns=10**15)).recording
        assert row is not None
        away_since = replace(gap(0, None, GapCause.DISCONNECTED), recording_id=row.id, start_utc_ns=start - NS_PER_S)
        async with home.database.transaction() as repos:
            await repos.gaps.save(away_since)
        spool = replace(spool, gaps=(replace(away_since, end_utc_ns=start),))
        row = replace(row, started_utc_ns=start - NS_PER_S)
        await finish_cut_off(home.database, row, (spool,), end + 10 * NS_PER_S, tolerance_s=0.5)
        away, down = await home.gaps(meeting)
    assert (away.cause, away.end_utc_ns) == (GapCause.DISCONNECTED, start)
    assert (down.cause, down.start_utc_ns, down.end_utc_ns) == (GapCause.SERVICE_DOWN, end, end + 10 * NS_PER_S)


async def test_nothing_is_missing_where_nobody_spoke(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await home.plan()
        await meetings.begin(home.database, meeting, START_NS, "user1", late_ns=10**15)
        _, row = await meetings.add_guidance_recording(home.database, meeting, START_NS)
        assert row.kind is RecordingKind.GUIDANCE
        await finish_cut_off(home.database, row, (), START_NS + 10 * NS_PER_S, tolerance_s=0.5)
        async with home.database.read() as repos:
            assert await repos.gaps.of_recording(row.id) == ()


async def test_a_gap_that_the_spool_knows_to_be_over_does_not_go_on(tmp_path: Path) -> None:
    spool = await written(tmp_path, 3)
    row = gap(-1, None, GapCause.DISCONNECTED)
    assert lasting([row], [spool]) == row
    assert lasting([row], [replace(spool, gaps=(gap(-1, 0, GapCause.DISCONNECTED),))]) is None

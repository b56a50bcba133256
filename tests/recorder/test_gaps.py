"""Gap rows: merged, stretched, opened, closed, and never lost while the database is away."""

import asyncio
from pathlib import Path

import pytest

from media.unit import NS_PER_S, Gap, GapCause
from recorder.gaps import GapBook, Ledger
from recorder.state import RecorderMetrics
from recorder.told import Told
from storage.errors import DatabaseUnavailableError
from storage.records import Recording
from tests.recorder.house import START_NS, House, house, until
from tests.support.clocks import FakeClock
from tests.support.faults import Faults, FaultyDatabase

S = NS_PER_S


def book() -> GapBook:
    return GapBook("rec1", 2 * S, RecorderMetrics())


def lost(start: int, end: int, packets: int = 1) -> Gap:
    return Gap(start * S, end * S, GapCause.PACKETS_LOST, packets)


async def with_recording(home: House) -> None:
    meeting = await home.plan()
    async with home.database.transaction() as repos:
        await repos.recordings.add(Recording(id="rec1", meeting_id=meeting, camera_id="cam", started_utc_ns=START_NS))


def test_gaps_close_together_become_one() -> None:
    gaps = book()
    gaps.add(lost(10, 11))
    record = gaps.add(lost(12, 13, 4))
    assert (record.start_utc_ns, record.end_utc_ns, record.packets) == (10 * S, 13 * S, 5)
    assert gaps.add(lost(20, 21)).start_utc_ns == 20 * S


def test_gaps_of_other_causes_stay_apart() -> None:
    gaps = book()
    gaps.add(lost(10, 11))
    other = gaps.add(Gap(11 * S, 12 * S, GapCause.CLOCK_JUMP))
    assert (other.start_utc_ns, other.cause) == (11 * S, "clock-jump")


def test_a_hole_is_covered_by_stretching_what_is_known_of_it() -> None:
    gaps = book()
    gaps.add(Gap(11 * S, 14 * S, GapCause.SILENT))
    record = gaps.cover(10 * S, 15 * S, GapCause.DISCONNECTED)
    assert (record.start_utc_ns, record.end_utc_ns, record.cause) == (10 * S, 15 * S, "silent")
    fresh = gaps.cover(30 * S, 31 * S, GapCause.OVERLOADED)
    assert (fresh.start_utc_ns, fresh.cause) == (30 * S, "overloaded")


def test_a_gap_that_has_just_ended_goes_on() -> None:
    gaps = book()
    gaps.begin(10 * S, GapCause.STORAGE_LOST)
    gaps.begin(11 * S, GapCause.DISCONNECTED)
    assert gaps.finish(20 * S) is not None
    gaps.begin(20 * S, GapCause.STORAGE_LOST)
    record = gaps.finish(30 * S)
    assert record is not None
    assert (record.start_utc_ns, record.end_utc_ns, record.cause) == (10 * S, 30 * S, "storage-lost")
    assert gaps.finish(31 * S) is None


def test_a_gap_does_not_go_on_over_media_that_is_there() -> None:
    gaps = book()
    gaps.begin(10 * S, GapCause.STORAGE_LOST)
    gaps.finish(20 * S)
    gaps.begin(21 * S, GapCause.STORAGE_LOST)
    record = gaps.finish(30 * S)
    assert record is not None
    assert (record.start_utc_ns, record.end_utc_ns) == (21 * S, 30 * S)
    gaps.add(Gap(40 * S, 45 * S, GapCause.DISCONNECTED))
    assert gaps.add(Gap(46 * S, 50 * S, GapCause.DISCONNECTED)).start_utc_ns == 46 * S


def test_a_hole_beside_a_gap_of_another_cause_is_a_gap_of_its_own() -> None:
    gaps = book()
    gaps.add(Gap(10 * S, 12 * S, GapCause.STORAGE_LOST))
    record = gaps.cover(12 * S, 20 * S, GapCause.SILENT)
    assert (record.start_utc_ns, record.end_utc_ns, record.cause) == (12 * S, 20 * S, "silent")


async def on_record(folder: Path, gaps: GapBook) -> list[tuple[int, int | None, str]]:
    """The rows of a book: from and to, and why."""
    async with house(folder) as home:
        await with_recording(home)
        await gaps.save(home.database)
        async with home.database.read() as repos:
            rows = await repos.gaps.of_recording("rec1")
    return [(r.start_utc_ns // S, None if r.end_utc_ns is None else r.end_utc_ns // S, r.cause) for r in rows]


async def test_what_is_missing_is_named_once_whatever_was_known_of_it(tmp_path: Path) -> None:
    gaps = book()
    gaps.add(lost(11, 12))
    gaps.add(Gap(14 * S, 16 * S, GapCause.DISCONNECTED))
    gaps.begin(18 * S, GapCause.SILENT)
    gaps.miss(10 * S, 20 * S, GapCause.STORAGE_LOST)
    gaps.miss(9 * S, 10 * S, GapCause.STORAGE_LOST)
    assert await on_record(tmp_path, gaps) == [
        (9, 14, "storage-lost"),
        (11, 12, "packets-lost"),
        (14, 16, "disconnected"),
        (16, 18, "storage-lost"),
        (18, None, "silent"),
    ]


async def test_what_is_missing_before_an_open_gap_of_its_cause_is_that_gap(tmp_path: Path) -> None:
    gaps = book()
    gaps.begin(18 * S, GapCause.STORAGE_LOST)
    gaps.miss(16 * S, 18 * S, GapCause.STORAGE_LOST)
    gaps.miss(17 * S, 30 * S, GapCause.STORAGE_LOST)
    assert await on_record(tmp_path, gaps) == [(16, None, "storage-lost")]


async def test_growing_while_it_is_saved_is_not_lost(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        await with_recording(home)
        ledger = Ledger(home.database, RecorderMetrics(), Told(FakeClock()), merge_gaps_s=2, retry_s=0.01)
        gaps = ledger.book("rec1")
        gaps.begin(10 * S, GapCause.DISCONNECTED)
        saving = asyncio.create_task(ledger.save())
        await asyncio.sleep(0)
        gaps.finish(20 * S, GapCause.SILENT)
        ledger.retire("rec1")
        await saving
        async with home.database.read() as repos:
            (row,) = await repos.gaps.of_recording("rec1")
        assert (row.start_utc_ns, row.end_utc_ns, row.cause) == (10 * S, 20 * S, "silent")


async def test_saved_again_in_a_later_life_it_is_one_row(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        await with_recording(home)
        for end in (20, 25, 22):
            ledger = Ledger(home.database, RecorderMetrics(), Told(FakeClock()), merge_gaps_s=2, retry_s=0.01)
            ledger.book("rec1").add(Gap(10 * S, end * S, GapCause.SILENT))
            await ledger.save()
        async with home.database.read() as repos:
            (row,) = await repos.gaps.of_recording("rec1")
        assert (row.start_utc_ns, row.end_utc_ns) == (10 * S, 25 * S)


async def test_a_gap_that_grows_while_it_joins_a_longer_row_leaves_that_row_whole(tmp_path: Path) -> None:
    """Clocks that are set on and back: the jump on was longer than what the next two say."""
    async with house(tmp_path) as home:
        await with_recording(home)
        ledger = Ledger(home.database, RecorderMetrics(), Told(FakeClock()), merge_gaps_s=2, retry_s=0.01)
        gaps = ledger.book("rec1")
        gaps.add(Gap(100 * S, 4000 * S, GapCause.CLOCK_JUMP))
        await ledger.save()
        gaps.add(Gap(90 * S, 90 * S, GapCause.CLOCK_JUMP))
        gaps.add(Gap(92 * S, 3000 * S, GapCause.CLOCK_JUMP))
        saving = asyncio.create_task(ledger.save())
        await asyncio.sleep(0)
        gaps.add(Gap(3001 * S, 3100 * S, GapCause.CLOCK_JUMP))
        await saving
        async with home.database.read() as repos:
            (row,) = await repos.gaps.of_recording("rec1")
        assert (row.start_utc_ns, row.end_utc_ns) == (90 * S, 4000 * S)


async def test_while_the_database_is_away_gaps_and_story_wait(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        await with_recording(home)
        async with home.database.read() as repos:
            meeting = (await repos.recordings.get("rec1")).meeting_id
        faults = Faults(away=True)
        ledger = Ledger(
            FaultyDatabase(home.database, faults), RecorderMetrics(), Told(FakeClock()), merge_gaps_s=2, retry_s=0.01
        )
        task = asyncio.create_task(ledger.run())
        ledger.book("rec1").add(lost(10, 11))
        ledger.tell(meeting, START_NS, "media-lost", {"camera": "cam"})
        ledger.tell("nobody", START_NS, "media-lost")
        ledger.changed()
        await until(lambda: ledger.away)
        with pytest.raises(DatabaseUnavailableError):
            await ledger.save()
        faults.away = False
        await until(lambda: not ledger.away)
        assert await home.story(meeting) == ["media-lost"]
        async with home.database.read() as repos:
            assert len(await repos.gaps.of_recording("rec1")) == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_camera_that_counts_wrongly_for_hours_keeps_nobodys_gaps_from_the_database(
    tmp_path: Path, postgres_url: str
) -> None:
    async with house(tmp_path, url=postgres_url) as home:
        await with_recording(home)
        ledger = Ledger(home.database, RecorderMetrics(), Told(FakeClock()), merge_gaps_s=2, retry_s=0.01)
        for second in range(4):
            ledger.book("rec1").add(Gap(second * S, (second + 1) * S, GapCause.PACKETS_LOST, 2**30))
        await ledger.save()
        async with home.database.read() as repos:
            (row,) = await repos.gaps.of_recording("rec1")
        assert (row.start_utc_ns, row.end_utc_ns, row.packets) == (0, 4 * S, 2**31 - 1)


async def test_a_story_line_whose_commit_is_not_heard_of_is_told_once(tmp_path: Path) -> None:
    def unheard(name: str, count: int) -> None:
        if name == "after commit" and count == 2:
            raise DatabaseUnavailableError("the answer is lost")

    async with house(tmp_path) as home:
        meeting = await home.plan()
        database = FaultyDatabase(home.database, Faults(strike=unheard))
        ledger = Ledger(database, RecorderMetrics(), Told(FakeClock()), merge_gaps_s=2, retry_s=0.01)
        ledger.tell(meeting, START_NS, "media-lost", {"camera": "cam", "cause": "silent"})
        ledger.tell(meeting, START_NS, "media-back", {"camera": "cam", "missing_ns": 5})
        with pytest.raises(DatabaseUnavailableError):
            await ledger.save()
        await ledger.save()
        assert await home.story(meeting) == ["media-lost", "media-back"]


async def test_a_database_that_comes_and_goes_is_one_line_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with house(tmp_path) as home:
        faults, clock = Faults(), FakeClock()
        database = FaultyDatabase(home.database, faults)
        ledger = Ledger(database, RecorderMetrics(), Told(clock), merge_gaps_s=2, retry_s=0.01)
        task = asyncio.create_task(ledger.run())

        async def goes_and_comes() -> None:
            faults.away = True
            ledger.tell("nobody", START_NS, "media-lost")
            await until(lambda: ledger.away)
            faults.away = False
            await until(lambda: not ledger.away)

        def lines() -> int:
            return sum("does not take gaps and story" in record.getMessage() for record in caplog.records)

        for _ in range(5):
            await goes_and_comes()
            clock.advance(30.0)
        assert lines() == 1
        clock.advance(60.0)
        await goes_and_comes()
        assert lines() == 2
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

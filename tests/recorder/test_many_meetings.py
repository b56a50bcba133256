"""Meetings that begin and end in the same minute, as a county's do: none waits for another."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from media.unit import NS_PER_S
from recorder import meetings
from recorder.check import check
from recorder.recording import Recording
from recorder.service import RecorderService
from storage.database import Database
from storage.records import MeetingState
from storage.repositories.meetings import MeetingRepository
from tests.recorder.house import START_NS, House, house, until


async def feed(home: House, recorder: RecorderService, seconds: float, recordings: int = 1) -> None:
    """Send so much and wait until each recording has taken it."""
    before = recorder.metrics.parts
    home.camera.feed(seconds)
    wanted = before + recordings * (round(seconds * 2) - 1)
    await until(lambda: recorder.metrics.parts >= wanted, f"{seconds} s taken")


async def test_the_next_meeting_in_a_room_does_not_wait_for_the_last_one_to_close(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        first = await home.plan(length_s=6.0)
        second = await home.plan(start_s=6.0, length_s=3600.0, title="支委会")
        home.camera.connect()
        async with home.service() as recorder:
            overlaps = asyncio.Event()

            async def last_words(meeting_id: str) -> None:
                if meeting_id == first:
                    await until(lambda: recorder.live_state(second) is not None, "the next one begins")
                    overlaps.set()

            recorder.on_end.append(last_words)
            await home.runs(recorder, first)
            home.camera.feed(4.0)
            await asyncio.wait_for(overlaps.wait(), 20)
            await home.complete(first)
            await feed(home, recorder, 4.0)
            await recorder.end_meeting(second, "user1")
        for meeting in (first, second):
            await home.complete(meeting)
            await home.verify(meeting)
            assert await home.gaps(meeting) == []
        assert (await check(home.database, home.store)).findings == []


async def test_meetings_that_end_together_are_closed_together(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        ending = [await home.plan(length_s=6.0) for _ in range(3)]
        home.camera.connect()
        async with home.service() as recorder:
            closing = 0
            together = asyncio.Event()

            async def last_words(_meeting_id: str) -> None:
                nonlocal closing
                closing += 1
                try:
                    await until(lambda: closing == len(ending) or together.is_set(), "all are at it")
                    together.set()
                finally:
                    closing -= 1

            recorder.on_end.append(last_words)
            for meeting in ending:
                await home.runs(recorder, meeting)
            await asyncio.wait_for(together.wait(), 20)
            for meeting in ending:
                await home.complete(meeting)
        for meeting in ending:
            await home.verify(meeting)


async def test_a_service_that_ends_closes_its_recordings_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping: set[str] = set()
    real = Recording.stopped

    async def stopped(recording: Recording) -> None:
        stopping.add(recording.plan.meeting)
        await until(lambda: len(stopping) == 3, "all are at it")
        await real(recording)

    monkeypatch.setattr(Recording, "stopped", stopped)
    async with house(tmp_path) as home:
        running = [await home.plan() for _ in range(3)]
        home.camera.connect()
        async with home.service() as recorder:
            for meeting in running:
                await home.runs(recorder, meeting)
        for meeting in running:
            assert await home.verify(meeting)


@pytest.mark.parametrize("error", [ValueError("a row that makes no sense"), KeyError("tracks")])
async def test_what_is_wrong_with_one_meeting_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """After a restart in particular: the rooms behind it are to be taken up again."""
    async with house(tmp_path) as home:
        running = [await home.plan() for _ in range(3)]
        home.camera.connect()
        async with home.service() as recorder:
            for meeting in running:
                await home.runs(recorder, meeting)
        real = RecorderService._resume  # noqa: SLF001 - where rows are read

        async def resume(recorder: RecorderService, place: object, row: object) -> None:
            if getattr(row, "meeting_id", "") == min(running):
                raise error
            await real(recorder, place, row)  # type: ignore[arg-type]

        monkeypatch.setattr(RecorderService, "_resume", resume)
        async with home.service() as recorder:
            for meeting in sorted(running)[1:]:
                await until(lambda meeting=meeting: recorder.live_state(meeting) is not None, "taken up")  # type: ignore[misc]
            assert recorder.live_state(min(running)) is None
            assert "task-failed" in recorder.warnings


async def test_a_meeting_called_missed_while_the_clock_was_ahead_is_held(tmp_path: Path) -> None:
    """A machine whose hardware clock shows local time is eight hours ahead until NTP has set it."""
    async with house(tmp_path) as home:
        later = await home.plan(start_s=3600.0)
        now = await home.plan(start_s=2.0)
        home.clock.step_ns = 8 * 3600 * NS_PER_S
        async with home.service() as recorder:
            async with asyncio.timeout(20):
                while {(await home.meeting(item)).state for item in (later, now)} != {MeetingState.MISSED}:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            home.clock.step_ns = 0
            home.camera.connect()
            home.clock.now_ns += 2 * NS_PER_S
            home.camera.second += 2.0
            await home.runs(recorder, now)
            await feed(home, recorder, 4.0)
            assert (await home.meeting(later)).state is MeetingState.MISSED
            await recorder.end_meeting(now, "user1")
        assert (await home.meeting(now)).state is MeetingState.ENDED
        assert await home.verify(now)


async def test_who_refuses_to_be_recorded_at_the_last_moment_is_not(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another transaction changes the plan between the look at it and the start."""
    async with house(tmp_path, url=postgres_url) as home:
        meeting = await home.plan()
        real = MeetingRepository.start

        async def start(repository: MeetingRepository, meeting_id: str, utc_ns: int, by: str) -> bool:
            await refuse(home.database, meeting)
            return await real(repository, meeting_id, utc_ns, by)

        monkeypatch.setattr(MeetingRepository, "start", start)
        begun = await meetings.begin(home.database, meeting, START_NS, "user1", late_ns=NS_PER_S)
        assert begun.recording is None
        assert not await refuse(home.database, meeting), "it has begun"
        assert await home.story(meeting) == ["meeting-started", "not-recorded"]


async def refuse(database: Database, meeting_id: str) -> bool:
    async with database.transaction() as repos:
        planned = await repos.meetings.get(meeting_id)
        return await repos.meetings.replan(replace(planned, record=False, no_record_reason="涉密"))

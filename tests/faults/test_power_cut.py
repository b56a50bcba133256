"""The power goes: what was not synced is thrown away, and at most one segment of each recording is lost."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from media.unit import NS_PER_S
from tests.faults.conftest import Moments
from tests.faults.scene import QUICK, SEGMENT_S, STEP_S, meeting_resumed
from tests.recorder.house import house, until
from tests.support.encoded import ORIGIN_NS
from tests.support.faults import Faults, FaultyDatabase
from tests.support.faults_disk import WatchedDisk

PLAYED_S = 18.0
DARK_S = 60.0


async def played(folder: Path, spare: Path, caplog: pytest.LogCaptureFixture) -> tuple[str, WatchedDisk]:
    """A meeting under watch; what was there before is copied to ``spare``. Its id, and all that was done."""
    async with house(folder, QUICK) as home:
        meeting = await home.plan(length_s=48 * 3600.0)
    shutil.copytree(folder, spare)
    disk = WatchedDisk(folder)
    wal = folder / "sanhui.db-wal"

    def commits(name: str, _count: int) -> None:
        if name.endswith("commit"):
            disk.note(name, wal.stat().st_size if wal.exists() else 0)

    async with house(folder, QUICK, built=True) as home:
        # A reader that stays keeps SQLite from moving its log into the file: the log then tells all commits.
        with contextlib.closing(sqlite3.connect(folder / "sanhui.db")) as reader, disk.watching():
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM meeting").fetchall()
            database = FaultyDatabase(home.database, Faults(strike=commits))
            async with meeting_resumed(home, caplog, meeting, database=database) as scene:
                while scene.fed_s < PLAYED_S:
                    await scene.play(STEP_S)
                    await until(lambda: scene.recorder.metrics.spool_pending_bytes == 0)
                    state = scene.recorder.live_state(meeting)
                    assert state is not None
                    disk.note("written", state.last_part_utc_ns)
                await scene.stored()
            shutil.copy(wal, spare / "all.wal")
            reader.rollback()
    return meeting, disk


async def test_the_power_goes_at_any_moment(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, moments: Moments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recorder.spool_writer._LINGER_S", 0.005)
    spare = tmp_path / "before"
    meeting, disk = await played(tmp_path / "played", spare, caplog)
    log = disk.log
    first = 1 + next(index for index, done in enumerate(log) if done.what == "written")
    assert sum(done.what == "sync" for done in log) > 10
    for number, chance in enumerate(moments):
        moment = chance.randrange(first, len(log))
        folder = tmp_path / f"cut-{number}"
        shutil.copytree(spare, folder)
        disk.after_power_cut(moment, chance, folder)
        before, after = log[:moment], log[moment:]
        committed = next((done.data for done in reversed(before) if done.what == "after commit"), 0)
        last = next(done.what for done in reversed(before) if done.what.endswith("commit") or done is log[0])
        if last == "before commit" and chance.random() < 0.5:
            # It was on the disk already, and nobody had heard of it.
            committed = next((done.data for done in after if done.what == "after commit"), committed)
        (folder / "sanhui.db-wal").write_bytes((folder / "all.wal").read_bytes()[:committed])
        written_ns = next(done.data for done in reversed(before) if done.what == "written")
        await assert_recovered(folder, meeting, caplog, written_ns)
        shutil.rmtree(folder)


async def assert_recovered(folder: Path, meeting: str, caplog: pytest.LogCaptureFixture, written_ns: int) -> None:
    async with house(folder, QUICK, built=True) as home:
        home.camera.second += PLAYED_S + DARK_S
        home.camera.epoch += 1
        home.clock.now_ns = ORIGIN_NS + round(home.camera.second * NS_PER_S)
        async with meeting_resumed(home, caplog, meeting) as scene:
            await scene.play(2 * SEGMENT_S)
            await scene.ends()
        gaps = await scene.is_whole()
        (gap,) = gaps
        # Before the first segment is whole there is nothing to go on from.
        assert gap.cause in ("service-down", "not-started")
        assert gap.start_utc_ns >= written_ns - (SEGMENT_S + STEP_S) * NS_PER_S
        assert gap.end_utc_ns == ORIGIN_NS + round((100 + PLAYED_S + DARK_S) * NS_PER_S)

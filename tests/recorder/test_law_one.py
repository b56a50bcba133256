"""Law 1, cut off at every step: spool file on disk → object stored → row committed → spool file removed."""

import asyncio
import errno
import os
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from media.tasks import Failures
from recorder.check import check
from recorder.gaps import Ledger
from recorder.spool import Spool
from recorder.spool_files import DAMAGED
from recorder.spool_format import SpoolFile
from recorder.spool_object import Assembled, assemble
from recorder.state import RecorderMetrics, SpoolSettings, UploadSettings
from recorder.told import Told
from recorder.uploader import Uploader
from storage.records import GENESIS_HASH, GapRecord, Recording, RecordingState
from tests.recorder.house import HandClock, House, house
from tests.recorder.spooled import feed, header
from tests.support.events import START_NS, segments
from tests.support.faults import Faults, FaultyDatabase, FaultyStore, PowerCutError

FAST = UploadSettings(backoff_s=0.005, max_backoff_s=0.02)


async def prepare(home: House) -> str:
    """A meeting with a recording row, as if it had been started."""
    meeting = await home.plan()
    async with home.database.transaction() as repos:
        await repos.meetings.start(meeting, START_NS, "plan")
        recording = Recording(id="rec1", meeting_id=meeting, camera_id="cam", started_utc_ns=START_NS)
        await repos.recordings.add(recording)
    return meeting


async def spooled(spool: Spool, number: int, chain: str = GENESIS_HASH) -> SpoolFile:
    events = list(segments(2, first=100 + 10 * number))
    file = spool.open(replace(header(number), chain=chain))
    feed(file, events)
    file.gap(GapRecord(recording_id="rec1", start_utc_ns=START_NS + 7, end_utc_ns=START_NS + 9, cause="packets-lost"))
    result = await asyncio.wait_for(file.close(), 10)
    assert result is not None
    return result


class Machine:
    """One life of the process: spool, ledger, uploader; ends in a power cut or in peace."""

    def __init__(self, home: House, faults: Faults) -> None:
        self.home = home
        self.faults = faults
        self.metrics = RecorderMetrics()
        self.spool = Spool(home.spool_dir, SpoolSettings())
        database = FaultyDatabase(home.database, faults)
        store = FaultyStore(home.store, faults)
        ledger = Ledger(database, self.metrics, Told(HandClock()), merge_gaps_s=2, retry_s=0.01)
        self.uploader = Uploader(database, store, self.spool, ledger, FAST, self.metrics, Failures(HandClock()))

    async def live(self, *, make: bool) -> bool:
        """Recover, make two objects if asked to, upload all. False if the power was cut on the way."""
        async with self.spool:
            files = await self.spool.recover()
            if make:
                first = await spooled(self.spool, 0)
                files = [first, await spooled(self.spool, 1, first.chain)]
            async with self.uploader:
                for file in files:
                    self.uploader.submit(file)
                done = self.uploader.finish("rec1")
                tasks = self.uploader.tasks()
                await asyncio.wait([*tasks, done], return_when=asyncio.FIRST_COMPLETED, timeout=20)
                cut = any(task.done() and isinstance(task.exception(), PowerCutError) for task in tasks)
        return not cut


def cut_at(number: int) -> Faults:
    def strike(name: str, count: int) -> None:
        if count == number:
            raise PowerCutError(name)

    return Faults(strike=strike)


# Two objects and a manifest: put and commit of each, before and after.
STEPS = range(1, 13)


async def test_the_order_is_law(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        await prepare(home)
        faults = Faults()
        seen: list[tuple[str, int]] = []

        def look(name: str, _count: int) -> None:
            seen.append((name, len(list(home.spool_dir.rglob("*.spool")))))

        faults.strike = look
        assert await Machine(home, faults).live(make=True)
        one = ["before put", "after put", "before commit", "after commit"]
        # No spool file goes before its row is committed; what is last is the manifest.
        assert seen == [(name, 2) for name in one] + [(name, 1) for name in one] + [(name, 0) for name in one]


@pytest.mark.parametrize("step", STEPS)
async def test_cut_off_at_any_step_the_next_start_finishes(tmp_path: Path, step: int) -> None:
    async with house(tmp_path) as home:
        meeting = await prepare(home)
        assert not await Machine(home, cut_at(step)).live(make=True)
        assert await Machine(home, Faults()).live(make=False)
        await assert_whole(home, meeting)


@pytest.mark.parametrize("seed", range(8))
async def test_cut_off_again_and_again_while_repairing(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with house(tmp_path) as home:
        meeting = await prepare(home)
        assert not await Machine(home, cut_at(chance.randint(1, 12))).live(make=True)
        lives = 0
        while not await Machine(home, cut_at(chance.randint(1, 5))).live(make=False):
            lives += 1
            assert lives < 100, "each life must get further"
        await assert_whole(home, meeting)


async def assert_whole(home: House, meeting: str) -> None:
    rows = await home.verify(meeting)
    assert [row.number for row in rows] == [0, 1]
    assert (await home.recording(meeting)).state is RecordingState.COMPLETE
    assert not list(home.spool_dir.rglob("*.spool"))
    gaps = await home.gaps(meeting)
    assert [(gap.start_utc_ns, gap.end_utc_ns) for gap in gaps] == [(START_NS + 7, START_NS + 9)], "told once each"
    report = await check(home.database, home.store)
    assert {finding.code.value for finding in report.findings} <= {"gap-missing"}, report.findings


async def test_another_object_under_the_key_is_never_overwritten(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await prepare(home)
        await home.store.put("recordings/rec1/000000.mp4", b"somebody else's evidence")
        assert await Machine(home, Faults()).live(make=True)
        assert await home.store.get("recordings/rec1/000000.mp4") == b"somebody else's evidence"
        rows = await home.verify(meeting)
        assert rows[0].key == f"recordings/rec1/000000-{rows[0].sha256[:12]}.mp4"


async def uploaded(machine: Machine, *files: SpoolFile) -> None:
    async with machine.uploader:
        for file in files:
            machine.uploader.submit(file)
        await asyncio.wait_for(machine.uploader.drained(), 10)


async def test_a_store_on_the_same_disk_takes_the_file_that_was_written(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await prepare(home)
        machine = Machine(home, Faults())
        async with machine.spool:
            file = await spooled(machine.spool, 0)
            written = file.media_path.stat()
            await uploaded(machine, file)
            assert not list((home.spool_dir / "rec1").iterdir())
        (row,) = await home.verify(meeting)
        (stored,) = (tmp_path / "objects").rglob("*.mp4")
        assert str(stored).endswith(row.key)
        assert stored.stat().st_nlink == 1
        assert (stored.stat().st_ino, stored.stat().st_mode & 0o777) == (written.st_ino, written.st_mode & 0o444)


async def test_media_that_lost_its_journal_is_kept_for_a_person(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        await prepare(home)
        machine = Machine(home, Faults())
        folder = home.spool_dir / "rec1"
        async with machine.spool:
            file = await spooled(machine.spool, 0)
            file.path.unlink()
            stored = await spooled(machine.spool, 1)
            stored.path.unlink()
            (tmp_path / "stored.mp4").hardlink_to(stored.media_path)
            (folder / "000007.mp4").write_bytes(bytes(2_000_000))
            (folder / "000007.object").write_bytes(b"an object that was not finished")
            assert not await machine.spool.recover()
        assert not folder.exists()
        assert [path.name for path in (home.spool_dir / DAMAGED).rglob("*.*")] == ["000007.mp4"]


async def test_sound_that_is_damaged_costs_nothing_since_the_journal_has_it(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await prepare(home)
        machine = Machine(home, Faults())
        async with machine.spool:
            file = await spooled(machine.spool, 0)
            data = bytearray(file.media_path.read_bytes())
            data[file.segments[0].facts.ranges[1].offset] ^= 1
            file.media_path.write_bytes(data)
            await uploaded(machine, file)
        (row,) = await home.verify(meeting)
        assert [segment.chain for segment in row.segments] == [item.facts.chain for item in file.segments]
        assert machine.uploader.damaged_files == 0


async def test_a_sector_that_cannot_be_read_costs_its_segment_and_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as home:
        meeting = await prepare(home)
        machine = Machine(home, Faults())
        real = os.preadv
        async with machine.spool:
            file = await spooled(machine.spool, 0)
            after = await spooled(machine.spool, 1, file.chain)
            bad = file.segments[0].facts.ranges[0].offset + 10
            inode = file.media_path.stat().st_ino

            def preadv(fd: int, buffers: Sequence[memoryview], offset: int) -> int:
                size = sum(len(item) for item in buffers)
                if os.fstat(fd).st_ino == inode and offset <= bad < offset + size:
                    raise OSError(errno.EIO, "Input/output error")
                return real(fd, buffers, offset)

            monkeypatch.setattr(os, "preadv", preadv)
            await uploaded(machine, file, after)
        rows = await home.objects(meeting)
        assert [[segment.sequence for segment in row.segments] for row in rows] == [[101], [110, 111]]
        assert machine.uploader.damaged_files == 1
        lost = [gap for gap in await home.gaps(meeting) if gap.cause == "storage-lost"]
        assert [(gap.start_utc_ns, gap.end_utc_ns) for gap in lost] == [(START_NS, START_NS + 2_000_000_000)]


async def test_a_removal_that_was_cut_off_makes_no_gap(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await prepare(home)
        machine = Machine(home, Faults())
        async with machine.spool:
            file = await spooled(machine.spool, 0)
            journal = file.path.read_bytes()
            await uploaded(machine, file)
            # The disk lost the one removal and kept the other.
            file.path.parent.mkdir(exist_ok=True)
            file.path.write_bytes(journal)
            found = await machine.spool.recover()
            assert [item.segments for item in found] == [()]
            await uploaded(machine, *found)
            assert not file.path.exists()
        assert not [gap for gap in await home.gaps(meeting) if gap.cause == "storage-lost"]


async def test_what_is_damaged_after_it_was_stored_is_lost_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The removal was cut off, and the store is on another disk."""
    monkeypatch.setattr("storage.directory_store._link_synced", lambda *_: False)
    async with house(tmp_path) as home:
        meeting = await prepare(home)
        machine = Machine(home, Faults())
        async with machine.spool:
            file = await spooled(machine.spool, 0)
            journal, media = file.path.read_bytes(), bytearray(file.media_path.read_bytes())
            await uploaded(machine, file)
            file.path.parent.mkdir(exist_ok=True)
            file.path.write_bytes(journal)
            media[file.segments[0].facts.ranges[0].offset] ^= 1
            file.media_path.write_bytes(media)
            await uploaded(machine, *await machine.spool.recover())
            assert not file.path.exists()
        await home.verify(meeting)
        assert not [gap for gap in await home.gaps(meeting) if gap.cause == "storage-lost"]
        report = await check(home.database, home.store)
        assert not {item.code.value for item in report.findings} & {"orphan-object"}


async def test_a_spool_file_damaged_on_disk_is_set_aside_and_what_it_lacks_is_a_gap(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await prepare(home)
        machine = Machine(home, Faults())
        async with machine.spool:
            file = await spooled(machine.spool, 0)
            data = bytearray(file.media_path.read_bytes())
            data[file.segments[0].facts.ranges[0].offset] ^= 1
            file.media_path.write_bytes(data)
            await uploaded(machine, file)
        assert machine.uploader.damaged_files == 1
        assert list((home.spool_dir / DAMAGED).rglob("*.spool"))
        (kept,) = await home.verify(meeting)
        assert [segment.sequence for segment in kept.segments] == [file.segments[1].facts.sequence]
        lost = [gap for gap in await home.gaps(meeting) if gap.cause == "storage-lost"]
        assert [(gap.start_utc_ns, gap.end_utc_ns) for gap in lost] == [(START_NS, START_NS + 2_000_000_000)]


async def test_a_spool_file_that_has_vanished_is_a_gap(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await prepare(home)
        machine = Machine(home, Faults())
        async with machine.spool:
            file = await spooled(machine.spool, 0)
            file.media_path.unlink()
            await uploaded(machine, file)
            assert not file.path.exists()
        assert list((home.spool_dir / DAMAGED).rglob("*.spool")), "the journal has the sound"
        lost = [gap for gap in await home.gaps(meeting) if gap.cause == "storage-lost"]
        assert [(gap.start_utc_ns, gap.end_utc_ns) for gap in lost] == [(START_NS, START_NS + 4_000_000_000)]


async def test_a_fault_of_our_own_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = 0

    def fails_twice(spool: SpoolFile) -> Assembled:
        nonlocal failures
        if failures < 2:
            failures += 1
            assert "task-failed" in machine.uploader.troubles or failures == 1
            raise ValueError("a fault in our own code")
        return assemble(spool)

    monkeypatch.setattr("recorder.uploader.assemble", fails_twice)
    async with house(tmp_path) as home:
        meeting = await prepare(home)
        machine = Machine(home, Faults())
        async with machine.spool, machine.uploader:
            machine.uploader.submit(await spooled(machine.spool, 0))
            await asyncio.wait_for(machine.uploader.finish("rec1"), 10)
        assert len(await home.objects(meeting)) == 1


async def test_gaps_of_a_recording_nobody_knows_hold_nothing_up(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        machine = Machine(home, Faults())
        async with machine.spool, machine.uploader:
            file = machine.spool.open(header(0))
            file.gap(GapRecord(recording_id="rec1", start_utc_ns=START_NS, end_utc_ns=START_NS + 1, cause="silent"))
            result = await asyncio.wait_for(file.close(), 10)
            assert result is not None
            machine.uploader.submit(result)
            await asyncio.wait_for(machine.uploader.drained(), 10)
            assert not result.path.exists()


async def test_a_spool_file_of_a_recording_nobody_knows_is_set_aside(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        machine = Machine(home, Faults())
        async with machine.spool:
            file = await spooled(machine.spool, 0)
            await uploaded(machine, file)
        assert machine.uploader.damaged_files == 1
        assert list((home.spool_dir / DAMAGED).rglob("*.spool"))


async def test_uploads_of_many_recordings_stay_in_bounds(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        at_once = 0
        most = 0

        class Counting(FaultyStore):
            async def put(self, key, data, metadata=None, content_type=""):  # type: ignore[no-untyped-def]
                nonlocal at_once, most
                at_once += 1
                most = max(most, at_once)
                await asyncio.sleep(0.01)
                try:
                    return await super().put(key, data, metadata, content_type)
                finally:
                    at_once -= 1

        metrics = RecorderMetrics()
        spool = Spool(home.spool_dir, SpoolSettings())
        ledger = Ledger(home.database, metrics, Told(HandClock()), merge_gaps_s=2, retry_s=0.01)
        uploader = Uploader(
            home.database, Counting(home.store, Faults()), spool, ledger, FAST, metrics, Failures(HandClock())
        )
        async with spool:
            files = []
            for index in range(12):
                meeting = await home.plan()
                recording = Recording(
                    id=f"rec{index:02d}", meeting_id=meeting, camera_id="cam", started_utc_ns=START_NS
                )
                async with home.database.transaction() as repos:
                    await repos.recordings.add(recording)
                file = spool.open(header(0, recording.id))
                feed(file, segments(1))
                files.append(await asyncio.wait_for(file.close(), 10))
            async with uploader:
                for result in files:
                    assert result is not None
                    uploader.submit(result)
                await asyncio.wait_for(uploader.drained(), 20)
        assert most == 4
        assert metrics.objects_stored == 12

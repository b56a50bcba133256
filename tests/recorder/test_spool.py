"""The spool on a real disk: what is written comes back, whatever is refused."""

import asyncio
import errno
import gc
import hashlib
import resource
from pathlib import Path
from typing import cast

import pytest

from media.segments import Part
from media.unit import GapCause
from recorder.chain import chain_after
from recorder.errors import SpoolInUseError
from recorder.spool import Spool
from recorder.spool_files import DAMAGED
from recorder.spool_format import (
    SpoolHeader,
    media_path,
)
from recorder.spool_object import assemble, read_pieces, rebuilt_path
from recorder.spool_read import read_spool, scan_spool
from recorder.state import SpoolSettings
from storage.records import GENESIS_HASH, GapRecord
from tests.recorder.house import until
from tests.recorder.spooled import closed, feed, header, media_of, written
from tests.support.events import SOUND, START_NS, VIDEO, segments
from tests.support.faults_disk import WatchedDisk


async def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    events = list(segments(3))
    spool_file = await written(tmp_path)
    found = read_spool(spool_file.path)
    assert found == spool_file
    assert found is not None
    assert found.header.metadata == {"title": "支部党员大会"}
    assert found.header.tracks == (VIDEO, SOUND)
    assert [item.facts.sequence for item in found.segments] == [100, 101, 102]
    chain = GENESIS_HASH
    for item in found.segments:
        for part in item.facts.ranges:
            media = media_of(events, item.facts.sequence, part.track_id)
            assert read_pieces(found.path, item.pieces[part.track_id]) == media
            assert part.sha256 == hashlib.sha256(media).hexdigest()
        chain = chain_after(chain, "rec1", 0, item.facts)
        assert item.facts.chain == chain
        assert item.facts.duration_ns == 2_000_000_000


async def test_what_is_written_is_in_memory_no_more_while_nothing_comes(tmp_path: Path) -> None:
    def parts() -> int:
        gc.collect()
        return sum(isinstance(thing, Part) for thing in gc.get_objects())

    before = parts()
    async with Spool(tmp_path, SpoolSettings()) as spool:
        file = spool.open(header())
        feed(file, segments(3))
        await until(lambda: not spool.pending_bytes and parts() <= before)
        await closed(file)


async def test_object_has_init_then_video_and_sound_of_each_segment(tmp_path: Path) -> None:
    events = list(segments(3))
    spool_file = await written(tmp_path)
    data = assemble(spool_file).path.read_bytes()
    expected = b"ftyp+moov of both"
    for sequence in (100, 101, 102):
        expected += media_of(events, sequence, 1) + media_of(events, sequence, 2)
    # What follows are the sample tables of recorder.sample_table.
    assert data.startswith(expected)
    for item in spool_file.segments:
        for part in item.facts.ranges:
            assert hashlib.sha256(data[part.offset : part.offset + part.size]).hexdigest() == part.sha256


async def test_chain_goes_on_over_objects(tmp_path: Path) -> None:
    events = list(segments(4))
    half = len(events) // 2
    async with Spool(tmp_path, SpoolSettings()) as spool:
        first = spool.open(header(1))
        feed(first, events[:half])
        first_closed = first.close()
        second = spool.open(header(1), after=first)
        feed(second, events[half:])
        two = await closed(second)
        one = await first_closed
    assert one is not None
    assert two.header.chain == one.segments[-1].facts.chain


async def test_the_object_is_the_file_that_was_written(tmp_path: Path) -> None:
    spool_file = await written(tmp_path)
    before = spool_file.media_path.read_bytes()
    assembled = assemble(spool_file)
    assert assembled.path == spool_file.media_path
    data = assembled.path.read_bytes()
    assert data.startswith(before)
    assert len(data) == assembled.size > len(before), "the sample tables were put at its end"
    changed = assembled.path.stat().st_mtime_ns
    # Done again, nothing is written; nor is a file that a store has as its own by now.
    assert assemble(spool_file) == assembled
    assert assembled.path.stat().st_mtime_ns == changed


async def test_a_file_that_is_in_the_store_already_is_not_written_to(tmp_path: Path) -> None:
    spool_file = await written(tmp_path)
    stored = tmp_path / "stored.mp4"
    stored.hardlink_to(spool_file.media_path)
    before = stored.read_bytes()
    assembled = assemble(spool_file)
    assert assembled.path == rebuilt_path(spool_file.path)
    assert assembled.path.read_bytes().startswith(before)
    assert stored.read_bytes() == before


async def test_what_is_set_aside_never_replaces_what_was(tmp_path: Path) -> None:
    async with Spool(tmp_path, SpoolSettings()) as spool:
        for count in (1, 2):
            file = spool.open(header())
            feed(file, segments(count))
            await spool.set_aside(await closed(file))
        stored = spool.open(header())
        feed(stored, segments(1))
        result = await closed(stored)
        (tmp_path / "stored.mp4").hardlink_to(result.media_path)
        await spool.set_aside(result)
        # Cut off between its two files.
        last = spool.open(header())
        feed(last, segments(1))
        left = await closed(last)
        aside = tmp_path / DAMAGED / "rec1"
        left.path.rename(aside / "000001-03.spool")
        left.media_path.rename(left.media_path.with_name("000001-03.mp4"))
        assert await spool.recover() == []
    names = sorted(path.name for path in aside.iterdir())
    # The store's own is no longer known by another name.
    journals, media = ([name for name in names if name.endswith(ending)] for ending in ("spool", "mp4"))
    assert journals == [f"000001{number}.spool" for number in ("-01", "-02", "-03", "")]
    assert media == [f"000001{number}.mp4" for number in ("-01", "-03", "")]


async def test_what_stands_in_the_way_of_clearing_up_does_not_stop_the_start(tmp_path: Path) -> None:
    whole = await written(tmp_path, 1)
    (whole.path.parent / "no-file").mkdir()
    (tmp_path / "rec2" / "no-file").mkdir(parents=True)
    async with Spool(tmp_path, SpoolSettings()) as spool:
        assert [item.path for item in await spool.recover()] == [whole.path]


async def test_the_name_of_the_media_is_on_disk_before_its_first_segment_is_said_to_be(tmp_path: Path) -> None:
    disk = WatchedDisk(tmp_path)
    with disk.watching():
        async with Spool(tmp_path, SpoolSettings()) as spool:
            file = spool.open(header())
            # The journal is synced before there is media.
            file.gap(GapRecord(recording_id="rec1", start_utc_ns=1, end_utc_ns=2, cause="packets-lost"))
            async with asyncio.timeout(10):
                while not any(done.what == "sync" for done in disk.log):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            feed(file, segments(1))
            async with asyncio.timeout(10):
                while not file.segments:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
    log = disk.log
    named = next(at for at, done in enumerate(log) if done.what == "link" and done.path.endswith(".mp4"))
    said = next(at for at, done in enumerate(log) if done.what == "write" and b'"crc32"' in done.data)
    assert "sync-folder" in [done.what for done in log[named:said]]


async def test_a_closed_file_is_scanned_by_its_small_frames_and_gives_the_same(tmp_path: Path) -> None:
    whole = await written(tmp_path, 3)
    assert scan_spool(whole.path) == read_spool(whole.path)
    data = whole.path.read_bytes()
    for size in range(0, len(data) - 1, 7):
        whole.path.write_bytes(data[:size])
        assert scan_spool(whole.path) is None


async def test_recover_gives_files_left_open_and_twice_the_same(tmp_path: Path) -> None:
    events = list(segments(2))
    async with Spool(tmp_path, SpoolSettings()) as spool:
        file = spool.open(header())
        feed(file, events[:-2])
        file.gap(GapRecord(recording_id="rec1", start_utc_ns=1, end_utc_ns=2, cause="packets-lost", packets=3))
    (tmp_path / "rec2").mkdir()
    (tmp_path / "rec2" / "000001.spool").write_bytes(b"SANHUIS1\0\0")
    async with Spool(tmp_path, SpoolSettings()) as spool:
        first = await spool.recover()
        second = await spool.recover()
        assert first == second
        assert spool.bytes == first[0].size
    assert len(first) == 1
    assert first[0].cut
    assert [item.facts.sequence for item in first[0].segments] == [100, 101]
    assert first[0].segments[1].facts.duration_ns == 1_500_000_000
    assert first[0].gaps[0].packets == 3
    assert not (tmp_path / "rec2").exists()


async def test_what_cannot_be_read_is_kept_and_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Spool(tmp_path, SpoolSettings()) as spool:
        files = [spool.open(header(1, name)) for name in ("broken", "foreign", "good", "unread")]
        for file in files:
            feed(file, segments(2, part_bytes=200_000))
            await closed(file)
    broken, _, good, unread = (file.path for file in files)
    # The first chunk is damaged, all behind it is not: that shows, and is dealt with, when it is stored.
    data = bytearray(media_path(broken).read_bytes())
    data[10_000] ^= 1
    media_path(broken).write_bytes(data)
    real = SpoolHeader.from_payload

    def of_this_version(payload: bytes) -> SpoolHeader:
        head = real(payload)
        if head.recording == "foreign":
            raise KeyError("a field of another version")
        if head.recording == "unread":
            raise OSError(errno.EIO, "Input/output error")
        return head

    monkeypatch.setattr(SpoolHeader, "from_payload", of_this_version)
    async with Spool(tmp_path, SpoolSettings()) as spool:
        assert [item.path for item in await spool.recover()] == [broken, good]
    assert {path.parent.name for path in (tmp_path / DAMAGED).rglob("*.spool")} == {"foreign"}
    found = read_spool(broken)
    assert found is not None
    assert found.torn_inside
    assert len(found.segments) == 1
    assert unread.exists()


async def test_at_the_bound_the_newest_is_refused_and_said(tmp_path: Path) -> None:
    async with Spool(tmp_path, SpoolSettings(max_bytes=20_000)) as spool:
        file = spool.open(header())
        refused = feed(file, segments(3, part_bytes=2_000))
        assert refused
        assert set(refused) == {GapCause.STORAGE_LOST}
        assert spool.nearly_full
        assert spool.full
        result = await closed(file)
        assert spool.bytes == result.size <= 20_000
        await spool.remove(result)
        assert spool.bytes == 0
        assert spool.refusal(2_000) is None
        assert not result.path.exists()


async def test_memory_waiting_for_the_disk_is_bounded(tmp_path: Path) -> None:
    async with Spool(tmp_path, SpoolSettings(max_pending_bytes=20_000)) as spool:
        file = spool.open(header())
        refused = feed(file, segments(4, part_bytes=2_000))
        assert set(refused) == {GapCause.OVERLOADED}
        await closed(file)
        assert spool.pending_bytes == 0


async def test_a_disk_that_takes_no_more_keeps_whole_segments(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with Spool(tmp_path, SpoolSettings()) as spool:
        file = spool.open(header())
        feed(file, segments(2, part_bytes=20_000))
        async with asyncio.timeout(10):
            while len(file.segments) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file.bytes + 40_000, hard))
        try:
            feed(file, segments(2, first=102, part_bytes=20_000))
            result = await asyncio.wait_for(asyncio.shield(file.closed), 10)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert file.failed is not None
        assert file.part(next(event for event in segments(1) if isinstance(event, Part))) is GapCause.STORAGE_LOST
        assert result is not None
        assert [item.facts.sequence for item in result.segments] == [100, 101]
        assert read_spool(result.path) is not None
        assemble(result)
        following = spool.open(header(1), after=file)
        feed(following, segments(1, first=110))
        after = await closed(following)
        assert after.header.chain == result.chain


async def test_a_fault_with_one_file_does_not_touch_another(tmp_path: Path) -> None:
    async with Spool(tmp_path, SpoolSettings()) as spool:
        bad, good = spool.open(header()), spool.open(header(1, "rec2"))
        for event in segments(2):
            if isinstance(event, Part) and event.index == 1:
                # As if our own code had made it wrong.
                event.chunks[1].pieces = cast(tuple[bytes, ...], ("no octets",))
                feed(bad, [event])
            else:
                feed(bad, [event])
                feed(good, [event])
        assert await asyncio.wait_for(bad.close(), 10) is None
        assert len((await closed(good)).segments) == 2
        assert bad.failed is not None
        assert spool.pending_bytes == 0


async def test_damaged_file_is_set_aside(tmp_path: Path) -> None:
    async with Spool(tmp_path, SpoolSettings()) as spool:
        file = spool.open(header())
        feed(file, segments(1))
        result = await closed(file)
        await spool.set_aside(result)
        assert (tmp_path / DAMAGED / "rec1" / "000001.spool").exists()
        assert (tmp_path / DAMAGED / "rec1" / "000001.mp4").exists()
        assert (tmp_path / DAMAGED).stat().st_mode & 0o777 == 0o700, "as the folder that it came from"
        assert spool.bytes == 0
        assert await spool.recover() == []


async def test_what_a_disk_of_its_own_has_at_its_top_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "lost+found").mkdir(mode=0o700)
    async with Spool(tmp_path, SpoolSettings()) as spool:
        assert await spool.recover() == []
    assert (tmp_path / "lost+found").is_dir()
    assert caplog.records == []


async def test_a_number_that_is_still_taken_gets_a_name_beside_it(tmp_path: Path) -> None:
    gap = GapRecord(recording_id="rec1", start_utc_ns=1, end_utc_ns=2, cause="packets-lost")
    async with Spool(tmp_path, SpoolSettings()) as spool:
        only_gaps = spool.open(header())
        only_gaps.gap(gap)
        first = await closed(only_gaps)
        assert (first.segments, first.gaps) == ((), (gap,))
        again = spool.open(header(), after=only_gaps)
        feed(again, segments(1))
        second = await closed(again)
        assert [first.path.name, second.path.name] == ["000001.spool", "000001-01.spool"]
        assert [item.path.name for item in await spool.recover()] == ["000001-01.spool", "000001.spool"]


async def test_an_object_without_media_leaves_no_file(tmp_path: Path) -> None:
    async with Spool(tmp_path, SpoolSettings()) as spool:
        file = spool.open(header())
        file.start_segment(1, START_NS, discontinuity=True)
        assert await asyncio.wait_for(file.close(), 10) is None
        assert list((tmp_path / "rec1").iterdir()) == []
        assert spool.bytes == 0


async def test_a_spool_is_for_one_process(tmp_path: Path) -> None:
    async with Spool(tmp_path, SpoolSettings()):
        with pytest.raises(SpoolInUseError):
            await Spool(tmp_path, SpoolSettings()).__aenter__()
    async with Spool(tmp_path, SpoolSettings()):
        pass

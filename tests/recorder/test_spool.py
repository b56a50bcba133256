"""The spool on a real disk: what is written comes back, whatever is cut off or refused."""

import asyncio
import errno
import hashlib
import resource
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from media.segments import Part, SegmentEnd, SegmentEvent, SegmentStart
from media.unit import GapCause
from recorder.chain import chain_after
from recorder.errors import SpoolDamagedError, SpoolInUseError
from recorder.spool import OpenSpoolFile, Spool
from recorder.spool_format import (
    SegmentBuilder,
    SpooledSegment,
    SpoolFile,
    SpoolHeader,
    assemble,
    read_pieces,
)
from recorder.spool_read import read_spool, scan_spool
from recorder.spool_writer import DAMAGED
from recorder.state import SpoolSettings
from storage.records import GENESIS_HASH, GapRecord
from tests.support.events import PERIOD, SOUND, START_NS, VIDEO, segments


def header(number: int = 1, recording: str = "rec1") -> SpoolHeader:
    return SpoolHeader(
        recording=recording,
        meeting="meeting1",
        camera="camera1",
        number=number,
        period=0,
        tracks=(VIDEO, SOUND),
        init=b"ftyp+moov of both",
        track_init=PERIOD.init,
        metadata={"title": "支部党员大会"},
        chain=GENESIS_HASH,
    )


def feed(file: OpenSpoolFile, events: Iterable[SegmentEvent]) -> list[GapCause]:
    refused = []
    for event in events:
        if isinstance(event, SegmentStart):
            file.start_segment(event.sequence, event.start_utc_ns, discontinuity=event.discontinuity)
        elif isinstance(event, Part):
            cause = file.part(event)
            if cause is not None:
                refused.append(cause)
        elif isinstance(event, SegmentEnd):
            file.end_segment(event.duration_ns)
    return refused


async def closed(file: OpenSpoolFile) -> SpoolFile:
    result = await asyncio.wait_for(file.close(), 10)
    assert result is not None
    return result


def media_of(events: Iterable[SegmentEvent], sequence: int, track: int) -> bytes:
    return b"".join(
        event.chunks[track].data for event in events if isinstance(event, Part) and event.sequence == sequence
    )


async def written(directory: Path, count: int = 3, **options: int) -> SpoolFile:
    async with Spool(directory, SpoolSettings()) as spool:
        file = spool.open(header())
        feed(file, segments(count, **options))
        return await closed(file)


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


async def test_object_has_init_then_video_and_sound_of_each_segment(tmp_path: Path) -> None:
    events = list(segments(3))
    spool_file = await written(tmp_path)
    data = assemble(spool_file).open().read()
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


async def test_torn_at_every_octet_the_whole_before_it_is_read(tmp_path: Path) -> None:
    whole = await written(tmp_path / "whole", 2, parts=2, part_bytes=40)
    data = whole.path.read_bytes()
    torn = tmp_path / "torn.spool"
    sizes = [sum(part.size for part in item.facts.ranges) for item in whole.segments]
    seen: set[tuple[int, bool]] = set()
    last_media = 0
    for cut in range(len(data)):
        torn.write_bytes(data[:cut])
        found = read_spool(torn)
        if found is None:
            assert last_media == 0
            continue
        media = sum(part.size for item in found.segments for part in item.facts.ranges)
        assert media >= last_media, "more octets must never give less media"
        last_media = media
        assert not found.closed
        assert found.valid_bytes <= cut
        # Whatever is left makes an object whose hashes agree, and is a beginning of what was written.
        assembled = assemble(found)
        assert hashlib.sha256(assembled.open().read()).hexdigest() == assembled.sha256
        for item, original in zip(found.segments, whole.segments, strict=False):
            for part in item.facts.ranges:
                before = read_pieces(whole.path, original.pieces[part.track_id])
                assert before.startswith(read_pieces(torn, item.pieces[part.track_id]))
        seen.add((len(found.segments), found.cut))
    assert last_media == sum(sizes)
    assert seen == {(0, False), (1, True), (1, False), (2, True), (2, False)}


async def test_a_flipped_bit_is_never_read_as_media(tmp_path: Path) -> None:
    whole = await written(tmp_path / "whole", 2, parts=2, part_bytes=40)
    data = whole.path.read_bytes()
    broken = tmp_path / "broken.spool"
    for at in range(len(data)):
        broken.write_bytes(data[:at] + bytes((data[at] ^ 0x10,)) + data[at + 1 :])
        found = read_spool(broken)
        if found is None:
            continue
        assert found.torn_inside or (found.valid_bytes <= at and not found.closed)
        # What is left is what was written, to the octet, and its links hold.
        assembled = assemble(found)
        assert hashlib.sha256(assembled.open().read()).hexdigest() == assembled.sha256
        for item in found.segments:
            (original,) = [one for one in whole.segments if one.facts.sequence == item.facts.sequence]
            for part in item.facts.ranges:
                before = read_pieces(whole.path, original.pieces[part.track_id])
                assert before.startswith(read_pieces(broken, item.pieces[part.track_id]))


async def test_damage_in_the_middle_costs_the_rest_of_its_segment_and_is_a_gap(tmp_path: Path) -> None:
    whole = await written(tmp_path / "whole", 3, parts=4)
    damaged = whole.segments[1]
    data = bytearray(whole.path.read_bytes())
    data[damaged.pieces[1][2][0]] ^= 1
    broken = tmp_path / "broken.spool"
    broken.write_bytes(data)
    found = read_spool(broken)
    assert found is not None
    assert [item.facts.sequence for item in found.segments] == [item.facts.sequence for item in whole.segments]
    first, cut, last = (item.facts for item in found.segments)
    assert first == whole.segments[0].facts
    assert cut.end_utc_ns == damaged.facts.start_utc_ns + damaged.facts.duration_ns // 2
    assert last.discontinuity
    (gap,) = (gap for gap in found.gaps if gap.cause == "storage-lost")
    assert (gap.start_utc_ns, gap.end_utc_ns) == (cut.end_utc_ns, last.start_utc_ns)
    assert assemble(found).size > 0


async def test_a_closed_file_is_scanned_by_its_small_frames_and_gives_the_same(tmp_path: Path) -> None:
    whole = await written(tmp_path, 3)
    assert scan_spool(whole.path) == read_spool(whole.path)
    data = whole.path.read_bytes()
    for size in range(0, len(data) - 1, 7):
        whole.path.write_bytes(data[:size])
        assert scan_spool(whole.path) is None


async def test_zeros_behind_the_last_frame_are_a_torn_tail(tmp_path: Path) -> None:
    whole = await written(tmp_path, 2)
    with whole.path.open("ab") as file:
        file.write(bytes(4096))
    found = read_spool(whole.path)
    assert found is not None
    assert found.segments == whole.segments
    assert (found.valid_bytes, found.size) == (whole.size, whole.size + 4096)


async def test_assemble_compares_with_what_was_hashed_at_write(tmp_path: Path) -> None:
    whole = await written(tmp_path)
    offset, _ = whole.segments[1].pieces[1][0]
    data = bytearray(whole.path.read_bytes())
    data[offset] ^= 1
    whole.path.write_bytes(data)
    with pytest.raises(SpoolDamagedError) as caught:
        assemble(whole)
    assert caught.value.params == {"file": "000001.spool", "segment": 101}


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
    data = bytearray(broken.read_bytes())
    data[10_000] ^= 1
    broken.write_bytes(data)
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
        assert (spool.bytes, spool.files) == (0, 0)
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


async def test_a_fault_with_one_file_does_not_touch_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = SegmentBuilder.end

    def fails_for_one(builder: SegmentBuilder, head: SpoolHeader, *rest: Any) -> SpooledSegment:
        if head.recording == "rec1":
            raise ValueError("a fault in our own code")
        return real(builder, head, *rest)

    monkeypatch.setattr(SegmentBuilder, "end", fails_for_one)
    async with Spool(tmp_path, SpoolSettings()) as spool:
        bad, good = spool.open(header()), spool.open(header(1, "rec2"))
        for event in segments(2):
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
        assert spool.bytes == 0
        assert await spool.recover() == []


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
        assert (spool.bytes, spool.files) == (0, 0)


async def test_a_spool_is_for_one_process(tmp_path: Path) -> None:
    async with Spool(tmp_path, SpoolSettings()):
        with pytest.raises(SpoolInUseError):
            await Spool(tmp_path, SpoolSettings()).__aenter__()
    async with Spool(tmp_path, SpoolSettings()):
        pass

"""Spool files of which something is torn off, changed or lost: what is left is what was written, the rest is named."""

import errno
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from media.segments import Part, SegmentEnd, SegmentStart
from recorder.errors import SpoolDamagedError
from recorder.facts import segment_to_json
from recorder.spool import Spool
from recorder.spool_files import DAMAGED
from recorder.spool_format import (
    CHUNK,
    MAGIC,
    Kind,
    SegmentBuilder,
    SpoolFile,
    frame,
    media_path,
    segment_bytes,
    start_payload,
)
from recorder.spool_object import assemble, read_pieces, rebuilt_path
from recorder.spool_read import read_spool, scan_spool
from recorder.state import SpoolSettings
from tests.recorder.spooled import feed, header, media_of, segment_size, written
from tests.support.events import SOUND, segments


@dataclass(frozen=True)
class Torn:
    """A copy of a spool file's two files, of which less, or something else, is there."""

    journal: Path

    def leave(self, journal: bytes, media: bytes) -> SpoolFile | None:
        self.journal.write_bytes(journal)
        media_path(self.journal).unlink(missing_ok=True)
        media_path(self.journal).write_bytes(media)
        return read_spool(self.journal)

    def assert_is_of(self, found: SpoolFile, whole: SpoolFile) -> int:
        """What is left makes an object whose hashes agree, and is a beginning of what was written; its octets."""
        assembled = assemble(found)
        assert hashlib.sha256(assembled.path.read_bytes()).hexdigest() == assembled.sha256
        size = 0
        for item in found.segments:
            (original,) = [one for one in whole.segments if one.facts.sequence == item.facts.sequence]
            for part in item.facts.ranges:
                before = read_pieces(whole.path, original.pieces[part.track_id])
                media = read_pieces(found.path, item.pieces[part.track_id])
                assert before.startswith(media)
                size += len(media)
        return size


@pytest.mark.parametrize("torn_file", ["journal", "media"])
async def test_torn_at_every_octet_the_whole_before_it_is_read(tmp_path: Path, torn_file: str) -> None:
    whole = await written(tmp_path / "whole", 2, parts=2, part_bytes=40)
    journal, media = whole.path.read_bytes(), whole.media_path.read_bytes()
    torn = Torn(tmp_path / "torn.spool")
    seen: set[tuple[int, bool]] = set()
    last_size = 0
    for cut in range(len(journal if torn_file == "journal" else media)):
        if torn_file == "journal":
            found = torn.leave(journal[:cut], media)
        else:
            # The end of a segment is in the journal only when all of it is in the media: here it lies.
            found = torn.leave(journal, media[:cut])
        if found is None:
            assert last_size == 0
            continue
        size = torn.assert_is_of(found, whole)
        assert size >= last_size, "more octets must never give less media"
        last_size = size
        assert found.closed is (torn_file == "media")
        assert found.torn_inside is (torn_file == "media" and size < sum(map(segment_size, whole.segments)))
        seen.add((len(found.segments), found.cut))
    assert last_size == sum(map(segment_size, whole.segments))
    if torn_file == "journal":
        assert seen == {(0, False), (1, True), (1, False), (2, True), (2, False)}


async def test_what_the_journal_tells_of_and_the_media_has_not_is_a_torn_tail(tmp_path: Path) -> None:
    """A power cut before the segment was synced may keep either."""
    events = list(segments(2, parts=4))
    async with Spool(tmp_path / "spool", SpoolSettings()) as spool:
        file = spool.open(header())
        feed(file, events[:-2])
    (journal,) = (tmp_path / "spool").rglob("*.spool")
    whole = read_spool(journal)
    assert whole is not None
    torn = Torn(tmp_path / "torn.spool")
    begin = whole.segments[0].end
    first = events[0]
    assert isinstance(first, SegmentStart)
    data = media_path(journal).read_bytes()
    for missing in range(0, len(data) - begin, 50):
        found = torn.leave(journal.read_bytes(), data[: len(data) - missing])
        assert found is not None
        assert not found.torn_inside
        assert not found.gaps
        torn.assert_is_of(found, whole)
        assert found.segments[0] == whole.segments[0]


@pytest.mark.parametrize("broken_file", ["journal", "media"])
async def test_a_flipped_bit_is_never_read_as_media(tmp_path: Path, broken_file: str) -> None:
    whole = await written(tmp_path / "whole", 2, parts=2, part_bytes=40)
    files = {"journal": whole.path.read_bytes(), "media": whole.media_path.read_bytes()}
    broken = Torn(tmp_path / "broken.spool")
    good = files[broken_file]
    for at in range(len(good)):
        found = broken.leave(**{**files, broken_file: good[:at] + bytes((good[at] ^ 0x10,)) + good[at + 1 :]})
        if found is None:
            continue
        if broken_file == "journal":
            assert found.torn_inside or (found.valid_bytes < found.size and not found.closed)
        # What is left is what was written, to the octet, and its links hold.
        broken.assert_is_of(found, whole)


async def test_damage_in_the_middle_costs_the_rest_of_its_segment_and_is_a_gap(tmp_path: Path) -> None:
    whole = await written(tmp_path / "whole", 3, parts=4)
    damaged = whole.segments[1]
    size = damaged.facts.ranges[0].size
    data = bytearray(whole.media_path.read_bytes())
    data[damaged.facts.ranges[0].offset + size // 2] ^= 1
    found = Torn(tmp_path / "broken.spool").leave(whole.path.read_bytes(), bytes(data))
    assert found is not None
    assert found.torn_inside
    assert [item.facts.sequence for item in found.segments] == [item.facts.sequence for item in whole.segments]
    first, cut, last = (item.facts for item in found.segments)
    assert first == whole.segments[0].facts
    assert cut.end_utc_ns == damaged.facts.start_utc_ns + damaged.facts.duration_ns // 2
    assert last.discontinuity
    (gap,) = (gap for gap in found.gaps if gap.cause == "storage-lost")
    assert (gap.start_utc_ns, gap.end_utc_ns) == (cut.end_utc_ns, last.start_utc_ns)
    assert assemble(found).path == rebuilt_path(found.path)


async def test_a_sector_of_the_journal_that_is_lost_costs_what_it_spoke_of(tmp_path: Path) -> None:
    whole = await written(tmp_path / "whole", 8, parts=4, part_bytes=2_000)
    journal, media = whole.path.read_bytes(), whole.media_path.read_bytes()
    broken = Torn(tmp_path / "broken.spool")
    for at in range(1024, len(journal) - 512, 512):
        found = broken.leave(journal[:at] + bytes(512) + journal[at + 512 :], media)
        assert found is not None
        assert found.torn_inside
        broken.assert_is_of(found, whole)
        # What is not there lies in gaps, and it is what the sector had to do with: two segments at most.
        there = sum(item.facts.duration_ns for item in found.segments)
        named = sum((gap.end_utc_ns or 0) - gap.start_utc_ns for gap in found.gaps if gap.cause == "storage-lost")
        missing = sum(item.facts.duration_ns for item in whole.segments) - there
        assert missing <= 2 * 2_000_000_000
        # Where the close frame is lost too, nothing here says how long it was: what follows does.
        assert named == missing or not found.closed


async def test_media_of_a_file_whose_head_is_lost_is_set_aside(tmp_path: Path) -> None:
    whole = await written(tmp_path, 4, part_bytes=60_000)
    journal = whole.path.read_bytes()
    whole.path.write_bytes(bytes(512) + journal[512:])
    async with Spool(tmp_path, SpoolSettings()) as spool:
        assert await spool.recover() == []
    kept = {path.name: path.stat().st_size for path in (tmp_path / DAMAGED / "rec1").iterdir()}
    assert kept == {"000001.spool": len(journal), "000001.mp4": whole.size - len(journal)}


async def test_a_file_that_was_sealed_and_not_stored_is_whole_after_the_next_crash(tmp_path: Path) -> None:
    events = list(segments(2))
    async with Spool(tmp_path, SpoolSettings()) as spool:
        file = spool.open(header())
        feed(file, events)
    for _ in range(2):
        found = read_spool(tmp_path / "rec1" / "000001.spool")
        assert found is not None
        assert not found.closed
        assert found.valid_bytes == found.size
        assert assemble(found).path == found.media_path


async def test_a_tail_that_was_not_synced_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = await written(tmp_path)
    before = whole.media_path.read_bytes()
    real = os.fsync

    def fails(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("recorder.spool_object.os.fsync", fails)
    with pytest.raises(OSError, match="Input/output"):
        assemble(whole)
    assert whole.media_path.read_bytes() == before
    monkeypatch.setattr("recorder.spool_object.os.fsync", real)
    assert assemble(whole).path.stat().st_size > len(before)


async def test_sound_that_is_damaged_in_the_media_is_taken_from_the_journal(tmp_path: Path) -> None:
    whole = await written(tmp_path / "whole", 2)
    sound = whole.segments[1].facts.ranges[1]
    assert sound.track_id == SOUND.id
    data = bytearray(whole.media_path.read_bytes())
    data[sound.offset] ^= 1
    broken = Torn(tmp_path / "broken.spool")
    found = broken.leave(whole.path.read_bytes(), bytes(data))
    assert found is not None
    assert not found.torn_inside
    assert [item.facts for item in found.segments] == [item.facts for item in whole.segments]
    assert broken.assert_is_of(found, whole) == sum(map(segment_size, whole.segments))


async def test_a_file_of_before_there_was_a_media_file_is_read(tmp_path: Path) -> None:
    events = list(segments(2, parts=2))
    head = header()
    path = tmp_path / "000001.spool"
    data = MAGIC + frame(Kind.HEADER, head.to_payload())
    position, chain, builder = len(head.init), head.chain, SegmentBuilder(0, 0, False)
    for event in events:
        if isinstance(event, SegmentStart):
            builder = SegmentBuilder(event.sequence, event.start_utc_ns, event.discontinuity)
            data += frame(Kind.SEGMENT_START, start_payload(event.sequence, event.start_utc_ns, event.discontinuity))
        elif isinstance(event, Part):
            for track, chunk in event.chunks.items():
                place = CHUNK.pack(event.sequence, event.index, track, chunk.dts, chunk.duration, chunk.samples, 0)
                data += frame(Kind.CHUNK, place + chunk.data)
                builder.add(track, chunk.dts, chunk.duration, chunk.samples, chunk.data)
        elif isinstance(event, SegmentEnd):
            facts = builder.end(head, chain, position, event.duration_ns)
            position, chain = position + segment_bytes(facts), facts.chain
            data += frame(Kind.SEGMENT_END, json.dumps(segment_to_json(facts)).encode())
    path.write_bytes(data + frame(Kind.CLOSE, b"{}"))
    assert scan_spool(path) is None
    found = read_spool(path)
    assert found is not None
    assert (found.closed, found.torn_inside, found.chain) == (True, False, chain)
    expected = head.init + b"".join(media_of(events, sequence, track) for sequence in (100, 101) for track in (1, 2))
    assert assemble(found).path.read_bytes().startswith(expected)


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
    data = bytearray(whole.media_path.read_bytes())
    data[whole.segments[1].facts.ranges[0].offset] ^= 1
    whole.media_path.write_bytes(data)
    with pytest.raises(SpoolDamagedError) as caught:
        assemble(whole)
    assert caught.value.params == {"file": "000001.spool", "segment": 101}

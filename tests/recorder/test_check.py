"""``sanhui check`` finds what was done to a real archive, and nothing in one that nobody touched."""

import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from media.unit import GapCause
from recorder.chain import chain_after
from recorder.check import CheckProgress, FindingCode, check
from storage.errors import StoreUnavailableError
from storage.records import GapRecord, MediaObject
from tests.recorder.house import House, house, until
from tests.recorder.test_service import recorded
from tests.support.faults import Faults, FaultyStore


async def codes(home: House) -> set[FindingCode]:
    report = await check(home.database, home.store)
    return {finding.code for finding in report.findings}


async def replace_row(home: House, old: MediaObject, new: MediaObject | None) -> None:
    """Do to a row what no code of ours does."""
    async with home.database.read() as repos:
        every = await repos.objects.of_recording(old.recording_id)
    with contextlib.closing(sqlite3.connect(home.folder / "sanhui.db")) as connection, connection:
        connection.execute("DELETE FROM media_object WHERE recording_id = ?", (old.recording_id,))
    async with home.database.transaction() as repos:
        for row in every:
            kept = row if row.number != old.number else new
            if kept is not None:
                await repos.objects.add(kept)
        if every[-1] == old and new is not None:
            assert (await repos.recordings.get(old.recording_id)).chain_head == new.chain


async def test_an_untouched_archive_is_whole(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await recorded(home)
        seen: list[CheckProgress] = []
        report = await check(home.database, home.store, seen.append)
        assert report.findings == []
        assert report.ok
        assert (report.objects, report.recordings) == (2, 1)
        assert report.segments == sum(len(row.segments) for row in await home.objects(meeting))
        assert [(item.objects, item.total) for item in seen] == [(1, 2), (2, 2)]
        assert seen[-1].bytes == report.bytes == sum(row.size for row in await home.objects(meeting))
        assert (await check(home.database, home.store, meeting_id=meeting)).ok


async def test_every_flipped_octet_is_found(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await recorded(home)
        row = (await home.objects(meeting))[0]
        path = home.folder / "objects" / row.key
        original = path.read_bytes()
        segment = row.segments[1].ranges[0]
        last = row.segments[-1].ranges[-1]
        for at, expected in (
            (0, {FindingCode.OBJECT_HASH}),
            (segment.offset + segment.size // 2, {FindingCode.OBJECT_HASH, FindingCode.SEGMENT_HASH}),
            (last.offset + last.size - 1, {FindingCode.OBJECT_HASH, FindingCode.SEGMENT_HASH}),
            (len(original) - 1, {FindingCode.OBJECT_HASH}),
        ):
            path.write_bytes(original[:at] + bytes((original[at] ^ 1,)) + original[at + 1 :])
            assert await codes(home) == expected
        path.write_bytes(original[:-10])
        assert FindingCode.OBJECT_SIZE in await codes(home)
        path.write_bytes(original)
        assert await codes(home) == set()


async def test_a_deleted_object_and_an_orphan_are_found(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await recorded(home)
        row = (await home.objects(meeting))[1]
        await home.store.delete(row.key)
        report = await check(home.database, home.store)
        assert [(item.code, item.key) for item in report.findings] == [(FindingCode.OBJECT_MISSING, row.key)]
        stray = f"recordings/{row.recording_id}/000009.mp4"
        await home.store.put(stray, b"who put this here")
        await home.store.put("recordings/nobody/000000.mp4", b"nor this")
        report = await check(home.database, home.store)
        found = {(item.code, item.key) for item in report.findings}
        assert found == {
            (FindingCode.OBJECT_MISSING, row.key),
            (FindingCode.ORPHAN_OBJECT, stray),
            (FindingCode.ORPHAN_OBJECT, "recordings/nobody/000000.mp4"),
        }


async def test_a_missing_row_is_found(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await recorded(home, 20.0)
        rows = await home.objects(meeting)
        assert len(rows) == 3
        await replace_row(home, rows[1], None)
        report = await check(home.database, home.store)
        assert {item.code for item in report.findings} == {
            FindingCode.NUMBER_MISSING,
            FindingCode.CHAIN_BROKEN,
            FindingCode.ORPHAN_OBJECT,
            FindingCode.GAP_MISSING,
            FindingCode.MANIFEST_DIFFERS,
        }
        missing = next(item for item in report.findings if item.code is FindingCode.NUMBER_MISSING)
        assert missing.number == 1


@pytest.mark.parametrize("mend_links", [False, True])
async def test_a_changed_fact_breaks_the_chain_even_if_its_own_link_is_mended(tmp_path: Path, mend_links: bool) -> None:
    async with house(tmp_path) as home:
        meeting = await recorded(home)
        rows = await home.objects(meeting)
        row = rows[0]
        segments = list(row.segments)
        segments[-1] = segments[-1]._replace(start_utc_ns=segments[-1].start_utc_ns + 1)
        if mend_links:
            fresh = chain_after(segments[-2].chain, row.recording_id, row.period, segments[-1])
            segments[-1] = segments[-1]._replace(chain=fresh)
        await replace_row(home, row, replace(row, segments=tuple(segments), chain=segments[-1].chain))
        report = await check(home.database, home.store)
        broken = [item for item in report.findings if item.code is FindingCode.CHAIN_BROKEN]
        assert [item.number for item in broken] == [1 if mend_links else 0]


async def test_gaps_that_lie_are_found(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await recorded(home)
        recording = await home.recording(meeting)
        async with home.database.transaction() as repos:
            for start, end in ((5, 3), (7, None)):
                await repos.gaps.add(
                    GapRecord(recording_id=recording.id, start_utc_ns=start, end_utc_ns=end, cause="silent")
                )
        report = await check(home.database, home.store)
        assert [item.code for item in report.findings] == [FindingCode.GAP_WRONG] * 2 + [FindingCode.MANIFEST_DIFFERS]


async def test_a_gap_that_was_altered_or_taken_away_is_found(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        async with home.recorded() as (recorder, meeting):
            home.camera.feed(2.0)
            home.camera.lose(3.0, GapCause.PACKETS_LOST)
            before = recorder.metrics.parts
            home.camera.feed(4.0)
            await until(lambda: recorder.metrics.parts >= before + 4)
        assert await codes(home) == set()
        (gap, *_) = await home.gaps(meeting)
        async with home.database.transaction() as repos:
            await repos.gaps.save(replace(gap, cause="silent"))
        assert await codes(home) == {FindingCode.MANIFEST_DIFFERS}


async def test_what_is_recorded_while_it_is_checked_is_whole(tmp_path: Path) -> None:
    async with house(tmp_path) as home, home.recorded() as (recorder, _):
        home.camera.feed(10.0)
        await until(lambda: recorder.metrics.objects_stored > 0, "the first object")

        class Slow(FaultyStore):
            async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
                before = recorder.metrics.objects_stored
                home.camera.feed(10.0)
                await until(lambda: recorder.metrics.objects_stored > before, "one more object")
                return await super().get(key, offset, length)

        report = await check(home.database, Slow(home.store, Faults()), concurrency=1)
        assert report.findings == []


async def test_a_lost_manifest_is_found(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await recorded(home)
        recording = await home.recording(meeting)
        key = f"recordings/{recording.id}/manifest.json"
        await home.store.put(key, b"{}")
        assert await codes(home) == {FindingCode.MANIFEST_DIFFERS}
        await home.store.delete(key)
        assert await codes(home) == {FindingCode.MANIFEST_MISSING}


async def test_an_object_on_a_bad_spot_of_the_disk_does_not_hide_the_others(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting = await recorded(home)
        first, second = await home.objects(meeting)

        class BadSpot(FaultyStore):
            async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
                if key == first.key:
                    raise StoreUnavailableError("the directory does not answer", store="here", reason="EIO")
                return await super().get(key, offset, length)

        await home.store.delete(second.key)
        report = await check(home.database, BadSpot(home.store, Faults()))
        assert [(item.code, item.number) for item in report.findings] == [
            (FindingCode.OBJECT_HASH, 0),
            (FindingCode.OBJECT_MISSING, 1),
        ]


async def test_only_what_began_since_then_is_checked(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        older = await recorded(home)
        async with home.database.read() as repos:
            (first,) = await repos.recordings.all_of_meeting(older)
        newer = await recorded(home)
        async with home.database.read() as repos:
            (second,) = await repos.recordings.all_of_meeting(newer)
        assert first.started_utc_ns < second.started_utc_ns
        await home.store.delete((await home.objects(older))[0].key)
        seen: list[CheckProgress] = []
        report = await check(home.database, home.store, seen.append, since_utc_ns=second.started_utc_ns)
        assert (report.recordings, report.findings) == (1, [])
        assert {item.total for item in seen} == {report.objects}
        everything = await check(home.database, home.store, since_utc_ns=first.started_utc_ns)
        assert everything.recordings == 2
        assert FindingCode.OBJECT_MISSING in {finding.code for finding in everything.findings}
        # What lies around of a recording that is checked is found; of others it is not looked for.
        for recording in (first, second):
            await home.store.put(f"recordings/{recording.id}/stray", b"stray")
        late = await check(home.database, home.store, since_utc_ns=second.started_utc_ns)
        assert [finding.recording for finding in late.findings] == [second.id]
        assert (await check(home.database, home.store, since_utc_ns=second.started_utc_ns + 1)).recordings == 0

"""Recordings, periods, objects, gaps: on SQLite and PostgreSQL."""

import asyncio
import json
import struct
import zlib
from dataclasses import replace

import pytest
from sqlalchemy import create_engine, text

from storage.database import Database
from storage.errors import ConflictError, RecordNotFoundError
from storage.records import GENESIS_HASH, MediaObject, Recording, RecordingPeriod, RecordingState
from storage.urls import database_url
from tests.support.rows import NOON_NS, S, SampleCounty, digest, gap, media_object, recording

OBJECT_S = 28


@pytest.fixture
async def running(database: Database, county: SampleCounty) -> Recording:
    """A recording that runs."""
    meeting = county.meeting()
    made = recording(meeting)
    async with database.transaction() as repos:
        await repos.meetings.add(meeting)
        await repos.recordings.add(made)
    return made


async def add_objects(database: Database, of: Recording, count: int) -> list[MediaObject]:
    """The first ``count`` objects, committed one by one."""
    made = [media_object(of, number) for number in range(count)]
    for one in made:
        async with database.transaction() as repos:
            assert await repos.objects.add(one)
    return made


async def test_one_recording_for_each_meeting_and_camera(database: Database, running: Recording) -> None:
    with pytest.raises(ConflictError):
        async with database.transaction() as repos:
            await repos.recordings.add(replace(running, id="another"))
    async with database.read() as repos:
        assert await repos.recordings.get(running.id) == running
        assert running.chain_head == GENESIS_HASH
        assert await repos.recordings.find(running.meeting_id, running.camera_id) == running
        assert await repos.recordings.find(running.meeting_id, "other") is None
        assert await repos.recordings.of_meeting(running.meeting_id) == (running,)


async def test_what_a_restart_has_to_look_at(database: Database, running: Recording) -> None:
    async def unfinished() -> list[str]:
        async with database.read() as repos:
            return [found.id for found in await repos.recordings.unfinished()]

    assert await unfinished() == [running.id]
    for state, expected in (
        (RecordingState.FINISHING, [running.id]),
        (RecordingState.COMPLETE, []),
        (RecordingState.FAILED, []),
    ):
        async with database.transaction() as repos:
            await repos.recordings.set_state(running.id, state, NOON_NS + 60 * S)
        assert await unfinished() == expected
    async with database.read() as repos:
        assert (await repos.recordings.get(running.id)).ended_utc_ns == NOON_NS + 60 * S
    with pytest.raises(RecordNotFoundError):
        async with database.transaction() as repos:
            await repos.recordings.set_state("none", RecordingState.FAILED)


async def test_periods_keep_their_init_segments_to_the_byte(database: Database, running: Recording) -> None:
    init = {1: bytes(range(256)), 2: b"\x00\x00\x00\x18ftyp"}
    first = RecordingPeriod(
        recording_id=running.id, number=0, tracks=[{"codec": "h264", "width": 1920}, {"codec": "pcma"}], init=init
    )
    second = replace(first, number=1, init={1: b"other"})
    async with database.transaction() as repos:
        assert await repos.recordings.add_period(first)
        assert await repos.recordings.add_period(second)
        assert not await repos.recordings.add_period(first)  # told again after a crash
    async with database.read() as repos:
        assert await repos.recordings.periods(running.id) == (first, second)
    with pytest.raises(ConflictError):
        async with database.transaction() as repos:
            await repos.recordings.add_period(replace(first, init={1: b"changed"}))


async def test_an_object_comes_back_to_the_last_field(database: Database, running: Recording) -> None:
    made = await add_objects(database, running, 3)
    async with database.read() as repos:
        assert await repos.objects.of_recording(running.id) == tuple(made)
        assert await repos.objects.find(running.id, 1) == made[1]
        assert await repos.objects.find(running.id, 7) is None
        assert await repos.objects.last(running.id) == made[2]
        assert (await repos.recordings.get(running.id)).chain_head == made[2].chain
        assert await repos.objects.keys(running.id) == {one.key for one in made}


async def test_an_object_committed_twice_is_one(database: Database, running: Recording) -> None:
    first, second = await add_objects(database, running, 2)
    async with database.transaction() as repos:
        assert not await repos.objects.add(first)
    async with database.read() as repos:
        assert (await repos.recordings.get(running.id)).chain_head == second.chain
    for changed in (replace(first, sha256=digest("other")), replace(media_object(running, 9), key=first.key)):
        with pytest.raises(ConflictError):
            async with database.transaction() as repos:
                await repos.objects.add(changed)
    with pytest.raises(ConflictError):
        async with database.transaction() as repos:
            await repos.objects.add(media_object(replace(running, id="never-begun"), 0))


@pytest.mark.parametrize(
    ("start_s", "end_s", "numbers"),
    [
        (None, None, [0, 1, 2, 3]),
        (0, OBJECT_S, [0]),
        (OBJECT_S, OBJECT_S + 1, [1]),
        (OBJECT_S - 0.001, OBJECT_S, [0]),
        (30, 60, [1, 2]),
        (None, 0, []),
        (100, None, [3]),
        (4 * OBJECT_S, None, []),
    ],
)
async def test_objects_of_a_span(
    database: Database, running: Recording, start_s: float | None, end_s: float | None, numbers: list[int]
) -> None:
    async with database.transaction() as repos:
        for number in (3, 1, 0, 2):  # in whatever order uploads end
            await repos.objects.add(media_object(running, number))
    start, end = (None if at is None else NOON_NS + int(at * S) for at in (start_s, end_s))
    async with database.read() as repos:
        found = await repos.objects.of_recording(running.id, start, end)
    assert [one.number for one in found] == numbers


async def test_pages_for_the_check_meet_every_row_once(database: Database, county: SampleCounty) -> None:
    meetings = [county.meeting(number) for number in range(3)]
    recordings = [recording(meeting) for meeting in meetings]
    async with database.transaction() as repos:
        for meeting, one in zip(meetings, recordings, strict=True):
            await repos.meetings.add(meeting)
            await repos.recordings.add(one)
            for number in range(5):
                await repos.objects.add(media_object(one, number))
    seen: list[tuple[str, int]] = []
    async with database.read() as repos:
        assert await repos.objects.count() == 15
        assert await repos.objects.count(meeting_id=meetings[0].id) == 5
        while page := await repos.objects.page(seen[-1] if seen else None, limit=4):
            assert len(page) <= 4
            seen += [(one.recording_id, one.number) for one in page]
        narrow = await repos.objects.page(None, 100, meeting_id=meetings[1].id)
    assert seen == sorted((one.id, number) for one in recordings for number in range(5))
    assert {one.recording_id for one in narrow} == {recordings[1].id}


async def test_gaps_open_and_closed(database: Database, running: Recording) -> None:
    async with database.transaction() as repos:
        closed = await repos.gaps.add(replace(gap(running, 10, 12, "packets-lost"), packets=7, detail="7 of 900"))
        lasting = await repos.gaps.add(gap(running, 20, None))
        assert closed.id != lasting.id
    async with database.read() as repos:
        assert await repos.gaps.of_recording(running.id) == (closed, lasting)
        assert await repos.gaps.open() == (lasting,)
        assert await repos.gaps.of_recording(running.id, NOON_NS + 12 * S) == (lasting,)
        assert await repos.gaps.of_recording(running.id, NOON_NS, NOON_NS + 20 * S) == (closed,)
        assert await repos.gaps.count(meeting_id=running.meeting_id) == 2
    async with database.transaction() as repos:
        await repos.gaps.close(lasting.id, NOON_NS + 25 * S, cause="silent", detail="no packet for 10 s")
    async with database.read() as repos:
        after = await repos.gaps.of_recording(running.id, NOON_NS + 20 * S)
    assert after == (replace(lasting, end_utc_ns=NOON_NS + 25 * S, cause="silent", detail="no packet for 10 s"),)
    with pytest.raises(RecordNotFoundError):  # what is closed stays as it is
        async with database.transaction() as repos:
            await repos.gaps.close(lasting.id, NOON_NS + 99 * S)


async def test_two_gaps_in_one_row_do_not_shorten_it(database: Database, running: Recording) -> None:
    """Of two that overlap each knows its own part only, and either may be saved again by the row's id."""
    async with database.transaction() as repos:
        long = await repos.gaps.save(gap(running, 10, 60, "clock-jump"))
        both = await repos.gaps.save(gap(running, 5, 20, "clock-jump"))
        again = await repos.gaps.save(replace(gap(running, 5, 30, "clock-jump"), id=long.id))
        lasting = await repos.gaps.save(gap(running, 100, None))
        await repos.gaps.save(replace(lasting, end_utc_ns=NOON_NS + 110 * S))
    assert both == again == replace(long, start_utc_ns=NOON_NS + 5 * S)
    async with database.read() as repos:
        rows = await repos.gaps.of_recording(running.id)
    assert rows == (both, replace(lasting, end_utc_ns=NOON_NS + 110 * S))
    with pytest.raises(RecordNotFoundError):
        async with database.transaction() as repos:
            await repos.gaps.save(replace(long, id=lasting.id + 1))


async def test_lost_packets_are_not_why_a_gap_lasts(database: Database, running: Recording) -> None:
    """A camera is back, and waits for its first keyframe: that packets were lost meanwhile does not end its absence."""
    async with database.transaction() as repos:
        lasting = await repos.gaps.save(gap(running, 20, None))
        packets = await repos.gaps.save(replace(gap(running, 19, 24, "packets-lost"), packets=7))
    async with database.read() as repos:
        assert await repos.gaps.of_recording(running.id) == (packets, lasting)


async def test_totals(database: Database, running: Recording) -> None:
    async with database.read() as repos:
        empty = await repos.recordings.totals(running.id)
    assert (empty.objects, empty.bytes, empty.first_utc_ns, empty.last_utc_ns, empty.gaps) == (0, 0, None, None, 0)
    await add_objects(database, running, 3)
    async with database.transaction() as repos:
        await repos.gaps.add(gap(running, 1, 2))
    async with database.read() as repos:
        full = await repos.recordings.totals(running.id)
    assert (full.objects, full.bytes, full.gaps) == (3, 21_000_000, 1)
    assert (full.first_utc_ns, full.last_utc_ns) == (NOON_NS, NOON_NS + 3 * OBJECT_S * S)


async def test_the_segment_index_is_compact_and_readable_without_sanhui(
    url: str, database: Database, running: Recording
) -> None:
    """A county keeps millions of these rows for decades: their shape is a promise."""
    one = (await add_objects(database, running, 1))[0]
    parsed = database_url(url)
    engine = create_engine(parsed.set(drivername="sqlite") if parsed.get_backend_name() == "sqlite" else parsed)
    try:
        with engine.connect() as connection:
            stored = connection.execute(text("SELECT segments FROM media_object")).scalar_one()
    finally:
        engine.dispose()
    assert len(stored) < 7 * 140
    kind, length = struct.unpack_from(">BI", stored)
    hashes = stored[5 + length :]
    assert (kind, len(hashes)) == (1, 7 * 3 * 32)
    sequence, start, duration, discontinuity, ranges = json.loads(zlib.decompress(stored[5 : 5 + length]))[0]
    first = one.segments[0]
    assert [sequence, start, duration, discontinuity] == [first.sequence, first.start_utc_ns, first.duration_ns, 1]
    assert hashes[:96].hex() == first.chain + "".join(part.sha256 for part in first.ranges)
    assert ranges == [[1, 1000, 900_000, 0, 360_000, 100], [2, 901_000, 32_000, 0, 32_000, 100]]


async def test_a_gap_that_two_write_at_the_same_moment_is_one_row(database: Database, running: Recording) -> None:
    """As a recording's book and its upload do, once a database is back."""
    lost = gap(running, 5, 9)

    async def save() -> None:
        async with database.transaction() as repos:
            await repos.gaps.save(lost)

    async with database.transaction() as repos:
        await repos.gaps.save(lost)
        second = asyncio.create_task(save())
        # Time enough for it, if nothing holds it up.
        await asyncio.wait({second}, timeout=0.5)
    await second
    async with database.read() as repos:
        assert len(await repos.gaps.of_recording(running.id)) == 1

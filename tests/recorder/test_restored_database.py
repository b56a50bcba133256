"""A database that was brought back from a backup, while the spool still has what came after it."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from media.unit import NS_PER_S, GapCause
from tests.recorder.house import START_NS, house, until
from tests.support.faults import Faults, FaultyStore


async def test_a_gap_in_the_spool_does_not_go_to_the_row_that_has_its_number_now(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        meeting, other = await home.plan(), await home.plan(title="支委会")
        home.camera.connect()
        async with home.service(store=FaultyStore(home.store, Faults(away=True))) as recorder:
            await home.runs(recorder, meeting)
            await home.runs(recorder, other)
            home.clock.now_ns += 2 * NS_PER_S
            async with asyncio.timeout(20):
                while not await home.gaps(meeting):  # noqa: ASYNC110 - a row
                    await asyncio.sleep(0.01)
            home.camera.lose(5.0, GapCause.SILENT)
            parts = recorder.metrics.parts
            home.camera.feed(4.0)
            await until(lambda: recorder.metrics.parts >= parts + 8, "media again")
        (gap,) = await home.gaps(meeting)
        with closing(sqlite3.connect(tmp_path / "sanhui.db")) as database, database:
            database.execute("DELETE FROM gap")
            (mine,) = database.execute("SELECT id FROM recording WHERE meeting_id = ?", (other,)).fetchone()
            database.execute(
                "INSERT INTO gap (id, recording_id, start_utc_ns, end_utc_ns, cause, packets, detail)"
                " VALUES (?, ?, ?, ?, 'overloaded', 0, '')",
                (gap.id, mine, START_NS + 1, START_NS + 2),
            )
        async with home.service() as recorder:
            for item in (meeting, other):
                await home.runs(recorder, item)
            for item in (meeting, other):
                await recorder.end_meeting(item, "user1")
        for item in (meeting, other):
            await home.complete(item)
            await home.verify(item)
        spans = [
            (found.start_utc_ns, found.end_utc_ns) for found in await home.gaps(other) if found.cause == "overloaded"
        ]
        assert spans == [(START_NS + 1, START_NS + 2)]
        assert (gap.start_utc_ns, gap.end_utc_ns) in {
            (found.start_utc_ns, found.end_utc_ns) for found in await home.gaps(meeting)
        }

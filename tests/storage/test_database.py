"""Units of work: atomic, isolated, typed errors; many at once on one SQLite file."""

import asyncio
import gc
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from storage import migrate
from storage.database import Database
from storage.errors import ConflictError, DatabaseUnavailableError, RecordNotFoundError
from storage.records import AuditEntry, AuditOutcome
from tests.support.rows import NOON, SampleCounty, camera, organization, site
from tests.support.servers import running
from tools.postgres import PostgresServer


async def test_a_unit_of_work_is_whole_or_not_at_all(database: Database) -> None:
    async def fail_in_the_middle() -> None:
        async with database.transaction() as repos:
            await repos.organizations.add(organization())
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        await fail_in_the_middle()
    async with database.read() as repos:
        assert await repos.organizations.count() == 0


async def test_a_cancelled_unit_of_work_leaves_nothing_and_blocks_nobody(database: Database) -> None:
    written = asyncio.Event()

    async def hang() -> None:
        async with database.transaction() as repos:
            await repos.organizations.add(organization())
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10), database.transaction() as repos:
        assert await repos.organizations.count() == 0
        await repos.organizations.add(organization())


async def test_whenever_a_writer_is_cancelled_the_next_one_goes_on(database: Database) -> None:
    """At the end of the service, say, when what is left is still to be written; nor does it wait for the collector."""
    entry = AuditEntry(
        at=NOON, user_id=None, username="wang", action="look", subject="camera", outcome=AuditOutcome.SUCCESS
    )

    async def write() -> None:
        async with database.transaction() as repos:
            for _ in range(5):
                await repos.audit.add(entry)

    gc.disable()
    try:
        for moment in range(60):
            writing = asyncio.create_task(write())
            await asyncio.sleep(moment / 10_000)
            writing.cancel()
            await asyncio.wait({writing})
            del writing
            async with asyncio.timeout(10):
                await write()
    finally:
        gc.enable()


async def test_readers_do_not_wait_for_a_writer_and_do_not_see_it(database: Database) -> None:
    async with database.transaction() as writing:
        await writing.organizations.add(organization())
        async with asyncio.timeout(5), database.read() as reading:
            assert await reading.organizations.count() == 0
    async with database.read() as reading:
        assert await reading.organizations.count() == 1


async def test_fifty_tasks_write_at_once(database: Database, county: SampleCounty) -> None:
    async def read_then_write(number: int) -> None:
        async with database.transaction() as repos:
            before = len(await repos.sites.all(county.county.id))
            await repos.sites.add(site(county.villages[number % 3], f"会议室 {number}"))
            assert len(await repos.sites.all(county.county.id)) >= before + 1

    async def only_read() -> None:
        async with database.read() as repos:
            await repos.cameras.places()

    await asyncio.gather(*(read_then_write(number) for number in range(50)), *(only_read() for _ in range(50)))

    async with database.read() as repos:
        assert len(await repos.sites.all()) == 53


_HOLD_THE_FILE = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(1)
connection.execute("COMMIT")
"""


async def test_another_process_that_writes_is_waited_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shared.db"
    await asyncio.to_thread(migrate.upgrade, url)
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _HOLD_THE_FILE, f"{tmp_path}/shared.db", stdout=asyncio.subprocess.PIPE
    )
    assert other.stdout is not None
    assert await other.stdout.readline() == b"held\n"
    async with Database(url) as database, database.transaction() as repos:
        await repos.organizations.add(organization())
    assert await other.wait() == 0


async def test_sqlite_is_set_up_for_evidence(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new folder/sanhui.db"
    async with Database(url) as database:
        await asyncio.to_thread(migrate.upgrade, url)
        async with database.transaction() as repos:
            await repos.organizations.add(organization())
        with pytest.raises(ConflictError):  # foreign keys are checked
            async with database.transaction() as repos:
                await repos.sites.add(site(organization()))
        assert (tmp_path / "new folder" / "sanhui.db-wal").exists()


async def test_what_breaks_a_rule_is_a_conflict_that_names_it(database: Database, county: SampleCounty) -> None:
    again = replace(site(county.villages[0]), name=county.sites[0].name)
    with pytest.raises(ConflictError) as caught:
        async with database.transaction() as repos:
            await repos.sites.add(again)
    assert "site" in str(caught.value.params["rule"])
    assert again.address not in str(caught.value)

    with pytest.raises(ConflictError):
        async with database.transaction() as repos:
            await repos.organizations.delete(county.towns[0].id)
    async with database.read() as repos:
        assert await repos.organizations.count() == 6


async def test_no_error_shows_what_was_to_be_written(database: Database) -> None:
    secret = "v1.key.c2VjcmV0LW9mLXRoZS1jYW1lcmE"
    orphan = camera(site(organization()), password_encrypted=secret)
    nameless = camera(site(organization()), password_encrypted=secret, url=None)
    unknown = camera(site(organization()), password_encrypted=secret, retention_days=object())
    for bad in (orphan, nameless, unknown):
        with pytest.raises(Exception, match=r".") as caught:
            async with database.transaction() as repos:
                await repos.cameras.add(bad)
        assert secret not in "".join(traceback.format_exception(caught.value))


async def test_what_is_not_there(database: Database) -> None:
    with pytest.raises(RecordNotFoundError) as caught:
        async with database.read() as repos:
            await repos.cameras.get("none")
    assert caught.value.params == {"kind": "camera", "id": "none"}


async def test_text_in_any_script_comes_back(database: Database) -> None:
    name = "石桥村'; DROP TABLE site; -- 🎥 %_\\ \u200bé"
    county = organization(name)
    async with database.transaction() as repos:
        await repos.organizations.add(county)
    async with database.read() as repos:
        assert await repos.organizations.get(county.id) == county


async def test_a_reader_cannot_write_on_postgres(migrated_postgres_url: str) -> None:
    async with Database(migrated_postgres_url) as database:
        with pytest.raises(Exception, match="refused"):
            async with database.read() as repos:
                await repos.organizations.add(organization())


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server that the test may stop."""
    with running(lambda: PostgresServer(durable=False)) as server:
        yield server


async def test_a_postgres_that_goes_away_and_comes_back(own_postgres: PostgresServer) -> None:
    url = own_postgres.create_database("sanhui")
    await asyncio.to_thread(migrate.upgrade, url)
    entry = AuditEntry(
        at=NOON, user_id=None, username="wang", action="look", subject="camera", outcome=AuditOutcome.SUCCESS
    )
    async with Database(url) as database:
        async with database.transaction() as repos:
            await repos.audit.add(entry)
        await asyncio.to_thread(own_postgres.stop)

        started = time.monotonic()
        for _ in range(3):
            with pytest.raises(DatabaseUnavailableError) as caught:
                async with database.transaction() as repos:
                    await repos.audit.add(entry)
            assert caught.value.retryable
            assert url.split("@")[0].rpartition(":")[2] not in str(caught.value) + str(caught.value.params)
        with pytest.raises(DatabaseUnavailableError):
            await database.check()
        assert time.monotonic() - started < 20

        await asyncio.to_thread(own_postgres.start)
        async with database.transaction() as repos:
            assert (await repos.audit.add(entry)).id == 2
        await database.check()


async def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()
    async with Database(f"sqlite:///{tmp_path}/folder.db") as database:
        with pytest.raises(DatabaseUnavailableError):
            async with database.read() as repos:
                await repos.cameras.count()

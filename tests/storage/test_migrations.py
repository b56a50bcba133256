"""The migrations, on both databases."""

import asyncio
import base64
import contextlib
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy import text as sa_text

from storage import migrate, revisions
from storage.database import Database
from storage.errors import DatabaseError, DatabaseNewerError, DatabaseUnavailableError, MigrationNeededError
from storage.urls import database_url
from tests.support.rows import NOON, NOON_NS


@contextlib.contextmanager
def _connection(url: str) -> Iterator[Connection]:
    parsed = database_url(url)
    engine = create_engine(parsed.set(drivername="sqlite") if parsed.get_backend_name() == "sqlite" else parsed)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def test_up_gives_every_table_and_the_models_agree(empty_url: str) -> None:
    assert revisions.current_revision(empty_url) is None

    migrate.upgrade(empty_url)

    assert revisions.current_revision(empty_url) == revisions.head_revision()
    migrate.check_models(empty_url)
    migrate.upgrade(empty_url)  # at every start


def test_a_forgotten_migration_is_noticed(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    with _connection(empty_url) as connection:
        connection.exec_driver_sql("ALTER TABLE site DROP COLUMN address")
        connection.commit()
    with pytest.raises(MigrationNeededError):
        migrate.check_models(empty_url)


def test_make_migration_writes_the_step_that_was_forgotten(tmp_path: Path) -> None:
    root = Path(migrate.__file__).parents[1]
    shutil.copytree(root / "storage", tmp_path / "storage", ignore=shutil.ignore_patterns("__pycache__"))
    model = tmp_path / "storage/models/guidance.py"
    changed = model.read_text("utf-8").replace(
        "    key: Mapped[str]", "    tone: Mapped[str | None] = mapped_column(String(20))\n    key: Mapped[str]", 1
    )
    model.write_text(changed, "utf-8")
    (tmp_path / "tools").mkdir()
    shutil.copy(root / "tools/migration.py", tmp_path / "tools")
    python = functools.partial(
        subprocess.run, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, check=True, timeout=60
    )
    python([sys.executable, "-m", "tools.migration", "the tone of a note"])
    number = f"{int(revisions.head_revision()) + 1:04}"
    (written,) = (tmp_path / "storage/migrations/versions").glob(f"{number}_*.py")
    assert f'down_revision = "{revisions.head_revision()}"' in written.read_text("utf-8")
    url = f"sqlite:///{tmp_path / 'new.db'}"
    python([sys.executable, "-c", f"from storage.migrate import *; upgrade({url!r}); check_models({url!r})"])
    with _connection(url) as connection:
        assert "tone" in {column["name"] for column in inspect(connection).get_columns("guidance_note")}


def test_down_takes_all_tables_away_again(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    migrate.downgrade(empty_url, "base")
    with _connection(empty_url) as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]


async def test_an_index_of_before_is_read_and_counted(empty_url: str) -> None:
    """Revision 0003 packs what is written from then on; what is there stays as it is."""
    digest = hashlib.sha256(b"segment").digest()
    text = base64.b64encode(digest).rstrip(b"=").decode()
    index = json.dumps([[7, NOON_NS, 4_000_000_000, 1, text, [[1, 100, 900, 0, 360_000, 100, text]]]])
    migrate.upgrade(empty_url, "0002")
    rows: dict[str, dict[str, Any]] = {
        "organization": {"id": "o", "parent_id": None, "level": "village", "name": "村", "code": "", "position": 0},
        "site": {"id": "s", "organization_id": "o", "name": "室", "address": ""},
        "camera": {
            "id": "c", "site_id": "s", "name": "正", "url": "", "sub_url": "", "username": "",
            "password_encrypted": "", "transport": "tcp", "enabled": True, "position": 0, "place_kind": "other",
            "purpose": "", "legal_basis": "", "notice": "", "notice_photo_key": "", "filing_number": "",
            "retention_days": 30, "supervision_allowed": True, "created_at": NOON, "updated_at": NOON,
        },
        "meeting": {
            "id": "m", "organization_id": "o", "site_id": "s", "camera_id": "c", "kind": "members-meeting",
            "title": "", "planned_start": NOON, "state": "ended", "started_by": "", "ended_by": "", "record": True,
            "no_record_reason": "", "created_by": "", "created_at": NOON,
        },
        "recording": {
            "id": "r", "meeting_id": "m", "camera_id": "c", "state": "complete", "started_utc_ns": NOON_NS,
            "chain_head": digest,
        },
        "media_object": {
            "recording_id": "r", "number": 0, "period": 0, "key": "k", "size": 5000, "sha256": digest,
            "start_utc_ns": NOON_NS, "end_utc_ns": NOON_NS + 4_000_000_000, "segments": index, "chain": digest,
            "state": "stored",
        },
    }  # fmt: skip
    with _connection(empty_url) as connection:
        for table, values in rows.items():
            marks = ", ".join(f":{name}" for name in values)
            connection.execute(sa_text(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})"), values)
        connection.commit()

    migrate.upgrade(empty_url)

    async with Database(empty_url) as database, database.read() as repos:
        (item,) = await repos.objects.of_recording("r")
        totals = await repos.recordings.totals("r")
    assert item.segments[0].chain == item.segments[0].ranges[0].sha256 == digest.hex()
    assert (item.segments[0].sequence, item.segments[0].ranges[0].size) == (7, 900)
    assert (totals.objects, totals.bytes, totals.first_utc_ns) == (1, 5000, NOON_NS)


class CutOffError(BaseException):
    """The process is gone."""


def test_an_upgrade_that_is_cut_off_is_none_and_the_next_one_is_whole(tmp_path: Path) -> None:
    """At each of its statements in turn: the next start must not meet half of a revision."""
    url = f"sqlite:///{tmp_path}/sanhui.db"
    statements = 0

    def strike(_connection: Any, _cursor: Any, _statement: str, *_: Any) -> None:
        nonlocal statements
        statements += 1
        if statements == cut_at:
            raise CutOffError

    cut_at, found = 0, set()
    event.listen(Engine, "before_cursor_execute", strike)
    try:
        while statements >= cut_at:
            cut_at, statements = cut_at + 7, 0
            with contextlib.suppress(CutOffError):
                migrate.upgrade(url)
            if statements >= cut_at:
                found.add(revisions.current_revision(url))
    finally:
        event.remove(Engine, "before_cursor_execute", strike)
    assert found == {None}
    assert cut_at > 50
    migrate.check_models(url)


def test_no_file_in_the_working_directory_matters(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = /nowhere\n")
    monkeypatch.chdir(tmp_path)
    migrate.upgrade(empty_url)
    assert revisions.current_revision(empty_url) == revisions.head_revision()
    assert set(os.listdir(tmp_path)) <= {"alembic.ini", "empty.db", "empty.db-wal", "empty.db-shm"}


def test_revisions_are_those_that_alembic_finds() -> None:
    """They are read from the files' names, without it."""
    found = ScriptDirectory(str(Path(migrate.__file__).parent / "migrations"))
    assert revisions.head_revision() == found.get_current_head()
    for script in found.walk_revisions():
        revisions.require_known(script.revision)
    with pytest.raises(DatabaseNewerError):
        revisions.require_known("9999")


def test_a_service_whose_tables_are_there_does_not_load_alembic(empty_url: str) -> None:
    """11 MB for months. The second start finds nothing to do."""
    program = """
import sys
from storage.revisions import bring_to_head
import storage.database
bring_to_head(sys.argv[1])
print(any(name.partition(".")[0] in {"alembic", "mako"} for name in sys.modules))
"""
    command = [sys.executable, "-c", program, empty_url]
    said = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() for _ in range(2)]
    assert said == ["True", "False"]
    assert revisions.current_revision(empty_url) == revisions.head_revision()


async def test_several_at_once(postgres_url: str) -> None:
    program = "import sys; from storage.revisions import bring_to_head; bring_to_head(sys.argv[1])"
    starting = [asyncio.create_subprocess_exec(sys.executable, "-c", program, postgres_url) for _ in range(2)]
    processes = await asyncio.gather(*starting)
    async with asyncio.timeout(60):
        assert await asyncio.gather(*(process.wait() for process in processes)) == [0, 0]
    assert await asyncio.to_thread(revisions.current_revision, postgres_url) == revisions.head_revision()


def test_threads_take_turns(tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path}/{number}.db" for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(migrate.upgrade, urls, timeout=60))
    assert {revisions.current_revision(url) for url in urls} == {revisions.head_revision()}


async def test_the_service_is_told_that_migrations_are_missing(empty_url: str) -> None:
    async with Database(empty_url) as database:
        with pytest.raises(MigrationNeededError):
            await database.check()
        with pytest.raises(MigrationNeededError):
            async with database.read() as repos:
                await repos.cameras.count()
        await asyncio.to_thread(migrate.upgrade, empty_url)
        await database.check()


async def test_a_database_of_a_newer_version_is_left_alone(empty_url: str) -> None:
    """Somebody went back to the version before an upgrade."""
    migrate.upgrade(empty_url)
    with _connection(empty_url) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(DatabaseNewerError) as caught:
        migrate.upgrade(empty_url)
    assert caught.value.params == {"found": "9999", "needed": revisions.head_revision()}
    async with Database(empty_url) as database:
        with pytest.raises(DatabaseNewerError):
            await database.check()
    assert revisions.current_revision(empty_url) == "9999"


def test_a_database_that_is_away() -> None:
    with pytest.raises(DatabaseUnavailableError) as caught:
        migrate.upgrade("postgresql://sanhui:s3cret@127.0.0.1:9/sanhui")
    assert "s3cret" not in str(caught.value) + str(caught.value.params)


@pytest.mark.parametrize(
    "url",
    ["mysql://u:s3cret@host/x", "sqlite://", "sqlite:///:memory:", "s3cret", "", "postgresql://u:s3cret@host:port/x"],
)
def test_addresses_that_are_none_do_not_echo_the_password(url: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        migrate.upgrade(url)
    assert "s3cret" not in str(caught.value) + str(caught.value.params)
    assert caught.value.__cause__ is None

"""The store of a database's objects is the one that it knows."""

import os
from pathlib import Path

import pytest

from storage.database import Database
from storage.errors import OtherStoreError, StoreRefusedError
from storage.objects import DirectoryStoreSettings
from storage.open_store import open_store, open_store_of
from tests.storage.conftest import s3_settings
from tests.support.rows import SampleCounty, media_object, recording
from tools.s3_servers import S3Server

KEY = "recordings/0f3c/000000.mp4"


async def begin(database: Database, county: SampleCounty) -> None:
    """The database knows an object from now on."""
    meeting = county.meeting()
    made = recording(meeting)
    async with database.transaction() as repos:
        await repos.meetings.add(meeting)
        await repos.recordings.add(made)
        await repos.objects.add(media_object(made, 0))


async def test_a_disk_that_is_not_mounted_when_the_service_starts(
    database: Database, county: SampleCounty, tmp_path: Path
) -> None:
    settings = DirectoryStoreSettings(tmp_path / "mount")
    async with open_store_of(database, settings) as store:
        await store.put(KEY, b"x")
    await begin(database, county)

    settings.path.rename(tmp_path / "elsewhere")
    settings.path.mkdir()
    async with open_store_of(database, settings) as store:
        with pytest.raises(OtherStoreError):
            await store.put(KEY, b"y")
        assert os.listdir(settings.path) == []
        settings.path.rmdir()
        (tmp_path / "elsewhere").rename(settings.path)
        assert await store.get(KEY) == b"x"


async def test_the_disk_of_another_county(database: Database, county: SampleCounty, tmp_path: Path) -> None:
    settings, other = DirectoryStoreSettings(tmp_path / "ours"), DirectoryStoreSettings(tmp_path / "other")
    async with open_store_of(database, settings), open_store(other):
        pass
    # Nothing is in it yet: the operator has thought better of where it should be.
    async with open_store_of(database, other) as store:
        await store.check()
    await begin(database, county)
    async with open_store_of(database, settings) as store:
        with pytest.raises(OtherStoreError):
            await store.check()
    async with open_store_of(database, other) as store:
        await store.check()


async def test_a_store_of_before_markers_were_known(database: Database, county: SampleCounty, tmp_path: Path) -> None:
    settings = DirectoryStoreSettings(tmp_path / "mount")
    await begin(database, county)
    async with open_store_of(database, settings) as store:
        with pytest.raises(OtherStoreError):
            await store.check()
    settings.path.mkdir()
    (settings.path / ".sanhui-store").write_text("Objects of Sanhui.\n")
    async with open_store_of(database, settings) as store:
        await store.check()
    async with open_store(DirectoryStoreSettings(tmp_path / "other")):
        pass
    async with open_store_of(database, DirectoryStoreSettings(tmp_path / "other")) as store:
        with pytest.raises(OtherStoreError):
            await store.check()


async def test_a_server_without_its_bucket_gets_no_new_one(
    database: Database, county: SampleCounty, minio: S3Server
) -> None:
    settings = s3_settings(minio)
    await begin(database, county)
    async with open_store_of(database, settings) as store:
        for ask in (store.put(KEY, b"x"), store.check()):
            with pytest.raises(StoreRefusedError) as caught:
                await ask
            assert caught.value.params["reason"] == "NoSuchBucket"
    async with open_store(settings) as store:
        await store.put(KEY, b"x")
    async with open_store_of(database, settings) as store:
        assert await store.get(KEY) == b"x"

"""The databases and object stores that each suite here runs on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage import migrate
from storage.database import Database
from storage.objects import DirectoryStoreSettings, ObjectStore, S3StoreSettings, StoreSettings
from storage.open_store import open_store
from storage.records import new_id
from tests.support.rows import SampleCounty
from tools.s3_servers import S3Server


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with this version's tables."""
    if request.param == "postgres":
        url: str = request.getfixturevalue("migrated_postgres_url")
        return url
    url = f"sqlite:///{tmp_path}/sanhui.db"
    migrate.upgrade(url)
    return url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """That database, open."""
    async with Database(url) as opened:
        yield opened


@pytest.fixture
async def county(database: Database) -> SampleCounty:
    """A county, written to the database."""
    sample = SampleCounty()
    async with database.transaction() as repos:
        await sample.add_to(repos)
    return sample


def s3_settings(server: S3Server, bucket: str = "", **changes: object) -> S3StoreSettings:
    """Settings for a bucket of its own, impatient."""
    values: dict[str, object] = {
        "endpoint": server.endpoint,
        "bucket": bucket or f"test-{new_id()}",
        "access_key": server.access_key,
        "secret_key": server.secret_key,
        "connect_timeout_s": 1.0,
        "read_timeout_s": 5.0,
    }
    return S3StoreSettings(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(params=["directory", "minio", "versitygw"])
def store_settings(request: pytest.FixtureRequest, tmp_path: Path) -> StoreSettings:
    """An empty store."""
    if request.param == "directory":
        return DirectoryStoreSettings(tmp_path / "objects")
    return s3_settings(request.getfixturevalue(request.param))


@pytest.fixture
async def store(store_settings: StoreSettings) -> AsyncIterator[ObjectStore]:
    """That store, open."""
    async with open_store(store_settings) as opened:
        yield opened

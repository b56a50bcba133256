"""A service whose database another one has taken while it was cut off: it is told on the desk, not in the log alone."""

import asyncio
from pathlib import Path

import psycopg
import pytest

from storage.errors import DatabaseInUseError
from storage.sole_service import SoleService
from tests.streaming.watching import until
from tests.web.conftest import fill, run, settings

_CUT_OFF = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"


async def _taken(url: str) -> SoleService:
    """Another service's lock, as soon as the first one's connection is lost."""
    other = SoleService(url)
    async with asyncio.timeout(30):
        while True:
            async with await psycopg.AsyncConnection.connect(url) as connection:
                await connection.execute(_CUT_OFF)
            try:
                return await other.__aenter__()
            except DatabaseInUseError:
                await asyncio.sleep(0.01)


async def test_another_service_that_takes_the_database_is_told_on_the_desk(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.sole_service._LOOK_S", 0.2)
    async with run(settings(tmp_path, database_url=postgres_url)) as service:
        await fill(service.services)
        official = await service.logged_in("official")
        other = await _taken(postgres_url)
        await until(lambda: service.services.notices.codes == ("second-service",), "the operator is told")
        told = (await official.json("GET", "/now"))["notices"]
        assert [notice["title"] for notice in told] == ["另一个服务接管了数据库"]
        await other.__aexit__(None, None, None)
        await until(lambda: service.services.notices.codes == (), "it is the only one again")

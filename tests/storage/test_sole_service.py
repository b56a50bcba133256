"""One service at a time on a database: two would record each meeting, under the same numbers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from storage.errors import DatabaseInUseError, DatabaseUnavailableError
from storage.sole_service import SoleService
from tests.support.faults_proxy import FaultProxy
from tools.postgres import PostgresServer


@contextlib.asynccontextmanager
async def kept(service: SoleService) -> AsyncIterator[None]:
    """Look after the lock."""
    task = asyncio.create_task(service.keep())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def holder(url: str) -> int | None:
    """Whose the lock is: a process of the server."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        found = await connection.execute(
            "SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
            " WHERE locktype = 'advisory' AND granted AND datname = current_database()"
        )
        row = await found.fetchone()
    return None if row is None else row[0]


async def until_held(url: str, *, by_other_than: int | None) -> None:
    async with asyncio.timeout(30):
        while await holder(url) in (None, by_other_than):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.02)


async def test_a_second_service_does_not_start_until_the_first_has_ended(postgres_url: str) -> None:
    async with SoleService(postgres_url):
        with pytest.raises(DatabaseInUseError) as caught:
            await SoleService(postgres_url).__aenter__()
        assert caught.value.retryable
        assert "@127.0.0.1" in str(caught.value.params["database"])
    async with SoleService(postgres_url):
        pass


async def test_databases_of_one_server_have_nothing_to_do_with_each_other(
    postgres_url: str, migrated_postgres_url: str
) -> None:
    async with SoleService(postgres_url), SoleService(migrated_postgres_url):
        pass


async def test_a_connection_that_breaks_is_made_anew_and_the_lock_with_it(
    postgres_server: PostgresServer,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("storage.sole_service._LOOK_S", 0.05)
    async with FaultProxy(postgres_server.port).running() as proxy:
        parts = urlsplit(postgres_url)
        by_proxy = urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{proxy.port}"))
        async with SoleService(by_proxy) as service, kept(service):
            first = await holder(postgres_url)
            proxy.cut()
            await until_held(postgres_url, by_other_than=first)

            proxy.away = True
            async with asyncio.timeout(30):
                while await holder(postgres_url) is not None:  # noqa: ASYNC110 - the server tells nobody
                    await asyncio.sleep(0.02)
            async with SoleService(postgres_url):
                proxy.away = False
                async with asyncio.timeout(30):
                    while not caplog.records:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
                await asyncio.sleep(0.3)
                told = service.taken
            assert told
            assert len(caplog.records) == 1, "told once"
            assert "another service has taken the database" in caplog.text
            async with asyncio.timeout(30):
                while service.taken:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            assert await holder(postgres_url) is not None


async def test_a_session_that_the_server_does_not_know_to_be_gone_is_no_other_service(
    postgres_server: PostgresServer,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A line that was cut and is back sooner than the server misses who was at its other end."""
    monkeypatch.setattr("storage.sole_service._LOOK_S", 0.05)
    monkeypatch.setattr("storage.sole_service._ANSWER_S", 0.5)
    async with FaultProxy(postgres_server.port).running() as proxy:
        parts = urlsplit(postgres_url)
        by_proxy = urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{proxy.port}"))
        async with SoleService(by_proxy) as service, kept(service):
            first = await holder(postgres_url)
            proxy.secretive = proxy.deaf = True
            taken = proxy.connections
            async with asyncio.timeout(60):
                while proxy.connections == taken:  # noqa: ASYNC110 - until it has given the first one up
                    await asyncio.sleep(0.02)
            assert await holder(postgres_url) == first
            proxy.deaf = False
            await until_held(postgres_url, by_other_than=first)
            assert not service.taken
            assert "another service" not in caplog.text


async def test_a_server_that_is_away() -> None:
    with pytest.raises(DatabaseUnavailableError) as caught:
        await SoleService("postgresql://sanhui:s3cret@127.0.0.1:9/sanhui").__aenter__()
    assert "s3cret" not in str(caught.value) + str(caught.value.params)


async def test_of_a_file_nothing_is_kept_here_since_the_spools_own_lock_does_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sanhui.db"
    async with SoleService(url), SoleService(url) as service:
        await service.keep()

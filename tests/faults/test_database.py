"""PostgreSQL is restarted, or its connections break: rows wait, none is written twice, none is lost."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.faults.conftest import Moments
from tests.faults.scene import QUICK, meeting_under_way
from tests.recorder.house import house, until
from tests.support.faults_proxy import FaultProxy
from tools.postgres import PostgresServer

SELDOM = 5
"""At one moment of so many the server itself is restarted; at the others its connections break."""


def through(url: str, port: int) -> str:
    """The database's address, by the proxy."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}"))


async def test_a_database_that_is_restarted_costs_nothing(
    tmp_path: Path,
    postgres_server: PostgresServer,
    postgres_url: str,
    caplog: pytest.LogCaptureFixture,
    moments: Moments,
) -> None:
    async with FaultProxy(postgres_server.port).running() as proxy:
        url = through(postgres_url, proxy.port)
        async with house(tmp_path, QUICK, url=url) as home, meeting_under_way(home, caplog) as scene:
            for number, chance in enumerate(moments):
                await scene.play(chance.choice((0.5, 1.0, 2.0, 4.0)))
                after = proxy.pieces + chance.randrange(60)
                await until(lambda after=after: proxy.pieces >= after, "the database is at work")  # type: ignore[misc]
                if chance.random() < 0.5:
                    # What was asked is done; its answer, of a COMMIT perhaps, is never heard.
                    proxy.deaf = True
                    await asyncio.sleep(chance.uniform(0.0, 0.05))
                proxy.away = True
                if number % SELDOM == 0:
                    await asyncio.to_thread(postgres_server.stop)
                if chance.random() < 0.3:
                    home.camera.lose(chance.uniform(3.0, 20.0))
                await scene.play_until_told("database-away")
                if number % SELDOM == 0:
                    await asyncio.to_thread(postgres_server.start)
                proxy.heal()
                await scene.stored()
                await scene.desk.is_calm()
            await scene.ends()
            gaps = await scene.is_whole()
            assert {gap.cause for gap in gaps} <= {"disconnected"}
            assert len({(gap.start_utc_ns, gap.end_utc_ns) for gap in gaps}) == len(gaps)

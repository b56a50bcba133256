"""The object store goes away, is slow, says no: recordings wait, nothing is lost, and it drains by itself."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from storage.objects import S3StoreSettings
from storage.records import new_id
from tests.faults.conftest import Moments
from tests.faults.scene import QUICK, Scene, meeting_under_way
from tests.recorder.house import house
from tests.support.faults_proxy import BUSY, FULL, READ_ONLY, FaultProxy
from tests.support.servers import running
from tools.go_programs import MINIO
from tools.s3_servers import MinioServer

SELDOM = 50
"""One moment of so many lasts for two minutes; MinIO itself is stopped at it, where stopping is the fault."""

Strike = Callable[[FaultProxy, random.Random], None]


def stops(proxy: FaultProxy, _: random.Random) -> None:
    proxy.away = True


def is_slow(proxy: FaultProxy, chance: random.Random) -> None:
    # In time, yet too slow to keep pace; or too late.
    proxy.delay_s = chance.choice((0.1, 0.15, 1.5))


def is_busy(proxy: FaultProxy, _: random.Random) -> None:
    proxy.refusal = BUSY


def is_read_only(proxy: FaultProxy, _: random.Random) -> None:
    proxy.refusal = READ_ONLY


def is_full(proxy: FaultProxy, _: random.Random) -> None:
    proxy.refusal = FULL


@pytest.fixture
def minio() -> Iterator[MinioServer]:
    """One that may be stopped."""
    with running(MinioServer, MINIO) as server:
        yield server


@asynccontextmanager
async def scene_on_minio(
    folder: Path, minio: MinioServer, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[tuple[Scene, FaultProxy]]:
    async with FaultProxy(minio.port, http=True).running() as proxy:
        settings = S3StoreSettings(
            endpoint=f"http://127.0.0.1:{proxy.port}",
            bucket=f"faults-{new_id()[:12].lower()}",
            access_key=minio.access_key,
            secret_key=minio.secret_key,
            read_timeout_s=1.0,
            attempts=1,
        )
        quick = replace(QUICK, lag_warn_s=10.0)
        async with (
            house(folder, quick, objects=settings) as home,
            meeting_under_way(home, caplog) as scene,
        ):
            yield scene, proxy


@pytest.mark.parametrize(
    ("strike", "codes"),
    [
        (stops, ("store-away",)),
        (is_slow, ("store-away", "upload-behind")),
        (is_busy, ("store-away",)),
        (is_read_only, ("store-refuses",)),
        (is_full, ("store-full",)),
    ],
)
async def test_a_store_that_fails_costs_nothing(
    tmp_path: Path,
    minio: MinioServer,
    caplog: pytest.LogCaptureFixture,
    moments: Moments,
    strike: Strike,
    codes: tuple[str, ...],
) -> None:
    async with scene_on_minio(tmp_path, minio, caplog) as (scene, proxy):
        for number, chance in enumerate(moments):
            await scene.play(chance.choice((0.5, 1.0, 1.5, 2.0, 3.0)))
            really = strike is stops and number % SELDOM == 0
            if really:
                await asyncio.to_thread(minio.stop)
            else:
                strike(proxy, chance)
            # Once in a while for two minutes, else for an object or two.
            await scene.play(120.0 if number % SELDOM == 0 else chance.uniform(0.5, 4.5))
            await scene.play_until_told(*codes)
            if really:
                await asyncio.to_thread(minio.start)
            proxy.heal()
            await scene.stored()
            await scene.desk.is_calm()
        await scene.ends()
        assert await scene.is_whole() == []
        assert await scene.lost_s() == 0

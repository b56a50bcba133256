"""A camera that is dead for a week: asked again and again, not too often, and nothing grows."""

import asyncio
import contextlib
import gc
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import NoReturn

import psutil
import pytest

from streaming.addresses import AddressGuard, AddressPolicy
from streaming.camera_status import CameraState
from streaming.cameras import CameraSupervisor, SupervisorSettings
from streaming.errors import CameraUnreachableError
from streaming.source import CameraSource
from tests.support.clocks import SkippingLoop

WEEK_H = 7 * 24
MIB = 1 << 20


class DeadCamera:
    """Takes connections and drops them: at once, after a while, or with half an answer."""

    def __init__(self, loop: SkippingLoop) -> None:
        self._loop = loop
        self._chance = random.Random(1)
        self.calls: list[float] = []
        self.port = 1

    @contextlib.asynccontextmanager
    async def there(self) -> AsyncIterator[None]:
        """For those that ask over the network."""
        async with await asyncio.start_server(self._drop, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield

    async def is_not_there(self, *_: object, **__: object) -> NoReturn:
        """What a network says of a host that is switched off, after a while."""
        self.calls.append(self._loop.time())
        await asyncio.sleep(self._chance.uniform(1.0, 5.0))
        raise CameraUnreachableError("no route to host", reason="no-route")

    async def _drop(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls.append(self._loop.time())
        if self._chance.random() < 0.2:
            writer.write(b"RTSP/1.0 503 Service Unav")
            await asyncio.sleep(self._chance.uniform(0.0, 3.0))
        writer.transport.abort()


@pytest.mark.parametrize("answers", [False, True])
def test_a_dead_camera_for_a_week(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    """One that nobody hears of any more, for a week; one that takes connections and drops them, for some hours."""
    caplog.set_level(logging.INFO)
    loop = SkippingLoop()
    camera = DeadCamera(loop)
    hours = 3 if answers else WEEK_H
    if not answers:
        monkeypatch.setattr("streaming.rtsp.line.dial", camera.is_not_there)
    try:
        states = loop.run_until_complete(dead_for(hours, camera, loop, answers=answers))
    finally:
        loop.close()
    tries = Counter(int((call - camera.calls[0]) // 3600) for call in camera.calls)
    # From a quarter of a minute to half a minute between two tries, once it has been tried for a while.
    assert max(tries.values()) <= 3600 / 15 + 10
    assert min(tries[hour] for hour in range(hours - 1)) >= 3600 / 40
    assert states <= 2
    said = [record for record in caplog.records if record.name.startswith("streaming")]
    assert len(said) <= 10, "said once, not a thousand times"


async def dead_for(hours: int, camera: DeadCamera, loop: SkippingLoop, *, answers: bool) -> int:
    """How often its state changed after the first part of this time."""
    changes = 0

    def changed(_: object) -> None:
        nonlocal changes
        changes += 1

    guard = AddressGuard(AddressPolicy(allow_loopback=True))
    # What is measured every two seconds of a week would take longer than what is tested here.
    settings = SupervisorSettings(sample_s=3600.0, read_interval_s=0.0)
    async with (
        camera.there() if answers else contextlib.nullcontext(),
        CameraSupervisor(loop, guard, settings) as cameras,
    ):
        await cameras.apply([CameraSource("hall", f"rtsp://127.0.0.1:{camera.port}/1")])
        await asyncio.sleep(hours * 3600 / 6)
        with cameras.listening(changed):
            before = footprint()
            await asyncio.sleep(hours * 3600 * 5 / 6)
            after = footprint()
        status = cameras.status("hall")
        assert status is not None
        assert status.state is not CameraState.ONLINE
    assert after[0] - before[0] < 2 * MIB, "memory is flat"
    assert after[1] - before[1] < 500, "no object is left over"
    assert after[2] - before[2] <= 2, "no descriptor is left open"
    return changes


def footprint() -> tuple[int, int, int]:
    """Octets of memory, objects, descriptors."""
    gc.collect()
    process = psutil.Process()
    return process.memory_info().rss, len(gc.get_objects()), process.num_fds()

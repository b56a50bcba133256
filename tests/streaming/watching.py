"""What tests of the client share: a guard that allows loopback, short times, and a collector of what is published."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from media.clock import SystemClock
from media.unit import VIDEO_TRACK_ID, AccessUnit, Gap, StreamItem
from streaming.addresses import AddressGuard, AddressPolicy
from streaming.rtsp.client import RtspClient
from streaming.rtsp.settings import RtspSettings
from streaming.secret import Secret
from streaming.source import CameraSource, Transport

GUARD = AddressGuard(AddressPolicy(allow_loopback=True))
QUICK = RtspSettings(connect_s=2.0, answer_s=2.0, silence_s=0.6, tick_s=0.05, report_s=0.2)
WAIT_S = 10.0


class Collector:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.units: list[AccessUnit] = []
        self.gaps: list[Gap] = []

    def publish(self, item: StreamItem) -> None:
        """Take an item."""
        if isinstance(item, AccessUnit):
            self.units.append(item)
        else:
            self.gaps.append(item)

    @property
    def pictures(self) -> list[AccessUnit]:
        """The units that are pictures."""
        return [unit for unit in self.units if unit.track.id == VIDEO_TRACK_ID]

    @property
    def sounds(self) -> list[AccessUnit]:
        """The units that are sound."""
        return [unit for unit in self.units if unit.track.id != VIDEO_TRACK_ID]


async def until(met: Callable[[], bool], what: str = "condition", wait_s: float = WAIT_S) -> None:
    """Wait until ``met``, no longer than ``wait_s``."""
    try:
        async with asyncio.timeout(wait_s):
            while not met():  # noqa: ASYNC110 what tests wait for has no event
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not in {wait_s} s: {what}") from None


def source(
    url: str, *, user: str = "", password: str = "", transport: Transport = Transport.TCP, camera: str = "hall"
) -> CameraSource:
    """A source for a test camera."""
    return CameraSource(camera, url, user, Secret(password), transport)


@contextlib.asynccontextmanager
async def playing(
    camera: CameraSource, settings: RtspSettings = QUICK
) -> AsyncIterator[tuple[RtspClient, Collector, "asyncio.Task[None]"]]:
    """A client that plays, what it publishes, and the task that runs it."""
    collector = Collector()
    async with RtspClient(camera, SystemClock(), GUARD, settings) as client:
        await client.connect()
        await client.describe()
        await client.play(collector.publish)
        running = asyncio.create_task(client.run())
        try:
            yield client, collector, running
        finally:
            running.cancel()
            await asyncio.wait((running,))
            if not running.cancelled():
                running.exception()

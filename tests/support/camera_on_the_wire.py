"""The whole chain from a camera's socket to segments, in real time: supervisor, client, receiver, segmenter."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from media.clock import SystemClock
from media.stream import StreamId
from media.unit import Gap, VideoTrack
from streaming.camera_session import ReconnectSettings
from streaming.camera_status import CameraState
from streaming.cameras import CameraSupervisor, SupervisorSettings
from streaming.source import CameraSource
from tests.streaming.watching import GUARD, QUICK
from tests.support.camera_simulator import Kept
from tests.support.invariants import holds

SETTINGS = SupervisorSettings(
    sample_s=0.1, reconnect=ReconnectSettings(first_s=0.05, longest_s=0.2, slow_s=30.0, steady_s=5.0), rtsp=QUICK
)


@dataclass(slots=True)
class Recording:
    """What is kept so far of the camera ``cameras`` connects to."""

    cameras: CameraSupervisor
    kept: Kept = field(default_factory=lambda: Kept([]))

    @property
    def online(self) -> bool:
        """Whether media comes now."""
        status = self.cameras.status("hall")
        return status is not None and status.state is CameraState.ONLINE

    @property
    def problem(self) -> str:
        """The code of what is wrong now."""
        status = self.cameras.status("hall")
        return status.problem.code if status is not None and status.problem is not None else ""

    @property
    def gaps(self) -> list[Gap]:
        """What is on record as missing."""
        return self.kept.gaps

    def pictures(self, period: int = -1) -> int:
        """Pictures kept of a period, by default of the newest."""
        periods = self.kept.periods
        if not periods or period >= len(periods):
            return 0
        return sum(
            part.chunks[1].samples for of, part in self.kept.parts() if of is periods[period] and 1 in part.chunks
        )

    def codecs(self) -> list[str]:
        """Each period's picture codec."""
        return [track.codec.value for track in self.kept.tracks(VideoTrack)]


@contextlib.asynccontextmanager
async def recorded(source: CameraSource, settings: SupervisorSettings = SETTINGS) -> AsyncIterator[Recording]:
    """Keeps what camera "hall" sends while inside. At the end, all that holds of every camera must hold."""
    started = time.monotonic()
    async with CameraSupervisor(SystemClock(), GUARD, settings) as cameras:
        recording = Recording(cameras)
        await cameras.apply([source])
        stream = cameras.stream(StreamId("hall"))
        assert stream is not None

        async def read() -> None:
            with stream.read_segments("test") as reader:
                while events := await reader.take():
                    recording.kept.events += events

        reading = asyncio.create_task(read())
        try:
            yield recording
            await cameras.apply(())
            # The stream has ended, and so must its reader.
            await asyncio.wait_for(reading, 5)
        finally:
            reading.cancel()
            await asyncio.wait((reading,))
    holds(recording.kept, lasted_s=time.monotonic() - started)

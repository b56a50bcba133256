"""The process that `record_density.py` measures: cameras in, everything on, objects out.

Reads camera addresses from standard input, one a line, records each as a meeting of its own until standard input is
closed, then prints what it did as one JSON line.
"""

import asyncio
import gc
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from media.clock import SystemClock
from media.stream import StreamId
from recorder.service import RecorderService
from storage.database import Database
from storage.directory_store import DirectoryStore
from storage.migrate import upgrade
from storage.objects import DirectoryStoreSettings
from storage.records import Camera, Meeting, MeetingKind, Organization, OrganizationLevel, Site
from streaming.addresses import AddressGuard, AddressPolicy
from streaming.cameras import CameraSupervisor, SupervisorSettings
from streaming.secret import Secret
from streaming.source import CameraSource
from web.interpreter import settle_interpreter


class CollectorMeter:
    """How long the garbage collector holds everything up."""

    def __init__(self) -> None:
        self.longest_ms = 0.0
        self.total_ms = 0.0
        self._began = 0.0

    def __call__(self, phase: str, _info: dict[str, int]) -> None:
        """For ``gc.callbacks``."""
        if phase == "start":
            self._began = time.perf_counter()
            return
        took_ms = (time.perf_counter() - self._began) * 1000
        self.longest_ms = max(self.longest_ms, took_ms)
        self.total_ms += took_ms


class DelayMeter:
    """How late the event loop runs a callback that is due every 20 ms."""

    def __init__(self) -> None:
        self.delays_ms: list[float] = []

    async def run(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + 0.02
            await asyncio.sleep(0.02)
            self.delays_ms.append((loop.time() - due) * 1000)

    def p99_ms(self) -> float:
        """The delay that 1 % of the measurements exceed, milliseconds."""
        ordered = sorted(self.delays_ms)
        return ordered[int(len(ordered) * 0.99)] if ordered else 0.0


async def _plan(database: Database, urls: Sequence[str]) -> list[str]:
    now = datetime.now(UTC)
    meetings = []
    async with database.transaction() as repos:
        await repos.organizations.add(
            Organization(id="village", parent_id=None, level=OrganizationLevel.VILLAGE, name="bench")
        )
        await repos.sites.add(Site(id="room", organization_id="village", name="room"))
        for number, url in enumerate(urls):
            camera = Camera(id=f"c{number}", site_id="room", name=f"{number}", url=url, created_at=now, updated_at=now)
            await repos.cameras.add(camera)
            meeting = Meeting(
                id=f"m{number}",
                organization_id="village",
                site_id="room",
                camera_id=camera.id,
                kind=MeetingKind.MEMBERS,
                title=f"{number}",
                planned_start=now,
                created_at=now,
            )
            await repos.meetings.add(meeting)
            meetings.append(meeting.id)
    return meetings


def _has_media(recorder: RecorderService, meeting: str) -> bool:
    state = recorder.live_state(meeting)
    return state is not None and state.recording_since_utc_ns is not None


async def _until_recorded(recorder: RecorderService, meetings: Sequence[str]) -> None:
    """Planned meetings start by themselves; wait until each has media on record. Raises TimeoutError after 60 s."""
    async with asyncio.timeout(60):
        # The recorder tells nobody when media comes, and this is before anything is measured.
        while not all(_has_media(recorder, meeting) for meeting in meetings):  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def record(
    urls: Sequence[str], folder: Path, username: str, password: str, read_interval_s: float
) -> dict[str, float]:
    """Record ``urls`` until standard input is closed; what was received, lost, stored and how late the loop ran."""
    clock = SystemClock()
    database_url = f"sqlite:///{folder / 'bench.db'}"
    await asyncio.to_thread(upgrade, database_url)
    store_settings = DirectoryStoreSettings(folder / "objects")
    meter = DelayMeter()
    guard = AddressGuard(AddressPolicy(allow_loopback=True))
    async with (
        Database(database_url) as database,
        DirectoryStore(store_settings) as store,
        CameraSupervisor(clock, guard, SupervisorSettings(read_interval_s=read_interval_s)) as cameras,
        RecorderService(database, store, lambda c: cameras.stream(StreamId(c)), folder / "spool", clock) as recorder,
    ):
        meetings = await _plan(database, urls)
        await cameras.apply(
            CameraSource(f"c{number}", url, username, Secret(password)) for number, url in enumerate(urls)
        )
        await _until_recorded(recorder, meetings)
        print("recording", flush=True)
        measuring = asyncio.create_task(meter.run())
        collector = CollectorMeter()
        gc.callbacks.append(collector)
        await asyncio.to_thread(sys.stdin.read)
        measuring.cancel()
        statuses = cameras.statuses()
        metrics = recorder.metrics
        return {
            "cameras": len(urls),
            "online": sum(status.state == "online" for status in statuses),
            "packets_lost": sum(status.packets_lost for status in statuses),
            "reconnects": sum(status.reconnects for status in statuses),
            "overflows": metrics.overflows,
            "parts": metrics.parts,
            "segments": metrics.segments,
            "objects": metrics.objects_stored,
            "gaps": sum(metrics.gaps.values()),
            "loop_delay_p99_ms": meter.p99_ms(),
            "collector_longest_ms": collector.longest_ms,
            "collector_total_ms": collector.total_ms,
        }


def main() -> None:
    """Entry point; arguments are user name and password of the cameras, and how often they are read, in seconds."""
    urls = []
    for line in iter(sys.stdin.readline, "\n"):
        urls.append(line.strip())
    settle_interpreter()
    with tempfile.TemporaryDirectory(prefix="sanhui-bench-") as folder:
        username, password, read_interval = sys.argv[1:4]
        print(json.dumps(uvloop.run(record(urls, Path(folder), username, password, float(read_interval)))), flush=True)


if __name__ == "__main__":
    main()

"""The process that `record_density.py` measures: cameras in, everything on, objects out.

Reads camera addresses from standard input, one a line, then an empty line, and records each as a meeting of its own.
From the next line on it measures how late its event loop runs: not before, since to ask for that is a tenth of the
loop's work where cameras are few. When standard input is closed it prints what it did as one JSON line, and as another
what of it is on record. The first line says where live HLS and WHEP are.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from media.clock import SystemClock
from media.stream import StreamId
from recorder.service import RecorderService
from storage.database import Database
from storage.directory_store import DirectoryStore
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
    """How late the event loop runs a callback that is due every fiftieth of a second."""

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


class ThreadMeter:
    """CPU time of the threads, by name, since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._before = self._used()

    def shares(self) -> dict[str, float]:
        """Share of one core by thread; those of a pool are added up, those that have ended are left out."""
        passed_s = time.monotonic() - self._began
        return {name: (used - self._before.get(name, 0.0)) / passed_s for name, used in self._used().items()}

    @staticmethod
    def _used() -> dict[str, float]:
        used: dict[str, float] = {}
        for thread in threading.enumerate():
            if thread.ident is not None:
                name = "database" if "connection_worker" in thread.name else thread.name.split("_")[0]
                used[name] = used.get(name, 0.0) + time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        return used


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


async def _make_tables(database_url: str) -> None:
    """In another process: a service that is begun again finds them there, and loads nothing that makes any."""
    program = "import sys; from storage.migrate import upgrade; upgrade(sys.argv[1])"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, database_url)
    if await process.wait():
        raise RuntimeError("no tables; see above")


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
    urls: Sequence[str],
    folder: Path,
    username: str,
    password: str,
    read_interval_s: float,
    *,
    with_hls: bool,
    with_whep: bool,
) -> dict[str, object]:
    """Record ``urls`` until standard input is closed; what was received, lost, stored and how late the loop ran."""
    clock = SystemClock()
    database_url = f"sqlite:///{folder / 'bench.db'}"
    await _make_tables(database_url)
    store_settings = DirectoryStoreSettings(folder / "objects")
    guard = AddressGuard(AddressPolicy(allow_loopback=True))
    async with (
        Database(database_url) as database,
        DirectoryStore(store_settings) as store,
        CameraSupervisor(clock, guard, SupervisorSettings(read_interval_s=read_interval_s)) as cameras,
        RecorderService(database, store, lambda c: cameras.stream(StreamId(c)), folder / "spool", clock) as recorder,
        contextlib.AsyncExitStack() as stack,
    ):
        site = whep = ""
        if with_hls:
            # What it is made of takes memory that no camera needs.
            from bench.hls_site import hls_site

            site = await stack.enter_async_context(hls_site(cameras, database, store))
        if with_whep:
            from bench.whep_site import whep_site

            whep = await stack.enter_async_context(whep_site(cameras))
        meetings = await _plan(database, urls)
        await cameras.apply(
            CameraSource(f"c{number}", url, username, Secret(password)) for number, url in enumerate(urls)
        )
        await _until_recorded(recorder, meetings)
        print(json.dumps({"hls": site, "whep": whep}), flush=True)
        measured = await _measured_until_closed()
        return {"cameras": len(urls)} | _taken(cameras, recorder) | measured


async def _measured_until_closed() -> dict[str, object]:
    """How the interpreter fares until standard input is closed: its threads first, then its event loop's delay."""
    meter, collector, threads = DelayMeter(), CollectorMeter(), ThreadMeter()
    gc.callbacks.append(collector)
    await asyncio.to_thread(sys.stdin.readline)
    shares = threads.shares()
    measuring = asyncio.create_task(meter.run())
    await asyncio.to_thread(sys.stdin.read)
    measuring.cancel()
    return {
        "loop_delay_p99_ms": meter.p99_ms(),
        "collector_longest_ms": collector.longest_ms,
        "collector_total_ms": collector.total_ms,
        "threads": shares,
    }


def _taken(cameras: CameraSupervisor, recorder: RecorderService) -> dict[str, object]:
    """What was received, lost and stored."""
    statuses = cameras.statuses()
    metrics = recorder.metrics
    return {
        "online": sum(status.state == "online" for status in statuses),
        "packets_lost": sum(status.packets_lost for status in statuses),
        "reconnects": sum(status.reconnects for status in statuses),
        "overflows": metrics.overflows,
        "parts": metrics.parts,
        "segments": metrics.segments,
        "objects": metrics.objects_stored,
        "gaps": sum(metrics.gaps.values()),
    }


def _on_record(folder: Path, loop_file: Path, bitrate: int) -> dict[str, object]:
    """What is on record, compared with what the cameras played."""
    # Only now: the cameras' encoder and pencil are no part of what records them, nor is their memory.
    from bench.recorded_units import count_units
    from media.testloop import cached_loop
    from streaming.simulator import LOOP_S, loop_settings

    loop = cached_loop(loop_file, loop_settings(bitrate), LOOP_S)
    return asdict(count_units(folder / "objects", folder / "spool", loop))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("username")
    parser.add_argument("password")
    parser.add_argument("--read-interval", type=float, required=True, help="seconds")
    parser.add_argument("--loop", type=Path, required=True, help="what the cameras play")
    parser.add_argument("--bitrate", type=int, required=True, help="of that, bits per second")
    parser.add_argument("--hls", action="store_true", help="serve live HLS besides")
    parser.add_argument("--whep", action="store_true", help="serve WebRTC viewers besides")
    options = parser.parse_args()
    urls = []
    for line in iter(sys.stdin.readline, "\n"):
        urls.append(line.strip())
    settle_interpreter()
    with tempfile.TemporaryDirectory(prefix="sanhui-bench-") as folder:
        path = Path(folder)
        done = uvloop.run(
            record(
                urls,
                path,
                options.username,
                options.password,
                options.read_interval,
                with_hls=options.hls,
                with_whep=options.whep,
            )
        )
        print(json.dumps(done), flush=True)
        print(json.dumps(_on_record(path, options.loop, options.bitrate)), flush=True)


if __name__ == "__main__":
    main()

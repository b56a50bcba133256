"""How long a viewer waits in a long recording: its playlist, the first byte after a jump, and the MP4 of all of it.

    python bench/seek.py [--hours 2] [--jumps 200] [--openings 20] [--json]

A real MinIO, the recorder's own code fed in simulated time, then `sanhui serve` as a process of its own, asked over
HTTP by a logged-in archivist. Files are put out of the page cache before each of the three readings that are compared:
the disk, MinIO alone (its own client, object after object), the download through Sanhui. All of them share the cores.
"""

import argparse
import asyncio
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
from minio import Minio

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.archivist import PASSWORD, USERNAME
from bench.long_recording import LongRecording, copies, county, record
from bench.table import Table
from bench.viewer import Viewer, add_times
from media.unit import Codec
from storage.objects import S3StoreSettings
from storage.open_store import open_store
from tests.support.service import ServiceProcess
from tools.s3_servers import MinioServer
from tools.servers import s3_settings

MB = 1_000_000
MIB = 1024 * 1024


def forget(folder: Path) -> None:
    """Put a folder's files out of the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def disk_speed(folder: Path) -> float:
    """Bytes a second of reading a folder's files one after the other."""
    forget(folder)
    buffer = bytearray(MIB)
    began, size = time.perf_counter(), 0
    for path in folder.rglob("part.*"):
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                size += count
    return size / (time.perf_counter() - began)


def store_speed(server: MinioServer, folder: Path) -> float:
    """Bytes a second of MinIO's own client reading the same objects one after the other."""
    client = Minio(server.endpoint.removeprefix("http://"), server.access_key, server.secret_key, secure=False)
    keys = [item.object_name or "" for item in client.list_objects("sanhui", recursive=True)]
    forget(folder)
    buffer = bytearray(MIB)
    began, size = time.perf_counter(), 0
    for key in keys:
        answer = client.get_object("sanhui", key)
        while count := answer.readinto(buffer):
            size += count
        answer.close()
        answer.release_conn()
    return size / (time.perf_counter() - began)


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


@contextmanager
def memory_of(pid: int) -> Iterator[list[int]]:
    """Resident bytes of a process, five times a second."""
    seen: list[int] = []
    ended = threading.Event()
    process = psutil.Process(pid)

    def watch() -> None:
        while not ended.is_set():
            seen.append(process.memory_info().rss)
            ended.wait(0.2)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


def openings(viewer: Viewer, meetings: Sequence[str], pid: int, table: Table) -> None:
    """Playlists of recordings that the service has not yet looked at."""
    first: dict[str, list[float]] = {"index": [], "video": [], "sound": []}
    before = cpu_s(pid)
    for meeting in meetings:
        for name, taken in first.items():
            taken.append(viewer.get(f"/meetings/{meeting}/vod/{name}.m3u8")[1])
    used_ms = (cpu_s(pid) - before) * 1000 / len(meetings)
    table.notes.append(f"An opening, all three playlists, took {used_ms:.0f} ms of the service's CPU.")
    table.extra["opening_cpu_ms"] = used_ms
    add_times(table, "open: index.m3u8, first look", "50", first["index"])
    add_times(table, "open: video.m3u8 after it", "50", first["video"])
    add_times(table, "open: sound.m3u8 after it", "", first["sound"])
    whole = [sum(times) for times in zip(*first.values(), strict=True)]
    add_times(table, "open: all three, one after the other", "", whole)
    viewer.get(f"/meetings/{meetings[0]}/vod/index.m3u8")


def jumps(viewer: Viewer, made: LongRecording, count: int, table: Table) -> None:
    """Random places: what a player fetches there."""
    base = f"/meetings/{made.meeting}/vod"
    lines = viewer.get(f"{base}/video.m3u8")[2].decode().splitlines()
    places = [line for line in lines if line.endswith(".m4s")]
    dice = random.Random(4)
    pictures, whole, sound, old = [], [], [], []
    for place in dice.choices(places, k=count):
        to_first, to_last, _ = viewer.get(f"{base}/{place}")
        pictures.append(to_first)
        whole.append(to_last)
        sound.append(viewer.get(f"{base}/{place.replace('video/', 'sound/')}")[1])
    for place in dice.choices(places, k=count // 4):
        old.append(viewer.get(f"{base}/{place.replace('video/', 'ts/').replace('.m4s', '.ts')}")[0])
    add_times(table, "jump: first byte of the picture", "100", pictures)
    add_times(table, "jump: all of its segment (1 MB)", "", whole)
    add_times(table, "jump: its sound, made into AAC", "", sound)
    add_times(table, "jump: first byte, MPEG-TS", "", old)


def download(
    viewer: Viewer, made: Mapping[str, LongRecording], pid: int, store: tuple[MinioServer, Path], table: Table
) -> None:
    """The MP4 of all of it, and how fast its bytes can be had without us."""
    server, objects = store
    disk = disk_speed(objects)
    alone = store_speed(server, objects)
    table.notes.append(f"Reading all objects: disk {disk / MB:.0f} MB/s, MinIO's own client {alone / MB:.0f} MB/s.")
    table.extra |= {"disk_mb_s": disk / MB, "minio_mb_s": alone / MB}
    for sound, recording in made.items():
        path = f"/meetings/{recording.meeting}/download.mp4"
        viewer.get(path, {"Range": "bytes=0-0"})
        forget(objects)
        before = cpu_s(pid)
        with memory_of(pid) as memory:
            to_first, seconds, size = viewer.download(path)
        used_s = cpu_s(pid) - before
        later = memory[len(memory) // 4 :]
        speed = size / seconds
        table.notes.append(
            f"MP4 of all, {sound}: {size / MB:,.0f} MB at {speed / MB:.0f} MB/s, {speed / alone:.2f} of MinIO's own"
            f" client; first byte after {to_first * 1000:.0f} ms; the service used {used_s:.1f} s of CPU for it"
            f" ({size / used_s / MB:.0f} MB a second of it) and {min(later) / MIB:.0f} to {max(later) / MIB:.0f} MiB."
        )
        table.extra |= {
            f"{sound}: download_mb_s": speed / MB,
            f"{sound}: download_bytes": size,
            f"{sound}: service_cpu_s": used_s,
            f"{sound}: memory_min_mib": min(later) / MIB,
            f"{sound}: memory_max_mib": max(later) / MIB,
        }


async def prepare(
    folder: Path, server: MinioServer, seconds: int, copied: int
) -> tuple[dict[str, LongRecording], list[str]]:
    """A recording with sound as most cameras send it, and one that needs no work, in MinIO; their rows where the
    service will look."""
    settings = S3StoreSettings(
        endpoint=server.endpoint, bucket="sanhui", access_key=server.access_key, secret_key=server.secret_key
    )
    (folder / "data").mkdir()
    async with (
        county(f"sqlite:///{folder / 'data' / 'sanhui.db'}") as database,
        open_store(settings) as store,
    ):
        made = {
            "G.711 made into AAC": await record(database, store, folder, seconds),
            "AAC as it is": await record(database, store, folder, seconds, Codec.AAC),
        }
        return made, await copies(database, made["G.711 made into AAC"], copied)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2.0, help="length of the recording")
    parser.add_argument("--jumps", type=int, default=200)
    parser.add_argument("--openings", type=int, default=20, help="recordings whose playlist is opened")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()

    table = Table(
        f"A recording of {options.hours:g} h on MinIO: waiting times",
        ("what", "bar, ms", "p50, ms", "p95, ms", "longest, ms"),
        notes=["Times are from the request to the last byte of the answer, or the first where it says so."],
    )
    with tempfile.TemporaryDirectory(prefix="sanhui-bench-") as temporary, MinioServer(report=lambda _: None) as server:
        folder = Path(temporary)
        began = time.perf_counter()
        made, others = asyncio.run(prepare(folder, server, round(options.hours * 3600), options.openings))
        table.notes.append(f"Recorded and stored in {time.perf_counter() - began:.0f} s.")
        service = ServiceProcess(folder, s3_settings(server))
        try:
            asyncio.run(service.start())
            assert service.process is not None
            viewer = Viewer(service.port)
            viewer.log_in(USERNAME, PASSWORD)
            openings(viewer, others, service.process.pid, table)
            jumps(viewer, made["G.711 made into AAC"], options.jumps, table)
            download(viewer, made, service.process.pid, (server, server.folder / "objects"), table)
        finally:
            asyncio.run(service.stop())
    table.print(as_json=options.json)


if __name__ == "__main__":
    main()

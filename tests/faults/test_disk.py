"""The disk of the spool is full, fails, or there are no file descriptors left: what cannot be kept is on record, what
was kept stays, and recording goes on by itself."""

import contextlib
import errno
import itertools
import os
import resource
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from media.unit import NS_PER_S
from recorder.state import SpoolSettings
from storage.records import GapRecord, StoredSegment
from tests.faults.conftest import Moments
from tests.faults.scene import QUICK, SEGMENT_S, STEP_S, Scene, meeting_under_way
from tests.recorder.house import START_NS, house
from tests.support.faults_disk import WatchedDisk
from tests.support.servers import cannot_run

OUTSIDE = SEGMENT_S + STEP_S
"""Seconds that a refusal may cost beside its own time: the segment it cuts short."""


async def assert_losses_are_on_record(scene: Scene, causes: set[str]) -> None:
    """Whatever is not there lies in a gap, and no gap says more than what is not there: none names time whose media is
    on record, none the time of another."""
    gaps = await scene.is_whole()
    assert {gap.cause for gap in gaps} <= causes
    segments = sorted(await scene.segments(), key=lambda item: item.start_utc_ns)
    told = [*_spans("gap", gaps), *_spans("segment", segments)]
    what = "\n" + "\n".join(f"{start_s:9.3f} {end_s:9.3f} {kind}" for start_s, end_s, kind in sorted(told))
    named = sorted((gap.start_utc_ns, gap.end_utc_ns or 0) for gap in gaps)
    for (_, end), (start, _) in itertools.pairwise(named):
        assert end <= start, f"two gaps name {(end - start) / NS_PER_S} s both{what}"
    for start, end in named:
        there = sum(max(0, min(end, one.end_utc_ns) - max(start, one.start_utc_ns)) for one in segments)
        assert there <= 0.5 * NS_PER_S, f"{there / NS_PER_S} s of a gap are on record{what}"
    named_s = sum(end - start for start, end in named) / NS_PER_S
    assert named_s == pytest.approx(await scene.lost_s(), abs=0.5 * len(gaps)), what


def _spans(kind: str, items: Iterable[GapRecord | StoredSegment]) -> Iterator[tuple[float, float, str]]:
    for item in items:
        yield (item.start_utc_ns - START_NS) / NS_PER_S, ((item.end_utc_ns or 0) - START_NS) / NS_PER_S, kind


async def test_a_disk_that_is_full_or_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, moments: Moments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recorder.spool_writer._LINGER_S", 0.005)
    disk = WatchedDisk(tmp_path / "spool")
    lost_s = 0.0
    async with house(tmp_path, QUICK) as home:
        with disk.watching():
            async with meeting_under_way(home, caplog) as scene:
                for chance in moments:
                    await scene.play(chance.uniform(0.0, 5.0))
                    number, steps = chance.choice(
                        (
                            (errno.ENOSPC, ("write", "create")),
                            (errno.ENOSPC, ("create",)),
                            (errno.EIO, ("sync",)),
                            (errno.EROFS, ("write", "create", "sync")),
                        )
                    )
                    disk.refuses = refusing(number, steps, after=chance.randrange(6))
                    fed_s = scene.fed_s
                    await scene.play_until_told("disk-full" if number == errno.ENOSPC else "disk-fails")
                    await scene.play(chance.uniform(0.0, 8.0))
                    disk.refuses = None
                    await scene.goes_on()
                    lost_s += scene.fed_s - fed_s
                    await scene.play_until_calm()
                await scene.ends()
                assert await scene.lost_s() <= lost_s + moments.count * OUTSIDE
                await assert_losses_are_on_record(scene, {"storage-lost"})


def refusing(number: int, steps: tuple[str, ...], after: int) -> Callable[[str, str], None]:
    """An error at each of these steps, but for the first ``after`` ones."""
    left = after

    def refuse(what: str, _path: str) -> None:
        nonlocal left
        if what in steps:
            left -= 1
            if left < 0:
                raise OSError(number, os.strerror(number))

    return refuse


async def test_the_operator_hears_of_a_disk_long_before_it_is_full_and_the_rest_is_kept_for_storing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, moments: Moments, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 1 << 40
    monkeypatch.setattr("recorder.machine.free_bytes", lambda _: free)
    settings = replace(QUICK, spool=SpoolSettings(disk_warn_bytes=5 << 30, disk_reserve_bytes=512 << 20))
    async with house(tmp_path, settings) as home, meeting_under_way(home, caplog) as scene:
        for chance in moments:
            await scene.play(chance.uniform(0.0, 3.0))
            free = chance.randrange(513 << 20, 5 << 30)
            await scene.play_until_told("disk-low")
            assert scene.recorder.metrics.parts_refused == 0
            free = chance.randrange(0, 512 << 20)
            await scene.play_until_told("disk-full")
            await scene.play(chance.uniform(0.0, 3.0))
            free = 1 << 40
            await scene.desk.is_calm()
            await scene.goes_on()
            scene.recorder.metrics.parts_refused = 0
        await scene.ends()
        await assert_losses_are_on_record(scene, {"storage-lost"})


@contextlib.contextmanager
def no_descriptors_left() -> Iterator[None]:
    """This process can open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_no_file_descriptors_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, moments: Moments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recorder.spool_writer._LINGER_S", 0.005)
    async with house(tmp_path, QUICK) as home, meeting_under_way(home, caplog) as scene:
        for chance in moments:
            await scene.play(chance.uniform(0.0, 5.0))
            with no_descriptors_left():
                await scene.play_until_told("files-exhausted")
                await scene.play(chance.uniform(0.0, 8.0))
            await scene.goes_on()
            await scene.play_until_calm()
        await scene.ends()
        await assert_losses_are_on_record(scene, {"storage-lost"})


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A disk of ``size`` octets of its own at ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ("mount", "-t", "tmpfs", "-o", f"size={size}", "sanhui-test", str(folder))
    done = subprocess.run(mount, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode:
        cannot_run(f"mounting a disk needs root, in a container --cap-add SYS_ADMIN ({done.stderr.strip()})")
    try:
        yield
    finally:
        subprocess.run(("umount", str(folder)), capture_output=True, timeout=20, check=True)


def fill(filler: Path, *, but: int = 0) -> None:
    """Let the file have all that is free on its disk, but so many octets."""
    with filler.open("ab") as file, contextlib.suppress(OSError):
        disk = os.statvfs(filler)
        os.posix_fallocate(file.fileno(), 0, file.tell() + disk.f_bavail * disk.f_frsize - but)


async def test_a_real_disk_that_is_full_takes_what_it_can_and_the_rest_is_on_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, moments: Moments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel writes half of what it is given before it says that there is no room."""
    monkeypatch.setattr("recorder.spool_writer._LINGER_S", 0.005)
    # What is kept free for storing would refuse media long before.
    settings = replace(QUICK, spool=SpoolSettings(disk_warn_bytes=0, disk_reserve_bytes=0))
    with small_disk(tmp_path / "spool", 8 << 20):
        filler = tmp_path / "spool" / "filler"
        async with house(tmp_path, settings) as home, meeting_under_way(home, caplog) as scene:
            for chance in moments:
                await scene.play(chance.uniform(0.0, 5.0))
                # Some pages are left, of which a part or two takes the last; what is stored meanwhile makes no room.
                fill(filler, but=4096 * chance.randrange(1, 6))
                for _ in range(20):
                    await scene.play(STEP_S)
                    fill(filler)
                    if scene.desk.shows(("disk-full",)):
                        break
                await scene.play_until_told("disk-full")
                await scene.play(chance.uniform(0.0, 8.0))
                filler.unlink()
                await scene.goes_on()
                await scene.play_until_calm()
            await scene.ends()
            await assert_losses_are_on_record(scene, {"storage-lost"})

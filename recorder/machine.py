"""What the machine has left for recording: disk, file descriptors, and whether its clock was set."""

import asyncio
import errno
import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from media.clock import Clock
from media.unit import NS_PER_S
from storage.files import free_bytes

_STEP_NS = 2 * NS_PER_S
_LOOK_S = 2.0
_STEP_SHOWN_NS = 3600 * NS_PER_S
_FILES_SHARE = 0.9
_DESCRIPTORS = Path("/proc/self/fd")
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
NO_FILES = frozenset({errno.EMFILE, errno.ENFILE})


@dataclass(frozen=True, slots=True)
class Measured:
    """``spool_free``: bytes free on the spool's disk, None if it does not say; ``least_free``: on the fullest of all
    disks that matter; ``files_short``: whether nearly all file descriptors are in use."""

    spool_free: int | None
    least_free: int | None
    files_short: bool


class MachineWatch:
    """Looks when asked. ``disks`` are folders, beside the spool's, whose disks must not fill up either."""

    def __init__(self, spool_dir: Path, disks: Sequence[Path], clock: Clock, warn_bytes: int) -> None:
        self._spool_dir = spool_dir
        self._disks = tuple(disks)
        self._clock = clock
        self._warn_bytes = warn_bytes
        self._lead_ns = clock.utc_ns() - clock.monotonic_ns()
        self._stepped_at_ns: int | None = None
        self._measured = Measured(None, None, files_short=False)
        self._measuring: asyncio.Future[Measured] | None = None

    async def look(self) -> Measured:
        """Measure now. The disks are asked in a thread: one that hangs must hold up neither the loop nor whoever looks,
        who gets what was last known."""
        lead_ns = self._clock.utc_ns() - self._clock.monotonic_ns()
        if abs(lead_ns - self._lead_ns) > _STEP_NS:
            self._stepped_at_ns = self._clock.monotonic_ns()
        self._lead_ns = lead_ns
        if self._measuring is None:
            self._measuring = asyncio.get_running_loop().run_in_executor(None, _measure, self._spool_dir, self._disks)
        await asyncio.wait((self._measuring,), timeout=_LOOK_S)
        if self._measuring.done():
            measuring, self._measuring = self._measuring, None
            self._measured = measuring.result()
        return self._measured

    @property
    def warnings(self) -> frozenset[str]:
        """``disk-low``, ``files-exhausted``, ``clock-stepped`` (for an hour after it)."""
        found = set()
        least = self._measured.least_free
        if least is not None and least < self._warn_bytes:
            found.add("disk-low")
        if self._measured.files_short:
            found.add("files-exhausted")
        stepped_ns = self._stepped_at_ns
        if stepped_ns is not None and self._clock.monotonic_ns() - stepped_ns < _STEP_SHOWN_NS:
            found.add("clock-stepped")
        return frozenset(found)


def refusal_code(error: OSError) -> str:
    """What an operator is told while the disk takes no media: ``disk-full``, ``files-exhausted``, ``disk-fails``."""
    if error.errno in FULL:
        return "disk-full"
    return "files-exhausted" if error.errno in NO_FILES else "disk-fails"


def _measure(spool_dir: Path, disks: Sequence[Path]) -> Measured:
    spool_free = _free(spool_dir)
    free = [item for item in (spool_free, *map(_free, disks)) if item is not None]
    return Measured(spool_free, min(free, default=None), _files_short())


def _free(path: Path) -> int | None:
    try:
        return free_bytes(path)
    except OSError:
        return None


def _files_short() -> bool:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        used = len(os.listdir(_DESCRIPTORS))
    except OSError as error:
        # Looking takes a descriptor itself.
        return error.errno in NO_FILES
    return limit != resource.RLIM_INFINITY and used > limit * _FILES_SHARE

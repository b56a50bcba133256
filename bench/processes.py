"""Measures processes from outside: CPU time and memory of a process and all it started."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Usage:
    """What some processes used in ``wall_s`` seconds: ``cpu_s`` seconds of CPU, ``memory`` bytes at the end (unique
    set size where the system tells it, so that shared libraries are not counted once per process)."""

    wall_s: float
    cpu_s: float
    memory: int

    @property
    def cpu_share(self) -> float:
        """Share of one core."""
        return self.cpu_s / self.wall_s


def _family(pids: Iterable[int]) -> list[psutil.Process]:
    family = []
    for pid in pids:
        process = psutil.Process(pid)
        family += [process, *process.children(recursive=True)]
    return family


def _cpu_s(processes: Iterable[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


def measure(pids: Iterable[int], wall_s: float) -> Usage:
    """Watch the processes ``pids`` and their children for ``wall_s`` seconds from now. Blocks.

    Raises psutil.NoSuchProcess if one of them ends before.
    """
    family = _family(pids)
    began, cpu_began = time.monotonic(), _cpu_s(family)
    time.sleep(wall_s)
    cpu_s = _cpu_s(family) - cpu_began
    memory = sum(process.memory_full_info().uss for process in family)
    return Usage(time.monotonic() - began, cpu_s, memory)

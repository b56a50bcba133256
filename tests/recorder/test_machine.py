"""What the machine has left, also where a disk does not say."""

import asyncio
import threading
from pathlib import Path

import pytest

from recorder.machine import MachineWatch
from tests.recorder.house import HandClock


async def test_a_disk_that_hangs_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()

    def hangs(_: Path) -> int:
        answers.wait(60)
        return 4711

    monkeypatch.setattr("recorder.machine.free_bytes", hangs)
    monkeypatch.setattr("recorder.machine._LOOK_S", 0.05)
    watch = MachineWatch(tmp_path, (), HandClock(), 10_000)
    try:
        async with asyncio.timeout(20):
            for _ in range(3):
                assert (await watch.look()).spool_free is None
    finally:
        answers.set()
    async with asyncio.timeout(20):
        while (await watch.look()).spool_free is None:
            pass
    assert watch.warnings >= {"disk-low"}

"""One of the service's tasks is ended by an exception of our own: it comes back, and nothing is lost that is not on
record."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recorder import spool_writer
from tests.faults.conftest import Moments
from tests.faults.scene import QUICK, STEP_S, meeting_under_way
from tests.recorder.house import house, until
from tests.support.faults import Faults, FaultyStore

STEPS = ("frame", "frame_head", "start_payload", "end_payload")
"""Of the writer's work: a file is begun, a part, a segment's beginning and its end are written."""


class OurFaultError(Exception):
    """A fault that nobody has thought of."""


def is_in_a_driver(task: "asyncio.Task[None]") -> bool:
    """Whether it waits inside the database's driver, whose own books a fault of ours cannot upset."""
    step: Any = task.get_coro()
    while step is not None:
        code = getattr(step, "cr_code", None)
        if code is not None and "sqla" in code.co_filename:
            return True
        step = getattr(step, "cr_await", None)
    return False


def strike(task: "asyncio.Task[None]") -> bool:
    """Let whatever the task waits for end in a fault. False if it waits for nothing now."""
    waits_for = getattr(task, "_fut_waiter", None)
    if waits_for is None or waits_for.done() or isinstance(waits_for, asyncio.Task):
        return False
    if type(waits_for).__name__ != "Future" or is_in_a_driver(task):
        return False
    waits_for.set_exception(OurFaultError("a fault of ours"))
    return True


async def test_any_task_of_the_recorder_comes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, moments: Moments
) -> None:
    async with house(tmp_path, QUICK) as home:
        faults = Faults()
        hit: set[str] = set()
        async with meeting_under_way(home, caplog, store=FaultyStore(home.store, faults)) as scene:
            # While nobody takes them, parts come as slowly as in life: what a pause costs is not multiplied.
            scene.patience_s = STEP_S
            for chance in moments:
                await scene.play(chance.uniform(0.0, 5.0))
                # With its store away the uploader has a task that waits, too.
                faults.away = chance.random() < 0.5
                await scene.play(4.5)
                await struck(hit, chance.choice(("recording", "upload", "reconciliation", "gaps and story")), faults)
                faults.away = False
                await scene.goes_on()
                await scene.stored()
            assert await scene.desk.tells("task-failed") == "task-failed"
            caplog.clear()
            await scene.ends()
        gaps = await scene.is_whole()
        assert {gap.cause for gap in gaps} <= {"service-down"}
        assert await scene.lost_s() <= 4.0 * moments.count
        assert len(hit) >= 3


async def struck(hit: set[str], kind: str, faults: Faults) -> None:
    """Strike a task of this kind at the next moment at which it waits."""
    if kind == "upload":
        faults.away = True

    def one() -> bool:
        tasks = [task for task in asyncio.all_tasks() if task.get_name().startswith(kind)]
        return any(strike(task) for task in tasks)

    try:
        await until(one, seconds=0.5)
    except AssertionError:
        return
    hit.add(kind)


async def test_a_fault_in_the_writer_costs_one_object_and_is_on_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, moments: Moments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recorder.spool_writer._LINGER_S", 0.005)
    armed = ""

    def at(name: str, real: Callable[..., bytes]) -> Callable[..., bytes]:
        def call(*arguments: Any) -> bytes:
            nonlocal armed
            if armed == name:
                armed = ""
                raise OurFaultError("a fault of ours")
            return real(*arguments)

        return call

    for name in STEPS:
        monkeypatch.setattr(spool_writer, name, at(name, getattr(spool_writer, name)))
    async with house(tmp_path, QUICK) as home, meeting_under_way(home, caplog) as scene:
        for chance in moments:
            await scene.play(chance.uniform(0.0, 5.0))
            armed = chance.choice(STEPS)
            await scene.play_until_told("disk-fails")
            await scene.goes_on()
            await scene.play_until_calm()
        await scene.ends()
        assert {gap.cause for gap in await scene.is_whole()} == {"storage-lost"}

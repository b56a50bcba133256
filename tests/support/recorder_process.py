"""A recorder in a process of its own, for tests that kill it.

Processes are forked from one that has loaded everything, so that a life begins in some hundredths of a second.
"""

import asyncio
import contextlib
import logging
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from unittest import mock

from media.unit import NS_PER_S
from tests.recorder.house import FAST, START_NS, house, until

_LINGER_S = 0.01


@dataclass(frozen=True, slots=True)
class Written:
    """So many octets of media, up to ``media_end_ns``, have left the process."""

    octets: int
    media_end_ns: int


@dataclass
class RecorderProcess:
    """One life of a recorder on ``folder`` for the meeting of that id. Its camera begins ``second`` of the timeline."""

    folder: Path
    meeting: str
    second: float
    process: ForkServerProcess | None = None
    said: "Connection[None, Written] | None" = None
    written: Written | None = None

    def start(self) -> None:
        """Begin it."""
        context = _context()
        self.said, says = context.Pipe(duplex=False)
        self.process = context.Process(target=_live, args=(self.folder, self.meeting, self.second, says), daemon=True)
        self.process.start()
        says.close()

    def hear(self, limit_s: float = 60.0) -> None:
        """Wait until it says what it has written."""
        assert self.said is not None
        assert self.said.poll(limit_s), "it records"
        self.written = self.said.recv()

    def kill(self) -> None:
        """``kill -9``; ``written`` is the last that it said."""
        assert self.process is not None
        assert self.said is not None
        self.process.kill()
        self.process.join()
        with contextlib.suppress(EOFError):
            while self.said.poll():
                self.hear()
        self.said.close()


def _context() -> ForkServerContext:
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _live(folder: Path, meeting: str, second: float, says: "Connection[Written, None]") -> None:
    logging.disable()
    mock.patch("recorder.spool_writer._LINGER_S", _LINGER_S).start()
    asyncio.run(_record(folder, meeting, second, says))


async def _record(folder: Path, meeting: str, second: float, says: "Connection[Written, None]") -> None:
    settings = replace(FAST, recording=replace(FAST.recording, object_s=4.0))
    async with house(folder, settings, built=True) as home:
        home.camera.second, home.camera.epoch = second, round(second)
        home.clock.now_ns = START_NS + round((second - 100) * NS_PER_S)
        home.camera.connect()
        async with home.service() as recorder:
            await home.runs(recorder, meeting)
            while True:
                before = recorder.metrics.parts
                home.camera.feed(0.7)
                await until(lambda before=before: recorder.metrics.parts > before)  # type: ignore[misc]
                await until(lambda: recorder.metrics.spool_pending_bytes == 0)
                state = recorder.live_state(meeting)
                assert state is not None
                assert state.last_part_utc_ns is not None
                says.send(Written(state.bytes, state.last_part_utc_ns))

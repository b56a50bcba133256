"""A meeting under way, a desk that shows what an operator is told, and what must hold after any fault."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, replace

import pytest
import structlog
from structlog.testing import LogCapture

from media.unit import NS_PER_S
from recorder.check import FindingCode, check
from recorder.service import RecorderService
from recorder.state import RecorderSettings
from storage.records import GapRecord, StoredSegment
from tests.recorder.house import FAST, House, until
from tests.support.clocks import FakeClock
from web.messages import load_catalogs
from web.notices import Notices

QUICK: RecorderSettings = replace(FAST, recording=replace(FAST.recording, object_s=4.0, disk_retry_s=3.0))
STEP_S = 0.5
SEGMENT_S = 2.0
MOST_LINES = 6
"""Lines of the log at WARNING or above that one fault may cost, beside the notice. Those who meet it say so once each:
reconciliation, gaps and story, the spool's writer (a file in hand, a file to be made), uploads."""


class Desk:
    """The notices as the desk shows them, and what the log says, in a time of its own."""

    def __init__(self, recorder: RecorderService, caplog: pytest.LogCaptureFixture) -> None:
        self._clock = FakeClock()
        self._recorder = recorder
        self._caplog = caplog
        self._catalog = load_catalogs().of(None)
        self._notices = Notices([lambda: recorder.warnings], self._catalog, self._clock)
        self._lines = LogCapture()
        structlog.configure(processors=[self._lines])

    async def tells(self, *codes: str) -> str:
        """Wait until one of the codes stands on the desk; it is in the log too, once, as a sentence."""
        await until(lambda: self.shows(codes), f"{codes} on the desk")
        # The desk is looked at many times while a trouble lasts.
        for _ in range(5):
            self._notices.look()
            self._clock.advance(2.0)
        logged = [line for line in self._lines.entries if line.get("code") in codes and line["log_level"] == "warning"]
        told = [line["code"] for line in logged]
        assert len(told) == len(set(told)), f"told more than once: {told}"
        assert told
        for line in logged:
            sentence = self._catalog.notice(line["code"])
            assert line["event"] == f"{sentence.title}: {sentence.detail}"
        return str(told[0])

    def shows(self, codes: Collection[str]) -> bool:
        """Whether one of the codes stands on the desk."""
        return bool(set(codes) & set(self._notices.codes))

    async def is_calm(self, *but: str) -> None:
        """Wait until nothing is wrong any more; begin a new page of the log, which must not have been flooded."""
        await until(lambda: not set(self._notices.codes) - set(but), f"{self._notices.codes} is over")
        loud = [record for record in self._caplog.records if record.levelno >= logging.WARNING]
        assert len(loud) <= MOST_LINES, [record.getMessage() for record in loud]
        self._caplog.clear()
        self._lines.entries.clear()
        self._notices.look()
        self._clock.advance(120.0)
        self._notices.look()


@dataclass
class Scene:
    """One meeting that a fault strikes again and again."""

    home: House
    recorder: RecorderService
    meeting: str
    desk: Desk
    fed_s: float = 2.0
    patience_s: float = 20.0

    async def play(self, seconds: float) -> None:
        """Media comes in as it does in life, part by part, and is taken."""
        while seconds > 0:
            before = self.taken
            self.home.camera.feed(STEP_S)
            self.fed_s += STEP_S
            seconds -= STEP_S
            # A part is whole when the first picture after it is there. A recorder that is not there takes none.
            with contextlib.suppress(AssertionError):
                await until(lambda before=before: self.taken > before, seconds=self.patience_s)  # type: ignore[misc]

    async def play_until_told(self, *codes: str) -> str:
        """The meeting goes on until the operator is told one of the codes; which."""
        for _ in range(120):
            if self.desk.shows(codes):
                break
            await self.play(STEP_S)
        return await self.desk.tells(*codes)

    async def play_until_calm(self) -> None:
        """The meeting goes on until nothing is wrong any more, by itself."""
        for _ in range(120):
            if not self.recorder.warnings:
                break
            await self.play(STEP_S)
        await self.stored()
        await self.desk.is_calm()

    @property
    def taken(self) -> int:
        """Parts that the recorder has seen."""
        return self.recorder.metrics.parts + self.recorder.metrics.parts_refused

    async def stored(self) -> None:
        """Wait until nothing waits for the store."""
        await until(lambda: self.recorder.metrics.upload_queue == 0, "the spool drains", 60)

    async def goes_on(self) -> None:
        """Media that comes now is recorded, without anybody's doing."""
        parts = self.recorder.metrics.parts
        before = await self.segments()
        for _ in range(240):
            await self.play(STEP_S)
            if self.recorder.metrics.parts > parts + 4:
                break
        assert self.recorder.metrics.parts > parts + 4
        assert len(await self.segments()) >= len(before)

    async def segments(self) -> list[StoredSegment]:
        """What is on record, in order."""
        return [segment for row in await self.home.objects(self.meeting) for segment in row.segments]

    async def ends(self) -> None:
        """The meeting ends, and is whole."""
        await self.recorder.end_meeting(self.meeting, "user1")
        await self.home.complete(self.meeting)

    async def is_whole(self, *, but: Collection[FindingCode] = ()) -> list[GapRecord]:
        """Every hash and link holds, there is no object without row and no row without object, each hole is on record
        and nothing waits any more. Its gaps."""
        await self.home.verify(self.meeting)
        report = await check(self.home.database, self.home.store)
        wrong = [finding for finding in report.findings if finding.code not in but]
        assert not wrong, "\n".join(map(str, wrong))
        assert not list(self.home.spool_dir.glob("*/*.spool"))
        return await self.home.gaps(self.meeting)

    async def lost_s(self) -> float:
        """Seconds of the meeting, which is over, that are not there: before, between and after what is there."""
        recording = await self.home.recording(self.meeting)
        segments = sorted(await self.segments(), key=lambda item: item.start_utc_ns)
        ends = [recording.started_utc_ns, *(item.end_utc_ns for item in segments)]
        starts = [*(item.start_utc_ns for item in segments), recording.ended_utc_ns or 0]
        holes = [max(0, start - end) for end, start in zip(ends, starts, strict=True)]
        if holes[-1] <= self.home.settings.recording.tolerance_s * NS_PER_S:
            # The last part was still being made.
            holes.pop()
        return sum(holes) / NS_PER_S


@contextlib.asynccontextmanager
async def meeting_under_way(home: House, caplog: pytest.LogCaptureFixture, **replaced: object) -> AsyncIterator[Scene]:
    """A meeting of two days, being recorded."""
    meeting = await home.plan(length_s=48 * 3600.0)
    async with meeting_resumed(home, caplog, meeting, **replaced) as scene:
        yield scene


@contextlib.asynccontextmanager
async def meeting_resumed(
    home: House, caplog: pytest.LogCaptureFixture, meeting: str, **replaced: object
) -> AsyncIterator[Scene]:
    """A meeting that is to be recorded, being recorded."""
    home.camera.connect()
    caplog.set_level(logging.WARNING)
    kept = structlog.get_config()
    try:
        async with home.service(**replaced) as recorder:
            scene = Scene(home, recorder, meeting, Desk(recorder, caplog))
            await home.runs(recorder, meeting)
            yield scene
    finally:
        structlog.configure(**kept)
        await asyncio.sleep(0)

"""A long recording at once: the recorder itself, fed in simulated time as fast as the store takes what it makes."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.archivist import add_archivist
from media.stream import LiveStream, StreamId
from media.testloop import cached_loop
from media.unit import NS_PER_S, Codec
from recorder.service import RecorderService
from recorder.state import RecorderSettings
from storage.database import Database
from storage.objects import ObjectStore
from storage.records import (
    Camera,
    Meeting,
    MeetingKind,
    Organization,
    OrganizationLevel,
    RecordingState,
    Site,
    new_id,
)
from storage.revisions import bring_to_head
from streaming.simulator import LOOP, LOOP_S

_PIECE_S = 4
_MOST_WAITING = 64 * 1024 * 1024
_LIMIT_S = 60.0


class HandClock:
    """A clock that the feeder moves."""

    def __init__(self, utc_ns: int) -> None:
        self.now_ns = utc_ns

    def utc_ns(self) -> int:
        """Unix nanoseconds."""
        return self.now_ns

    def monotonic_ns(self) -> int:
        """The same."""
        return self.now_ns


@dataclass(frozen=True)
class LongRecording:
    """A meeting that is over, all of it stored."""

    meeting: str
    recording: str
    start_utc_ns: int
    seconds: int


@asynccontextmanager
async def county(url: str) -> AsyncIterator[Database]:
    """A new database with one village, its room and camera, and an archivist who may play and download."""
    await asyncio.to_thread(bring_to_head, url)
    now = datetime.now(UTC) - timedelta(days=1)
    async with Database(url) as database:
        async with database.transaction() as repos:
            await repos.organizations.add(
                Organization(id="village", parent_id=None, level=OrganizationLevel.VILLAGE, name="柳树湾村党支部")
            )
            await repos.sites.add(Site(id="room", organization_id="village", name="会议室"))
            await repos.cameras.add(
                Camera(
                    id="camera", site_id="room", name="正面", url="rtsp://127.0.0.1:9/1", created_at=now, updated_at=now
                )
            )  # fmt: skip
        await add_archivist(database)
        yield database


async def record(
    database: Database, store: ObjectStore, folder: Path, seconds: int, sound: Codec = Codec.PCMA
) -> LongRecording:
    """Record 1080p25 2 Mb/s H.264 with G.711A or AAC for ``seconds`` of simulated time that ended a day ago.

    Raises TimeoutError if the recorder stops taking what it is fed.
    """
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1, seconds=seconds)
    start_ns = int(start.timestamp()) * NS_PER_S
    clock = HandClock(start_ns)
    meeting = await _plan(database, start, seconds)
    stream = LiveStream(StreamId("camera"), clock)
    settings = replace(RecorderSettings(), reconcile_s=0.1, last_part_s=0.1)
    file = Path(tempfile.gettempdir()) / (
        "sanhui-bench-loop.bin" if sound is LOOP.audio else f"sanhui-bench-{sound}.bin"
    )
    loop = await asyncio.to_thread(cached_loop, file, replace(LOOP, audio=sound), LOOP_S)
    async with RecorderService(database, store, lambda _: stream, folder / "spool", clock, settings) as recorder:
        await recorder.start_meeting(meeting, None)
        # Its task reads from the camera's stream once it has run; nobody is told when.
        await asyncio.sleep(0.5)
        units = loop.play(start_ns, start_ns)
        for second in range(0, seconds, _PIECE_S):
            until_ns = start_ns + min(second + _PIECE_S, seconds) * NS_PER_S
            for unit in units:
                clock.now_ns = max(clock.now_ns, unit.utc_ns)
                stream.publish(unit)
                if unit.utc_ns >= until_ns:
                    break
            await _taken(recorder, meeting, until_ns)
        await recorder.end_meeting(meeting, "bench")
        async with asyncio.timeout(_LIMIT_S):
            # Ending it waits for the store a while, not for ever.
            while (done := await _complete(database, meeting)) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        if recorder.metrics.overflows:
            raise RuntimeError("the recorder was fed faster than it took")
    return LongRecording(meeting, done, start_ns, seconds)


async def _plan(database: Database, start: datetime, seconds: int) -> str:
    meeting = Meeting(
        id=new_id(),
        organization_id="village",
        site_id="room",
        camera_id="camera",
        kind=MeetingKind.MEMBERS,
        title="bench",
        planned_start=start,
        planned_end=start + timedelta(seconds=seconds + 60),
        created_at=start,
    )
    async with database.transaction() as repos:
        await repos.meetings.add(meeting)
    return meeting.id


async def _taken(recorder: RecorderService, meeting: str, until_ns: int) -> None:
    """Wait until the recorder has what it was fed, but for the part in hand, and little waits for disk and store."""
    async with asyncio.timeout(_LIMIT_S):
        while True:
            state = recorder.live_state(meeting)
            reached = state.last_part_utc_ns if state is not None else None
            waiting = recorder.metrics
            if (
                reached is not None
                and reached >= until_ns - 2 * NS_PER_S
                and waiting.spool_pending_bytes < _MOST_WAITING
                and waiting.upload_queue < 8
            ):
                return
            await asyncio.sleep(0.005)


async def _complete(database: Database, meeting: str) -> str | None:
    async with database.read() as repos:
        (recording,) = await repos.recordings.of_meeting(meeting)
    return recording.id if recording.state is RecordingState.COMPLETE else None


async def copies(database: Database, original: LongRecording, count: int) -> list[str]:
    """Meetings with the same index under keys of their own, so that each can be opened for the first time. Their media
    are not there."""
    async with database.read() as repos:
        meeting = await repos.meetings.get(original.meeting)
        recording = await repos.recordings.get(original.recording)
        periods = await repos.recordings.periods(original.recording)
        objects = await repos.objects.of_recording(original.recording)
        gaps = await repos.gaps.of_recording(original.recording)
    made = []
    for number in range(count):
        copied = replace(meeting, id=new_id(), planned_start=meeting.planned_start - timedelta(days=number + 1))
        row = replace(recording, id=new_id(), meeting_id=copied.id)
        async with database.transaction() as repos:
            await repos.meetings.add(copied)
            await repos.recordings.add(row)
            for period in periods:
                await repos.recordings.add_period(replace(period, recording_id=row.id))
            for item in objects:
                await repos.objects.add(replace(item, recording_id=row.id, key=f"copies/{row.id}/{item.number}"))
            for gap in gaps:
                await repos.gaps.add(replace(gap, id=0, recording_id=row.id))
        made.append(copied.id)
    return made

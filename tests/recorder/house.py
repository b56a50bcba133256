"""A small house for recorder tests: a real SQLite file, a directory of objects, and cameras fed with encoded media."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from pathlib import Path

from media.segmenter import SegmenterSettings
from media.stream import LiveStream, StreamId
from media.unit import NS_PER_S, AccessUnit, Codec, Gap, GapCause
from recorder.check import check
from recorder.meetings import datetime_of
from recorder.service import RecorderService
from recorder.state import RecorderSettings, RecordingSettings, UploadSettings
from storage.database import Database
from storage.migrate import upgrade
from storage.objects import DirectoryStoreSettings, ObjectStore, StoreSettings
from storage.open_store import open_store
from storage.records import (
    Camera,
    GapRecord,
    MediaObject,
    Meeting,
    MeetingKind,
    Organization,
    OrganizationLevel,
    Recording,
    RecordingState,
    Site,
    new_id,
)
from tests.support.encoded import ORIGIN_NS, g711_units, interleave, sound_units, video_units

START_NS = ORIGIN_NS + 100 * NS_PER_S

FAST = RecorderSettings(
    upload=UploadSettings(backoff_s=0.01, max_backoff_s=0.05),
    recording=RecordingSettings(object_s=8.0, away_s=0.2, stagger=0.0),
    reconcile_s=0.02,
    last_part_s=0.1,
    retry_s=0.02,
)


class HandClock:
    """A clock that a test moves; ``step_ns`` is by how much its wall clock alone has been set."""

    def __init__(self, utc_ns: int = START_NS) -> None:
        self.now_ns = utc_ns
        self.step_ns = 0

    def utc_ns(self) -> int:
        """What the test says."""
        return self.now_ns + self.step_ns

    def monotonic_ns(self) -> int:
        """The same, but for steps."""
        return self.now_ns


async def until(condition: Callable[[], bool], what: str = "", seconds: float = 20.0) -> None:
    """Wait for a condition, with a limit."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - conditions over several objects have no one event
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"never happened: {what or condition}") from None


@dataclass
class TestCamera:
    """A camera without network: its stream is fed by the test, in the time of the test's clock."""

    __test__ = False
    id: str
    clock: HandClock
    stream: LiveStream | None = None
    video: Codec = Codec.H264
    sound: Codec | None = Codec.PCMA
    size: tuple[int, int] = (160, 90)
    epoch: int = 0
    second: float = 100.0
    sent: list[AccessUnit] = field(default_factory=list)

    def connect(self) -> None:
        """It is there (again)."""
        self.stream = LiveStream(StreamId(self.id), self.clock, SegmenterSettings(segment_s=2.0, stagger=0))

    def feed(self, seconds: float) -> None:
        """Send so much video and sound at once, from where the timeline is; the clock follows."""
        assert self.stream is not None
        for prepared in _stretch(self.video, self.sound, seconds, self.size):
            unit = _later(prepared, self.second, self.epoch)
            self.stream.publish(unit)
            self.sent.append(unit)
        self.second += seconds
        self._clock_follows()

    def _clock_follows(self) -> None:
        self.clock.now_ns = max(self.clock.now_ns, ORIGIN_NS + int(self.second * NS_PER_S) - self.clock.step_ns)

    def lose(self, seconds: float, cause: GapCause = GapCause.DISCONNECTED) -> Gap:
        """Nothing for a while, then it is back and says so."""
        assert self.stream is not None
        start = ORIGIN_NS + int(self.second * NS_PER_S)
        self.second += seconds
        self.epoch += 1
        self._clock_follows()
        gap = Gap(start, ORIGIN_NS + int(self.second * NS_PER_S), cause)
        self.stream.publish(gap)
        return gap


@cache
def _stretch(video: Codec, sound: Codec | None, seconds: float, size: tuple[int, int]) -> tuple[AccessUnit, ...]:
    """Media from second 0 on, encoded once for all tests."""
    pictures = video_units(video, frames=round(seconds * 10), fps=10, gop=20, size=size, start_s=0.0)
    if sound is None:
        return tuple(pictures)
    sounds = g711_units(seconds=seconds, start_s=0.0) if sound is Codec.PCMA else None
    return tuple(interleave(pictures, sounds or sound_units(sound, seconds=seconds, start_s=0.0)))


def _later(unit: AccessUnit, seconds: float, epoch: int) -> AccessUnit:
    ticks = round(seconds * unit.track.clock_rate)
    return replace(
        unit,
        pts=unit.pts + ticks,
        dts=unit.dts + ticks,
        utc_ns=unit.utc_ns + ticks * NS_PER_S // unit.track.clock_rate,
        epoch=epoch,
    )


@dataclass
class House:
    """Everything that a recorder needs."""

    folder: Path
    database: Database
    store: ObjectStore
    clock: HandClock
    camera: TestCamera
    settings: RecorderSettings = FAST
    up_since_ns: int = 0
    """When this machine was started, by the clock that no step changes."""

    @property
    def spool_dir(self) -> Path:
        """Where the spool is."""
        return self.folder / "spool"

    def service(self, **replaced: object) -> RecorderService:
        """A recorder of this house."""
        return RecorderService(
            replaced.get("database", self.database),  # type: ignore[arg-type]
            replaced.get("store", self.store),  # type: ignore[arg-type]
            lambda camera: self.camera.stream if camera == self.camera.id else None,
            self.spool_dir,
            self.clock,
            replaced.get("settings", self.settings),  # type: ignore[arg-type]
            uptime_ns=lambda: self.clock.monotonic_ns() - self.up_since_ns,
        )

    async def plan(
        self, *, start_s: float = 0.0, length_s: float | None = 3600.0, record: bool = True, title: str = "支部党员大会"
    ) -> str:
        """Plan a meeting, from the clock's now; its id."""
        start = datetime_of(self.clock.now_ns) + timedelta(seconds=start_s)
        meeting = Meeting(
            id=new_id(),
            organization_id="org",
            site_id="site",
            camera_id=self.camera.id,
            kind=MeetingKind.MEMBERS,
            title=title,
            planned_start=start,
            planned_end=None if length_s is None else start + timedelta(seconds=length_s),
            record=record,
            created_at=start,
        )
        async with self.database.transaction() as repos:
            await repos.meetings.add(meeting)
        return meeting.id

    async def runs(self, recorder: RecorderService, meeting_id: str) -> None:
        """Send the first two seconds and wait until they are being recorded."""
        before = recorder.metrics.parts
        self.camera.feed(2.0)
        await until(lambda: recorder.live_state(meeting_id) is not None, "the recording starts")
        await until(lambda: recorder.metrics.parts > before, "the first part")

    @contextlib.asynccontextmanager
    async def recorded(self, **replaced: object) -> AsyncIterator[tuple[RecorderService, str]]:
        """A recorder, and a meeting whose first two seconds it records; the meeting ends with the context."""
        meeting = await self.plan()
        self.camera.connect()
        async with self.service(**replaced) as recorder:
            await self.runs(recorder, meeting)
            yield recorder, meeting
            await recorder.end_meeting(meeting, "user1")

    async def meeting(self, meeting_id: str) -> Meeting:
        """Its row."""
        async with self.database.read() as repos:
            return await repos.meetings.get(meeting_id)

    async def recording(self, meeting_id: str) -> Recording:
        """The row of the meeting's only recording."""
        async with self.database.read() as repos:
            (recording,) = await repos.recordings.of_meeting(meeting_id)
        return recording

    async def objects(self, meeting_id: str) -> tuple[MediaObject, ...]:
        """Rows of the meeting's objects."""
        recording = await self.recording(meeting_id)
        async with self.database.read() as repos:
            return await repos.objects.of_recording(recording.id)

    async def gaps(self, meeting_id: str) -> list[GapRecord]:
        """Rows of the meeting's gaps."""
        recording = await self.recording(meeting_id)
        async with self.database.read() as repos:
            return list(await repos.gaps.of_recording(recording.id))

    async def story(self, meeting_id: str) -> list[str]:
        """Kinds of the meeting's story lines."""
        async with self.database.read() as repos:
            return [entry.kind for entry in await repos.story.of_meeting(meeting_id)]

    async def complete(self, meeting_id: str) -> None:
        """Wait until the meeting's recording is complete."""
        async with asyncio.timeout(20):
            while (await self.recording(meeting_id)).state is not RecordingState.COMPLETE:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def verify(self, meeting_id: str) -> list[MediaObject]:
        """Check by hand, without recorder code, that objects and rows agree and numbers have no hole."""
        objects = list(await self.objects(meeting_id))
        assert [item.number for item in objects] == list(range(len(objects)))
        for item in objects:
            data = await self.store.get(item.key)
            assert len(data) == item.size
            assert hashlib.sha256(data).hexdigest() == item.sha256
            for segment in item.segments:
                for part in segment.ranges:
                    media = data[part.offset : part.offset + part.size]
                    assert hashlib.sha256(media).hexdigest() == part.sha256
        return objects


@contextlib.asynccontextmanager
async def house(
    folder: Path,
    settings: RecorderSettings = FAST,
    *,
    built: bool = False,
    url: str = "",
    objects: StoreSettings | None = None,
) -> AsyncIterator[House]:
    """Open one, with one village and one camera; or one that was ``built`` before. ``url`` of another database than the
    file in its folder, ``objects`` of another store than the folder in it."""
    url = url or f"sqlite:///{folder / 'sanhui.db'}"
    if not built:
        await asyncio.to_thread(upgrade, url)
    clock = HandClock()
    async with (
        Database(url) as database,
        open_store(objects or DirectoryStoreSettings(folder / "objects")) as store,
    ):
        camera = TestCamera("cam", clock)
        if built:
            yield House(folder, database, store, clock, camera, settings)
            return
        now = datetime_of(clock.now_ns)
        async with database.transaction() as repos:
            await repos.organizations.add(
                Organization(id="org", parent_id=None, level=OrganizationLevel.VILLAGE, name="石桥村党支部")
            )
            await repos.sites.add(Site(id="site", organization_id="org", name="村委会议室"))
            await repos.cameras.add(
                Camera(
                    id="cam", site_id="site", name="会议室", url="rtsp://192.0.2.1/1", created_at=now, updated_at=now
                )
            )
        yield House(folder, database, store, clock, camera, settings)


async def whole(home: House, meeting: str) -> None:
    """Complete, and nothing wrong with it."""
    await home.complete(meeting)
    await home.verify(meeting)
    report = await check(home.database, home.store)
    assert report.findings == []


async def feed(home: House, recorder: RecorderService, seconds: float) -> None:
    """Send so much and wait until it has been taken."""
    before = recorder.metrics.parts + recorder.metrics.parts_refused
    home.camera.feed(seconds)
    wanted = before + round(seconds * 2) - 2
    await until(lambda: recorder.metrics.parts + recorder.metrics.parts_refused >= wanted, f"{seconds} s taken")

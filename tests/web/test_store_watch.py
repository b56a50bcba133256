"""A service whose recordings are on a disk that is not there: it runs, and says so before a meeting waits for it."""

from pathlib import Path

import pytest

from storage.records import Camera, Meeting, MeetingKind
from tests.streaming.watching import until
from tests.support.rows import NOON, media_object, recording
from tests.web.conftest import Service, fill, run, settings


async def record(service: Service) -> None:
    """The database knows of an object."""
    camera = Camera(
        id="cam-east", site_id="hall-east", name="会议室", url="rtsp://127.0.0.1:9/x", enabled=False,
        created_at=NOON, updated_at=NOON,
    )  # fmt: skip
    meeting = Meeting(
        id="m", organization_id="village-east", site_id="hall-east", camera_id="cam-east", kind=MeetingKind.MEMBERS,
        title="党员大会", planned_start=NOON, created_at=NOON,
    )  # fmt: skip
    made = recording(meeting)
    async with service.services.database.transaction() as repos:
        await repos.cameras.add(camera)
        await repos.meetings.add(meeting)
        await repos.recordings.add(made)
        await repos.objects.add(media_object(made, 0))


async def test_a_disk_that_is_not_mounted_is_told_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.store_watch._LOOK_S", 0.05)
    disk = tmp_path / "disk"
    chosen = settings(tmp_path, store_dir=disk)
    async with run(chosen) as service:
        await fill(service.services)
        await record(service)
    disk.rename(tmp_path / "elsewhere")
    disk.mkdir()
    async with run(chosen) as service:
        await until(lambda: service.services.notices.codes == ("store-changed",), "the operator is told")
        official = await service.logged_in("official")
        told = (await official.json("GET", "/now"))["notices"]
        assert [notice["title"] for notice in told] == ["录像存储不是原来的那个"]
        ready = await official.client.get("/readyz")
        assert (ready.status, (await ready.json())["troubles"]) == (503, {"store": "store-other"})
        assert list(disk.iterdir()) == []

        disk.rmdir()
        (tmp_path / "elsewhere").rename(disk)
        await until(lambda: service.services.notices.codes == (), "the disk is back")

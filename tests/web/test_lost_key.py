"""The key file is lost, or another one: no camera's password can be read, and that is one line in the log."""

from pathlib import Path

from structlog.testing import capture_logs

from storage.records import Camera
from storage.secrets import SecretBox, SecretKeys
from tests.streaming.watching import until
from tests.support.rows import NOON
from tests.web.conftest import Service, fill, run, settings


async def add_cameras(service: Service, sealing: SecretBox) -> None:
    """A camera in each hall, with a password."""
    async with service.services.database.transaction() as repos:
        for side in ("east", "west"):
            camera = Camera(
                id=f"cam-{side}", site_id=f"hall-{side}", name="会议室", url="rtsp://127.0.0.1:9/x", username="admin",
                password_encrypted=sealing.seal("secret", f"cam-{side}"), created_at=NOON, updated_at=NOON,
            )  # fmt: skip
            await repos.cameras.add(camera)
    await service.services.county.refresh()


async def test_passwords_that_no_key_opens_are_told_once_for_all_cameras(tmp_path: Path) -> None:
    async with run(settings(tmp_path)) as service:
        await fill(service.services)
        wanted = service.services.wanted
        with capture_logs() as logged:
            await add_cameras(service, SecretBox(SecretKeys.generate()))
            await until(lambda: wanted.is_unreadable("cam-east") and wanted.is_unreadable("cam-west"), "cameras")
            before = wanted.now
            system = await service.logged_in("system")
            town = {"parent_id": "county", "level": "town", "name": "南镇"}
            await system.json("POST", "/organizations", 201, json=town)
            await until(lambda: wanted.now is not before, "the register has changed")
        told = [line for line in logged if "unreadable" in line["event"]]
        assert [line["count"] for line in told] == [2]

"""A county whose rooms can meet: cameras that nobody answers at, meetings that run, notes."""

from typing import Any

from storage.records import Camera
from tests.web.conftest import Api, Service


async def with_cameras(service: Service) -> Service:
    """The county with a camera in each hall."""
    now = service.services.sessions.now()
    async with service.services.database.transaction() as repos:
        for side in ("east", "west"):
            camera = Camera(
                id=f"camera-{side}",
                site_id=f"hall-{side}",
                name="会议室",
                url="rtsp://127.0.0.1:9/none",
                created_at=now,
                updated_at=now,
            )
            await repos.cameras.add(camera)
    await service.services.county.refresh()
    return service


async def running_meeting(api: Api, side: str = "east") -> str:
    """A meeting that has been started."""
    plan = {
        "kind": "members-meeting",
        "organization_id": f"village-{side}",
        "planned_start": "2030-01-01T08:00:00+08:00",
    }
    meeting = await api.json("POST", "/meetings", 201, json=plan)
    await api.json("POST", f"/meetings/{meeting['id']}/start")
    return str(meeting["id"])


async def write(api: Api, meeting: str, text: str = "请先清点到会人数", key: str = "key-00000001", **more: Any) -> Any:
    """A note on record."""
    body = {"kind": "remind", "text": text, "key": key, **more}
    return await api.json("POST", f"/meetings/{meeting}/notes", 201, json=body)

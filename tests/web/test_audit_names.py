"""The log of what was done names the village: each has a 会议室 with a camera in it, and a meeting of the same kind."""

from dataclasses import replace
from datetime import timedelta

import pytest

from storage.records import Camera
from tests.support.rows import NOON
from tests.web.conftest import Service


async def _texts(service: Service, action: str) -> list[str]:
    auditor = await service.logged_in("auditor")
    entries = await auditor.json("GET", f"/audit?action={action}")
    return [entry["text"] for entry in entries["items"]]


async def _add_camera(service: Service, **changes: object) -> str:
    body = {"name": "会议室正面", "site_id": "hall-east", "address": "rtsp://127.0.0.1:9/x", **changes}
    system = await service.logged_in("system")
    return str((await system.json("POST", "/cameras", 201, json=body))["id"])


async def test_a_camera_is_named_with_its_village(service: Service) -> None:
    camera = await _add_camera(service)
    assert await _texts(service, "camera.create") == ["添加摄像机 东村党支部 会议室正面"]
    system = await service.logged_in("system")
    await system.json("DELETE", f"/cameras/{camera}")
    # Nobody can look it up any more.
    assert await _texts(service, "camera.delete") == ["移除摄像机 东村党支部 会议室正面"]


async def test_an_entry_of_before_is_named_with_the_village_where_its_camera_is_now(service: Service) -> None:
    camera = await _add_camera(service, site_id="hall-west")
    audit = service.services.audit
    async with service.services.database.transaction() as repos:
        for subject in (f"camera/{camera}", "camera/gone"):
            await repos.audit.add(audit.entry(None, "camera.watch", subject, "", detail={"name": "会议室正面"}))
    assert await _texts(service, "camera.watch") == ["查看现场 会议室正面", "查看现场 西村党支部 会议室正面"]


async def test_a_place_and_its_television(service: Service) -> None:
    system = await service.logged_in("system")
    site = await system.json("POST", "/sites", 201, json={"name": "文化广场", "organization_id": "village-east"})
    await system.json("DELETE", f"/sites/{site['id']}", 204)
    assert await _texts(service, "site.create") == ["添加场所 东村党支部 文化广场"]
    assert await _texts(service, "site.delete") == ["删除场所 东村党支部 文化广场"]


@pytest.mark.parametrize(("title", "named"), [("", "支部党员大会"), ("第三季度会议", "第三季度会议")])
async def test_a_meeting_is_named_with_its_village_and_by_its_kind_where_it_has_no_title(
    service: Service, title: str, named: str
) -> None:
    await _add_camera(service)
    official = await service.logged_in("official")
    body = {
        "kind": "members-meeting",
        "title": title,
        "organization_id": "village-east",
        "planned_start": (service.services.sessions.now() + timedelta(hours=1)).isoformat(),
    }
    meeting = await official.json("POST", "/meetings", 201, json=body)
    await official.json("POST", f"/meetings/{meeting['id']}/cancel")
    assert await _texts(service, "meeting.create") == [f"安排会议 东村党支部 {named}"]
    assert await _texts(service, "meeting.cancel") == [f"取消会议 东村党支部 {named}"]


async def test_a_camera_that_moves_is_named_with_the_village_it_is_in_then(service: Service) -> None:
    camera = Camera(
        id="cam", site_id="hall-east", name="会议室", url="rtsp://127.0.0.1:9/x", created_at=NOON, updated_at=NOON
    )
    async with service.services.database.transaction() as repos:
        await repos.cameras.add(camera)
    await service.services.county.refresh()
    system = await service.logged_in("system")
    body = {"name": "会议室", "site_id": "hall-west", "address": "rtsp://127.0.0.1:9/x"}
    await system.json("PUT", "/cameras/cam", json=body)
    async with service.services.database.transaction() as repos:
        await repos.cameras.update(replace(await repos.cameras.get("cam"), site_id="hall-east"))
    await service.services.county.refresh()
    assert await _texts(service, "camera.update") == ["修改摄像机 西村党支部 会议室"]

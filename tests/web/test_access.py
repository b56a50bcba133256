"""Every operation against every role, areas, and the log of what was done."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from storage.records import Camera, Meeting, MeetingKind, MeetingState, Role
from tests.web.conftest import PEOPLE, Api, Service, fill, run, settings
from web.access.scopes import FIRST_ADMINISTRATOR_EXTRA, ROLE_SCOPES, ROOM_SCOPES, Scope, scopes_of
from web.api import all_operations
from web.operations import Operation

# What each role may do, written down a second time on purpose: a change of rights must be meant.
READ = {"self", "organizations:read", "meetings:read"}
RUN = {"meetings:plan", "meetings:run", "live:watch", "recordings:play", "recordings:download", "cameras:read"}
EXPECTED = {
    Role.SYSTEM_ADMINISTRATOR: READ | RUN | {"organizations:write", "cameras:write", "rooms:pair"},
    Role.SECURITY_ADMINISTRATOR: {"self", "organizations:read", "users:read", "users:write", "audit:read"},
    Role.AUDITOR: {"self", "organizations:read", "users:read", "audit:read"},
    Role.OFFICIAL: READ | RUN | {"guidance:note", "guidance:talk", "rooms:pair"},
    Role.ARCHIVIST: READ | {"recordings:play", "recordings:download"},
    Role.VIEWER: READ | {"live:watch", "recordings:play"},
}


def test_roles_have_the_rights_written_down_here() -> None:
    assert {role: {scope.value for scope in scopes} for role, scopes in ROLE_SCOPES.items()} == EXPECTED


def test_a_right_that_no_longer_exists_is_left_out() -> None:
    assert scopes_of(Role.AUDITOR, ("cameras:fly", "cameras:write")) == ROLE_SCOPES[Role.AUDITOR] | {
        Scope.CAMERAS_WRITE
    }
    # All but guiding, which is the officials', and what only the device of a room may.
    assert set(Scope) - ROOM_SCOPES - {Scope.GUIDANCE_NOTE, Scope.GUIDANCE_TALK} == scopes_of(
        Role.SYSTEM_ADMINISTRATOR, FIRST_ADMINISTRATOR_EXTRA
    )


def _path(operation: Operation) -> str:
    return re.sub(r"{\w+}", "nothing", operation.path)


async def test_each_operation_is_open_to_exactly_the_roles_that_have_its_scope(service: Service) -> None:
    """A body of no sense is sent: who may do it gets past the door (404, 422, 200), who may not gets 403."""
    apis = {name: await service.logged_in(name) for name in PEOPLE if name != "east"}
    # Logging out comes last: it ends the session that the others need.
    operations = sorted(all_operations(), key=lambda item: item.name == "log_out")
    for operation in operations:
        for name, api in apis.items():
            role = PEOPLE[name][0]
            body = {"json": {"nonsense": 1}} if operation.body is not None else {}
            response = await api.call(operation.method, _path(operation), **body)
            text = await response.text()
            allowed = operation.scope is None or operation.scope.value in EXPECTED[role]
            assert response.status < 500, (operation.name, name, text)
            assert (response.status != 403) == allowed, (operation.name, name, response.status, text)


async def test_each_operation_but_the_public_ones_needs_a_session(service: Service) -> None:
    stranger = service.browser()
    public = set()
    for operation in all_operations():
        body = {"json": {"nonsense": 1}} if operation.body is not None else {}
        response = await stranger.call(operation.method, _path(operation), **body)
        if operation.scope is None:
            public.add(operation.name)
        else:
            assert response.status == 401, operation.name
    assert public == {"about", "log_in", "get_setup", "finish_setup", "start_pairing", "await_pairing"}


async def test_media_handlers_need_a_session_too(service: Service) -> None:
    app = service.server.app
    media = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.resource.canonical.startswith(("/live", "/meetings"))
    }
    assert len(media) > 10
    stranger = service.browser()
    for method, pattern in sorted(media):
        if method in {"OPTIONS", "HEAD"}:
            continue
        path = re.sub(r"{\w+}", "1", pattern).replace("/1.m3u8", "/video.m3u8")
        response = await stranger.client.request(method, path, data="v=0")
        assert response.status in {401, 404}, (method, path)
        assert response.content_type == "application/problem+json"


@pytest.fixture
async def two_towns(tmp_path: Path) -> Any:
    async with run(settings(tmp_path)) as service:
        await fill(service.services)
        now = datetime.now(UTC)
        async with service.services.database.transaction() as repos:
            for side in ("east", "west"):
                await repos.cameras.add(
                    Camera(
                        id=f"cam-{side}",
                        site_id=f"hall-{side}",
                        name=f"会议室 {side}",
                        url="rtsp://127.0.0.1:9/x",
                        enabled=False,
                        created_at=now,
                        updated_at=now,
                    )
                )
                await repos.meetings.add(
                    Meeting(
                        id=f"meeting-{side}",
                        organization_id=f"village-{side}",
                        site_id=f"hall-{side}",
                        camera_id=f"cam-{side}",
                        kind=MeetingKind.MEMBERS,
                        title=f"支部党员大会 {side}",
                        planned_start=now + timedelta(hours=5),
                        created_at=now,
                    )
                )
        await service.services.county.refresh()
        yield service


async def test_a_town_sees_its_own_villages_and_no_other(two_towns: Service) -> None:
    east = await two_towns.logged_in("east")
    cameras = await east.json("GET", "/cameras")
    assert [item["id"] for item in cameras["items"]] == ["cam-east"]
    assert cameras["counts"]["total"] == 1
    tree = await east.json("GET", "/organizations")
    assert [root["id"] for root in tree["roots"]] == ["town-east"]
    assert [item["id"] for item in (await east.json("GET", "/sites"))["items"]] == ["hall-east"]
    now = await east.json("GET", "/now")
    assert now["area"]["name"] == "东镇党委"
    assert now["next_meeting"]["id"] == "meeting-east"
    day = (
        datetime.fromisoformat(now["next_meeting"]["planned_start"]).astimezone(two_towns.services.settings.zone).date()
    )
    meetings = await east.json("GET", "/meetings", params={"day": day.isoformat()})
    assert [item["id"] for item in meetings["items"]] == ["meeting-east"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/cameras/cam-west", None),
        ("GET", "/cameras/cam-west/still.jpg", None),
        ("GET", "/meetings/meeting-west", None),
        ("GET", "/meetings/meeting-west/timeline", None),
        ("POST", "/meetings/meeting-west/start", None),
        ("POST", "/meetings/meeting-west/end", None),
        ("POST", "/meetings/meeting-west/cancel", None),
        ("GET", "/meetings?organization_id=town-west", None),
        ("GET", "/cameras?organization_id=town-west", None),
        ("GET", "/calendar?month=2026-11&organization_id=county", None),
    ],
)
async def test_what_lies_outside_the_area_is_refused(two_towns: Service, method: str, path: str, body: Any) -> None:
    east = await two_towns.logged_in("east")
    problem = await east.json(method, path, 403, json=body)
    assert problem["code"] == "outside-area"
    async with two_towns.services.database.read() as repos:
        assert (await repos.meetings.get("meeting-west")).state is MeetingState.PLANNED


@pytest.mark.parametrize(
    "path",
    [
        "/live/cam-west/index.m3u8",
        "/live/cam-west/ts.m3u8",
        "/meetings/meeting-west/vod/index.m3u8",
        "/meetings/meeting-west/vod/ts.m3u8",
        "/meetings/meeting-west/download.mp4",
    ],
)
async def test_media_outside_the_area_is_refused(two_towns: Service, path: str) -> None:
    east = await two_towns.logged_in("east")
    response = await east.client.get(path)
    assert (response.status, (await response.json())["code"]) == (403, "outside-area")


async def test_who_is_given_another_area_plays_nothing_of_the_old_one_any_more(two_towns: Service) -> None:
    """Not even what they were just playing, which is not asked about again for half a minute."""
    east = await two_towns.logged_in("east")
    security = await two_towns.logged_in("security")
    path = "/meetings/meeting-east/vod/index.m3u8"
    assert (await (await east.client.get(path)).json())["code"] != "outside-area"
    moved = {"display_name": "East", "role": "official", "organization_id": "town-west"}
    await security.json("PUT", "/users/u-east", json=moved)
    response = await east.client.get(path)
    assert (response.status, (await response.json())["code"]) == (403, "outside-area")


async def test_a_plan_for_another_area_is_refused_at_its_field(two_towns: Service) -> None:
    east = await two_towns.logged_in("east")
    plan = {"kind": "members-meeting", "organization_id": "village-west", "planned_start": "2027-01-01T09:00:00+08:00"}
    problem = await east.json("POST", "/meetings", 422, json=plan)
    assert [(item["field"], item["title"]) for item in problem["errors"]] == [("organization_id", "不在您的管辖范围")]


async def test_changes_and_looks_are_on_record_with_who_and_what(two_towns: Service) -> None:
    east = await two_towns.logged_in("east")
    await east.json("POST", "/meetings/meeting-east/cancel")
    auditor = await two_towns.logged_in("auditor")
    page = await auditor.json("GET", "/audit", params={"subject": "meeting/meeting-east"})
    entry = page["items"][0]
    assert (entry["username"], entry["action"], entry["outcome"]) == ("east", "meeting.cancel", "success")
    assert entry["text"] == "取消会议 东村党支部 支部党员大会 east"
    await two_towns.browser().call("POST", "/session", json={"username": "east", "password": "wrong"})
    failed = await auditor.json("GET", "/audit", params={"action": "login-failed"})
    assert [(item["username"], item["outcome"]) for item in failed["items"]] == [("east", "failure")]


async def test_an_attempt_beyond_ones_rights_is_on_record(two_towns: Service) -> None:
    east = await two_towns.logged_in("east")
    await east.json("GET", "/users", 403)
    await east.json("GET", "/cameras/cam-west", 403)
    auditor = await two_towns.logged_in("auditor")
    page = await auditor.json("GET", "/audit", params={"action": "access.refused"})
    denied = [(item["username"], item["subject"], item["outcome"]) for item in page["items"]]
    assert denied == [("east", "operation/get_camera", "denied"), ("east", "operation/list_users", "denied")]


async def test_the_log_is_read_page_by_page(two_towns: Service) -> None:
    auditor = await two_towns.logged_in("auditor")
    for _ in range(5):
        await two_towns.logged_in("viewer")
    first = await auditor.json("GET", "/audit", params={"limit": 4})
    second = await auditor.json("GET", "/audit", params={"limit": 4, "before": first["next"]})
    ids = [int(item["id"]) for item in first["items"] + second["items"]]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == 6
    assert second["next"] is None


async def test_nobody_gives_rights_wider_than_their_own(two_towns: Service) -> None:
    security = await two_towns.logged_in("security")
    person = {"username": "town", "display_name": "镇", "password": "Good-Enough-1", "organization_id": "town-east"}
    await security.json("POST", "/users", 201, json={**person, "role": "security-administrator"})
    town = Api(two_towns.browser().client)
    await town.log_in("town", "Good-Enough-1")
    listed = {item["username"] for item in (await town.json("GET", "/users"))["items"]}
    assert listed == {"east", "town"}
    wide = {"username": "wide", "display_name": "W", "password": "Good-Enough-1", "role": "official"}
    problem = await town.json("POST", "/users", 422, json=wide)
    assert problem["errors"][0]["field"] == "organization_id"
    problem = await town.json("POST", "/users", 422, json={**wide, "organization_id": "town-east", "role": "auditor"})
    assert problem["errors"][0]["field"] == "role"
    reset = await town.json("POST", "/users/u-viewer/password", 403, json={"password": "Another-Good-1"})
    assert reset["code"] == "outside-area"


async def test_the_last_administrator_cannot_be_taken_away(service: Service) -> None:
    security = await service.logged_in("security")
    mine = {"display_name": "S", "role": "security-administrator", "enabled": False}
    problem = await security.json("PUT", "/users/u-security", 422, json=mine)
    assert problem["errors"][0]["field"] == "enabled"


async def test_the_last_administrator_of_the_county_cannot_be_sent_to_a_town(service: Service) -> None:
    security = await service.logged_in("security")
    town = {"username": "town", "display_name": "镇", "password": "Good-Enough-1", "role": "security-administrator"}
    await security.json("POST", "/users", 201, json={**town, "organization_id": "town-east"})
    mine = {"display_name": "S", "role": "security-administrator", "organization_id": "town-east"}
    problem = await security.json("PUT", "/users/u-security", 422, json=mine)
    assert problem["errors"][0]["title"] == "至少要保留一位可用的管理员"


async def test_a_taken_name_is_told_at_its_field(service: Service) -> None:
    security = await service.logged_in("security")
    person = {"username": "EAST", "display_name": "E", "password": "Good-Enough-1", "role": "viewer"}
    problem = await security.json("POST", "/users", 422, json=person)
    assert problem["errors"] == [{"field": "username", "title": "已经有人用了"}]

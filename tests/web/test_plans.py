"""Plans of meetings, and the tree they hang on."""

import sqlite3
from dataclasses import replace
from typing import Any

import pytest

from tests.web.conftest import Service
from tests.web.live_county import running_meeting, with_cameras
from web.api import meetings

PLAN = {"kind": "members-meeting", "organization_id": "village-east", "planned_start": "2030-01-01T08:00:00+08:00"}


async def test_a_meeting_that_becomes_another_kind_is_named_so(service: Service) -> None:
    east = await (await with_cameras(service)).logged_in("east")
    meeting = await east.json("POST", "/meetings", 201, json=PLAN)
    assert meeting["title"] == "支部党员大会"
    # The form sends the title back as it has it.
    changed = {**PLAN, "kind": "party-lecture", "title": meeting["title"]}
    assert (await east.json("PUT", f"/meetings/{meeting['id']}", json=changed))["title"] == "党课"
    named = {**changed, "title": "七一党课"}
    assert (await east.json("PUT", f"/meetings/{meeting['id']}", json=named))["title"] == "七一党课"
    again = {**named, "kind": "theme-day"}
    assert (await east.json("PUT", f"/meetings/{meeting['id']}", json=again))["title"] == "七一党课"


async def test_an_organization_keeps_its_level_while_others_stand_below_it(service: Service) -> None:
    system = await service.logged_in("system")
    lowered = {"name": "东镇党委", "level": "village", "parent_id": "town-west"}
    problem = await system.json("PUT", "/organizations/town-east", 422, json=lowered)
    assert problem["errors"]
    await system.json("PUT", "/organizations/town-east", json={**lowered, "level": "town", "parent_id": "county"})


async def test_a_meeting_that_begins_while_its_plan_is_changed_stays_as_it_began(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    east = await (await with_cameras(service)).logged_in("east")
    meeting = await east.json("POST", "/meetings", 201, json=PLAN)
    planned = vars(meetings)["_planned"]

    def begun_meanwhile(*given: Any) -> Any:
        with sqlite3.connect(service.services.settings.data_dir / "sanhui.db") as database:
            database.execute("UPDATE meeting SET state = 'running' WHERE id = ?", (meeting["id"],))
        database.close()
        return planned(*given)

    monkeypatch.setattr(meetings, "_planned", begun_meanwhile)
    changed = {**PLAN, "kind": "party-lecture", "record": False, "no_record_reason": "x"}
    problem = await east.json("PUT", f"/meetings/{meeting['id']}", 409, json=changed)
    assert problem["code"] == "state-conflict"
    after = await east.json("GET", f"/meetings/{meeting['id']}")
    assert (after["kind"], after["record"]) == ("members-meeting", True)


async def test_what_is_still_being_recorded_is_a_look_into_the_room(service: Service) -> None:
    east = await (await with_cameras(service)).logged_in("east")
    meeting = await running_meeting(east)
    address = f"/meetings/{meeting}/vod/index.m3u8"
    # There is no camera behind it, so nothing is on record yet.
    assert (await east.client.get(address)).status == 404
    assert service.services.viewers.of_camera("camera-east") == ("u-east",)
    async with service.services.database.transaction() as repos:
        camera = await repos.cameras.get("camera-east")
        await repos.cameras.update(replace(camera, supervision_allowed=False))
    await service.services.county.refresh()
    county = await service.logged_in("official")
    for path in (address, f"/meetings/{meeting}/download.mp4"):
        refused = await county.client.get(path)
        assert (refused.status, (await refused.json())["code"]) == (403, "supervision-refused")
    await east.json("POST", f"/meetings/{meeting}/end")
    assert (await county.client.get(address)).status == 404

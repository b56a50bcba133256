"""The register of cameras: what is shown of an address, and what becomes of what is typed."""

from typing import Any

from tests.web.conftest import Service
from web.api.present import rtsp_url

ADDRESS = "rtsp://127.0.0.1:9/user=admin&password=Geheim1&channel=1"
CAMERA = {"name": "会议室", "site_id": "hall-east", "address": ADDRESS, "enabled": False}


async def url_of(service: Service, camera_id: str) -> str:
    async with service.services.database.read() as repos:
        return (await repos.cameras.get(camera_id)).url


async def test_a_password_inside_the_address_is_shown_to_nobody_and_kept(service: Service) -> None:
    system, official = await service.logged_in("system"), await service.logged_in("east")
    sub = ADDRESS.replace("channel=1", "channel=1&stream=1")
    added = await system.json("POST", "/cameras", 201, json={**CAMERA, "sub_address": sub})
    for api in (system, official):
        shown = await (await api.call("GET", "/cameras")).text()
        assert "Geheim1" not in shown
        assert "password=***" in shown
    # Saved as it is shown, it stays as it was entered.
    hidden = {"address": added["address"], "sub_address": added["sub_address"]}
    await system.json("PUT", f"/cameras/{added['id']}", json={**CAMERA, **hidden, "name": "会议室 2"})
    assert await url_of(service, added["id"]) == ADDRESS
    # What is hidden goes to no other address.
    moved = added["address"].replace("channel=1", "channel=2")
    problem: Any = await system.json("PUT", f"/cameras/{added['id']}", 422, json={**CAMERA, "address": moved})
    assert [error["field"] for error in problem["errors"]] == ["address"]
    problem = await system.json("POST", "/cameras", 422, json={**CAMERA, "name": "另一个", **hidden})
    assert [error["field"] for error in problem["errors"]] == ["address"]
    probed = await system.call("POST", "/cameras/probe", json={"camera_id": added["id"], "address": moved})
    assert probed.status == 422
    log = await (await (await service.logged_in("auditor")).call("GET", "/audit")).text()
    assert "Geheim1" not in log


async def test_a_log_in_pasted_with_the_sub_stream_is_the_cameras(service: Service) -> None:
    system = await service.logged_in("system")
    plain = {**CAMERA, "address": "rtsp://127.0.0.1:9/main"}
    added = await system.json("POST", "/cameras", 201, json={**plain, "sub_address": "rtsp://admin:x@127.0.0.1:9/sub"})
    assert (added["username"], added["has_password"]) == ("admin", True)
    assert added["sub_address"] == "rtsp://127.0.0.1:9/sub"
    # Of another machine it is none of this camera's.
    lured = {**plain, "name": "另一个", "sub_address": "rtsp://admin:x@127.0.0.2:9/sub"}
    other = await system.json("POST", "/cameras", 201, json=lured)
    assert (other["username"], other["has_password"]) == ("", False)


def test_an_ipv6_address_is_written_as_urls_have_it() -> None:
    assert rtsp_url("fd00::1", 8554, "c") == "rtsp://[fd00::1]:8554/live/c"
    assert rtsp_url("sanhui.example", 8554, "c") == "rtsp://sanhui.example:8554/live/c"

"""From a camera's address to a meeting on record, over HTTP, with a camera that sends real media."""

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import structlog

from media.clock import SystemClock
from streaming.addresses import AddressGuard, AddressPolicy
from streaming.probe import Outcome, ProbeSettings, probe
from streaming.rtsp.auth import ServerAuthenticator
from streaming.secret import Secret
from streaming.source import CameraSource
from tests.support.fake_camera import Behaviour, FakeCamera, fake_camera
from tests.web.conftest import Api, Service, fill, run, settings
from web.config import LogFormat, LogLevel
from web.logging import configure_logging

NASTY = "p@ss:w/rd?汉字#1"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging(LogLevel.DEBUG, LogFormat.JSON, "test", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
async def camera() -> AsyncIterator[FakeCamera]:
    password = Secret(NASTY)
    authenticator = ServerAuthenticator("cam", lambda user: password if user == "admin" else None, SystemClock())
    async with fake_camera(Behaviour(authenticator=authenticator)) as camera:
        yield camera


@pytest.fixture
async def county(tmp_path: Path) -> AsyncIterator[Service]:
    async with run(settings(tmp_path, reconcile_s=0.2, part_ms=200, segment_s=1, object_s=4)) as service:
        await fill(service.services)
        yield service


async def until(check: Callable[[], Awaitable[Any]], seconds: float = 20.0) -> Any:
    """What ``check`` gives once it is true."""
    async with asyncio.timeout(seconds):
        while True:
            if value := await check():
                return value
            await asyncio.sleep(0.05)


async def add_camera(api: Api, address: str, **more: Any) -> Any:
    body = {"name": "会议室", "site_id": "hall-east", "address": address, **more}
    return await api.json("POST", "/cameras", 201, json=body)


async def state_of(api: Api, camera_id: str, wanted: str) -> Any:
    async def check() -> Any:
        camera = await api.json("GET", f"/cameras/{camera_id}")
        return camera if camera["status"]["state"] == wanted else None

    return await until(check)


async def shown_live(official: Api, running: Any) -> str:
    """Its card, still, picture and who looks in; the playlist."""
    card = next(
        item
        for item in (await official.json("GET", "/now"))["cards"]
        if item["camera"]["id"] == running["camera"]["id"]
    )
    assert (card["group"], card["problem"]) == ("live", None)
    assert {chip["kind"] for chip in card["chips"]} >= {"live", "recording"}
    still = await official.client.get(card["still_url"])
    assert (await still.read())[:3] == b"\xff\xd8\xff"
    assert still.headers["Cache-Control"].startswith("private, max-age=")

    live = await official.client.get(running["live"]["hls_url"])
    assert live.status == 200
    playlist = await live.text()
    assert (await official.json("GET", f"/meetings/{running['id']}"))["viewers"] == 1
    card = (await official.json("GET", "/now"))["cards"][0]
    assert {"kind": "watched", "since": None, "count": 1} in card["chips"]

    async def present() -> Any:
        return (await official.json("GET", f"/meetings/{running['id']}/presence"))["people"]

    (looking,) = await until(present)
    assert (looking["person"]["name"], looking["office"]["name"], looking["superior"]) == ("East", "东镇党委", True)
    return playlist


async def put_on_record(county: Service, official: Api, meeting: str, now: datetime) -> list[str]:
    """What was done is in the meeting's story, in the list of its day, and once in the audit log; what those say."""
    timeline = await official.json("GET", f"/meetings/{meeting}/timeline")
    codes = [entry["code"] for entry in timeline["story"]]
    for code in ("meeting-planned", "meeting-started-by-plan", "attended", "meeting-ended", "downloaded"):
        assert codes.count(code) == 1, codes
    assert "东镇党委 East 列席" in [entry["text"] for entry in timeline["story"]]
    assert timeline["spans"]
    day = (now - timedelta(seconds=1)).astimezone(county.services.settings.zone).date().isoformat()
    listed = await official.json("GET", "/meetings", params={"state": "ended", "day": day})
    assert [item["id"] for item in listed["items"]] == [meeting]
    audit = await (await county.logged_in("auditor")).json("GET", "/audit")
    actions = [item["action"] for item in audit["items"]]
    once = {"camera.create", "meeting.create", "camera.watch", "meeting.end", "meeting.play", "meeting.download"}
    assert {action: actions.count(action) for action in once} == dict.fromkeys(once, 1)
    return [str(audit), str(timeline)]


def is_nowhere(county: Service, seen: list[str]) -> None:
    """Law 7: the password is in nothing that was said, and not in the database."""
    stored = b"".join(path.read_bytes() for path in county.services.settings.data_dir.rglob("*.db*") if path.is_file())
    for written in (NASTY, quote(NASTY, safe=""), "汉字"):
        assert not any(written in text for text in seen), written
    assert "汉字".encode() not in stored


async def test_a_meeting_from_the_address_to_the_download(
    county: Service, camera: FakeCamera, log: io.StringIO
) -> None:
    system, official = await county.logged_in("system"), await county.logged_in("east")
    seen: list[str] = []

    # A pasted address with a password that breaks the rules of URLs.
    added = await add_camera(system, camera.url.replace("rtsp://", f"rtsp://admin:{NASTY}@"))
    assert (added["address"], added["username"], added["has_password"]) == (camera.url, "admin", True)
    online = await state_of(system, added["id"], "online")
    assert online["status"]["video"]["codec"] == "h264"
    assert online["status"]["audio"]["codec"] == "pcma"

    now = county.services.sessions.now()
    plan = {
        "kind": "committee-meeting",
        "organization_id": "village-east",
        "planned_start": (now - timedelta(seconds=1)).isoformat(),
        "planned_end": (now + timedelta(hours=1)).isoformat(),
    }
    meeting = await official.json("POST", "/meetings", 201, json=plan)
    assert (meeting["title"], meeting["camera"]["id"]) == ("支部委员会", added["id"])
    path = f"/meetings/{meeting['id']}"

    async def recorded() -> Any:
        shown = await official.json("GET", path)
        return shown if shown["playback"] and shown["recording"]["recorded_s"] > 3 else None

    running = await until(recorded)
    assert (running["state"], running["recording"]["state"]) == ("running", "recording")
    assert running["actions"]["end"]["allowed"]
    assert running["actions"]["start"]["reason"]["code"] == "meeting-not-planned"

    seen.append(await shown_live(official, running))
    ended = await official.json("POST", f"{path}/end")
    assert ended["state"] == "ended"
    refused = await official.json("POST", f"{path}/end", 409)
    assert refused["code"] == "meeting-state"
    playlist = await official.client.get(ended["playback"]["hls_url"])
    assert "#EXTM3U" in await playlist.text()
    download = await official.client.get(ended["playback"]["download_url"])
    assert (await download.read())[4:8] == b"ftyp"
    assert "%E6%94%AF%E9%83%A8%E5%A7%94%E5%91%98%E4%BC%9A" in download.headers["Content-Disposition"]

    seen += await put_on_record(county, official, meeting["id"], now)
    metrics = await system.client.get("/metrics")
    is_nowhere(county, [*seen, str(added), str(online), await metrics.text(), log.getvalue()])


async def test_a_look_goes_on_record_once_and_each_download_too(county: Service, camera: FakeCamera) -> None:
    system, official = await county.logged_in("system"), await county.logged_in("official")
    added = await add_camera(system, camera.url, username="admin", password=NASTY)
    await state_of(system, added["id"], "online")
    for _ in range(3):
        assert (await official.client.get(f"/live/{added['id']}/index.m3u8")).status == 200
    page = await (await county.logged_in("auditor")).json("GET", "/audit", params={"action": "camera.watch"})
    assert len(page["items"]) == 1


async def test_a_camera_whose_purpose_does_not_cover_looking_in_is_not_shown(
    county: Service, camera: FakeCamera
) -> None:
    system = await county.logged_in("system")
    register = {"supervision_allowed": False}
    added = await add_camera(system, camera.url, username="admin", password=NASTY, registration=register)
    for path in (f"/live/{added['id']}/index.m3u8", f"/api/v1/cameras/{added['id']}/still.jpg"):
        response = await system.client.get(path)
        assert (response.status, (await response.json())["code"]) == (403, "supervision-refused")


async def test_a_refused_password_is_told_in_a_sentence_and_mended_without_a_restart(
    county: Service, camera: FakeCamera
) -> None:
    system = await county.logged_in("system")
    added = await add_camera(system, camera.url, username="admin", password="wrong")
    refused = await state_of(system, added["id"], "refused")
    assert refused["status"]["problem"]["code"] == "camera-credentials-refused"
    assert "密码" in refused["status"]["problem"]["title"]
    body = {"name": "会议室", "site_id": "hall-east", "address": camera.url, "username": "admin", "password": NASTY}
    await system.json("PUT", f"/cameras/{added['id']}", json=body)
    await state_of(system, added["id"], "online")
    # Left out, the password stays; another address does not get it.
    kept = {**body, "password": None, "name": "会议室 2"}
    assert (await system.json("PUT", f"/cameras/{added['id']}", json=kept))["has_password"] is True
    beside = {**kept, "sub_address": f"{camera.url}/sub"}
    assert (await system.json("PUT", f"/cameras/{added['id']}", json=beside))["has_password"] is True
    lured = {**kept, "sub_address": "rtsp://127.0.0.1:9/elsewhere"}
    assert (await system.json("PUT", f"/cameras/{added['id']}", json=lured))["has_password"] is False
    await system.json("PUT", f"/cameras/{added['id']}", json=body)
    moved = {**kept, "address": "rtsp://127.0.0.1:9/elsewhere"}
    assert (await system.json("PUT", f"/cameras/{added['id']}", json=moved))["has_password"] is False


async def test_a_probe_streams_its_steps_and_never_hands_a_stored_password_to_another_address(
    county: Service, camera: FakeCamera
) -> None:
    system = await county.logged_in("system")
    added = await add_camera(system, camera.url, username="admin", password=NASTY, enabled=False)

    async def steps(body: dict[str, Any]) -> list[Any]:
        response = await system.call("POST", "/cameras/probe", json=body)
        assert response.content_type == "application/x-ndjson"
        return [json.loads(line) for line in (await response.text()).splitlines()]

    events = await steps({"camera_id": added["id"]})
    last = {event["step"]: event for event in events}
    assert last["login"]["outcome"] == "ok"
    assert {fact["code"] for fact in last["picture"]["facts"]} >= {"codec", "size"}
    assert any((event["still"] or "").startswith("data:image/jpeg;base64,") for event in events)
    assert (events[-1]["type"], events[-1]["outcome"]) in {("done", "ok"), ("done", "warning")}

    other = FakeCamera(camera.behaviour)
    await other.start()
    try:
        events = await steps({"camera_id": added["id"], "address": other.url})
    finally:
        await other.stop()
    failed = next(event for event in events if event["outcome"] == "failed")
    assert failed["problem"]["code"] == "camera-credentials-missing"
    assert not [request for request in other.requests if "Authorization" in str(request.headers)]


async def test_a_player_logs_in_over_rtsp_with_the_stream_password_inside_its_area(
    county: Service, camera: FakeCamera
) -> None:
    system, east = await county.logged_in("system"), await county.logged_in("east")
    near = await add_camera(system, camera.url, username="admin", password=NASTY)
    far = await add_camera(system, camera.url, username="admin", password=NASTY, site_id="hall-west")
    await state_of(system, near["id"], "online")
    await state_of(system, far["id"], "online")
    access = await east.json("POST", "/session/stream-access")

    async def outcome(camera_id: str, password: str) -> tuple[str, str]:
        source = CameraSource(
            camera_id="player",
            url=access["rtsp_url"].replace("{camera}", camera_id),
            username=access["username"],
            password=Secret(password),
        )
        guard = AddressGuard(AddressPolicy(allow_loopback=True))
        steps = probe(source, SystemClock(), guard, ProbeSettings(picture_s=10, measure_s=0.5, clock_s=0.1))
        ended = [step async for step in steps if step.outcome is not Outcome.RUNNING]
        failed = next((step for step in ended if step.problem is not None), None)
        return (failed.stage.value, failed.problem.code) if failed and failed.problem else ("", "")

    assert await outcome(near["id"], access["password"]) == ("", "")
    assert await outcome(near["id"], "Correct-Horse-9") == ("login", "camera-credentials-refused")
    assert await outcome(far["id"], access["password"]) == ("login", "camera-credentials-refused")
    disguised = f"%{ord(far['id'][0]):02x}{far['id'][1:]}"
    assert await outcome(disguised, access["password"]) == ("login", "camera-credentials-refused")
    auditor = await county.logged_in("auditor")

    async def looked() -> Any:
        return (await auditor.json("GET", "/audit", params={"action": "stream.rtsp"}))["items"]

    items = await until(looked)
    assert [(item["username"], item["subject"]) for item in items] == [("east", f"camera/{near['id']}")]

    # Disabled, the person's stream password is worth nothing.
    security = await county.logged_in("security")
    update = {"display_name": "E", "role": "official", "organization_id": "town-east", "enabled": False}
    await security.json("PUT", "/users/u-east", json=update)
    assert await outcome(near["id"], access["password"]) == ("login", "camera-credentials-refused")

"""A TV is paired without typing, sees what its room must see, answers notes, and may do nothing else."""

import asyncio
from typing import Any

import aiohttp
import pytest

from storage.records import RoomDevice
from storage.repositories.guidance import RoomDeviceRepository
from tests.support.event_page import event_page
from tests.web.conftest import Api, Service
from tests.web.live_county import running_meeting, with_cameras, write
from web.live.events_board import LiveBoard


@pytest.fixture
async def village(service: Service) -> Service:
    return await with_cameras(service)


async def shown_code(box: Api) -> str:
    """What the TV shows."""
    pairing = await box.json("POST", "/room/pairing")
    assert pairing["state"] == "waiting"
    return str(pairing["code"])


async def paired(service: Service, official: Api, side: str = "east") -> Api:
    """A TV of a hall."""
    box = service.browser()
    body = {"code": await shown_code(box), "name": "会议室电视"}
    await official.json("POST", f"/sites/hall-{side}/devices", 201, json=body)
    box.csrf = (await box.json("GET", "/room"))["csrf_token"]
    return box


async def test_a_tv_is_paired_by_the_code_that_it_shows(village: Service) -> None:
    east, box = await village.logged_in("east"), village.browser()
    await box.json("GET", "/room", 401)
    assert (await box.json("GET", "/room/pairing"))["state"] == "over"
    code = await shown_code(box)
    assert (len(code), code.isdecimal()) == (6, True)
    assert await shown_code(box) == code
    await box.json("GET", "/room", 401)
    waiting = asyncio.create_task(box.json("GET", "/room/pairing", params={"wait_s": "25"}))
    device = await east.json("POST", "/sites/hall-east/devices", 201, json={"code": f"{code[:3]} {code[3:]}"})
    assert (await waiting)["state"] == "paired"
    assert (device["name"], device["village"]["name"], device["online"]) == ("党群服务中心", "东村党支部", False)

    room = await box.json("GET", "/room")
    assert (room["site"]["id"], room["meeting"], room["notes"]) == ("hall-east", None, [])
    assert (await box.json("POST", "/room/pairing"))["state"] == "paired"
    # The code works once, and the cookie is out of reach of scripts.
    again = await east.json("POST", "/sites/hall-east/devices", 422, json={"code": code})
    assert again["errors"][0]["field"] == "code"
    cookie = next(cookie for cookie in box.client.session.cookie_jar if cookie.key == "sanhui_room")
    assert cookie["httponly"]
    audit = await (await village.logged_in("auditor")).json("GET", "/audit", params={"action": "device.pair"})
    assert len(audit["items"]) == 1
    assert cookie.value not in str(audit) + str(device) + str(room)


async def test_a_tv_may_do_nothing_but_what_its_room_does(village: Service) -> None:
    east = await village.logged_in("east")
    box = await paired(village, east)
    meeting = await running_meeting(east)
    for method, path in (("GET", "/now"), ("GET", f"/meetings/{meeting}"), ("GET", "/devices"), ("GET", "/session")):
        await box.json(method, path, 401)
    await box.json("POST", f"/meetings/{meeting}/notes", 401, json={"kind": "guide", "text": "x", "key": "12345678"})
    assert (await box.client.get("/live/camera-east/index.m3u8")).status == 401
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await box.client.ws_connect("/api/v1/events")
    async with event_page(box.client, "/api/v1/room/events") as page:
        for topic in ("now", f"meeting/{meeting}", "room/hall-west", "room/none"):
            await page.subscribe(topic)
            assert (await page.next("refused"))["problem"]["code"] == "outside-area"
    # And a person is no TV.
    await east.json("GET", "/room", 403)


async def test_a_note_stands_on_the_tv_at_once_and_its_answer_on_the_desk(
    village: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    east = await village.logged_in("east")
    box = await paired(village, east)
    meeting = await running_meeting(east)
    async with (
        event_page(box.client, "/api/v1/room/events") as tv,
        event_page(east.client) as desk,
    ):
        await tv.subscribe("room/hall-east")
        await tv.next("room", lambda told: told["data"]["meeting"] is not None)
        await desk.subscribe(f"meeting/{meeting}")
        await desk.next("meeting")
        # Whatever is told from here on does not wait for the look that the board takes each second.
        monkeypatch.setattr(LiveBoard, "tick", _no_look)
        note = await write(east, meeting, kind="correct")
        room = (await tv.next("room", lambda told: told["data"]["notes"]))["data"]
        assert [(item["kind"], item["text"]) for item in room["notes"]] == [("correct", note["text"])]
        await box.json("POST", f"/room/notes/{note['id']}/shown")
        shown = (await desk.next("note", lambda told: told["data"]["shown_at"]))["data"]
        assert shown["answered_at"] is None
        first = await box.json("POST", f"/room/notes/{note['id']}/answer")
        answered = (await desk.next("note", lambda told: told["data"]["answered_at"]))["data"]
        assert answered["shown_at"] == shown["shown_at"]
        assert (await tv.next("room", lambda told: not told["data"]["notes"]))["data"]["meeting"]["id"] == meeting
        # Once is once.
        assert await box.json("POST", f"/room/notes/{note['id']}/answer") == first
    timeline = await east.json("GET", f"/meetings/{meeting}/timeline")
    told = {entry["code"]: entry["text"] for entry in timeline["story"]}
    assert told["note"] == f"东镇党委 East（纠正）：{note['text']}"
    assert told["note-answered"] == "会场已收到指导意见"
    audit = await (await village.logged_in("auditor")).json("GET", "/audit")
    actions = [item["action"] for item in audit["items"]]
    assert (actions.count("note.write"), actions.count("note.answer")) == (1, 1)


async def _no_look(_: LiveBoard) -> None:
    """In the place of the board's own."""


async def test_the_room_sees_which_office_looks_in_and_the_story_keeps_it(village: Service) -> None:
    official, east = await village.logged_in("official"), await village.logged_in("east")
    box = await paired(village, east)
    meeting = await running_meeting(east)
    async with event_page(box.client, "/api/v1/room/events") as tv:
        await tv.subscribe("room/hall-east")
        await tv.next("room")
        async with event_page(official.client) as desk:
            await desk.subscribe(f"meeting/{meeting}")
            snapshot = await desk.next("meeting")
            presence = await desk.next("presence", lambda told: told["data"]["people"])
            (person,) = presence["data"]["people"]
            assert snapshot["data"]["presence"]["people"] in ([], [person])
            assert (person["person"]["name"], person["superior"]) == ("Official", True)
            room = (await tv.next("room", lambda told: told["data"]["offices"]))["data"]
            assert ([office["name"] for office in room["offices"]], room["viewers"]) == (["清河县委组织部"], 1)
            # A tab that is hidden does not look.
            await desk.subscribe(f"meeting/{meeting}", watching=False)
            village.clock.shift_s += 5
            await desk.next("presence", lambda told: not told["data"]["people"])
            await tv.next("room", lambda told: not told["data"]["offices"])
            await desk.subscribe(f"meeting/{meeting}", watching=True)
            await desk.next("presence", lambda told: told["data"]["people"])
        village.clock.shift_s += 5
        await tv.next("room", lambda told: not told["data"]["offices"])
    record = await east.json("GET", f"/meetings/{meeting}/presence")
    # Away for some seconds is one look; the official alone looked.
    (entry,) = record["entries"]
    assert (entry["person"]["name"], entry["office"], entry["superior"]) == ("Official", "清河县委组织部", True)
    assert entry["to_at"] is not None
    timeline = await east.json("GET", f"/meetings/{meeting}/timeline")
    attended = [item for item in timeline["story"] if item["code"] == "attended"]
    assert [(item["text"], item["until"]) for item in attended] == [("清河县委组织部 Official 列席", entry["to_at"])]


async def test_a_tv_that_is_taken_away_falls_back_to_a_code(village: Service) -> None:
    east = await village.logged_in("east")
    box = await paired(village, east)
    async with event_page(box.client, "/api/v1/room/events") as tv:
        await tv.subscribe("room/hall-east")
        await tv.next("room")
        (device,) = (await east.json("GET", "/devices"))["items"]
        assert (device["online"], device["paired_by"]["name"]) == (True, "East")
        await east.json("DELETE", f"/devices/{device['id']}", 204)
        assert await tv.closed() == 4401
    await box.json("GET", "/room", 401)
    assert (await east.json("GET", "/devices"))["items"] == []
    await east.json("DELETE", f"/devices/{device['id']}", 404)
    # The old token is never given rights again.
    before = _token(box)
    await shown_code(box)
    assert _token(box) != before


async def test_a_tv_that_is_taken_away_while_it_is_looked_up_has_no_rights(
    village: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    east = await village.logged_in("east")
    box = await paired(village, east)
    (device,) = (await east.json("GET", "/devices"))["items"]
    read, taken = asyncio.Event(), asyncio.Event()
    find = RoomDeviceRepository.find

    async def slowly(repository: RoomDeviceRepository, key: str) -> RoomDevice | None:
        found = await find(repository, key)
        read.set()
        await taken.wait()
        return found

    # Longer than what was found out about it is remembered.
    village.clock.shift_s += 60
    with monkeypatch.context() as patch:
        patch.setattr(RoomDeviceRepository, "find", slowly)
        asked = asyncio.create_task(village.services.devices.find(_token(box), by_cookie=True))
        await read.wait()
        await east.json("DELETE", f"/devices/{device['id']}", 204)
        taken.set()
        assert await asked is None
    await box.json("GET", "/room", 401)


def _token(box: Api) -> str:
    return next(cookie.value for cookie in box.client.session.cookie_jar if cookie.key == "sanhui_room")


async def test_devices_and_notes_of_another_area_are_out_of_reach(village: Service) -> None:
    official, east = await village.logged_in("official"), await village.logged_in("east")
    west_box, box = await paired(village, official, "west"), await paired(village, east)
    assert [item["site"]["id"] for item in (await east.json("GET", "/devices"))["items"]] == ["hall-east"]
    west = next(item for item in (await official.json("GET", "/devices"))["items"] if item["site"]["id"] == "hall-west")
    await east.json("DELETE", f"/devices/{west['id']}", 403)
    await east.json("POST", "/sites/hall-west/devices", 403, json={"code": "123456"})
    await east.json("POST", "/sites/none/devices", 404, json={"code": "123456"})
    meeting = await running_meeting(official)
    note = await write(east, meeting)
    await west_box.json("POST", f"/room/notes/{note['id']}/answer", 403)
    await west_box.json("POST", "/room/notes/none/answer", 404)
    # Without its CSRF token no other page answers in the room's name.
    box.csrf = ""
    await box.json("POST", f"/room/notes/{note['id']}/answer", 403)
    shown = (await east.json("GET", f"/meetings/{meeting}/notes"))["items"]
    assert [(item["shown_at"], item["answered_at"]) for item in shown] == [(None, None)]
    # Another town's meeting takes no note from here.
    other = await running_meeting(official, "west")
    await east.json("POST", f"/meetings/{other}/notes", 403, json={"kind": "guide", "text": "x", "key": "12345678"})


async def test_codes_are_guessed_slowly_and_asked_for_with_measure(village: Service) -> None:
    east, box = await village.logged_in("east"), village.browser()
    code = await shown_code(box)
    wrong = "000000" if code != "000000" else "000001"
    for _ in range(10):
        await east.json("POST", "/sites/hall-east/devices", 422, json={"code": wrong})
    locked = await east.json("POST", "/sites/hall-east/devices", 429, json={"code": code})
    assert locked["retry_after_s"] > 0
    for text in ("12345", "abcdef", "１２３４５６", ""):
        await (await village.logged_in("official")).json("POST", "/sites/hall-east/devices", 422, json={"code": text})
    answers = [(await village.browser().call("POST", "/room/pairing")).status for _ in range(61)]
    assert (answers.count(200), answers[-1]) == (59, 503)
    # An old code is worth nothing.
    village.clock.shift_s += 301
    assert (await box.json("GET", "/room/pairing"))["state"] == "over"


async def test_notes_are_written_once_kept_as_they_are_and_refused_with_a_reason(village: Service) -> None:
    east = await village.logged_in("east")
    meeting = await running_meeting(east)
    first = await write(east, meeting, "第一条")
    assert await write(east, meeting, "另一段文字") == first
    both = await asyncio.gather(*(write(east, meeting, "同时", "key-00000002") for _ in range(4)))
    assert len({note["id"] for note in both}) == 1
    early = await write(east, meeting, "早", "key-00000003", at="2020-01-01T00:00:00Z")
    late = await write(east, meeting, "晚", "key-00000004", at="2199-01-01T00:00:00Z")
    assert (early["at_s"], late["at"]) == (0.0, late["written_at"])
    for body in (
        {"kind": "guide", "text": "长" * 201, "key": "key-00000005"},
        {"kind": "guide", "text": "  ", "key": "key-00000005"},
        {"kind": "blame", "text": "x", "key": "key-00000005"},
        {"kind": "guide", "text": "x", "key": "short"},
        {"kind": "guide", "text": "x\u0000", "key": "key-00000005"},
        {"kind": "guide", "text": "x"},
    ):
        await east.json("POST", f"/meetings/{meeting}/notes", 422, json=body)
    for name in ("viewer", "system"):
        body = {"kind": "guide", "text": "x", "key": "key-00000005"}
        await (await village.logged_in(name)).json("POST", f"/meetings/{meeting}/notes", 403, json=body)
    await write(east, meeting, "长" * 200, "key-00000006")
    other = await running_meeting(await village.logged_in("official"))
    await east.json("POST", f"/meetings/{other}/notes", 422, json={"kind": "guide", "text": "x", "key": "key-00000001"})
    await east.json("POST", f"/meetings/{meeting}/end")
    ended: dict[str, Any] = {"kind": "guide", "text": "x", "key": "key-00000007"}
    refused = await east.json("POST", f"/meetings/{meeting}/notes", 409, json=ended)
    assert refused["code"] == "note-refused"
    # A resend after the end still tells that the note is there.
    assert (await write(east, meeting, "第一条"))["id"] == first["id"]
    texts = [item["text"] for item in (await east.json("GET", f"/meetings/{meeting}/notes"))["items"]]
    assert texts == ["早", "第一条", "同时", "晚", "长" * 200]


async def test_one_person_cannot_flood_a_room(village: Service) -> None:
    east = await village.logged_in("east")
    meeting = await running_meeting(east)
    for number in range(30):
        await write(east, meeting, "x", f"key-{number:08}")
    body = {"kind": "guide", "text": "x", "key": "key-99999999"}
    busy = await east.json("POST", f"/meetings/{meeting}/notes", 503, json=body)
    assert busy["retry_after_s"] > 0
    village.clock.shift_s += 61
    await write(east, meeting, "x", "key-99999999")


async def test_a_browser_that_is_also_a_tv_speaks_for_whoever_its_page_is(village: Service) -> None:
    east = await village.logged_in("east")
    meeting = await running_meeting(east)
    # The official has tried the TV's page out in the browser of the desk.
    await east.json("POST", "/sites/hall-east/devices", 201, json={"code": await shown_code(east)})
    tv = (await east.json("GET", "/room"))["csrf_token"]
    county = await village.logged_in("official")
    elsewhere = await running_meeting(county, "west")
    voice, camera = f"/live/meetings/{elsewhere}/voice", "/live/camera-east/whip"

    async def asked(path: str, csrf: str) -> int:
        headers = {"X-CSRF-Token": csrf, "Content-Type": "application/sdp"}
        return (await east.client.post(path, data="nonsense", headers=headers)).status

    # As a person: not that camera's area, but her own room's voice, and its camera.
    assert await asked(voice, east.csrf) == 403
    assert await asked(f"/live/meetings/{meeting}/voice", east.csrf) == 400
    assert await asked(camera, east.csrf) == 503
    # As a TV: its own room alone.
    assert await asked(voice, tv) == 403
    assert await asked(f"/live/meetings/{meeting}/voice", tv) == 400
    assert await asked(f"/live/meetings/{meeting}/voice", "0" * 64) == 403

"""The event socket: who may have which topic, what is told, and how a page goes on after a drop."""

from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from storage.repositories import Repositories
from tests.support.event_page import EventPage, event_page
from tests.web.conftest import Service
from tests.web.live_county import running_meeting, with_cameras, write
from web.access.sessions import token_hash
from web.api.now import read_rooms
from web.api.now_view import Rooms
from web.live import events_board
from web.live.events_board import BOARD
from web.live.events_socket import SOCKETS
from web.services import Services


@pytest.fixture
async def village(service: Service) -> Service:
    return await with_cameras(service)


async def test_a_page_is_told_of_a_meeting_from_start_to_end(village: Service) -> None:
    official, east = await village.logged_in("official"), await village.logged_in("east")
    async with event_page(east.client) as page:
        await page.subscribe("now")
        now = await page.next("now")
        assert [card["camera"]["id"] for card in now["data"]["cards"]] == ["camera-east"]
        meeting = await running_meeting(official)
        card = await page.next("card", lambda told: told["data"]["meeting"] is not None)
        assert card["data"]["meeting"]["state"] == "running"
        await page.subscribe(f"meeting/{meeting}", watching=False)
        snapshot = (await page.next("meeting"))["data"]
        assert snapshot["meeting"]["id"] == meeting
        assert (snapshot["notes"]["items"], snapshot["presence"]["people"]) == ([], [])
        assert snapshot["recording"]["state"] == "waiting"
        await write(official, meeting)
        note = (await page.next("note"))["data"]
        assert (note["text"], note["office"], note["shown_at"]) == ("请先清点到会人数", "清河县委组织部", None)
        await official.json("POST", f"/meetings/{meeting}/end")
        assert (await page.next("state"))["data"]["state"] == "ended"


async def test_a_page_that_was_away_gets_what_it_missed_and_no_more(village: Service) -> None:
    official = await village.logged_in("official")
    meeting = await running_meeting(official)
    topic = f"meeting/{meeting}"
    async with event_page(official.client) as page:
        await page.subscribe(topic)
        await page.next("meeting")
        await write(official, meeting, "一", "key-00000001")
        await page.next("note")
        last = page.ids[topic]
    for number in range(2, 5):
        await write(official, meeting, str(number), f"key-0000000{number}")
    async with event_page(official.client) as page:
        await page.subscribe(topic, after=last)
        texts = [(await page.next("note"))["data"]["text"] for _ in range(3)]
        assert texts == ["2", "3", "4"]
        assert "meeting" not in [told["type"] for told in page.seen]
    for wrong in ("0-1", last.split("-")[0] + "-999999", "nonsense", "-", last + "0" * 30):
        async with event_page(official.client) as page:
            await page.subscribe(topic, after=wrong)
            items = (await page.next("meeting"))["data"]["notes"]["items"]
            assert [item["text"] for item in items] == ["一", "2", "3", "4"]


async def test_topics_of_another_area_and_of_nobody_are_refused(village: Service) -> None:
    official, east = await village.logged_in("official"), await village.logged_in("east")
    meeting = await running_meeting(official, "west")
    auditor = await village.logged_in("auditor")
    async with event_page(east.client) as page, event_page(auditor.client) as other:
        for topic, code in (
            (f"meeting/{meeting}", "outside-area"),
            ("room/hall-west", "outside-area"),
            ("meeting/none", "record-not-found"),
            ("room/none", "not-found"),
        ):
            await page.subscribe(topic)
            refused = await page.next("refused")
            assert (refused["topic"], refused["problem"]["code"]) == (topic, code)
        await other.subscribe("now")
        assert (await other.next("refused"))["problem"]["code"] == "forbidden"
        # The socket is as good as before, and no card of the other town comes.
        await page.subscribe("now")
        await page.next("now")
        await write(official, meeting)
        await running_meeting(official, "east")
        await page.next("card")
        assert {told["data"]["camera"]["id"] for told in page.seen if told["type"] == "card"} == {"camera-east"}


async def test_what_cannot_be_understood_is_said_so(village: Service) -> None:
    official = await village.logged_in("official")
    wrong = ["", "{}", "[]", "null", "nonsense", '{"type":"subscribe","topic":"../etc"}', "[" * 2000, "1e999999"]
    async with event_page(official.client) as page:
        for text in wrong:
            await page.socket.send_str(text)
            assert (await page.next("refused"))["topic"] == ""


async def test_a_message_that_is_too_long_or_not_text_ends_the_socket(village: Service) -> None:
    official = await village.logged_in("official")
    async with event_page(official.client) as page:
        await page.socket.send_str("x" * 10_000)
        assert await page.closed() == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
    async with event_page(official.client) as page:
        await page.socket.send_bytes(b"x")
        assert await page.closed() == aiohttp.WSCloseCode.UNSUPPORTED_DATA


async def test_other_sites_and_strangers_get_no_socket(village: Service) -> None:
    official = await village.logged_in("official")
    refusals: list[tuple[TestClient[Any, Any], dict[str, str], int]] = [
        (village.browser().client, {}, 401),
        (official.client, {"Origin": "https://evil.example"}, 403),
        (official.client, {"Origin": "null"}, 403),
        (official.client, {"Sec-Fetch-Site": "cross-site"}, 403),
    ]
    for client, headers, status in refusals:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect("/api/v1/events", headers=headers)
        assert refused.value.status == status
    ours = f"http://{village.server.host}:{village.server.port}"
    async with event_page(official.client, headers={"Origin": ours}) as page:
        await page.subscribe("now")
        await page.next("now")


async def test_a_socket_ends_with_the_log_in_and_with_the_persons_rights(village: Service) -> None:
    security, viewer = await village.logged_in("security"), await village.logged_in("viewer")
    async with event_page(viewer.client) as page:
        await viewer.json("DELETE", "/session", 204)
        assert await page.closed() == 4401
    viewer = await village.logged_in("viewer")
    async with event_page(viewer.client) as page:
        body = {"display_name": "V", "role": "viewer", "organization_id": None, "enabled": False}
        await security.json("PUT", "/users/u-viewer", json=body)
        assert await page.closed() == 4401
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await viewer.client.ws_connect("/api/v1/events")


async def test_a_log_out_while_a_socket_opens_ends_it(village: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = await village.logged_in("viewer")
    (token,) = [cookie.value for cookie in viewer.client.session.cookie_jar if cookie.key == "sanhui_session"]
    prepare = web.WebSocketResponse.prepare

    async def logged_out_meanwhile(socket: web.WebSocketResponse, request: web.BaseRequest) -> Any:
        found = await prepare(socket, request)
        await village.services.sessions.close(token_hash(token))
        return found

    monkeypatch.setattr(web.WebSocketResponse, "prepare", logged_out_meanwhile)
    async with viewer.client.ws_connect("/api/v1/events") as socket:
        assert await EventPage(socket).closed() == 4401


async def test_an_open_socket_does_not_keep_a_log_in_alive(village: Service) -> None:
    village.server.app[SOCKETS].beat_s = 0.05
    viewer = await village.logged_in("viewer")
    async with event_page(viewer.client) as page:
        await page.subscribe("now")
        await page.next("now")
        village.clock.shift_s += village.services.sessions.settings.idle_s + 1
        assert await page.closed() == 4401
    await viewer.json("GET", "/session", 401)


async def test_the_oldest_of_too_many_sockets_goes(village: Service) -> None:
    official = await village.logged_in("official")
    async with event_page(official.client) as first:
        others = [await official.client.ws_connect("/api/v1/events") for _ in range(12)]
        assert await first.closed() == 4429
        assert not any(socket.closed for socket in others)
        for socket in others:
            await socket.close()


async def test_a_page_that_does_not_read_is_cut_off_and_loses_no_note(village: Service) -> None:
    official = await village.logged_in("official")
    meeting = await running_meeting(official)
    topic = f"meeting/{meeting}"
    board = village.server.app[BOARD]
    async with event_page(official.client) as slow, event_page(official.client) as quick:
        for page in (slow, quick):
            await page.subscribe(topic)
            await page.next("meeting")
        await write(official, meeting, "重要", "key-00000001")
        await quick.next("note")
        async with village.services.database.read() as repos:
            place = await repos.meetings.place(meeting)
            (note,) = await repos.notes.of_meetings([meeting])
        # Nobody reads the slow page's socket: first its buffers fill, then its queue.
        for group in range(80):
            for number in range(50):
                board.note_changed(place, replace(note, id=f"n{number % 10}", text="x" * 2000))
            mark = f"group {group}"
            board.note_changed(place, replace(note, id="last", text=mark))
            # A busy machine brings even the quick one's bytes late.
            while (await quick.next("note"))["data"]["text"] != mark:
                pass
        last = slow.ids[topic]
        assert await slow.closed() in (1006, 4408)
    async with event_page(official.client) as back:
        await back.subscribe(topic, after=last)
        items = (await back.next("meeting"))["data"]["notes"]["items"]
        assert "重要" in [item["text"] for item in items]


async def test_pages_of_cameras_are_told_what_changes(village: Service) -> None:
    official, east, system = [await village.logged_in(name) for name in ("official", "east", "system")]
    async with event_page(system.client) as page, event_page(system.client) as one:
        await page.subscribe("cameras/all")
        await one.subscribe("camera/camera-east")
        snapshot = (await page.next("cameras"))["data"]
        listed = await system.json("GET", "/cameras")
        assert [item["id"] for item in snapshot["items"]] == [item["id"] for item in listed["items"]]
        assert snapshot["counts"]["total"] == 2
        assert [item["id"] for item in (await one.next("cameras"))["data"]["items"]] == ["camera-east"]
        # Nobody answers at their addresses: that is told once it is known, and so is a meeting.
        meeting = await running_meeting(official)
        (standing,) = (await one.next("standings", lambda told: told["data"][0]["meeting"] is not None))["data"]
        assert standing["meeting"]["id"] == meeting
        assert standing["status"]["state"] in {"offline", "connecting"}
        # The register changed: everything anew.
        record = next(item for item in listed["items"] if item["id"] == "camera-west")
        body = {
            "name": "二号会议室",
            "site_id": "hall-west",
            "address": record["address"],
            "registration": record["registration"],
        }
        await system.json("PUT", "/cameras/camera-west", json=body)
        again = (await page.next("cameras"))["data"]
        assert {item["name"] for item in again["items"]} == {"会议室", "二号会议室"}
    async with event_page(east.client) as page:
        for topic, code in (
            ("cameras/all", "outside-area"),
            ("cameras/town-west", "outside-area"),
            ("camera/camera-west", "outside-area"),
            ("camera/none", "not-found"),
            ("cameras/none", "not-found"),
        ):
            await page.subscribe(topic)
            assert (await page.next("refused"))["problem"]["code"] == code, topic
        await page.subscribe("cameras/town-east")
        assert [item["id"] for item in (await page.next("cameras"))["data"]["items"]] == ["camera-east"]


async def test_a_camera_that_moves_to_another_area_is_no_longer_told_of(village: Service) -> None:
    east, system = await village.logged_in("east"), await village.logged_in("system")
    record = next(item for item in (await system.json("GET", "/cameras"))["items"] if item["id"] == "camera-east")
    body = {"name": "会议室", "address": record["address"], "registration": record["registration"]}
    async with event_page(east.client) as one, event_page(east.client) as town:
        await one.subscribe("camera/camera-east")
        await town.subscribe("cameras/town-east")
        for page in (one, town):
            assert [item["id"] for item in (await page.next("cameras"))["data"]["items"]] == ["camera-east"]
        await system.json("PUT", "/cameras/camera-east", json={**body, "site_id": "hall-west", "name": "别处"})
        refused = await one.next("refused")
        assert (refused["topic"], refused["problem"]["code"]) == ("camera/camera-east", "outside-area")
        assert (await town.next("cameras"))["data"]["items"] == []
        # Back again: who asks anew is told, and nobody was told of what happened elsewhere.
        await system.json("PUT", "/cameras/camera-east", json={**body, "site_id": "hall-east", "name": "后院"})
        assert [item["name"] for item in (await town.next("cameras"))["data"]["items"]] == ["后院"]
        await one.subscribe("camera/camera-east")
        assert [item["name"] for item in (await one.next("cameras"))["data"]["items"]] == ["后院"]
    assert [told["type"] for told in one.seen if told["type"] in {"cameras", "refused"}] == [
        "cameras",
        "refused",
        "cameras",
    ]


async def test_a_room_and_a_meeting_that_move_to_another_area_are_no_longer_told_of(village: Service) -> None:
    official, system = await village.logged_in("official"), await village.logged_in("system")
    east = await village.logged_in("east")
    meeting = await running_meeting(official)
    async with event_page(east.client) as page:
        await page.subscribe("room/hall-east")
        await page.next("room")
        await page.subscribe(f"meeting/{meeting}")
        await page.next("meeting")
        site = {"name": "会议室", "organization_id": "village-west"}
        await system.json("PUT", "/sites/hall-east", json=site)
        refused = await page.next("refused")
        assert (refused["topic"], refused["problem"]["code"]) == ("room/hall-east", "outside-area")
        branch = {"name": "东村党支部", "level": "village", "parent_id": "town-west"}
        await system.json("PUT", "/organizations/village-east", json=branch)
        refused = await page.next("refused")
        assert (refused["topic"], refused["problem"]["code"]) == (f"meeting/{meeting}", "outside-area")
        await write(official, meeting)
        # Whatever comes next was sent after the note.
        await page.subscribe(f"meeting/{meeting}")
        await page.next("refused")
        assert "note" not in [told["type"] for told in page.seen]


async def test_a_page_without_a_camera_is_told_of_the_first(service: Service) -> None:
    system = await service.logged_in("system")
    async with event_page(system.client) as page:
        await page.subscribe("cameras/all")
        assert (await page.next("cameras"))["data"]["items"] == []
        await with_cameras(service)
        assert len((await page.next("cameras"))["data"]["items"]) == 2


async def test_lists_of_meetings_are_told_to_look_again(village: Service) -> None:
    official = await village.logged_in("official")
    async with event_page(official.client) as page:
        await page.subscribe("meetings")
        await page.next("meetings")
        await running_meeting(official)
        await page.next("meetings")


async def test_a_note_that_comes_while_rows_are_read_does_not_vanish_from_the_tv(
    village: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    official = await village.logged_in("official")
    meeting = await running_meeting(official)
    board = village.server.app[BOARD]
    await board.tick()
    written = 0

    async def read_and_then_written(services: Services, repos: Repositories) -> Rooms:
        nonlocal written
        rows = await read_rooms(services, repos)
        if not written:
            written += 1
            await write(official, meeting)
        return rows

    def shown() -> list[str]:
        facts = board.room_facts("hall-east")
        return [note.text for note in facts.notes] if facts is not None else []

    monkeypatch.setattr(events_board, "read_rooms", read_and_then_written)
    board.meeting_changed(meeting)
    await board.tick()
    assert written
    assert shown() == ["请先清点到会人数"]
    await board.tick()
    assert shown() == ["请先清点到会人数"]

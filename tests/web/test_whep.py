"""WHEP over HTTP as browsers and other players use it: who may, what is answered, what is on record or refused."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiortc.sdp import SessionDescription

from media.clock import SystemClock
from storage.records import Role
from streaming.webrtc.admission import Admission
from tests.support.fake_camera import Behaviour, FakeCamera, fake_camera
from tests.support.webrtc_client import H265, OPUS, PCMA, VP8, WebRtcClient
from tests.web.conftest import PASSWORD, Api, Service, fill, run, settings
from tests.web.test_flow import add_camera, state_of, until
from web.live import rights
from web.live.webrtc import WEBRTC, IceServer, WebRtc

SDP = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}
LIMIT_S = 30


@pytest.fixture
async def camera() -> AsyncIterator[FakeCamera]:
    async with fake_camera(Behaviour()) as camera:
        yield camera


class House:
    """A service with one camera that brings pictures, at ``/live/{id}/whep``."""

    def __init__(self, service: Service, camera_id: str) -> None:
        self.service = service
        self.camera_id = camera_id
        self.path = f"/live/{camera_id}/whep"

    @property
    def webrtc(self) -> WebRtc:
        return self.service.server.app[WEBRTC]

    async def post(self, api: Api, text: str, *, query: str = "", **headers: str) -> ClientResponse:
        given = {"X-CSRF-Token": api.csrf, **SDP, **headers}
        return await api.client.post(self.path + query, data=text.encode(), headers=given)


@pytest.fixture
async def house(tmp_path: Path, camera: FakeCamera) -> AsyncIterator[House]:
    chosen = settings(
        tmp_path,
        webrtc_host="127.0.0.1",
        webrtc_ice_servers="turn:turn.example:3478?transport=tcp",
        webrtc_turn_secret="s3cret",
    )
    async with run(chosen) as service, asyncio.timeout(120):
        await fill(service.services)
        system = await service.logged_in("system")
        added = await add_camera(system, camera.url)
        await state_of(system, added["id"], "online")
        yield House(service, added["id"])


async def test_a_logged_in_browser_looks_and_leaves(house: House) -> None:
    official = await house.service.logged_in("east")
    async with WebRtcClient() as client, asyncio.timeout(LIMIT_S):
        answer = await house.post(official, client.offer())
        text = await answer.text()
        assert answer.status == 201, text
        assert answer.content_type == "application/sdp"
        assert answer.headers["Location"].startswith(f"{house.path}/")
        assert answer.headers["ETag"].startswith('"')
        link = answer.headers["Link"]
        assert link.startswith('<turn:turn.example:3478?transport=tcp>; rel="ice-server"; username="')
        assert "s3cret" not in link
        await client.connect(text)
        await client.until(lambda: len({item.header.payload_type for item in client.packets}) == 2)
        status = (await official.json("GET", f"/cameras/{house.camera_id}"))["id"]
        assert status == house.camera_id
        assert house.service.services.viewers.counts() == {house.camera_id: 1}

        where, own = answer.headers["Location"], {"X-CSRF-Token": official.csrf}
        told = await official.client.get(where, headers=own)
        assert await told.json() == {"quality": "main", "converted": False}
        other = await house.service.logged_in("official")
        assert (await other.client.get(where, headers={"X-CSRF-Token": other.csrf})).status == 404

        left = await official.client.delete(answer.headers["Location"], headers={"X-CSRF-Token": official.csrf})
        assert left.status == 200
        await client.said_goodbye.wait()
        again = await official.client.delete(answer.headers["Location"], headers={"X-CSRF-Token": official.csrf})
        assert again.status == 404
        assert len(house.webrtc.whep) == 0
    auditor = await house.service.logged_in("auditor")
    looks = (await auditor.json("GET", "/audit", params={"action": "camera.watch"}))["items"]
    assert [entry["username"] for entry in looks] == ["east"]


async def test_candidates_and_an_ice_restart_come_by_patch(house: House) -> None:
    official = await house.service.logged_in("east")
    async with WebRtcClient() as client, asyncio.timeout(LIMIT_S):
        answer = await house.post(official, client.offer())
        where, tag = answer.headers["Location"], answer.headers["ETag"]
        await client.connect(await answer.text())
        own = {"X-CSRF-Token": official.csrf, **FRAGMENT}

        async def patch(text: str, **headers: str) -> ClientResponse:
            return await official.client.patch(where, data=text, headers={**own, **headers})

        trickle = (
            f"a=ice-ufrag:{client.ice.fragment}\r\na=ice-pwd:{client.ice.password}\r\nm=audio 9 X 0\r\na=mid:0\r\n"
        )
        trickled = await patch(trickle + "a=candidate:1 1 udp 5 192.0.2.1 5000 typ host\r\n", **{"If-Match": tag})
        assert trickled.status == 204
        assert (await patch(trickle, **{"If-Match": '"other"'})).status == 412
        assert (await patch("nonsense", **{"If-Match": tag})).status == 400
        # RFC 9725, 4.3.2: without one, a fragment that comes late could not be told from a restart.
        unnamed = await patch("a=ice-ufrag:late\r\na=ice-pwd:0123456789012345678901\r\n")
        assert (unnamed.status, (await unnamed.json())["code"]) == (428, "webrtc-session-unnamed")
        assert (await patch(trickle, **{"Content-Type": "text/plain"})).status == 415

        fresh = WebRtcClient().ice
        restart = f"a=ice-ufrag:{fresh.fragment}\r\na=ice-pwd:{fresh.password}\r\n"
        restarted = await patch(restart, **{"If-Match": "*"})
        assert restarted.status == 200
        assert restarted.headers["ETag"] != tag
        lines = dict(line.partition(":")[::2] for line in (await restarted.text()).splitlines())
        client.ice = fresh
        client.renew(type(fresh)(lines["a=ice-ufrag"], lines["a=ice-pwd"]))
        await client.reach(local="127.0.0.2")
        seen = len(client.packets)
        await client.until(lambda: len(client.packets) > seen + 5)


async def test_who_may_not_look_gets_no_session(house: House) -> None:
    offer = WebRtcClient().offer()
    stranger = house.service.browser()
    assert (await house.post(stranger, offer)).status == 401
    official, archivist = await house.service.logged_in("east"), await house.service.logged_in("archivist")
    assert (await house.post(archivist, offer)).status == 403
    without = Api(official.client)
    assert (await house.post(without, offer)).status == 403
    foreign = await house.post(official, offer, **{"Sec-Fetch-Site": "cross-site"})
    assert foreign.status == 403
    gone = await official.client.post("/live/nowhere/whep", data=offer, headers={"X-CSRF-Token": official.csrf, **SDP})
    assert gone.status == 404
    assert len(house.webrtc.whep) == 0


async def test_anothers_session_cannot_be_touched(house: House) -> None:
    one, other = await house.service.logged_in("east"), await house.service.logged_in("official")
    answer = await house.post(one, WebRtcClient().offer())
    where = answer.headers["Location"]
    assert (await other.client.delete(where, headers={"X-CSRF-Token": other.csrf})).status == 404
    assert len(house.webrtc.whep) == 1


async def test_players_elsewhere_bring_a_token_of_one_camera(house: House) -> None:
    user = house.service.services.county.picture.users["u-east"]
    official, archivist = await house.service.logged_in("east"), await house.service.logged_in("archivist")
    path = f"/cameras/{house.camera_id}/view-token"
    issued = await official.json("POST", path, 201)
    token = issued["token"]
    assert issued["whep_url"].endswith(house.path)
    await archivist.json("POST", path, 403)
    other = house.webrtc.tokens.issue(user, "another").token
    player = house.service.browser()
    async with WebRtcClient() as client, asyncio.timeout(LIMIT_S):
        headers = {
            "Authorization": f"Bearer {token}",
            "Origin": "https://elsewhere.example",
            "Sec-Fetch-Site": "cross-site",
        }
        answer = await house.post(player, client.offer(), **headers)
        assert answer.status == 201
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Location" in answer.headers["Access-Control-Expose-Headers"]
        await client.connect(await answer.text())
        await client.until(lambda: len(client.packets) > 3)
        left = await player.client.delete(answer.headers["Location"], headers={"Authorization": f"Bearer {token}"})
        assert left.status == 200
    assert (await house.post(player, "v=0", Authorization=f"Bearer {other}")).status == 401
    assert (await house.post(player, "v=0", Authorization="Bearer view.guessed")).status == 401
    # It opens looking, nothing else.
    listed = await player.client.get("/api/v1/cameras", headers={"Authorization": f"Bearer {token}"})
    assert listed.status == 401
    house.service.clock.shift_s += 3700
    assert (await house.post(player, "v=0", Authorization=f"Bearer {token}")).status == 401


async def test_options_tell_other_sites_what_is_taken(house: House) -> None:
    answer = await house.service.browser().client.options(house.path)
    assert answer.status == 204
    assert answer.headers["Accept-Post"] == "application/sdp"
    assert "PATCH" in answer.headers["Access-Control-Allow-Methods"]


async def test_log_ins_of_turn_servers_are_for_people_alone(house: House) -> None:
    stranger, official = house.service.browser(), await house.service.logged_in("east")
    token = house.webrtc.tokens.issue(house.service.services.county.picture.users["u-east"], house.camera_id).token
    for path in (house.path, f"/live/{house.camera_id}/whip", "/live/meetings/any/talk", "/live/meetings/any/voice"):
        told = await stranger.client.options(path)
        assert told.status == 204
        assert "Link" not in told.headers, path
        assert "credential" in (await official.client.options(path)).headers["Link"]
    with_token = await stranger.client.options(house.path, headers={"Authorization": f"Bearer {token}"})
    assert "credential" in with_token.headers["Link"]
    elsewhere = await stranger.client.options("/live/other/whep", headers={"Authorization": f"Bearer {token}"})
    assert "Link" not in elsewhere.headers


async def test_other_sites_may_read_why_they_are_refused(house: House) -> None:
    stranger, official = house.service.browser(), await house.service.logged_in("east")
    token = house.webrtc.tokens.issue(house.service.services.county.picture.users["u-east"], house.camera_id).token
    known = {"Authorization": f"Bearer {token}", "Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    refused = [
        (await house.post(stranger, "v=0", **(known | {"Authorization": "Bearer view.guessed"})), 401),
        (await house.post(stranger, "nonsense", **known), 400),
        (await house.post(stranger, "v=0", **(known | {"Content-Type": "text/plain"})), 415),
        (await house.post(official, "v=0", **{"Sec-Fetch-Site": "cross-site"}), 403),
        (await stranger.client.patch(f"{house.path}/none", data="", headers=known | FRAGMENT), 404),
        (await stranger.client.delete(f"{house.path}/none", headers=known), 404),
        (await stranger.client.get(house.path), 405),
        (await stranger.client.post("/live/none/whip", data="v=0", headers=SDP), 401),
        (await stranger.client.post("/live/meetings/none/talk", data="v=0", headers=SDP), 401),
    ]
    for answer, status in refused:
        assert answer.status == status, answer.url
        assert answer.headers["Access-Control-Allow-Origin"] == "*", answer.url
        assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
        # Never with the person's cookie.
        assert "Access-Control-Allow-Credentials" not in answer.headers
    elsewhere = await official.client.get("/api/v1/cameras")
    assert "Access-Control-Allow-Origin" not in elsewhere.headers


WILD = (
    ("", 400, "webrtc-offer-broken"),
    ("hello", 400, "webrtc-offer-broken"),
    ("v=0\r\n" + "a=x\r\n" * 5000, 400, "webrtc-offer-broken"),
    (WebRtcClient().offer(direction="sendonly"), 400, "webrtc-offer-unsuitable"),
    (WebRtcClient().offer().replace("a=fingerprint", "a=x"), 400, "webrtc-offer-unsuitable"),
    (WebRtcClient().offer(video=(VP8,)), 406, "webrtc-no-codec"),
    (WebRtcClient().offer(video=(H265,), audio=(OPUS, PCMA)), 406, "webrtc-no-codec"),
)


async def test_offers_that_cannot_be_answered_are_told_why(house: House) -> None:
    official = await house.service.logged_in("east")
    for text, status, code in WILD:
        answer = await house.post(official, text)
        problem: Any = await answer.json()
        assert (answer.status, problem["code"]) == (status, code)
        assert problem["detail"]
    wrong = await house.post(official, WILD[3][0], **{"Content-Type": "text/plain"})
    assert wrong.status == 415
    bytes_alone = await official.client.post(
        house.path, data=b"v=0\xff\xfe", headers={"X-CSRF-Token": official.csrf, **SDP}
    )
    assert bytes_alone.status == 400
    assert len(house.webrtc.whep) == 0


async def test_a_thousand_offers_a_second_are_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    official = await house.service.logged_in("east")
    sessions = house.webrtc.whep
    strict = Admission(SystemClock(), lambda: len(sessions), max_sessions=3, per_s=0.001, burst=5)
    monkeypatch.setattr(sessions, "_admission", strict)
    answers = await asyncio.gather(*(house.post(official, WebRtcClient().offer()) for _ in range(60)))
    statuses = sorted(answer.status for answer in answers)
    assert statuses == [201] * 3 + [429] * 57
    refused = next(answer for answer in answers if answer.status == 429)
    assert int(refused.headers["Retry-After"]) > 0
    assert (await refused.json())["code"] == "webrtc-too-many"


async def test_the_picture_ends_with_the_right_to_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "CHECK_S", 0.1)
    official, security = await house.service.logged_in("east"), await house.service.logged_in("security")
    async with WebRtcClient() as client, asyncio.timeout(LIMIT_S):
        answer = await house.post(official, client.offer())
        await client.connect(await answer.text())
        await client.until(lambda: len(client.packets) > 3)
        person = {"display_name": "East", "role": Role.ARCHIVIST.value, "organization_id": "town-east"}
        await security.json("PUT", "/users/u-east", json=person)
        await client.said_goodbye.wait()

        async def over() -> bool:
            return not house.webrtc.whep.sessions

        await until(over)


async def test_the_picture_ends_with_the_token(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "CHECK_S", 0.1)
    token = house.webrtc.tokens.issue(house.service.services.county.picture.users["u-east"], house.camera_id).token
    async with WebRtcClient() as client, asyncio.timeout(LIMIT_S):
        answer = await house.post(house.service.browser(), client.offer(), Authorization=f"Bearer {token}")
        await client.connect(await answer.text())
        await client.until(lambda: len(client.packets) > 3)
        house.service.clock.shift_s += 3700
        await client.said_goodbye.wait()


async def test_a_token_ends_with_the_password_of_who_asked_for_it(house: House) -> None:
    official = await house.service.logged_in("east")
    token = (await official.json("POST", f"/cameras/{house.camera_id}/view-token", 201))["token"]
    player = house.service.browser()
    assert (await house.post(player, "v=0", Authorization=f"Bearer {token}")).status == 400
    await official.json("PUT", "/session", json={"language": "en"})
    assert (await house.post(player, "v=0", Authorization=f"Bearer {token}")).status == 400
    change = {"old_password": PASSWORD, "new_password": "Another-Good-1"}
    await official.json("POST", "/session/password", json=change)
    assert (await house.post(player, "v=0", Authorization=f"Bearer {token}")).status == 401


def test_turn_servers_get_log_ins_that_end() -> None:
    link = IceServer("turn:t.example:3478", secret="key").link(1_000_000_000_000_000_000)
    assert 'username="1000043200:sanhui"' in link
    # openssl: printf '1000043200:sanhui' | openssl dgst -sha1 -hmac key -binary | base64
    assert 'credential="' in link
    assert IceServer("stun:s.example", "name", "word").link(0) == '<stun:s.example>; rel="ice-server"'
    assert 'credential="word"' in IceServer("turns:t.example", "name", "word").link(0)


async def test_an_answer_is_a_whole_description(house: House) -> None:
    official = await house.service.logged_in("east")
    async with contextlib.AsyncExitStack():
        text = await (await house.post(official, WebRtcClient().offer(), query="?quality=sub")).text()
        parsed = SessionDescription.parse(text)
        assert [item.direction for item in parsed.media] == ["sendonly", "sendonly"]
        assert parsed.media[0].ice_candidates

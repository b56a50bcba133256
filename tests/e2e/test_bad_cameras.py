"""Bad cameras through the API: each says what is wrong, none disturbs its neighbour, and no secret is told."""

import asyncio
import base64
import contextlib
import itertools
import json
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import pytest_asyncio

from media.rtcp import build_receiver_report
from streaming.webrtc.feedback import nack
from tests.support import county
from tests.support.crowd import crowd, many_files
from tests.support.fake_camera import Behaviour, fake_camera, plain_server
from tests.support.ports import free_port
from tests.support.service import Person, ServiceProcess, until
from tests.support.village import CAMERA_USER, Village, running_village
from tests.support.webrtc_client import WebRtcClient, read_answer

in_module = pytest.mark.asyncio(loop_scope="module")
pytestmark = pytest.mark.timeout(240)

PASSWORD = "p@ss:w/ord 汉字"
WRONG_PASSWORD = "wr@ng:w/ord 错字"
HEADERS = {"Accept-Language": "zh-CN"}

_MJPEG = b"""v=0\r
o=- 1 1 IN IP4 127.0.0.1\r
s=camera\r
t=0 0\r
m=video 0 RTP/AVP 26\r
a=rtpmap:26 JPEG/90000\r
a=control:track1\r
"""
_NO_MEDIA = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\n"


@dataclass
class Town:
    """A service with one good camera whose meeting is being recorded, and all it ever said to anybody."""

    service: ServiceProcess
    person: Person
    village: Village
    room: str
    good: str
    meeting: str
    heard: list[str] = field(default_factory=list)
    added: int = 0

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Any request; its status and answer, which is kept."""
        headers = HEADERS | self.person.headers
        url = f"{self.service.url}/api/v1{path}"
        async with self.person.http.request(method, url, json=body, headers=headers) as response:
            text = await response.text()
            self.heard.append(f"{dict(response.headers)}\n{text}")
        return response.status, json.loads(text) if response.content_type.endswith(
            "json"
        ) and "\n" not in text else text

    async def add(self, address: str, **more: Any) -> str:
        """A camera beside the good one; its id."""
        self.added += 1
        body = {"name": f"试 {self.added}", "site_id": self.room, "address": address, **more}
        status, camera = await self.ask("POST", "/cameras", body)
        assert status == 201, camera
        return str(camera["id"])

    async def problem(self, camera: str, code: str) -> Any:
        """The camera in the list, once it has the problem ``code``, whose words are Chinese."""
        shown: Any = None

        async def check() -> bool:
            nonlocal shown
            _, listed = await self.ask("GET", "/cameras")
            shown = next(item for item in listed["items"] if item["id"] == camera)
            return shown["status"]["problem"] is not None and shown["status"]["problem"]["code"] == code

        await until(check, 40, lambda: f"not {code}: {shown['status']}")
        problem = shown["status"]["problem"]
        assert re.search("[\u4e00-\u9fff]", problem["title"]), problem
        assert re.search("[\u4e00-\u9fff]", problem["detail"]), problem
        assert "{" not in problem["title"] + problem["detail"], problem
        return shown


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    folder = tmp_path_factory.mktemp("bad")
    settings = {"SANHUI_SEGMENT_S": "2", "SANHUI_RECONCILE_S": "1", "SANHUI_LOG_LEVEL": "debug"}
    settings["SANHUI_WEBRTC_HOST"] = "127.0.0.1"
    async with (
        running_village(folder, 1, PASSWORD) as village,
        county.running(folder, settings) as here,
    ):
        person = here.person
        branch, room = await county.add_room(person, here.town, "柳树湾村党支部")
        # As it is pasted: the name and the password stand inside the address.
        pasted = village.address().replace("rtsp://", f"rtsp://{CAMERA_USER}:{PASSWORD}@")
        good = await county.add_camera(person, room, pasted)
        await county.camera_in_state(person, good, "online")
        meeting = await county.plan_meeting(person, branch, 0.5, camera_id=good)
        await county.recorded(person, meeting, 2)
        yield Town(here.service, person, village, room, good, meeting)


@in_module
async def test_wrong_path(town: Town) -> None:
    address = town.village.address(7)
    shown = await town.problem(
        await town.add(address, username=CAMERA_USER, password=PASSWORD), "camera-path-not-found"
    )
    assert shown["status"]["state"] == "misconfigured"


@in_module
async def test_nobody_there(town: Town) -> None:
    shown = await town.problem(await town.add(f"rtsp://127.0.0.1:{free_port()}/live"), "camera-unreachable")
    assert shown["status"]["state"] == "offline"


@in_module
async def test_refused_password(town: Town) -> None:
    camera = await town.add(town.village.address(), username=CAMERA_USER, password=WRONG_PASSWORD)
    shown = await town.problem(camera, "camera-credentials-refused")
    assert shown["status"]["state"] == "refused"
    assert shown["has_password"]


@in_module
async def test_no_password(town: Town) -> None:
    shown = await town.problem(await town.add(town.village.address()), "camera-credentials-missing")
    assert shown["status"]["state"] == "refused"


@in_module
async def test_something_else_than_rtsp(town: Town) -> None:
    answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
    async with plain_server(b"", answer=answer) as port:
        await town.problem(await town.add(f"rtsp://127.0.0.1:{port}/live"), "camera-not-rtsp")


@in_module
async def test_sdp_without_media_and_with_a_codec_nobody_takes(town: Town) -> None:
    async with fake_camera(Behaviour(sdp=_NO_MEDIA)) as empty, fake_camera(Behaviour(sdp=_MJPEG)) as motion_jpeg:
        first, second = await town.add(empty.url), await town.add(motion_jpeg.url)
        await town.problem(first, "camera-no-media")
        shown = await town.problem(second, "codec-unsupported")
        assert shown["status"]["state"] == "unsupported"


@in_module
@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[::ffff:169.254.169.254]", "127.0.0.1:{own}", "localhost:{own}", "0.0.0.0"]
)
async def test_addresses_that_must_not_be_connected_to(town: Town, host: str) -> None:
    """Refused before they are stored, at the field, both when a camera is added and when one is tried out."""
    address = f"rtsp://{host.replace('{own}', str(town.service.port))}/latest/meta-data"
    body = {"name": "试", "site_id": town.room, "address": address}
    for path, sent in (("/cameras", body), ("/cameras/probe", {"address": address})):
        status, problem = await town.ask("POST", path, sent)
        assert status == 422, problem
        error = next(item for item in problem["errors"] if item["field"] == "address")
        assert "不允许" in error["title"], error


@in_module
async def test_a_bad_url(town: Town) -> None:
    for address in ("http://127.0.0.1/live", "rtsp:///live", "rtsp://127.0.0.1:99999/live"):
        status, problem = await town.ask("POST", "/cameras", {"name": "试", "site_id": town.room, "address": address})
        assert status == 422, problem
        assert [item["field"] for item in problem["errors"]] == ["address"]


@in_module
async def test_the_probe_of_a_good_and_of_a_refused_camera_tells_no_password(town: Town) -> None:
    status, good = await town.ask("POST", "/cameras/probe", {"camera_id": town.good})
    assert status == 200
    assert json.loads(good.splitlines()[-1])["outcome"] in ("ok", "warning"), good
    pasted = town.village.address().replace("rtsp://", f"rtsp://{CAMERA_USER}:{WRONG_PASSWORD}@")
    status, refused = await town.ask("POST", "/cameras/probe", {"address": pasted})
    assert status == 200
    assert '"camera-credentials-refused"' in refused


@in_module
async def test_crowds_at_both_doors(town: Town) -> None:
    """Thousands of connections that say nothing, half a request or far too much, while the good camera is recorded:
    people are answered, and the test below finds no gap."""
    heads = (b"", b"OPTIONS * RTSP/1.0\r\n", b"GET / HTTP/1.1\r\nX: ", b"\x16\x03\x01", b"A" * 100_000)
    with many_files(12_000) as files, contextlib.ExitStack() as stack:
        each = min(1000, (files - 1000) // 10)
        for port in (town.service.rtsp_port, town.service.port):
            for says in heads:
                await crowd(port, each, stack, says)
        status, _ = await town.ask("GET", "/now")
        assert status == 200
        async with Person(town.service.url) as late:
            await late.log_in()
        await asyncio.to_thread(_describe, town.service.rtsp_port)


@in_module
async def test_floods_at_the_webrtc_port(town: Town) -> None:
    """A thousand offers, datagrams by the ten thousand, handshakes that stall, connections that say nonsense, reports
    without end, all at once: who looks at the good camera misses no packet, and the test below finds no gap."""
    async with contextlib.AsyncExitStack() as stack:
        files = stack.enter_context(many_files(6_000))
        viewer, stalled, talker = [await stack.enter_async_context(WebRtcClient()) for _ in range(3)]
        for client in (viewer, talker):
            await client.connect(await _answer(town, client))
        await stalled.connect(await _answer(town, stalled), keys=False)
        await viewer.until(lambda: len(viewer.packets) > 50)
        port = next(number for kind, _, number in read_answer(await _answer(town, WebRtcClient())).candidates)
        where = ("127.0.0.1", port)
        says = (b"", b"\x00\x14" + bytes(20), b"\xff\xff" + b"A" * 5000)
        crowds = [
            crowd(port, min(300, files // 12), stack.enter_context(contextlib.ExitStack()), said) for said in says
        ]
        async with asyncio.timeout(60):
            statuses: list[int] = []
            await asyncio.gather(
                _offers(town, 1000, statuses), asyncio.to_thread(_datagrams, where, stalled.check()), *crowds
            )
            for _ in range(2_000):
                talker.send_rtcp(build_receiver_report(1) + nack(1, viewer.packets[0].header.ssrc, list(range(200))))
                stalled.send(b"\x16\xfe\xff" + bytes(60))
        assert set(statuses) == {201, 429}
        assert statuses.count(429) > 500
        count = len(viewer.packets)
        await viewer.until(lambda: len(viewer.packets) > count + 100)
        for payload_type in {item.header.payload_type for item in viewer.packets}:
            came = [item.header.sequence for item in viewer.packets if item.header.payload_type == payload_type]
            assert all((later - earlier) & 0xFFFF == 1 for earlier, later in itertools.pairwise(came)), payload_type
        status, _ = await town.ask("GET", "/now")
        assert status == 200


async def _post(town: Town, offer: str) -> tuple[int, str]:
    headers = town.person.headers | {"Content-Type": "application/sdp"}
    async with town.person.http.post(
        f"{town.service.url}/live/{town.good}/whep", data=offer, headers=headers
    ) as response:
        return response.status, await response.text()


async def _answer(town: Town, client: WebRtcClient) -> str:
    status, text = await _post(town, client.offer())
    assert status == 201, text
    return text


async def _offers(town: Town, count: int, statuses: list[int]) -> None:
    """As fast as it goes, forty at a time; ``statuses`` is told how each was answered."""
    offer, left = WebRtcClient().offer(), iter(range(count))

    async def ask() -> None:
        for _ in left:
            statuses.append((await _post(town, offer))[0])

    await asyncio.gather(*(ask() for _ in range(40)))


def _datagrams(where: tuple[str, int], check: bytes) -> None:
    """Checks of nobody's, forged ones of a session, handshakes and media out of nowhere, and what is nothing at all."""
    forged = check[:-30] + bytes(30)
    with contextlib.ExitStack() as stack:
        hosts = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(20)]
        for number, host in enumerate(hosts):
            host.bind((f"127.0.3.{1 + number}", 0))
        for number in range(30_000):
            junk = (forged, b"\x16\xfe\xff" + bytes(80), b"\x80\x60" + bytes(900), b"\x01", check[:20])[number % 5]
            with contextlib.suppress(OSError):
                hosts[number % 20].sendto(junk, where)


def _describe(port: int) -> None:
    """A decoder that comes now is answered."""
    with socket.create_connection(("127.0.0.1", port), 30) as decoder:
        decoder.sendall(b"DESCRIBE rtsp://127.0.0.1/live/none RTSP/1.0\r\nCSeq: 1\r\n\r\n")
        assert decoder.recv(100).startswith(b"RTSP/1.0 401")


@in_module
async def test_the_good_sibling_has_no_gap_and_no_secret_is_told(town: Town) -> None:
    """Comes last: what the service said to anybody, its log, and what it keeps are searched for passwords."""
    await county.recorded(town.person, town.meeting, 6)
    await town.ask("POST", f"/meetings/{town.meeting}/end")
    await county.filed(town.person, town.meeting)
    _, timeline = await town.ask("GET", f"/meetings/{town.meeting}/timeline")
    assert timeline["gaps"] == []
    assert len(timeline["spans"]) == 1

    for path in ("/now", "/cameras", f"/cameras/{town.good}", f"/meetings/{town.meeting}", "/audit", "/organizations"):
        status, _ = await town.ask("GET", path)
        assert status == 200, path
    for path in ("/metrics", "/readyz", "/api/openapi.json", f"/meetings/{town.meeting}/vod/index.m3u8"):
        async with town.person.http.get(town.service.url + path) as response:
            assert response.status == 200, path
            town.heard.append(await response.text())
    check = await town.service.run("check")
    assert check.returncode == 0, check.stdout
    kept = await asyncio.to_thread(everything_in, town.service.folder / "data")
    said = "\n".join([*town.heard, town.service.log, check.stdout, check.stderr])
    for password in (PASSWORD, WRONG_PASSWORD):
        for form in forms(password):
            assert form not in said, said[max(0, said.find(form) - 300) : said.find(form) + 100]
            assert form.encode() not in kept, form


def forms(secret: str) -> set[str]:
    """As it is, percent-encoded in four ways, in JSON escapes, and inside the base64 of a Basic log-in."""
    pair = f"{CAMERA_USER}:{secret}".encode()
    found = {secret, quote(secret), quote(secret, safe=""), quote(secret, safe="").lower(), quote_plus(secret)}
    found |= {json.dumps(secret)[1:-1], repr(secret.encode())[2:-1]}
    return found | {base64.b64encode(pair).decode(), base64.b64encode(secret.encode()).decode()}


def everything_in(folder: Path) -> bytes:
    """All files below ``folder`` that are no media."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".mp4")
    return b"\0".join(path.read_bytes() for path in files)


@pytest.mark.parametrize(
    "careless",
    [
        f"rtsp://{CAMERA_USER}:{PASSWORD}@camera/live",
        f"rtsp://{CAMERA_USER}:{quote(PASSWORD, safe='')}@camera/live",
        json.dumps({"password": PASSWORD}),
        "Authorization: Basic " + base64.b64encode(f"{CAMERA_USER}:{PASSWORD}".encode()).decode(),
    ],
    ids=["raw", "percent", "json", "basic"],
)
def test_the_search_would_find_it(careless: str) -> None:
    assert any(form in careless for form in forms(PASSWORD))

"""ffmpeg as RTSP client of our server and as player of every playlist and of the download, for each kind of camera."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote, urljoin

import pytest
import pytest_asyncio

from streaming.simulator import KINDS
from tests.support import county
from tests.support.ffmpeg_player import Played, play
from tests.support.playlist_reloads import Reloads
from tests.support.playlist_rules import read
from tests.support.service import Person, ServiceProcess
from tests.support.village import CAMERA_USER, running_village

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

CAMERA_PASSWORD = "Kamera-2026"
NAMES = ("h264-pcma", "h265-aac", "h264-silent")
LIVE_S = 5.0
RELOADS = 6
RECORDED_S = 14.0
TOGETHER_S = 0.1
"""How far flash and beep may be apart."""


@dataclass
class Town:
    """A service with one camera of each kind, each with a meeting that runs."""

    service: ServiceProcess
    person: Person
    cameras: tuple[str, ...]
    meetings: tuple[str, ...]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    async with (
        running_village(folder, len(KINDS), CAMERA_PASSWORD) as village,
        county.running(folder, {"SANHUI_SEGMENT_S": "2", "SANHUI_RECONCILE_S": "1"}) as here,
    ):
        person = here.person
        cameras, meetings = [], []
        for number, name in enumerate(NAMES):
            branch, room = await county.add_room(person, here.town, name)
            login = {"username": CAMERA_USER, "password": CAMERA_PASSWORD}
            cameras.append(await county.add_camera(person, room, village.address(number), **login))
            meetings.append(await county.plan_meeting(person, branch, 0.5))
        for camera in cameras:
            await county.camera_in_state(person, camera, "online")
        yield Town(here.service, person, tuple(cameras), tuple(meetings))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def archive(town: Town) -> list[Any]:
    """The meetings, ended and filed."""
    for meeting in town.meetings:
        await county.recorded(town.person, meeting, RECORDED_S)
    for meeting in town.meetings:
        await town.person.call("POST", f"/meetings/{meeting}/end")
    return [await county.filed(town.person, meeting) for meeting in town.meetings]


def assert_it_is_right(what: str, kind: int, played: Played, at_least_s: float) -> None:
    """As many pictures as the time has frames, each with a clock that goes on with its presentation time; flash and
    beep together."""
    settings = KINDS[kind]
    content = played.content
    frame_ms = 1000 / settings.fps
    clocks = content.clocks
    assert played.complaints == (), (what, played.complaints)
    assert content.unreadable == 0, what
    assert len(clocks) >= at_least_s * settings.fps * 0.95, (what, len(clocks), at_least_s)
    steps = [b[1] - a[1] for a, b in itertools.pairwise(clocks)]
    assert all(step > 0 for step in steps), (what, [step for step in steps if step <= 0])
    # A busy machine lets a simulated camera leave pictures out, never repeat or shift them.
    assert sum(abs(step - frame_ms) <= 1 for step in steps) > 0.97 * len(steps), (what, sorted(steps)[-10:])
    drift = [(b[0] - a[0]) * 1000 - (b[1] - a[1]) for a, b in itertools.pairwise(clocks)]
    assert max(map(abs, drift)) < frame_ms / 2, (what, max(drift), min(drift))
    whole = (clocks[-1][0] - clocks[0][0]) * 1000 - (clocks[-1][1] - clocks[0][1])
    assert abs(whole) < frame_ms, (what, whole)
    if settings.audio is None:
        assert content.beeps == (), what
        return
    errors = content.sync_errors()
    assert len(errors) >= at_least_s - 2, (what, errors, content.flashes, content.beeps)
    print(f"{what}: beep after flash {median(errors) * 1000:+.0f} ms (of {len(errors)}, most "
          f"{max(errors, key=abs) * 1000:+.0f}), {len(clocks)} pictures in {played.took_s:.1f} s")  # fmt: skip
    assert max(map(abs, errors)) <= TOGETHER_S, (what, errors)


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=NAMES)
async def test_live(town: Town, kind: int, tmp_path: Path) -> None:
    """Over RTSP, low-latency HLS and HLS in MPEG-TS, all three at once."""
    access = await town.person.call("POST", "/session/stream-access")
    camera = town.cameras[kind]
    login = f"{access['username']}:{quote(access['password'], safe='')}@"
    rtsp = access["rtsp_url"].replace("{camera}", camera).replace("rtsp://", f"rtsp://{login}")
    base, cookie = f"{town.service.url}/live/{camera}", town.person.cookie_header
    found = await asyncio.gather(
        play(rtsp, tmp_path, options=("-rtsp_transport", "tcp"), max_s=LIVE_S),
        play(f"{base}/index.m3u8", tmp_path, cookie=cookie, max_s=LIVE_S),
        play(f"{base}/ts.m3u8", tmp_path, cookie=cookie, max_s=LIVE_S),
    )
    # ffmpeg's parser forgets when the first picture of an RTSP stream was, if it came in more than four packets.
    over_rtsp = replace(found[0], content=replace(found[0].content, clocks=found[0].content.clocks[1:]))
    for what, played in zip(("RTSP", "LL-HLS", "live TS"), (over_rtsp, *found[1:]), strict=True):
        assert_it_is_right(f"{NAMES[kind]} {what}", kind, played, LIVE_S)


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=NAMES)
async def test_recorded(town: Town, archive: list[Any], kind: int, tmp_path: Path) -> None:
    """As HLS in fMP4, HLS in MPEG-TS, and as one MP4."""
    meeting = archive[kind]
    sources, cookie = meeting["playback"], town.person.cookie_header
    recorded_s = meeting["recording"]["recorded_s"]
    for what, name in (("recorded fMP4", "hls_url"), ("recorded TS", "ts_url")):
        played = await play(town.service.url + sources[name], tmp_path, cookie=cookie)
        assert_it_is_right(f"{NAMES[kind]} {what}", kind, played, recorded_s - 0.5)
    copy = await download(town, sources["download_url"], tmp_path / "meeting.mp4")
    played = await play(str(copy), tmp_path)
    assert_it_is_right(f"{NAMES[kind]} MP4", kind, played, recorded_s - 0.5)


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=NAMES)
async def test_what_is_told_keeps_the_rules_from_one_time_to_the_next(town: Town, kind: int) -> None:
    """Live playlists as the service sends them; what judges all others sees the tests' own process only."""
    base = f"{town.service.url}/live/{town.cameras[kind]}/"
    told: dict[str, Reloads] = {}
    for _ in range(RELOADS):
        for name in ("index.m3u8", "ts.m3u8"):
            found = read(await text_of(town, base + name))
            assert found.problems == []
            media = [address for _, address in found.variants] + [item["URI"] for item in found.media if "URI" in item]
            for address in media or [name]:
                text = await text_of(town, urljoin(base, address))
                told.setdefault(address, Reloads()).check(text)
        await asyncio.sleep(0.7)
    assert len(told) >= 2


async def text_of(town: Town, url: str) -> str:
    """A playlist."""
    async with town.person.http.get(url) as answer:
        assert answer.status == 200, url
        return await answer.text()


async def download(town: Town, address: str, target: Path) -> Path:
    """The whole file; its length is what the server said before."""
    async with town.person.http.get(town.service.url + address) as answer:
        assert answer.status == 200
        data = await answer.read()
        assert len(data) == int(answer.headers["Content-Length"])
    await asyncio.to_thread(target.write_bytes, data)
    return target


async def test_players_without_a_log_in_get_nothing(town: Town) -> None:
    camera, meeting = town.cameras[0], town.meetings[0]
    places: Sequence[str] = (
        f"/live/{camera}/index.m3u8", f"/live/{camera}/ts.m3u8", f"/meetings/{meeting}/vod/index.m3u8",
        f"/meetings/{meeting}/download.mp4",
    )  # fmt: skip
    async with Person(town.service.url) as stranger:
        for place in places:
            async with stranger.http.get(town.service.url + place) as answer:
                assert answer.status == 401, place
                assert answer.content_type == "application/problem+json"

"""An official with Chromium: sees and hears a running meeting, ends it, looks into it, takes a copy away."""

import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import expect

from recorder.state import RecordingSettings
from tests.support import county
from tests.support.browser import PATIENCE_MS, Desk, chromium, desk, log_in
from tests.support.ffmpeg_player import play
from tests.support.service import Person, ServiceProcess
from tests.support.village import CAMERA_USER, running_village

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

CAMERA_PASSWORD = "p@ss:/汉字"
VILLAGE = "柳树湾村党支部"
# How long it takes is measured by bench/join.py; here it must not hang.
TO_PICTURE_S = 10.0
BEHIND_MS = 5000
"""How old a live picture may be on screen."""
SEEK_MS = 500
AUDIBLE = 0.05

_NOTICE_SEEK = """() => {
  window.sought = false;
  document.querySelector("video").addEventListener("seeked", () => { window.sought = true; }, {once: true});
}"""


@dataclass
class House:
    service: ServiceProcess
    person: Person
    meeting: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("browser")
    async with (
        running_village(folder, 1, CAMERA_PASSWORD) as village,
        county.running_with_pages(folder, {"SANHUI_RECONCILE_S": "1"}) as here,
    ):
        person = here.person
        branch, room = await county.add_room(person, here.town, VILLAGE)
        login = {"username": CAMERA_USER, "password": CAMERA_PASSWORD}
        camera = await county.add_camera(person, room, village.address(), **login)
        await county.camera_in_state(person, camera, "online")
        meeting = await county.plan_meeting(person, branch, 0.5)
        await county.recorded(person, meeting, 4)
        yield House(here.service, person, meeting)


async def test_a_meeting_is_seen_heard_ended_and_taken_away(house: House, tmp_path: Path) -> None:
    async with chromium() as browser, desk(browser, tmp_path) as official:
        page = official.page
        await page.goto(f"{house.service.url}/login")
        await log_in(page)
        await page.wait_for_url("**/now")

        card = page.get_by_role("link").filter(has_text=VILLAGE).first
        await expect(card.locator("img")).to_be_visible(timeout=PATIENCE_MS)
        await page.wait_for_load_state("networkidle")
        await card.click()
        to_picture_s = await official.click_to_picture_s()
        await watch_live(official)
        print(f"Chromium: live picture {to_picture_s:.2f} s after the click")
        assert to_picture_s < TO_PICTURE_S

        await page.get_by_role("button", name="结束会议").click()
        await page.get_by_role("dialog").get_by_role("button", name="结束会议").click()
        await expect(page.locator(".marks")).to_contain_text("录像", timeout=PATIENCE_MS)
        await watch_recording(official)
        meeting = await county.filed(house.person, house.meeting)
        await seek(official, meeting)

        async with page.expect_download() as started:
            await page.get_by_role("link", name="下载录像").click()
        download = await started.value
        assert re.fullmatch(r".+\.mp4", download.suggested_filename)
        copy = tmp_path / "copy.mp4"
        await download.save_as(copy)
    assert [line for line in official.console if line.startswith(("error", "warning"))] == []
    played = await play(str(copy), tmp_path)
    assert played.complaints == ()
    # By the clocks in the pictures: a simulated camera that is starved leaves some out, and less than the recorder's
    # tolerance at either end is no gap.
    clocks = [clock for _, clock in played.content.clocks]
    assert clocks[-1] - clocks[0] > 1000 * (meeting["recording"]["recorded_s"] - 2 * RecordingSettings().tolerance_s)
    playlist = f"{house.service.url}/meetings/{house.meeting}/vod/index.m3u8"
    on_record = await play(playlist, tmp_path, cookie=house.person.cookie_header)
    assert clocks == [clock for _, clock in on_record.content.clocks]
    assert played.content.unreadable == 0
    assert max(map(abs, played.content.sync_errors())) < 0.1


async def watch_live(official: Desk) -> None:
    """The picture is of now and goes on, and the beep of each second is heard."""
    first = await official.picture()
    loudness = await official.loudness(6)
    await official.plays_on(first.position + 2)
    later = await official.picture()
    behind = [picture.at - picture.clock for picture in (first, later)]
    print(f"Chromium: live is {behind[0]} ms behind, then {behind[1]} ms; loudness {loudness:.2f}")
    assert 0 <= behind[0] < BEHIND_MS
    assert 0 <= behind[1] < BEHIND_MS
    assert later.clock - first.clock > 1500
    assert loudness > AUDIBLE


async def watch_recording(official: Desk) -> None:
    """It begins at the beginning, goes on at the speed of life, and is heard."""
    await official.plays_on(0.2)
    first = await official.picture()
    loudness = await official.loudness(6)
    await official.plays_on(first.position + 2)
    later = await official.picture()
    moved_ms = (later.position - first.position) * 1000
    assert abs((later.clock - first.clock) - moved_ms) < 200, (first, later)
    assert loudness > AUDIBLE


async def seek(official: Desk, meeting: Any) -> None:
    """The picture after a click on the timeline is of the moment that was clicked."""
    page = official.page
    slider = page.get_by_role("slider", name="会议时间轴")
    track = await slider.bounding_box()
    assert track is not None
    start, end = (datetime.fromisoformat(meeting[name]).timestamp() * 1000 for name in ("started_at", "ended_at"))
    for place in (0.8, 0.3, 0.6):
        await page.evaluate(_NOTICE_SEEK)
        began = time.monotonic()
        await page.mouse.click(track["x"] + track["width"] * place, track["y"] + track["height"] / 2)
        await page.wait_for_function("() => window.sought")
        wanted = start + (end - start) * place
        shown = await official.picture()
        took_ms = (time.monotonic() - began) * 1000
        print(f"Chromium: sought {place:.0%}, clock {shown.clock - wanted:+.0f} ms from it after {took_ms:.0f} ms")
        # The picture goes on while it is read.
        assert -SEEK_MS < shown.clock - wanted < SEEK_MS + took_ms, (place, shown, wanted)

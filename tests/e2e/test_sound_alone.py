"""A room that sends sound alone: the room, and who looks at it from the desk, are told that there is no picture."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.support import county
from tests.support.browser import FAKE_DEVICES, PATIENCE_MS, chromium, desk, log_in
from tests.support.service import Person, ServiceProcess

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

VILLAGE = "柳树湾村党支部"
SOUND_ALONE = "只有声音、没有画面"
AUDIBLE = 0.05
# A microphone, and a camera that has come loose.
NO_PICTURE = """
const devices = navigator.mediaDevices, given = devices.getUserMedia.bind(devices);
devices.getUserMedia = async wanted => {
  const stream = await given(wanted);
  for (const track of stream.getVideoTracks()) { track.stop(); stream.removeTrack(track); }
  return stream;
};
"""


@dataclass
class Room:
    service: ServiceProcess
    person: Person
    site: str
    meeting: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def room(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Room]:
    async with county.running_with_pages(tmp_path_factory.mktemp("sound")) as here:
        branch, site = await county.add_room(here.person, here.town, VILLAGE)
        await county.add_camera(here.person, site, "whip:")
        meeting = await county.plan_meeting(here.person, branch, 0.5)
        yield Room(here.service, here.person, site, meeting)


async def test_sound_alone_is_said_in_the_room_and_at_the_desk(room: Room, tmp_path: Path) -> None:
    async with (
        chromium(*FAKE_DEVICES) as browser,
        desk(browser, tmp_path / "tv", 1280, 720) as tv,
        desk(browser, tmp_path / "desk") as official,
    ):
        await tv.page.add_init_script(NO_PICTURE)
        await tv.page.goto(f"{room.service.url}/room")
        digits = tv.page.locator(".code span")
        await expect(digits).to_have_count(6, timeout=PATIENCE_MS)
        code = "".join(await digits.all_text_contents())
        await room.person.call("POST", f"/sites/{room.site}/devices", {"code": code})
        await expect(tv.page.locator(".what")).to_contain_text("支部党员大会", timeout=PATIENCE_MS)
        await tv.page.keyboard.press("1")
        await county.recorded(room.person, room.meeting, 3)
        await expect(tv.page.locator(".status")).to_contain_text(SOUND_ALONE, timeout=PATIENCE_MS)
        await expect(tv.page.locator(".status")).to_contain_text("正在录制")
        await expect(tv.page.locator(".sends")).to_contain_text("画面没有发出来")
        await tv.page.screenshot(path=tmp_path / "tv.png")

        page = official.page
        await page.goto(f"{room.service.url}/login")
        await log_in(page)
        await page.wait_for_url("**/now")
        card = page.locator(".card").filter(has_text=VILLAGE)
        await expect(card.locator(".problem")).to_have_text(SOUND_ALONE, timeout=PATIENCE_MS)
        await expect(card.locator(".chips")).to_contain_text("没有画面")
        await page.screenshot(path=tmp_path / "now.png")
        await page.goto(f"{room.service.url}/cameras")
        await expect(page.locator(".row", has_text=VILLAGE)).to_contain_text("没有画面", timeout=PATIENCE_MS)
        await page.screenshot(path=tmp_path / "cameras.png")
        await page.goto(f"{room.service.url}/meetings/{room.meeting}")
        await expect(page.locator(".stage .message")).to_have_text(SOUND_ALONE, timeout=PATIENCE_MS)
        await page.screenshot(path=tmp_path / "meeting.png")
        # Nothing is seen, yet all is heard.
        await page.wait_for_function("() => document.querySelector('video').readyState >= 2")
        assert await official.loudness(6) > AUDIBLE

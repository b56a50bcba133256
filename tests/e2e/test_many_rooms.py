"""Rooms beside each other and one after the other: the wall on sub streams, and flipping as with a TV's keys."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.support import county
from tests.support.browser import PATIENCE_MS, chromium, desk, log_in
from tests.support.village import running_village

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

VILLAGES = ("东湾村党支部", "柳树湾村党支部", "石桥村党支部", "上坪村党支部", "大坝村党支部")
# How long a flip takes is measured by bench/join.py; here none may hang.
FLIP_S = 10.0
_MOVING = "[...document.querySelectorAll('.tile video.moving')]"
_LIVE = """() => {
  const video = document.querySelector("video");
  return video?.srcObject && video.getVideoPlaybackQuality().totalVideoFrames > 5;
}"""


@dataclass
class House:
    """A service with a camera in each of five rooms; in one of them a meeting is on."""

    url: str
    meeting: str
    cameras: dict[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("rooms")
    async with (
        running_village(folder) as village,
        county.running_with_pages(folder, {"SANHUI_RECONCILE_S": "1"}) as here,
    ):
        cameras = {}
        for name in VILLAGES:
            branch, room = await county.add_room(here.person, here.town, name)
            address = village.address()
            cameras[name] = await county.add_camera(here.person, room, address, sub_address=address)
        for camera in cameras.values():
            await county.camera_in_state(here.person, camera, "online")
        meeting = await county.plan_meeting(here.person, branch, 0.5)
        await county.recorded(here.person, meeting, 2)
        yield House(here.url, meeting, cameras)


async def test_a_wall_of_rooms_moves_on_sub_streams(house: House, tmp_path: Path) -> None:
    asked: list[str] = []
    async with chromium("--mute-audio") as browser, desk(browser, tmp_path) as official:
        page = official.page
        page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
        await page.goto(f"{house.url}/login?next=/wall")
        await log_in(page)
        for size, tiles in ((4, 4), (9, 5), (16, 5)):
            await page.locator(".el-radio-button", has_text=str(size)).click()
            await expect(page.locator(".tile")).to_have_count(tiles, timeout=PATIENCE_MS)
            await page.wait_for_function(f"count => {_MOVING}.length === count", arg=tiles)
        frames = f"() => {_MOVING}.map(video => video.getVideoPlaybackQuality().totalVideoFrames)"
        before = await page.evaluate(frames)
        await page.wait_for_function(f"before => ({frames})().every((count, n) => count > before[n] + 25)", arg=before)
        # The meeting stands first; the whole wall is in sight.
        assert await page.locator(".tile").first.get_attribute("href") == f"/meetings/{house.meeting}"
        assert await page.evaluate("() => document.documentElement.scrollHeight - innerHeight") <= 0
        # Of four, the fifth is on the next page.
        await page.locator(".el-radio-button", has_text="4").first.click()
        await expect(page.locator(".tile")).to_have_count(4)
        await page.keyboard.press("PageDown")
        await expect(page.locator(".tile")).to_have_count(1)
    looks = [url for url in asked if "/whep" in url]
    assert len(looks) >= 5
    assert all(url.endswith("?quality=sub") for url in looks), looks


async def shown(page: Page) -> str:
    """The village whose picture is live now."""
    await page.wait_for_function(_LIVE)
    return (await page.locator("h1").first.inner_text()).splitlines()[0].removesuffix("清溪镇党委").strip()


async def test_rooms_are_flipped_through_as_channels(house: House, tmp_path: Path) -> None:
    async with chromium("--mute-audio") as browser, desk(browser, tmp_path) as official:
        page = official.page
        await page.goto(f"{house.url}/login?next=/now")
        await log_in(page)
        await page.wait_for_url("**/now")
        await page.get_by_role("link").filter(has_text=VILLAGES[-1]).first.click()
        seen = [await shown(page)]
        for key in ("PageDown",) * len(VILLAGES) + ("PageUp",):
            begun = time.monotonic()
            await page.keyboard.press(key)
            await expect(page.locator("h1").first).not_to_contain_text(seen[-1], timeout=PATIENCE_MS)
            seen.append(await shown(page))
            print(f"{key}: {seen[-1]} after {time.monotonic() - begun:.2f} s")
            assert time.monotonic() - begun < FLIP_S
        # Round and back to where it began, the meeting first; each room once.
        assert seen[0] == seen[len(VILLAGES)] == VILLAGES[-1]
        assert sorted(seen[: len(VILLAGES)]) == sorted(VILLAGES)
        assert seen[-1] == seen[-3]
        # Back leads to where one began to look, not through all the rooms.
        await page.go_back()
        await page.wait_for_url("**/now")

"""An official behind a bad line: the page's picture goes on, and says how it arrives."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.support import county
from tests.support.bad_line import BadLine
from tests.support.browser import PATIENCE_MS, chromium, desk, log_in
from tests.support.village import running_village

pytestmark = [pytest.mark.browser, pytest.mark.interfaces, pytest.mark.timeout(200)]

_FRAMES = "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames"
# A line of the panel: the numbers in it.
_NUMBERS = """
name => {
  const row = [...document.querySelectorAll("section.signal dl div")].find(item => item.innerText.includes(name));
  return (row?.innerText.match(/[0-9.]+/g) ?? []).map(Number);
}
"""


async def test_five_in_a_hundred_lost_and_a_tenth_of_a_second_late(tmp_path: Path) -> None:
    with BadLine(delay_s=0.05) as line:
        hosts = {"SANHUI_HTTP_HOST": "0.0.0.0", "SANHUI_WEBRTC_HOST": line.outside}
        async with (
            running_village(tmp_path) as village,
            county.running_with_pages(tmp_path, hosts) as here,
        ):
            _, room = await county.add_room(here.person, here.town, "东湾村党支部")
            camera = await county.add_camera(here.person, room, village.address())
            await county.camera_in_state(here.person, camera, "online")

            async def look() -> None:
                async with chromium() as browser, desk(browser, tmp_path) as official:
                    page = official.page
                    await page.goto(f"http://{line.outside}:{here.service.port}/rooms/{camera}")
                    await log_in(page)
                    await page.wait_for_function("() => document.querySelector('video')?.readyState >= 2")
                    line.loss = 0.05
                    await page.get_by_role("button", name="信号").click()
                    await expect(page.locator("section.signal")).to_contain_text("丢包", timeout=PATIENCE_MS)
                    # What is lost is asked for and comes again: the line's losses show in how often.
                    await page.wait_for_function(f"() => ({_NUMBERS})('补发请求')[0] > 1")
                    await expect(page.locator("section.signal")).to_contain_text("信号一般", timeout=PATIENCE_MS)
                    await page.wait_for_function(f"() => ({_NUMBERS})('往返延迟')[0] >= 90")
                    before = await page.evaluate(f"() => {_FRAMES}")
                    await page.wait_for_function(f"before => {_FRAMES} > before + 75", arg=before)
                    await expect(page.locator("section.signal")).to_contain_text("WebRTC · UDP")

            await line.run_inside(look)
            assert line.lost > 10

"""Lists of the desk: nothing found is withheld in silence, and the archive follows what ends."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.support import county
from tests.support.browser import PATIENCE_MS, chromium, desk, log_in
from tests.support.service import Person

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

ROOMS = 33


@dataclass
class House:
    url: str
    person: Person
    branches: list[str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with county.running_with_pages(tmp_path_factory.mktemp("lists")) as here:
        branches = []
        for number in range(ROOMS):
            branch, site = await county.add_room(here.person, here.town, f"柳树湾 {number + 1} 村党支部")
            await county.add_camera(here.person, site, "whip:")
            branches.append(branch)
        yield House(here.url, here.person, branches)


async def _open(page: Page, house: House, path: str) -> None:
    await page.goto(f"{house.url}/login?next={path}")
    await log_in(page)
    await page.wait_for_url(f"**{path}")


async def test_a_search_says_how_many_more_there_are_and_shows_them(house: House, tmp_path: Path) -> None:
    async with chromium() as browser, desk(browser, tmp_path) as official:
        page = official.page
        await _open(page, house, "/now")
        await page.get_by_role("searchbox").fill("柳树湾")
        await page.keyboard.press("Enter")
        found = page.locator("main .camera")
        await expect(found).to_have_count(30, timeout=PATIENCE_MS)
        await page.get_by_role("button", name=f"显示另外 {ROOMS - 30} 处").click()
        await expect(found).to_have_count(ROOMS)
        await expect(page.get_by_role("button", name="显示另外")).to_have_count(0)


async def test_a_meeting_that_ends_comes_to_the_archive_by_itself(house: House, tmp_path: Path) -> None:
    async with chromium() as browser, desk(browser, tmp_path) as official:
        page = official.page
        await _open(page, house, "/archive")
        await expect(page.get_by_text("还没有")).to_be_visible(timeout=PATIENCE_MS)
        for number, branch in enumerate(house.branches[:2]):
            meeting = await county.plan_meeting(house.person, branch, 20.0, title=f"第 {number + 1} 次会议")
            await house.person.call("POST", f"/meetings/{meeting}/start")
            await house.person.call("POST", f"/meetings/{meeting}/end")
            await expect(page.get_by_text(f"第 {number + 1} 次会议")).to_be_visible(timeout=PATIENCE_MS)
        await expect(page.get_by_text("第 1 次会议")).to_be_visible()

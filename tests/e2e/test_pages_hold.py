"""Pages lose nothing and leave nobody at a dead end: log-ins that are over, wrong clicks, long lists."""

import contextlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, Route, WebSocketRoute, expect

from tests.support import county
from tests.support.browser import chromium, desk, log_in_in_its_language
from tests.support.service import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

VILLAGE = "柳树湾村党支部"
ELSEWHERE = "America/New_York"


@dataclass
class House:
    """A service with a county in it, and a browser."""

    url: str
    browser: Browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with county.running_with_pages(tmp_path_factory.mktemp("keeps")) as here, chromium() as browser:
        _, site = await county.add_room(here.person, here.town, VILLAGE)
        await county.add_camera(here.person, site, "whip:")
        away = await county.add_camera(here.person, site, "rtsp://127.0.0.1:9/away", name="后门")
        await county.camera_in_state(here.person, away, "offline")
        yield House(here.url, browser)


@contextlib.asynccontextmanager
async def visit(house: House, folder: Path, path: str = "/now", width: int = 1920, height: int = 1080) -> Any:
    """A page of the administrator, who is logged in. The browser speaks Chinese."""
    async with desk(house.browser, folder, width, height) as found:
        await found.page.goto(f"{house.url}/login?next={path}")
        await log_in_in_its_language(found.page)
        await found.page.wait_for_url(house.url + path)
        yield found.page


async def button(within: Page | Locator, name: str) -> None:
    await within.get_by_role("button", name=name, exact=True).click()


async def test_a_log_in_that_is_over_takes_nothing_that_was_typed(house: House, tmp_path: Path) -> None:
    async with visit(house, tmp_path, "/cameras") as page:
        await button(page, "添加摄像机")
        form = page.get_by_role("dialog", name="添加摄像机")
        # The keyboard is where something is to be typed, and sends what was typed.
        await expect(form.locator("input").first).to_be_focused()
        await form.get_by_label("名称", exact=True).fill("主席台")
        await form.get_by_label("视频地址", exact=True).fill("rtsp://192.0.2.1/Streaming/Channels/101")
        await page.context.clear_cookies()
        await form.get_by_label("视频地址", exact=True).press("Enter")
        again = page.get_by_role("dialog", name="登录")
        await expect(again).to_contain_text("登录已过期")
        await expect(again.locator("input[name=username]")).to_have_value("county")
        await expect(again.locator("input[name=password]")).to_be_focused()
        await page.screenshot(path=tmp_path / "again.png")
        await again.locator("input[name=password]").fill("wrong-password")
        await page.keyboard.press("Enter")
        await expect(again.get_by_role("alert").first).to_contain_text("密码不对")
        await again.locator("input[name=password]").fill(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(again).to_have_count(0)
        assert page.url == f"{house.url}/cameras"
        await expect(form.get_by_label("名称", exact=True)).to_have_value("主席台")
        await form.get_by_label("视频地址", exact=True).press("Enter")
        await expect(form).to_have_count(0)
        await expect(page.get_by_text("主席台").first).to_be_visible()


async def test_a_log_in_on_another_page_is_that_of_this_one_too(house: House, tmp_path: Path) -> None:
    async with visit(house, tmp_path, "/cameras") as page:
        await button(page, "添加摄像机")
        form = page.get_by_role("dialog", name="添加摄像机")
        await form.get_by_label("名称", exact=True).fill("后排")
        await form.get_by_label("视频地址", exact=True).fill("rtsp://192.0.2.2/stream1")
        other = await page.context.new_page()
        await other.goto(f"{house.url}/login")
        await other.wait_for_url("**/now")
        await page.context.clear_cookies()
        await other.evaluate("() => localStorage.clear()")
        await other.goto(f"{house.url}/login")
        await log_in_in_its_language(other)
        await other.wait_for_url("**/now")
        # The first page's token is of the session before: it gets the new one by itself.
        await form.get_by_label("视频地址", exact=True).press("Enter")
        await expect(form).to_have_count(0)
        await expect(page.get_by_text("后排").first).to_be_visible()


async def test_another_person_does_not_find_the_area_of_who_was_there_before(house: House, tmp_path: Path) -> None:
    async with visit(house, tmp_path) as page:
        await expect(page.get_by_role("button", name="查看范围")).to_contain_text("云岭县")
        await page.get_by_role("button", name="查看范围").click()
        await page.get_by_role("menuitem", name="清溪镇党委").click()
        await expect(page.get_by_role("button", name="查看范围")).to_contain_text("清溪镇党委")
        await page.get_by_role("button", name="账号").click()
        await page.get_by_role("menuitem", name="退出登录").click()
        await page.wait_for_url("**/login")
        await log_in_in_its_language(page)
        await page.wait_for_url("**/now")
        await expect(page.get_by_role("button", name="查看范围")).to_contain_text("云岭县")


async def test_times_are_those_of_the_services_zone_on_a_page_that_is_opened_again(
    house: House, tmp_path: Path
) -> None:
    async with visit(house, tmp_path) as page:

        async def elsewhere(route: Route) -> None:
            answer = await route.fetch()
            await route.fulfill(response=answer, json={**await answer.json(), "time_zone": ELSEWHERE})

        await page.route("**/api/v1/about", elsewhere)
        await page.reload()
        clock = page.locator("header time")
        await expect(clock).to_be_visible()
        shown = datetime.strptime(await clock.inner_text(), "%H:%M").replace(tzinfo=UTC)
        there = datetime.now(ZoneInfo(ELSEWHERE))
        apart = (there.hour - shown.hour) * 60 + there.minute - shown.minute
        assert abs(apart) % (24 * 60 - 2) <= 2


async def test_what_is_wrong_below_more_settings_is_seen(house: House, tmp_path: Path) -> None:
    async with visit(house, tmp_path, "/meetings") as page:
        await button(page, "安排会议")
        form = page.get_by_role("dialog", name="安排会议")
        # The town has no meeting place, which only the service knows.
        await form.get_by_label("支部", exact=True).click()
        await page.get_by_role("option", name="清溪镇党委", exact=True).click()
        await button(form, "安排会议")
        await expect(form.locator(".el-form-item__error")).to_contain_text("还没有场所")
        await expect(form).to_be_visible()


async def test_a_plan_that_was_begun_comes_back_and_one_that_was_not_begins_anew(house: House, tmp_path: Path) -> None:
    async with visit(house, tmp_path, "/meetings") as page:
        form = page.get_by_role("dialog", name="安排会议")
        day = form.get_by_label("日期", exact=True)
        await button(page, "安排会议")
        today = await day.input_value()
        await page.keyboard.press("Escape")
        await expect(form).to_have_count(0)
        # Another day is looked at: nothing had been typed, so that the plan is for this one.
        await page.get_by_role("button", name="后一天").click()
        await button(page, "安排会议")
        await expect(day).not_to_have_value(today)
        await button(form, "更多设置")
        await form.get_by_label("会议名称", exact=True).fill("研究发展党员")
        # A click beside the dialog closes nothing; Escape loses nothing.
        await page.mouse.click(8, 500)
        await expect(form).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(form).to_have_count(0)
        await button(page, "安排会议")
        await expect(form.get_by_label("会议名称", exact=True)).to_have_value("研究发展党员")


async def test_back_leaves_no_dialog_standing_over_the_page_before(house: House, tmp_path: Path) -> None:
    async with visit(house, tmp_path, "/now") as page:
        for place, opener, name in (
            ("摄像机", "添加摄像机", "添加摄像机"),
            ("摄像机", "会场电视", "会场电视"),
            ("会议", "安排会议", "安排会议"),
        ):
            await page.locator("nav").get_by_role("link", name=place, exact=True).click()
            await button(page, opener)
            await expect(page.get_by_role("dialog", name=name)).to_be_visible()
            await page.go_back()
            await expect(page.get_by_role("heading", name="现场")).to_be_visible()
            await expect(page.get_by_role("dialog")).to_have_count(0)


@pytest.mark.parametrize("day", ["nonsense", "2026-02-30", ""])
async def test_an_address_with_a_day_that_is_none_shows_today(house: House, tmp_path: Path, day: str) -> None:
    async with visit(house, tmp_path) as page:
        await page.goto(f"{house.url}/meetings?day={day}")
        await expect(page.locator(".strip .chosen small")).to_have_text("今天")


async def test_a_meeting_that_is_not_there_says_so_and_waits_for_nothing(house: House, tmp_path: Path) -> None:
    async with visit(house, tmp_path) as page:
        await page.goto(f"{house.url}/meetings/none")
        await expect(page.get_by_role("alert")).to_contain_text("没有找到")
        await expect(page.locator(".el-skeleton")).to_have_count(0)
        await page.get_by_role("button", name="返回").click()
        await page.wait_for_url("**/meetings")


async def test_another_language_is_that_of_everything_on_the_page(house: House, tmp_path: Path) -> None:
    async with visit(house, tmp_path, "/cameras") as page:
        state = page.locator(".row", has_text="后门").locator(".state")
        await expect(state).to_contain_text("自")
        await page.get_by_role("button", name="账号").click()
        # The page is opened anew: what the service has written on it is of its opening.
        async with page.expect_navigation():
            await page.get_by_role("menuitem", name="English").click()
        await expect(state).to_contain_text("since")
        await state.locator("[tabindex]").focus()
        try:
            # What the service itself wrote.
            tip = page.get_by_role("tooltip")
            await expect(tip.first).to_be_visible()
            assert not re.search(r"[\u4e00-\u9fff]", await tip.first.inner_text())
        finally:
            await page.get_by_role("button", name="Account").click()
            await page.get_by_role("menuitem", name="中文").click()
            await expect(page.locator("html")).to_have_attribute("lang", "zh-CN")


MANY = 120


async def test_of_many_rooms_only_the_pictures_in_sight_are_asked_for(house: House, tmp_path: Path) -> None:
    asked: set[int] = set()

    async def still(route: Route) -> None:
        asked.add(int(route.request.url.split("/still-")[1].split("?")[0]))
        await route.fulfill(body="<svg xmlns='http://www.w3.org/2000/svg'/>", content_type="image/svg+xml")

    def multiply(text: str | bytes) -> str:
        """One room as a county of them, all online."""
        event = json.loads(text)
        if event["type"] == "now":
            (card,) = event["data"]["cards"][:1]
            event["data"]["cards"] = [
                {
                    **card,
                    "online": True,
                    "problem": None,
                    "group": "idle",
                    "chips": [],
                    "still_url": f"/still-{number}",
                    "camera": {**card["camera"], "id": f"camera-{number}"},
                }
                for number in range(MANY)
            ]
        return json.dumps(event)

    def between(route: WebSocketRoute) -> None:
        server = route.connect_to_server()
        server.on_message(lambda text: route.send(multiply(text)))

    async with visit(house, tmp_path) as page:
        await page.route("**/still-*", still)
        await page.route_web_socket("**/api/v1/events", between)
        await page.reload()
        cards = page.locator("a.card")
        await expect(cards).to_have_count(MANY)
        await expect(cards.first.locator("img")).to_be_visible()
        assert 0 in asked
        assert MANY - 1 not in asked
        await cards.last.scroll_into_view_if_needed()
        await expect(cards.last.locator("img")).to_be_visible()
        assert MANY - 1 in asked
        assert len(asked) < MANY

"""The desk in a real browser: every page at both sizes and in both languages, the log-in, and a form."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Route, expect

from tests.support.browser import IS_TOO_WIDE, PATIENCE_MS, SLOWLY
from tests.support.desk_visit import SIZES, House, meeting_house, visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400), pytest.mark.asyncio(loop_scope="module")]

ROOT = Path(__file__).parents[2]

# A box that scrolls by a pixel or two was not meant to; a browser with visible scroll bars gives it one all the same.
_SCROLL_BY_A_HAIR = """() => [...document.querySelectorAll("main *")].filter(box => {
  const over = box.scrollHeight - box.clientHeight;
  return over > 0 && over < 4 && ["auto", "scroll"].includes(getComputedStyle(box).overflowY);
}).map(box => box.className)"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with meeting_house(tmp_path_factory.mktemp("desk")) as house:
        yield house


def namespaces(language: str) -> list[str]:
    catalog: dict[str, Any] = json.loads((ROOT / f"web/ui/src/locales/{language}.json").read_text(encoding="utf-8"))
    return [name for name, value in catalog.items() if isinstance(value, dict)]


@pytest.mark.parametrize("language", ["zh-CN", "en"])
@pytest.mark.parametrize("size", list(SIZES))
async def test_every_page_renders(house: House, size: str, language: str) -> None:
    pages = [
        "/now",
        f"/rooms/{house.camera}",
        "/meetings",
        f"/meetings/{house.meeting}",
        "/archive",
        "/cameras",
        "/admin/organizations",
        "/admin/people",
        "/admin/audit",
        "/search?q=东湾",
        "/no/such/page",
    ]
    async with visit(house, size, language) as desk:
        await desk.go("/login")
        await expect(desk.page.locator("html")).to_have_attribute("lang", language)
        await desk.log_in()
        await desk.page.wait_for_url("**/now")
        untranslated = rf"\b(?:{'|'.join(namespaces(language))})\.[a-z][a-zA-Z-]+\b"
        for path in pages:
            await desk.go(path)
            main = desk.page.locator("main")
            await expect(main.locator("h1, h2").first).to_be_visible(timeout=PATIENCE_MS)
            await expect(desk.page.locator("[aria-busy=true]")).to_have_count(0, timeout=PATIENCE_MS)
            await expect(desk.page.locator("nav li a")).to_have_count(5)
            await expect(desk.page.locator("html")).to_have_attribute("lang", language)
            assert await desk.page.evaluate(IS_TOO_WIDE) <= 0, path
            assert await desk.page.evaluate(_SCROLL_BY_A_HAIR) == [], path
            leaked = await main.evaluate(f"main => main.innerText.match(/{untranslated}/)?.[0] ?? null")
            assert leaked is None, (path, leaked)


async def test_log_in_keeps_the_name_and_returns_to_the_page_that_was_wanted(house: House) -> None:
    async with visit(house) as desk:
        await desk.go("/cameras")
        await desk.page.wait_for_url("**/login?next=/cameras")
        await desk.log_in(password="wrong-password")
        await expect(desk.page.get_by_role("alert").first).to_be_visible()
        await expect(desk.page.locator("input[name=username]")).to_have_value("county")
        # The browser itself writes each refused request to the console.
        assert len(desk.errors) == 1, desk.errors
        assert "401" in desk.errors.pop()
        await desk.log_in()
        await desk.page.wait_for_url("**/cameras")
        await expect(desk.page.get_by_text("东湾村党支部").first).to_be_visible()


async def test_camera_form_shows_errors_at_fields_and_loses_nothing(house: House) -> None:
    typed = {"名称": "主席台", "视频地址": "http://camera.example/stream", "用户名": "viewer"}
    async with visit(house) as desk:
        await desk.go("/login?next=/cameras")
        await desk.log_in()
        await desk.page.get_by_role("button", name="添加摄像机").click()
        form = desk.page.get_by_role("dialog", name="添加摄像机")
        for label, text in typed.items():
            await form.get_by_label(label, exact=True).fill(text)
        await form.get_by_role("button", name="保存").click()
        await expect(form.locator(".el-form-item__error")).to_have_text("视频地址要以 rtsp:// 开头")
        # An address that only the service can refuse: its sentence comes to the same field, and all stays typed.
        await form.get_by_label("视频地址", exact=True).fill("rtsp://169.254.169.254/latest")
        await form.get_by_role("button", name="保存").click()
        await expect(form.locator(".el-form-item__error, [role=alert]").first).not_to_have_text(
            "视频地址要以 rtsp:// 开头"
        )
        await expect(form.get_by_label("名称", exact=True)).to_have_value("主席台")
        await expect(form.get_by_label("用户名", exact=True)).to_have_value("viewer")
        await expect(form.get_by_label("视频地址", exact=True)).to_have_value("rtsp://169.254.169.254/latest")
        # The browser itself writes each refused request to the console.
        desk.errors[:] = [error for error in desk.errors if "Failed to load resource" not in error]


async def test_a_slow_answer_to_the_log_in_page_takes_nobody_back(house: House) -> None:
    async with visit(house) as desk:
        page, answered = desk.page, asyncio.Event()

        async def slowly(route: Route) -> None:
            await answered.wait()
            await route.continue_()

        await page.route("**/api/v1/about", slowly)
        await desk.go("/login")
        await desk.log_in()
        await page.wait_for_url("**/now")
        await page.get_by_role("link", name="摄像机", exact=True).click()
        await page.wait_for_url("**/cameras")
        async with page.expect_response("**/api/v1/about"):
            answered.set()
        await page.wait_for_timeout(300)
        assert page.url.endswith("/cameras")


async def test_who_types_while_a_form_still_opens_is_not_taken_elsewhere(house: House) -> None:
    async with visit(house) as desk:
        await desk.go("/login?next=/cameras")
        await desk.log_in()
        page = desk.page
        button = page.get_by_role("button", name="添加摄像机")
        await expect(button).to_be_visible()
        await page.evaluate(SLOWLY)
        await button.click()
        field = page.get_by_role("dialog", name="添加摄像机").get_by_label("用户名", exact=True)
        await field.focus()
        await page.wait_for_timeout(2_000)
        await expect(field).to_be_focused()

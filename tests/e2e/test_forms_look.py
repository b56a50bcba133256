"""The desk's forms in both themes, both languages and both sizes: fields can be seen, and nothing is cut off."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.support import county
from tests.support.browser import PATIENCE_MS, SLOWLY, chromium, desk, log_in

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400), pytest.mark.asyncio(loop_scope="module")]

SIZES = {"desk": (1920, 1080), "phone": (390, 844)}
# Contrast as WCAG 2.2 reckons it, and what a node stands on.
COLOURS = """
  const rgb = text => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const contrast = (one, other) => {
    const [dark, bright] = [light(one), light(other)].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  };
  const ground = at => {
    for (; at; at = at.parentElement) {
      const found = rgb(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
"""
# Fields whose edge has less than 3:1 (1.4.11). What cannot be used may be faint.
FAINT = f"""() => {{
  {COLOURS}
  const fields = ".el-input__wrapper, .el-select__wrapper, .el-textarea__inner, .el-radio__inner, .el-switch__core";
  const found = [];
  for (const field of document.querySelectorAll(fields)) {{
    const box = field.getBoundingClientRect(), style = getComputedStyle(field);
    if (box.width === 0 || field.closest(".is-disabled, .is-focus, .is-focused, .is-checked, .is-error")) continue;
    const edge = rgb(style.boxShadow === "none" ? style.borderTopColor : style.boxShadow).slice(0, 3);
    const ratio = contrast(edge, ground(field.parentElement));
    if (ratio < 3) found.push(`${{field.className}} ${{ratio.toFixed(2)}}`);
  }}
  return found;
}}"""
# Words with less than 4.5:1 (1.4.3), where they can be used.
PALE = f"""() => {{
  {COLOURS}
  const words = ".el-radio-button__inner, .el-button > span, label, p, .el-form-item__content > span, h1";
  const found = [];
  for (const node of document.querySelectorAll(words)) {{
    const shown = node.getBoundingClientRect().width > 0 && node.textContent.trim();
    if (!shown || !node.closest(".el-dialog, .el-drawer, .open") || node.closest(".is-disabled, [disabled]")) continue;
    const ratio = contrast(rgb(getComputedStyle(node).color).slice(0, 3), ground(node));
    if (ratio < 4.5) found.push(`${{node.textContent.trim()}} ${{ratio.toFixed(2)}}`);
  }}
  return found;
}}"""
# What is wider than its box, or stands out of the screen: what is to be typed too, where a field says it.
CUT_OFF = """() => {
  const wide = document.documentElement.clientWidth, found = [];
  for (const node of document.querySelectorAll(".el-dialog *, .el-drawer *, .open *")) {
    const box = node.getBoundingClientRect();
    if (box.width === 0 || node.closest("svg")) continue;
    if (box.right > wide + 1 || box.left < -1) found.push(`out: ${node.className || node.tagName}`);
    const label = node.matches("button, label, .el-form-item__label, .hint, p, h1, h2, .el-dialog__title");
    if (node.matches("input[placeholder]") && !node.value) {
      const pen = document.createElement("canvas").getContext("2d"), style = getComputedStyle(node);
      pen.font = `${style.fontSize} ${style.fontFamily}`;
      if (pen.measureText(node.placeholder).width > node.clientWidth + 1) found.push(`cut: ${node.placeholder}`);
    }
    if (node.matches(".el-radio-group")) {
      const tops = new Set([...node.children].map(one => Math.round(one.getBoundingClientRect().top)));
      if (tops.size > 1) found.push(`in two lines: ${node.textContent.trim()}`);
    }
    if (label && node.scrollWidth > node.clientWidth + 1) found.push(`cut: ${node.textContent.trim()}`);
  }
  return found;
}"""
FORMS = {
    "camera": ("/cameras", "添加摄像机|Add a? ?camera"),
    "meeting": ("/meetings", "安排会议|Plan meeting"),
    "person": ("/admin/people", "添加人员|Add a? ?person"),
    "organization": ("/admin/organizations", "添加(镇|村|组织)|Add a? ?(town|village|organization)"),
    "site": ("/admin/organizations", "添加场所|Add a? ?(site|place)"),
}


@dataclass
class House:
    url: str
    browser: Browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with county.running_with_pages(tmp_path_factory.mktemp("forms")) as here, chromium() as browser:
        _, site = await county.add_room(here.person, here.town, "柳树湾村党支部")
        await county.add_camera(here.person, site, "whip:")
        yield House(here.url, browser)


async def _prepare(page: Page, house: House, theme: str, language: str) -> None:
    await page.goto(f"{house.url}/login")
    await page.evaluate("theme => localStorage.setItem('sanhui.theme', theme)", theme)
    await page.reload()
    # A language chosen on the way in becomes that of the account.
    turn = page.locator("footer button")
    await turn.click()
    if await page.evaluate("() => document.documentElement.lang") != language:
        await turn.click()
    await expect(page.locator("html")).to_have_attribute("lang", language)


async def _look(page: Page, shot: Path) -> None:
    await page.screenshot(path=shot)
    assert await page.evaluate(FAINT) == [], shot.name
    assert await page.evaluate(PALE) == [], shot.name
    assert await page.evaluate(CUT_OFF) == [], shot.name


@pytest.mark.parametrize("language", ["zh-CN", "en"])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
async def test_every_form_can_be_seen_and_read(
    house: House, tmp_path: Path, size: str, theme: str, language: str
) -> None:
    async with desk(house.browser, tmp_path, *SIZES[size]) as found:
        page = found.page
        await _prepare(page, house, theme, language)
        await _look(page, tmp_path / "login.png")
        await log_in(page)
        await page.wait_for_url("**/now")
        for name, (path, button) in FORMS.items():
            await page.goto(house.url + path)
            await page.get_by_role("button", name=re.compile(button)).first.click()
            form: Any = page.get_by_role("dialog")
            await expect(form).to_be_visible(timeout=PATIENCE_MS)
            more = form.get_by_role("button", name=re.compile("更多设置|More settings"))
            if await more.count():
                await more.click()
            await expect(form.locator("input").first).to_be_visible()
            # Until it has opened: what moves is not where it will be.
            await page.wait_for_function("() => document.getAnimations().every(one => one.playState !== 'running')")
            await _look(page, tmp_path / f"{name}.png")


async def test_who_types_while_the_log_in_opens_is_not_taken_elsewhere(house: House, tmp_path: Path) -> None:
    async with desk(house.browser, tmp_path) as found:
        page = found.page
        await _prepare(page, house, "light", "zh-CN")
        await log_in(page)
        await page.wait_for_url("**/now")
        await page.goto(f"{house.url}/cameras")
        await page.get_by_role("button", name="添加摄像机").click()
        form = page.get_by_role("dialog", name="添加摄像机")
        await form.get_by_label("名称", exact=True).fill("主席台")
        await form.get_by_label("视频地址", exact=True).fill("rtsp://192.0.2.1/Streaming/Channels/101")
        await page.context.clear_cookies()
        await page.evaluate(SLOWLY)
        await form.get_by_label("视频地址", exact=True).press("Enter")
        again = page.get_by_role("dialog", name="登录")
        name = again.locator("input[name=username]")
        await name.focus()
        await page.wait_for_timeout(2_500)
        await expect(name).to_be_focused()

"""The desk in a real browser: every page at both sizes and in both languages, and what an official does with it."""

import asyncio
import contextlib
import json
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, Request, Route, async_playwright, expect

from tests.support import county
from tests.support.browser import log_in_in_its_language
from tests.support.service import PASSWORD, Person, running_service
from tests.support.village import CAMERA_USER, running_village

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
BUILT = ROOT / "web/static/index.html"
CAMERA_PASSWORD = "p@ss:/汉字"
SIZES = {"desk": (1920, 1080), "phone": (390, 844)}
PATIENCE_MS = 30_000
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(400),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Chromium: apt-get install chromium"),
    pytest.mark.skipif(not BUILT.exists(), reason="needs the built desk: make ui"),
]

# A box that scrolls by a pixel or two was not meant to; a browser with visible scroll bars gives it one all the same.
_SCROLL_BY_A_HAIR = """() => [...document.querySelectorAll("main *")].filter(box => {
  const over = box.scrollHeight - box.clientHeight;
  return over > 0 && over < 4 && ["auto", "scroll"].includes(getComputedStyle(box).overflowY);
}).map(box => box.className)"""
# What the policy refuses is said on the console, but not always as an error: it is asked for by name.
_TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", event =>
  console.error(`CSP: ${event.effectiveDirective} refused ${event.blockedURI} in ${event.sourceFile}`));
"""
_IS_TOO_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
_SLOWLY = """() => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync("* { transition-duration: 1s !important; animation-duration: 1s !important }");
    document.adoptedStyleSheets.push(sheet);
}"""
_POSITION = "() => document.querySelector('video').currentTime"


@dataclass
class House:
    """A service with a county in it, and a browser."""

    url: str
    browser: Browser
    meeting: str
    camera: str
    person: Person
    branch: str


@dataclass
class Visit:
    """A page of one person, and what went wrong on it."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)

    async def go(self, path: str) -> None:
        await self.page.goto(self.url + path)

    async def log_in(self, username: str = "county", password: str = PASSWORD) -> None:
        await log_in_in_its_language(self.page, username, password)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("desk")
    async with contextlib.AsyncExitStack() as stack:
        village = await stack.enter_async_context(running_village(folder, count=1, password=CAMERA_PASSWORD))
        settings = {"SANHUI_SEGMENT_S": "2", "SANHUI_RECONCILE_S": "1"}
        service = await stack.enter_async_context(running_service(folder, settings))
        person = await stack.enter_async_context(Person(service.url))
        await person.set_up(await service.setup_token())
        town = await county.add_town(person)
        branch, room = await county.add_room(person, town, "东湾村党支部")
        login = {"username": CAMERA_USER, "password": CAMERA_PASSWORD}
        camera = await county.add_camera(person, room, village.address(), **login)
        await county.camera_in_state(person, camera, "online")
        meeting = await county.plan_meeting(person, branch, 0.5)
        await county.recorded(person, meeting, 4.0)
        playwright = await stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        stack.push_async_callback(browser.close)
        yield House(service.url, browser, meeting, camera, person, branch)


@contextlib.asynccontextmanager
async def visit(house: House, size: str = "desk", language: str = "zh-CN") -> AsyncIterator[Visit]:
    """A fresh browser profile. At the end nothing may have gone wrong on its console."""
    width, height = SIZES[size]
    context = await house.browser.new_context(
        viewport={"width": width, "height": height}, locale=language, timezone_id="Asia/Shanghai"
    )
    await context.add_init_script(_TELL_VIOLATIONS)
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    found = Visit(page, house.url)

    def listen(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            found.errors.append(f"{page.url}: {message.text} {message.location.get('url', '')}")

    page.on("console", listen)
    page.on("pageerror", lambda error: found.errors.append(f"{page.url}: {error}"))
    try:
        yield found
    finally:
        await context.close()
    assert found.errors == []


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
            assert await desk.page.evaluate(_IS_TOO_WIDE) <= 0, path
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
        await page.evaluate(_SLOWLY)
        await button.click()
        field = page.get_by_role("dialog", name="添加摄像机").get_by_label("用户名", exact=True)
        await field.focus()
        await page.wait_for_timeout(2_000)
        await expect(field).to_be_focused()


async def test_probe_shows_each_step_and_the_picture(house: House) -> None:
    async with visit(house) as desk:
        await desk.go("/login?next=/cameras")
        await desk.log_in()
        await desk.page.get_by_role("button", name="测试").first.click()
        panel = desk.page.get_by_role("dialog", name="测试摄像机")
        await expect(panel.locator("img")).to_be_visible(timeout=PATIENCE_MS)
        for step in ("连接", "登录", "询问格式", "第一幅画面", "声音", "核对时间"):
            line = panel.locator("li").filter(has=desk.page.get_by_text(step, exact=True)).first
            await expect(line).to_contain_text("通过", timeout=PATIENCE_MS)
        assert CAMERA_PASSWORD not in await panel.inner_text()


async def test_a_meeting_is_watched_ended_and_looked_at_again(house: House) -> None:
    async with visit(house) as desk:
        await desk.go("/login")
        await desk.log_in()
        page = desk.page
        await page.get_by_role("link").filter(has_text="东湾村党支部").first.click()
        await page.wait_for_url(f"**/meetings/{house.meeting}*")
        marks = page.locator(".marks")
        await expect(marks).to_contain_text("直播", timeout=PATIENCE_MS)
        await moves(page)
        await page.get_by_role("button", name="结束会议").click()
        await page.get_by_role("dialog").get_by_role("button", name="结束会议").click()
        await expect(marks).to_contain_text("录像", timeout=PATIENCE_MS)
        await expect(marks).not_to_contain_text("直播")
        await moves(page)
        before = await page.evaluate(_POSITION)
        track = await page.get_by_role("slider", name="会议时间轴").bounding_box()
        assert track is not None
        await page.mouse.click(track["x"] + track["width"] * 0.8, track["y"] + track["height"] / 2)
        await page.wait_for_function(f"() => document.querySelector('video').currentTime > {before + 2}")
        await page.keyboard.press("Space")
        await expect(page.get_by_role("button", name="播放", exact=True)).to_be_visible()
        async with page.expect_download() as download:
            await page.get_by_role("link", name="下载录像").click()
        assert (await download.value).suggested_filename.endswith(".mp4")


async def moves(page: Page) -> None:
    """The picture plays: its time goes on by more than a second."""
    await page.wait_for_function("() => document.querySelector('video')?.readyState >= 3")
    before = await page.evaluate(_POSITION)
    await page.wait_for_function(f"() => document.querySelector('video').currentTime > {before + 1}")


async def test_how_the_picture_arrives_is_shown_on_demand(house: House) -> None:
    async with visit(house) as desk:
        await desk.go("/login")
        await desk.log_in()
        await desk.page.wait_for_url("**/now")
        for size in ("desk", "phone"):
            width, height = SIZES[size]
            await desk.page.set_viewport_size({"width": width, "height": height})
            await desk.go(f"/rooms/{house.camera}")
            panel = desk.page.locator("section.signal")
            await desk.page.wait_for_function("() => document.querySelector('video')?.readyState >= 2")
            await expect(panel).to_have_count(0)
            await desk.page.get_by_role("button", name="信号").click()
            for fact in ("信号", "丢包", "往返延迟", "1280×720", "主码流", "WebRTC · UDP"):
                await expect(panel).to_contain_text(fact, timeout=PATIENCE_MS)
            assert await desk.page.evaluate(_IS_TOO_WIDE) <= 0
            picture, over = await desk.page.locator("video").bounding_box(), await panel.bounding_box()
            assert picture is not None
            assert over is not None
            # A phone's picture is too small to have anything laid over it.
            below = over["y"] >= picture["y"] + picture["height"]
            assert below is (size == "phone")
            await panel.get_by_role("button").click()
            await expect(panel).to_have_count(0)


async def test_another_player_gets_address_and_token_from_the_cameras_page(house: House) -> None:
    async with visit(house) as desk:
        await desk.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        await desk.go(f"/login?next=/rooms/{house.camera}")
        await desk.log_in()
        await desk.page.get_by_role("button", name="在其他播放器中观看").click()
        dialog = desk.page.get_by_role("dialog", name="在其他播放器中观看")
        address, token = dialog.get_by_label("地址", exact=True), dialog.get_by_label("观看口令", exact=True)
        await expect(address).to_have_value(f"{house.url}/live/{house.camera}/whep")
        await expect(dialog).to_contain_text(re.compile(r"\d\d:\d\d 前有效，只能看这一路"))
        # What the button copies opens the camera, and nothing else.
        await dialog.get_by_role("button", name="复制观看口令").click()
        await expect(dialog.get_by_role("status").filter(has_text="观看口令已复制")).to_have_count(1)
        copied = await desk.page.evaluate("() => navigator.clipboard.readText()")
        assert copied == await token.input_value()
        known = {"Authorization": f"Bearer {copied}", "Content-Type": "application/sdp"}
        whep = await desk.page.context.request.post(await address.input_value(), headers=known, data="no offer")
        assert (whep.status, (await whep.json())["code"]) == (400, "webrtc-offer-broken")
        # The password for RTSP is good for longer, and is shown to who asks for it alone.
        password = dialog.get_by_label("密码", exact=True)
        await expect(password).to_have_count(0)
        await dialog.get_by_role("button", name="显示地址和密码").click()
        await expect(password).to_have_value(re.compile(r"[a-z2-7]{26}"))
        await expect(dialog.get_by_label("用户名", exact=True)).to_have_value("county")
        assert (await dialog.get_by_label("地址", exact=True).nth(1).input_value()).endswith(f"/live/{house.camera}")
        # Without a clipboard, as on a page that came over plain HTTP, what is selected is copied.
        await desk.page.evaluate("() => Object.defineProperty(navigator, 'clipboard', {value: undefined})")
        await dialog.get_by_role("button", name="复制密码").click()
        assert await desk.page.evaluate("() => getSelection().toString()") == await password.input_value()
        await expect(dialog.get_by_role("button", name="复制密码")).to_have_text(re.compile("已复制"))
        # Closed, nothing of it is left; the next time it is another token.
        await desk.page.keyboard.press("Escape")
        await expect(dialog).to_have_count(0)
        for size in SIZES.values():
            await desk.page.set_viewport_size({"width": size[0], "height": size[1]})
            await desk.page.get_by_role("button", name="在其他播放器中观看").click()
            await expect(token).not_to_have_value(copied)
            await expect(password).to_have_count(0)
            assert await desk.page.evaluate(_IS_TOO_WIDE) <= 0
            for field in (address, token):
                assert await field.evaluate("field => field.scrollHeight <= field.clientHeight + 1"), "cut off"
            await desk.page.keyboard.press("Escape")
            await expect(dialog).to_have_count(0)


QUIET_S = 25.0
"""Longer than any page has ever waited between two questions about what it shows."""


async def test_no_page_polls(house: House) -> None:
    pages = [
        "/now",
        "/meetings",
        "/archive",
        "/cameras",
        f"/rooms/{house.camera}",
        f"/meetings/{house.meeting}",
        "/admin/organizations",
        "/admin/people",
    ]
    asked: list[str] = []
    async with visit(house) as desk, contextlib.AsyncExitStack() as tabs:
        await desk.go("/login")
        await desk.log_in()
        await desk.page.wait_for_url("**/now")
        shown: dict[str, Page] = {}
        for path in pages:
            page = shown[path] = await desk.page.context.new_page()
            tabs.push_async_callback(page.close)
            await page.goto(house.url + path)
            await expect(page.locator("main").locator("h1, h2").first).to_be_visible(timeout=PATIENCE_MS)
            await expect(page.locator("[aria-busy=true]")).to_have_count(0, timeout=PATIENCE_MS)
        trend = shown["/cameras"].locator(".bitrate path")
        before = await trend.get_attribute("d")
        for page in (shown[f"/rooms/{house.camera}"], shown[f"/meetings/{house.meeting}"]):
            await page.wait_for_function("() => document.querySelector('video')?.readyState >= 2")

        def note(request: Request) -> None:
            if request.resource_type in {"fetch", "xhr"}:
                asked.append(f"{request.frame.url}: {request.method} {request.url}")

        # What the pages' own opening has set off has been asked for by then.
        await desk.page.wait_for_timeout(3000)
        desk.page.context.on("request", note)
        await desk.page.wait_for_timeout(QUIET_S * 1000)
        # And yet the bit rate goes on.
        await expect(trend).not_to_have_attribute("d", before or "", timeout=PATIENCE_MS)
    assert asked == []

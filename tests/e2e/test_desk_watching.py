"""What is watched at the desk in a browser: a test of a camera, a meeting, how its picture arrives, other players."""

import contextlib
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, Request, expect

from tests.support.browser import IS_TOO_WIDE, PATIENCE_MS
from tests.support.desk_visit import CAMERA_PASSWORD, SIZES, House, meeting_house, visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400), pytest.mark.asyncio(loop_scope="module")]

_POSITION = "() => document.querySelector('video').currentTime"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with meeting_house(tmp_path_factory.mktemp("desk")) as house:
        yield house


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
            assert await desk.page.evaluate(IS_TOO_WIDE) <= 0
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
            assert await desk.page.evaluate(IS_TOO_WIDE) <= 0
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
        "/wall",
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

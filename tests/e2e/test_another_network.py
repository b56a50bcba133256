"""Pages on networks as they are: one that changes in the middle of a meeting, one that only a TURN server crosses."""

import asyncio
from collections.abc import Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Request, expect

from tests.support import county
from tests.support.bad_line import BadLine
from tests.support.browser import FAKE_DEVICES, PATIENCE_MS, chromium, desk, log_in
from tests.support.turn import SECRET, turn_server
from tests.support.village import running_village

pytestmark = [pytest.mark.browser, pytest.mark.interfaces, pytest.mark.timeout(300)]

_FRAMES = "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames"
MISSING_S = 12.0
"""Longer is a publisher not waited for (``IngestSettings.silence_s``): it would come back as another one."""


def sessions(page: Page) -> list[str]:
    """The methods of what the page asks of its WebRTC sessions, from now on."""
    asked: list[str] = []

    def note(request: Request) -> None:
        if request.method != "GET" and ("/whip" in request.url or "/whep" in request.url):
            asked.append(request.method)

    page.on("request", note)
    return asked


async def test_an_address_that_changes_ends_no_session(tmp_path: Path) -> None:
    with BadLine(delay_s=0.02) as line:
        line.take_address(line.inside_other)
        hosts = {"SANHUI_HTTP_HOST": "0.0.0.0", "SANHUI_WEBRTC_HOST": line.outside, "SANHUI_RECONCILE_S": "1"}
        async with county.running_with_pages(tmp_path, hosts) as here:
            branch, site = await county.add_room(here.person, here.town, "东湾村党支部")
            await county.add_camera(here.person, site, "whip:")
            meeting = await county.plan_meeting(here.person, branch, 0.5)
            origin = f"http://{line.outside}:{here.service.port}"
            loop = asyncio.get_running_loop()

            async def outside(asked: Coroutine[Any, Any, Any]) -> Any:
                """What somebody does whose network stays."""
                return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asked, loop))

            async def meet() -> None:
                # Browsers give a camera to pages that came over HTTPS or from this machine alone.
                trusted = f"--unsafely-treat-insecure-origin-as-secure={origin}"
                async with (
                    chromium(*FAKE_DEVICES, trusted) as browser,
                    desk(browser, tmp_path / "phone", 390, 844) as phone,
                    desk(browser, tmp_path / "desk") as official,
                ):
                    sent, seen = sessions(phone.page), sessions(official.page)
                    await phone.page.goto(f"{origin}/room")
                    digits = phone.page.locator(".code span")
                    await expect(digits).to_have_count(6, timeout=PATIENCE_MS)
                    code = "".join(await digits.all_text_contents())
                    await outside(here.person.call("POST", f"/sites/{site}/devices", {"code": code}))
                    await phone.page.locator(".choice").first.click(timeout=PATIENCE_MS)
                    await outside(county.recorded(here.person, meeting, 4))
                    await official.page.goto(f"{origin}/login?next=/meetings/{meeting}")
                    await log_in(official.page)
                    await official.page.wait_for_function(f"() => document.querySelector('video') && {_FRAMES} > 25")
                    assert (sent, seen) == (["POST"], ["POST"])

                    # One network ends before the next one is there.
                    line.take_address(line.inside)
                    await asyncio.sleep(1)
                    line.give_address(line.inside_other)
                    before = await official.page.evaluate(f"() => {_FRAMES}")
                    await official.page.wait_for_function(f"before => {_FRAMES} > before + 100", arg=before)
                    for asked in (sent, seen):
                        assert asked.count("POST") == 1
                        assert "PATCH" in asked
                    await expect(phone.page.locator(".sends")).to_contain_text("正在发送", timeout=PATIENCE_MS)

            await line.run_inside(meet)
            await here.person.call("POST", f"/meetings/{meeting}/end")
            timeline = await here.person.call("GET", f"/meetings/{meeting}/timeline")
    missing = [gap for gap in timeline["gaps"] if gap["cause"] != "not-started"]
    print(*missing, sep="\n")
    assert "packets-lost" in {gap["cause"] for gap in missing}
    for gap in missing:
        away = datetime.fromisoformat(gap["ends_at"]) - datetime.fromisoformat(gap["starts_at"])
        assert away.total_seconds() < MISSING_S, missing


async def test_where_no_way_leads_to_the_service_a_turn_server_carries_the_picture(tmp_path: Path) -> None:
    with BadLine(delay_s=0.02, udp=False) as line, turn_server(line.outside, tmp_path) as turn:
        settings = {
            "SANHUI_HTTP_HOST": "0.0.0.0",
            "SANHUI_WEBRTC_HOST": line.outside,
            "SANHUI_WEBRTC_TCP": "false",
            "SANHUI_WEBRTC_ICE_SERVERS": turn,
            "SANHUI_WEBRTC_TURN_SECRET": SECRET,
        }
        async with running_village(tmp_path) as village, county.running_with_pages(tmp_path, settings) as here:
            _, room = await county.add_room(here.person, here.town, "东湾村党支部")
            camera = await county.add_camera(here.person, room, village.address())
            await county.camera_in_state(here.person, camera, "online")

            async def look() -> None:
                async with chromium() as browser, desk(browser, tmp_path) as official:
                    await official.page.goto(f"http://{line.outside}:{here.service.port}/login?next=/rooms/{camera}")
                    await log_in(official.page)
                    # Not the playlist, which would be taken where WebRTC leads nowhere.
                    await official.page.wait_for_function(
                        f"() => document.querySelector('video')?.srcObject && {_FRAMES} > 50"
                    )

            await line.run_inside(look)
        assert line.blocked > 0

"""What a TV in a room has in sight whatever it is told: long names, long notes, a lost network, a camera refused."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, Request, Route, WebSocketRoute, expect

from tests.support import county
from tests.support.browser import chromium, desk

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

VILLAGE = "柳树湾村党支部"
QUIET_S = 25.0
LONGEST_NOTE = "请先由支部书记宣布应到会和实到会的正式党员人数，确认超过半数以后再开始表决，" * 5
LONG_NAME = "社会主义新农村建设示范片区柳树湾中心村联合党总支第一党支部（流动党员）"
LONG_TITLE = (
    "关于讨论审议村集体经济收益分配方案、研究发展党员工作并传达学习上级会议精神暨第四季度工作部署的支部党员大会"
)
# Whether what is written is on the screen, inside what every TV shows, with nothing laid over it.
_IN_SIGHT = """element => {
  const box = element.getBoundingClientRect();
  const [left, top] = [innerWidth * 0.049, innerHeight * 0.049];
  if (box.left < left || box.top < top || box.right > innerWidth - left || box.bottom > innerHeight - top) return false;
  return [box.top + 2, box.bottom - 2].every(
    y => element.contains(document.elementFromPoint((box.left + box.right) / 2, y)));
}"""


@dataclass
class House:
    """A service whose rooms are only told of, and a browser."""

    url: str
    browser: Browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with county.running_with_pages(tmp_path_factory.mktemp("screen")) as here, chromium() as browser:
        yield House(here.url, browser)


def room(**more: Any) -> dict[str, Any]:
    """What the service says to a room's page while a meeting is recorded there."""
    began = datetime.now(UTC) - timedelta(minutes=72)
    return {
        "at": began.isoformat(),
        "device": "电视",
        "topic": "room/hall",
        "csrf_token": "token",
        "site": {"id": "hall", "name": "党群服务中心会议室"},
        "village": {"id": "village", "name": VILLAGE, "level": "village"},
        "cameras": [{"state": "online", "problem": None}],
        "meeting": {"id": "m", "kind": "members-meeting", "title": "支部党员大会", "started_at": began.isoformat()},
        "recording": {"state": "recording"},
        "next_meeting": None,
        "offices": [{"id": "county", "name": "云岭县委组织部"}],
        "viewers": 1,
        "notes": [],
        "talk": {"speaker": None, "queue": []},
        "voice_url": None,
        "send_url": None,
        **more,
    }


def note(text: str) -> dict[str, Any]:
    """A note that waits for its answer."""
    author = {"id": "u", "name": "王敏"}
    return {"id": "n", "kind": "guide", "text": text, "office": "云岭县委组织部", "author": author, "shown_at": "now"}


@contextlib.asynccontextmanager
async def television(house: House, folder: Path, shown: dict[str, Any], *, lost: bool = False) -> AsyncIterator[Page]:
    """The room's page of a TV that is told ``shown``, and whose network may be lost then."""

    async def answer(route: Route) -> None:
        await route.fulfill(json=shown)

    async def events(route: WebSocketRoute) -> None:
        if lost:
            await route.close()
        else:
            route.send(json.dumps({"type": "hello", "at": shown["at"], "beat_s": 60}))

    async with desk(house.browser, folder, 1280, 720) as found:
        await found.page.route("**/api/v1/room", answer)
        await found.page.route_web_socket("**/api/v1/room/events", events)
        await found.page.goto(f"{house.url}/room")
        await expect(found.page.locator(".status")).to_be_visible()
        yield found.page


async def is_in_sight(place: Locator) -> bool:
    return bool(await place.evaluate(_IN_SIGHT))


async def test_a_tv_that_is_told_what_happens_does_not_ask(house: House, tmp_path: Path) -> None:
    asked: list[str] = []

    def note_it(request: Request) -> None:
        if request.resource_type in {"fetch", "xhr"}:
            asked.append(f"{request.method} {request.url}")

    async with television(house, tmp_path, room(viewers=0)) as page:
        # What its own opening has set off has been asked for by then.
        await page.wait_for_timeout(3000)
        page.on("request", note_it)
        await page.wait_for_timeout(QUIET_S * 1000)
    assert asked == []


async def test_long_names_leave_the_screen_to_what_matters(house: House, tmp_path: Path) -> None:
    offices = [{"id": str(n), "name": f"云岭县第{n}督导组和县委组织部"} for n in range(4)]
    speaker = {"id": "u", "name": "王敏", "office": "云岭县委组织部"}
    shown = room(
        village={"id": "village", "name": LONG_NAME, "level": "village"},
        site={"id": "hall", "name": LONG_NAME + "会议室"},
        meeting={**room()["meeting"], "title": LONG_TITLE},
        offices=offices,
        talk={"speaker": speaker, "queue": []},
        send_url="/live/camera/whip",
    )
    async with television(house, tmp_path, shown) as page:
        for text in ("正在录制", "正在讲话", "上级列席中"):
            assert await is_in_sight(page.locator(".line", has_text=text)), text
        assert await is_in_sight(page.locator(".what"))


async def test_the_longest_note_leaves_in_sight_what_is_recorded(house: House, tmp_path: Path) -> None:
    shown = room(notes=[note(LONGEST_NOTE[:200])], meeting={**room()["meeting"], "title": LONG_TITLE})
    async with television(house, tmp_path, shown) as page:
        assert await is_in_sight(page.locator(".note .text"))
        assert await is_in_sight(page.locator(".note .choice span"))
        assert await is_in_sight(page.locator(".line", has_text="正在录制"))
        small = await page.evaluate(
            """() => Math.min(...[...document.querySelectorAll(".tv *")].filter(element => element.childNodes.length &&
                 [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()))
                 .map(element => parseFloat(getComputedStyle(element).fontSize)))"""
        )
        assert small >= 28


async def test_a_lost_network_is_told_beside_a_note(house: House, tmp_path: Path) -> None:
    async with television(house, tmp_path, room(notes=[note("请先清点到会人数")]), lost=True) as page:
        told = page.locator(".lost")
        await expect(told).to_contain_text("录像没有中断")
        assert await is_in_sight(told)
        assert await is_in_sight(page.locator(".note .choice span"))


async def test_a_room_that_is_not_recorded_reads_why_and_whom_to_tell(house: House, tmp_path: Path) -> None:
    why = {"code": "camera-credentials-refused", "title": "摄像机的用户名或密码不对", "detail": ""}
    shown = room(recording={"state": "waiting"}, cameras=[{"state": "refused", "problem": why}])
    async with television(house, tmp_path, shown) as page:
        await expect(page.locator(".status")).to_contain_text("没有录上：摄像机的用户名或密码不对")
        await expect(page.locator(".status")).to_contain_text("请告诉镇上或县里")


async def test_the_number_to_pair_by_is_the_brightest_thing_on_the_screen(house: House, tmp_path: Path) -> None:
    async with desk(house.browser, tmp_path, 1280, 720) as tv:
        await tv.page.goto(f"{house.url}/room")
        await expect(tv.page.locator(".code span")).to_have_count(6)
        colours = await tv.page.evaluate(
            """() => [".code span", "h1"].map(of => getComputedStyle(document.querySelector(of)).color)"""
        )
        assert colours[0] == colours[1]

"""A county whose one meeting is being recorded, and people who visit its desk in a browser."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import Browser, ConsoleMessage, Page

from tests.support import county
from tests.support.browser import PATIENCE_MS, chromium, log_in_in_its_language
from tests.support.service import PASSWORD
from tests.support.village import CAMERA_USER, running_village

CAMERA_PASSWORD = "p@ss:/汉字"
SIZES = {"desk": (1920, 1080), "phone": (390, 844)}
# What the policy refuses is said on the console, but not always as an error: it is asked for by name.
_TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", event =>
  console.error(`CSP: ${event.effectiveDirective} refused ${event.blockedURI} in ${event.sourceFile}`));
"""


@dataclass
class House:
    """A service with a county in it, and a browser."""

    url: str
    browser: Browser
    meeting: str
    camera: str


@dataclass
class Visit:
    """A page of one person, and what went wrong on it."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)

    async def go(self, path: str) -> None:
        """Open a page of the desk."""
        await self.page.goto(self.url + path)

    async def log_in(self, username: str = "county", password: str = PASSWORD) -> None:
        """Fill in the log-in page that is open. Who may not log in stays on it."""
        await log_in_in_its_language(self.page, username, password)


@contextlib.asynccontextmanager
async def meeting_house(folder: Path) -> AsyncIterator[House]:
    """The county, on a service of its own with one camera; its meeting has been recorded for some seconds."""
    settings = {"SANHUI_SEGMENT_S": "2", "SANHUI_RECONCILE_S": "1"}
    async with (
        running_village(folder, count=1, password=CAMERA_PASSWORD) as village,
        county.running_with_pages(folder, settings) as here,
        chromium("--mute-audio") as browser,
    ):
        branch, room = await county.add_room(here.person, here.town, "东湾村党支部")
        login = {"username": CAMERA_USER, "password": CAMERA_PASSWORD}
        camera = await county.add_camera(here.person, room, village.address(), **login)
        await county.camera_in_state(here.person, camera, "online")
        meeting = await county.plan_meeting(here.person, branch, 0.5)
        await county.recorded(here.person, meeting, 4.0)
        yield House(here.url, browser, meeting, camera)


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
    except BaseException:
        print("console:", *found.errors, sep="\n  ")
        raise
    finally:
        await context.close()
    assert found.errors == [], "\n".join(found.errors)

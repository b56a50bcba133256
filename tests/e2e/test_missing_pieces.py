"""Pieces of pages that could not be fetched: a moment without network, or a service of another version by now."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Route, expect

from tests.support.browser import PATIENCE_MS
from tests.support.desk_visit import House, meeting_house, visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with meeting_house(tmp_path_factory.mktemp("pieces")) as found:
        yield found


async def cut_off(route: Route) -> None:
    await route.abort("internetdisconnected")


async def test_who_goes_to_a_page_that_cannot_be_fetched_gets_there(house: House) -> None:
    async with visit(house) as desk:
        await desk.go("/login")
        await desk.log_in()
        await desk.page.wait_for_url("**/now")
        await desk.page.route("**/assets/ArchivePage-*.js", cut_off)
        await desk.page.locator("nav a[href='/archive']").click()
        await desk.page.wait_for_timeout(1000)
        assert desk.page.url.endswith("/now")
        await desk.page.unroute("**/assets/ArchivePage-*.js")
        await desk.page.wait_for_url("**/archive", timeout=PATIENCE_MS)
        await expect(desk.page.locator("main h1, main h2").first).to_be_visible(timeout=PATIENCE_MS)
        assert any("ERR_INTERNET_DISCONNECTED" in error for error in desk.errors)
        desk.errors.clear()


async def test_a_first_page_that_cannot_be_fetched_comes_by_itself(house: House) -> None:
    async with visit(house) as desk:
        await desk.page.route("**/assets/LoginPage-*.js", cut_off, times=1)
        await desk.go("/login")
        await desk.log_in()
        await desk.page.wait_for_url("**/now")
        assert any("ERR_INTERNET_DISCONNECTED" in error for error in desk.errors)
        desk.errors.clear()

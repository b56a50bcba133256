"""A village with only a TV box and a USB camera: paired by a number, it sends its meeting and is guided."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from tests.support import county
from tests.support.browser import FAKE_DEVICES, PATIENCE_MS, chromium, desk, log_in
from tests.support.ffmpeg_player import play
from tests.support.service import PASSWORD, Person, ServiceProcess

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

VILLAGE = "柳树湾村党支部"
NOTE = "请先清点到会人数，再开始表决"
AUDIBLE = 0.05
EARLY_S, LATE_S = 1.5, 5.0
"""How far from a note's second the picture may be that a click on it shows: it plays on while it is looked at."""
BRIGHT = """() => {
  const video = document.querySelector("video");
  const canvas = new OffscreenCanvas(64, 36);
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(video, 0, 0, 64, 36);
  const pixels = context.getImageData(0, 0, 64, 36).data;
  let sum = 0;
  for (let n = 1; n < pixels.length; n += 4) sum += pixels[n];
  return sum / (pixels.length / 4);
}"""

# How loud the voice into the room gets within some seconds, 0 to 1: the page's first <audio>.
VOICE_LOUDNESS = """async () => {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  const samples = new Float32Array(analyser.fftSize);
  const until = performance.now() + 15_000;
  let loudest = 0, of = null;
  while (performance.now() < until && loudest < 0.05) {
    const voice = document.querySelector("audio").srcObject;
    if (voice && voice !== of && voice.getAudioTracks().length) {
      context.createMediaStreamSource(of = voice).connect(analyser);
    }
    analyser.getFloatTimeDomainData(samples);
    for (const sample of samples) loudest = Math.max(loudest, Math.abs(sample));
    await new Promise(done => setTimeout(done, 20));
  }
  await context.close();
  return loudest;
}"""

# No scroll bar takes its strip of a TV. Whoever drives Chromium from here does not see them, Firefox shows them.
SCROLLS = "() => getComputedStyle(document.documentElement).overflowY"
UNPLUG = """() => {
  const stream = document.querySelector("video.own").srcObject;
  for (const track of stream.getTracks()) {
    track.stop();
    track.dispatchEvent(new Event("ended"));
  }
  return stream.id;
}"""
PLUGGED_IN = """before => {
  const stream = document.querySelector("video.own").srcObject;
  return stream && stream.id !== before && stream.getVideoTracks()[0].readyState === "live";
}"""


@dataclass
class Room:
    service: ServiceProcess
    person: Person
    site: str
    meeting: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def room(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Room]:
    async with county.running_with_pages(tmp_path_factory.mktemp("room"), {"SANHUI_RECONCILE_S": "1"}) as here:
        branch, site = await county.add_room(here.person, here.town, VILLAGE)
        await county.add_camera(here.person, site, "whip:")
        official = {"username": "wang", "display_name": "王敏", "role": "official", "password": PASSWORD}
        await here.person.call("POST", "/users", {**official, "organization_id": here.town})
        meeting = await county.plan_meeting(here.person, branch, 0.5)
        yield Room(here.service, here.person, site, meeting)


async def pair(tv: Page, room: Room) -> None:
    """Enter the number on the screen at the desk, once."""
    digits = tv.locator(".code span")
    await expect(digits).to_have_count(6, timeout=PATIENCE_MS)
    code = "".join(await digits.all_text_contents())
    await room.person.call("POST", f"/sites/{room.site}/devices", {"code": code})
    await expect(tv.locator("h1")).to_have_text(VILLAGE, timeout=PATIENCE_MS)


async def moves(page: Page) -> None:
    """The picture comes, goes on, and is not black."""
    await page.wait_for_function("() => document.querySelector('video')?.readyState >= 2")
    before = await page.evaluate("() => document.querySelector('video').currentTime")
    await page.wait_for_function("before => document.querySelector('video').currentTime > before + 0.5", arg=before)
    assert await page.evaluate(BRIGHT) > 10


async def everybody_hears(room: Room, speaker: Page, tv: Page, folder: Path, browser: Browser) -> None:
    """One official speaks: the room hears it from its TV, whoever else watches hears both, and sees who speaks."""
    async with desk(browser, folder / "other") as watcher:
        await watcher.page.goto(f"{room.service.url}/login?next=/meetings/{room.meeting}")
        await log_in(watcher.page)
        await moves(watcher.page)
        await speaker.keyboard.down("t")
        await expect(speaker.locator("button.talk")).to_contain_text("正在讲话", timeout=PATIENCE_MS)
        for page in (tv, watcher.page):
            assert await page.evaluate(VOICE_LOUDNESS) > AUDIBLE
        await expect(tv.locator(".line", has_text="正在讲话")).to_contain_text("清溪镇党委", timeout=PATIENCE_MS)
        assert await watcher.loudness(6) > AUDIBLE
        who = watcher.page.locator(".people li", has_text="清溪镇党委")
        await expect(who).to_contain_text("正在讲话", timeout=PATIENCE_MS)
        await speaker.keyboard.up("t")


async def note_on_record(page: Page) -> Locator:
    return page.locator(".story li").filter(has_text=NOTE)


async def test_a_room_sends_itself_and_is_guided(room: Room, tmp_path: Path) -> None:
    async with (
        chromium(*FAKE_DEVICES) as browser,
        desk(browser, tmp_path / "tv", 1280, 720) as tv,
        desk(browser, tmp_path / "desk") as official,
    ):
        await tv.page.goto(f"{room.service.url}/room")
        await pair(tv.page, room)
        await expect(tv.page.locator(".what")).to_contain_text("支部党员大会", timeout=PATIENCE_MS)
        assert await tv.page.evaluate(SCROLLS) == "hidden"
        await tv.page.keyboard.press("1")
        await county.recorded(room.person, room.meeting, 3)
        await expect(tv.page.locator(".status")).to_contain_text("正在录制", timeout=PATIENCE_MS)

        await official.page.goto(f"{room.service.url}/login")
        await log_in(official.page, "wang")
        await official.page.wait_for_url("**/now")
        await official.page.goto(f"{room.service.url}/meetings/{room.meeting}")
        await moves(official.page)
        assert await official.loudness(6) > AUDIBLE
        await expect(tv.page.locator(".status")).to_contain_text("清溪镇党委", timeout=PATIENCE_MS)

        await official.page.keyboard.press("n")
        await official.page.locator(".note-form textarea").fill(NOTE)
        await official.page.get_by_role("button", name="发送").click()
        await expect(tv.page.locator(".note .text")).to_have_text(NOTE, timeout=PATIENCE_MS)
        await tv.page.keyboard.press("Enter")
        await expect(tv.page.locator(".note")).to_have_count(0, timeout=PATIENCE_MS)
        on_record = await note_on_record(official.page)
        await expect(on_record).to_contain_text("已收到", timeout=PATIENCE_MS)

        await everybody_hears(room, official.page, tv.page, tmp_path, browser)
        await room.person.call("POST", f"/meetings/{room.meeting}/end")
        await expect(official.page.locator(".marks")).to_contain_text("录像", timeout=PATIENCE_MS)
        timeline = official.page.get_by_role("slider", name="会议时间轴")
        await timeline.press("Home")
        await moves(official.page)
        await on_record.get_by_role("button").click()
        await moves(official.page)
        # The timeline follows the picture that is shown.
        (note,) = (await room.person.call("GET", f"/meetings/{room.meeting}/notes"))["items"]
        shown_s = float(await timeline.get_attribute("aria-valuenow") or 0)
        assert -EARLY_S <= shown_s - datetime.fromisoformat(note["at"]).timestamp() <= LATE_S
        meeting = await county.filed(room.person, room.meeting)
        await it_is_whole(room, meeting, tmp_path)
    wrong = [line for line in (*tv.console, *official.console) if line.startswith("error") and "401" not in line]
    assert wrong == []


async def it_is_whole(room: Room, meeting: Any, folder: Path) -> None:
    """What the room sent plays as any recording does, with its sound."""
    address = room.service.url + meeting["playback"]["hls_url"]
    played = await play(address, folder, cookie=room.person.cookie_header)
    assert played.complaints == ()
    seconds = meeting["recording"]["recorded_s"]
    # A busy machine takes pictures away, never sharpness.
    assert played.frames > 2 * seconds
    notes = (await room.person.call("GET", f"/meetings/{room.meeting}/notes"))["items"]
    assert [note["text"] for note in notes] == [NOTE]
    assert notes[0]["shown_at"] <= notes[0]["answered_at"]


async def test_a_key_that_is_held_and_rights_that_are_taken_away_leave_no_dead_end(room: Room, tmp_path: Path) -> None:
    async with chromium(*FAKE_DEVICES) as browser, desk(browser, tmp_path / "box", 1280, 720) as tv:
        await tv.page.goto(f"{room.service.url}/room")
        await pair(tv.page, room)
        stop = tv.page.locator(".choice", has_text="停止")
        # Held for a second, the key repeats; it has been pressed once all the same.
        for _ in range(12):
            await tv.page.keyboard.down("1")
            await asyncio.sleep(0.08)
        await tv.page.keyboard.up("1")
        await expect(stop).to_have_count(1, timeout=PATIENCE_MS)
        await expect(tv.page.locator(".sends")).to_contain_text("正在发送", timeout=PATIENCE_MS)
        # The camera is plugged out and in again: it is another one to the browser, and is sent without anybody's doing.
        before = await tv.page.evaluate(UNPLUG)
        await tv.page.wait_for_function(PLUGGED_IN, arg=before)
        await expect(tv.page.locator(".sends")).to_contain_text("正在发送", timeout=PATIENCE_MS)
        await tv.page.wait_for_timeout(1_500)
        await tv.page.keyboard.press("1")
        await expect(stop).to_have_count(0, timeout=PATIENCE_MS)

        devices = (await room.person.call("GET", "/devices"))["items"]
        for device in devices:
            await room.person.call("DELETE", f"/devices/{device['id']}")
        # Somebody at the desk takes the box away, and gives it back: nobody in the village does anything.
        await pair(tv.page, room)

"""Lines into a room that are opened at the same moment, or anew: one voice at a time, and always the floor's."""

import asyncio

import pytest

from media.tasks import Failures
from storage.records import MeetingPlace, TalkEntry
from storage.repositories.guidance import TalkRepository
from streaming.errors import PublisherThereError
from streaming.talk import Rank, Talker
from streaming.talk_errors import TalkBusyError
from streaming.talk_rooms import TalkRooms
from streaming.webrtc.whip_sessions import WhipSession
from tests.support.live_feed import until
from tests.support.webrtc_client import WebRtcClient
from tests.web.test_talk import LIMIT_S, Hall, a_voice, camera, hall, saying
from web.live.talk_desk import TALK, TalkDesk

__all__ = ["camera", "hall"]

COUNTY = Talker("u-official", "王敏", "清河县委组织部", Rank.COUNTY)
TOWN = Talker("u-east", "李强", "东镇党委", Rank.TOWN)


async def desk_and_place(hall: Hall) -> tuple[TalkDesk, MeetingPlace]:
    async with hall.service.services.database.read() as repos:
        place = await repos.meetings.place(hall.meeting)
    return hall.service.server.app[TALK], place


async def entries(hall: Hall) -> tuple[TalkEntry, ...]:
    async with hall.service.services.database.read() as repos:
        return await repos.talks.of_meeting(hall.meeting)


def holder(desk: TalkDesk, hall: Hall) -> str | None:
    holding, _ = desk.rooms.state(hall.meeting)
    return holding.talker.id if holding is not None else None


async def test_who_comes_back_on_another_line_keeps_the_floor(hall: Hall) -> None:
    official = await hall.service.logged_in("east")
    desk, _ = await desk_and_place(hall)
    async with WebRtcClient() as first, WebRtcClient() as second, asyncio.timeout(LIMIT_S):
        asked = await hall.ask(official, a_voice(first))
        await first.connect(await asked.text())
        again = await hall.ask(official, a_voice(second))
        assert again.status == 201, await again.text()
        await first.said_goodbye.wait()
        await second.connect(await again.text())
        async with saying(second) as sent:
            await until(lambda: len(sent) > 20, LIMIT_S)
            assert holder(desk, hall) == "u-east"
        left = await official.client.delete(again.headers["Location"], headers={"X-CSRF-Token": official.csrf})
        assert left.status == 200
        await until(lambda: holder(desk, hall) is None)
        async with asyncio.timeout(LIMIT_S):
            while True:
                (turn,) = (await official.json("GET", f"/meetings/{hall.meeting}/talks"))["items"]
                if turn["reason"]:
                    break
    assert turn["reason"] == "released", "one turn, on two lines"


async def test_county_takes_the_floor_while_the_towns_line_is_being_opened(hall: Hall) -> None:
    desk, place = await desk_and_place(hall)
    for turns in range(8):
        town = asyncio.create_task(desk.speak(place, TOWN, a_voice(WebRtcClient())))
        for _ in range(turns):
            await asyncio.sleep(0)
        county = asyncio.create_task(desk.speak(place, COUNTY, a_voice(WebRtcClient())))
        results = await asyncio.gather(town, county, return_exceptions=True)
        assert not isinstance(results[1], PublisherThereError), f"{turns} turns of the loop later"
        assert isinstance(results[1], WhipSession)
        # The town waits, or had its line already, which is closed.
        assert isinstance(results[0], TalkBusyError | WhipSession)
        assert holder(desk, hall) == COUNTY.id
        await until(lambda: len(desk.whip) == 1)
        assert [item.talker.id for item in desk.rooms.state(hall.meeting)[1]] == [TOWN.id]
        await desk.whip.close(results[1].id)
        await until(lambda: holder(desk, hall) == TOWN.id)
        desk.rooms.release(hall.meeting, TOWN.id)
        assert holder(desk, hall) is None


async def test_whoever_writes_down_who_spoke_may_fail_and_ends_no_turn(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    town, county = await hall.service.logged_in("east"), await hall.service.logged_in("official")
    county_speaks, writes = asyncio.Event(), TalkRepository.close

    async def fails_first(repository: TalkRepository, entry_id: str, utc_ns: int, reason: str) -> bool:
        if not county_speaks.is_set():
            raise RuntimeError("a fault of ours")
        return await writes(repository, entry_id, utc_ns, reason)

    monkeypatch.setattr(TalkRepository, "close", fails_first)
    async with asyncio.timeout(LIMIT_S):
        assert (await hall.ask(town, a_voice(WebRtcClient()))).status == 201
        assert (await town.client.delete(hall.talk, headers={"X-CSRF-Token": town.csrf})).status == 204
        assert (await hall.ask(county, a_voice(WebRtcClient()))).status == 201
        county_speaks.set()
        while True:
            found = await entries(hall)
            if found[0].reason:
                break
            await asyncio.sleep(0.05)
    assert [(item.talker_id, item.reason) for item in found] == [("u-east", "released"), (COUNTY.id, "")]


async def test_turns_that_a_crash_left_open_end_with_the_next_start(hall: Hall) -> None:
    desk, _ = await desk_and_place(hall)
    began = desk.clock.utc_ns()
    left = TalkEntry(
        id="left", meeting_id=hall.meeting, talker_id="u", talker_name="n", office_name="o", started_utc_ns=began
    )
    async with desk.database.transaction() as repos:
        await repos.talks.add(left)
    started = TalkDesk(TalkRooms(desk.clock), desk.whip, desk.database, desk.clock, lambda _: None)
    async with started.running(Failures(desk.clock)):
        (entry,) = await entries(hall)
    assert entry.reason == "service-down"
    assert entry.ended_utc_ns is not None
    assert entry.ended_utc_ns >= began

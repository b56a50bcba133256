"""Lines into a room that are opened at the same moment, or anew: one voice at a time, and always the floor's."""

import asyncio

from storage.records import MeetingPlace
from streaming.errors import PublisherThereError
from streaming.talk import Rank, Talker
from streaming.talk_errors import TalkBusyError
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

"""Rooms that are spoken to: what one of them waits for is nothing to the others."""

import asyncio
from typing import cast

from media.codecs.opus import OPUS_CLOCK_RATE
from media.description import MediaDescription
from media.stream import LiveStream
from media.unit import NS_PER_S, AccessUnit
from streaming.loudspeaker import Loudspeakers
from streaming.source import CameraSource
from streaming.talk import Rank, Talker
from streaming.talk_rooms import VOICE, TalkRooms, talk_stream_id
from tests.support.clocks import FakeClock
from tests.support.live_feed import until

TOWN = Talker("u3", "李强", "城关镇党委", Rank.TOWN)


class StuckLoudspeaker:
    """Its camera does not answer when it is told that it is over."""

    def __init__(self) -> None:
        self.opened = 0
        self.told = asyncio.Event()
        self.free = asyncio.Event()

    async def speak(self, source: CameraSource, stream: LiveStream) -> None:
        self.opened += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.told.set()
            await self.free.wait()


class BrokenLoudspeaker:
    """Ends as soon as it has begun."""

    def __init__(self) -> None:
        self.opened = 0

    async def speak(self, source: CameraSource, stream: LiveStream) -> None:
        self.opened += 1
        raise RuntimeError("broken")


async def test_a_camera_that_does_not_let_go_holds_up_no_other_rooms_floor() -> None:
    clock, stuck = FakeClock(NS_PER_S), StuckLoudspeaker()
    async with asyncio.timeout(30), TalkRooms(clock, cast(Loudspeakers, stuck)) as rooms:
        try:
            rooms.open("one", CameraSource("hall", "rtsp://camera.example/one"))
            rooms.request("one", TOWN)
            await until(lambda: stuck.opened == 1)
            rooms.release("one", TOWN.id)
            clock.advance(16)
            # Nobody has spoken for a while: the loudspeaker is closed.
            await stuck.told.wait()
            rooms.open("other", None)
            rooms.request("other", TOWN)
            clock.advance(60)
            await until(lambda: rooms.state("other")[0] is None)
        finally:
            stuck.free.set()


async def test_a_loudspeaker_that_has_ended_is_opened_again() -> None:
    broken = BrokenLoudspeaker()
    async with asyncio.timeout(30), TalkRooms(FakeClock(), cast(Loudspeakers, broken)) as rooms:
        rooms.open("one", CameraSource("hall", "rtsp://camera.example/one"))
        for number in range(1, 3):
            rooms.request("one", TOWN)
            await until(lambda wanted=number: broken.opened == wanted)  # type: ignore[misc]
            for _ in range(5):
                await asyncio.sleep(0)
            rooms.release("one", TOWN.id)


async def test_a_voices_newest_word_is_the_last_turns_though_the_clock_was_set_back_before_it() -> None:
    clock, opus = FakeClock(), MediaDescription("audio", "OPUS", 111, OPUS_CLOCK_RATE, 2)
    async with TalkRooms(clock) as rooms:
        rooms.open("one", None)
        rooms.request("one", TOWN)
        voice = rooms.pushed(talk_stream_id("one"))
        assert voice is not None
        for _ in range(2):
            with voice.feeding([opus]):
                voice.take(AccessUnit(VOICE, 0, 0, clock.utc_ns(), b"\xfc\xff\xfe", duration=960))
                assert voice.status().last_media_utc_ns == clock.utc_ns()
            clock.advance(-3600)

"""Crowds, silence and dawdling before the RTSP server: bounded, and siblings untouched."""

import asyncio
import contextlib
import ipaddress
from itertools import pairwise

import pytest

from streaming.door import Door, DoorLimits
from tests.streaming.test_rtsp_server_protocol import UNITS, Site, closed, site
from tests.support.clocks import FakeClock
from tests.support.crowd import crowd, many_files
from tests.support.rtp_feed import of_track
from tests.support.rtsp_talk import RtspTalk, rtsp_talk

CROWD = 10_000


async def goes_on(here: Site, viewer: RtspTalk, pictures: int = 20) -> None:
    """The viewer gets what the camera brings, with nothing missing."""
    before = viewer.marked
    here.publish(of_track(UNITS, 1)[:pictures])
    while viewer.marked < before + pictures:
        await viewer.read_more()
    numbers = [int.from_bytes(frame.payload[2:4], "big") for frame in viewer.frames if frame.channel == 0]
    assert all((later - earlier) & 0xFFFF == 1 for earlier, later in pairwise(numbers))


async def test_ten_thousand_that_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.rtsp.server._SWEEP_S", 0.05)
    limits = DoorLimits(total=300, per_address=100)
    with many_files(2 * CROWD) as files, contextlib.ExitStack() as stack:
        count = min(CROWD, files - 2000)
        async with site(limits=limits) as here, rtsp_talk(here.url) as viewer:
            here.publish(UNITS)
            await viewer.play_interleaved(1)
            await crowd(here.server.port, count, stack)
            await goes_on(here, viewer)
            assert here.server.connections <= limits.total
            async with rtsp_talk(here.url) as late:
                assert (await late.ask("DESCRIBE")).status == 200
                await late.play_interleaved(1)
                await goes_on(here, viewer)
                here.clock.advance(limits.first_request_s + 1)
                async with asyncio.timeout(20):
                    while here.server.connections > 2:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
                await goes_on(here, viewer)
                await goes_on(here, late)


async def test_a_request_that_never_ends_and_one_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.rtsp.server._SWEEP_S", 0.05)
    async with site() as here, rtsp_talk(here.url) as viewer, rtsp_talk(here.url) as slow, rtsp_talk(here.url) as big:
        here.publish(UNITS)
        await viewer.play_interleaved(1)
        for octet in b"OPTIONS ":
            slow.writer.write(bytes((octet,)))
            await slow.writer.drain()
            here.clock.advance(2)
        await closed(slow)
        big.writer.write(b"OPTIONS * RTSP/1.0\r\n" + b"X-Long: " + b"a" * 1_000_000)
        await closed(big)
        await goes_on(here, viewer)


async def test_one_address_cannot_take_all_places() -> None:
    async with site(limits=DoorLimits(total=8, per_address=4)) as here, contextlib.AsyncExitStack() as stack:
        here.publish(UNITS)
        for _ in range(3):
            talk = await stack.enter_async_context(rtsp_talk(here.url))
            await talk.play_interleaved(1)
        quiet = await stack.enter_async_context(rtsp_talk(here.url))
        assert (await quiet.ask("OPTIONS")).status == 200
        here.clock.advance(6)
        newer = await stack.enter_async_context(rtsp_talk(here.url))
        assert (await newer.ask("DESCRIBE")).status == 200
        await closed(quiet)
        await newer.play_interleaved(1)
        refused = await stack.enter_async_context(rtsp_talk(here.url))
        await closed(refused)
        await goes_on(here, newer)


class Served:
    """A server that looks at nothing but the clock: every octet is a request."""

    def __init__(self, clock: FakeClock, *, busy: bool) -> None:
        self._clock = clock
        self._busy = busy
        self.asked: dict[asyncio.Protocol, int] = {}

    def busy(self, protocol: asyncio.Protocol) -> bool:
        return self._busy

    def asked_ns(self, protocol: asyncio.Protocol) -> int | None:
        return self.asked.get(protocol)

    def left(self, protocol: asyncio.Protocol) -> None:
        self.asked.pop(protocol, None)

    def make(self) -> asyncio.Protocol:
        served = self

        class Connection(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                served.asked[self] = served._clock.monotonic_ns()

        return Connection()


def door_with(limits: DoorLimits, clock: FakeClock, *, busy: bool) -> tuple[Door, Served]:
    served = Served(clock, busy=busy)
    return Door("test", clock, limits, served), served


class Wire:
    """A transport whose buffer the test fills."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.unsent = 0
        self.aborted = False

    def get_extra_info(self, name: str) -> tuple[str, int]:
        return (self.address, 1)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.aborted = True


def come(door: Door, served: Served, address: str = "10.0.0.1") -> tuple[Wire, asyncio.Protocol]:
    """A connection."""
    wire, guest = Wire(address), door.guarding(served.make)()
    guest.connection_made(wire)  # type: ignore[arg-type]
    return wire, guest


def test_who_takes_nothing_of_what_is_sent_goes() -> None:
    clock = FakeClock()
    door, served = door_with(DoorLimits(), clock, busy=True)
    (slow, one), (stuck, two) = come(door, served), come(door, served)
    for guest in (one, two):
        guest.data_received(b"x")
    for step in range(40):
        slow.unsent, stuck.unsent = 10_000 - step, 10_000
        clock.advance(2)
        door.sweep()
    assert (slow.aborted, stuck.aborted) == (False, True)


def test_a_reverse_proxy_is_many_people() -> None:
    limits = DoorLimits(5, 2, trusted=(ipaddress.ip_network("10.0.0.0/24"),))
    clock = FakeClock()
    door, served = door_with(limits, clock, busy=True)
    assert [come(door, served)[0].aborted for _ in range(6)] == [False] * 5 + [True]
    door, served = door_with(limits, clock, busy=True)
    assert [come(door, served, "10.0.1.1")[0].aborted for _ in range(3)] == [False, False, True]
    assert len(door) == 2
    assert door.refused == 1


def test_the_oldest_that_asks_for_nothing_makes_room() -> None:
    clock = FakeClock()
    door, served = door_with(DoorLimits(3, 3, quiet_s=5), clock, busy=False)
    guests = [come(door, served) for _ in range(3)]
    for _, guest in guests:
        guest.data_received(b"x")
    assert come(door, served)[0].aborted
    clock.advance(6)
    guests[0][1].data_received(b"again")
    assert not come(door, served)[0].aborted
    assert [wire.aborted for wire, _ in guests] == [False, True, False]
    guests[1][1].connection_lost(None)
    assert len(door) == 3
    assert len(served.asked) == 2

"""Crowds, silence and dawdling before the web server: bounded, and the others are answered."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from streaming.door import Door, DoorLimits
from tests.support.clocks import FakeClock
from tests.support.crowd import crowd
from tests.web.conftest import settings
from web.app import build_app
from web.door import REQUESTS, GuardedSite, door_of, swept
from web.services import SERVICES

LIMITS = DoorLimits(total=60, per_address=20)


class Place:
    """A web server behind its door."""

    def __init__(self, clock: FakeClock, door: Door, port: int) -> None:
        self.clock = clock
        self.door = door
        self.port = port
        self.url = f"http://127.0.0.1:{port}/healthz"

    async def closed(self, reader: asyncio.StreamReader) -> bytes:
        """What was said until the connection was closed."""
        said = b""
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                while piece := await reader.read(65536):
                    said += piece
        return said


@pytest.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setattr("web.door._SWEEP_S", 0.05)
    app = build_app(settings(tmp_path))
    clock = FakeClock()
    # The clock of the door is ours, that of the service goes by itself.
    monkeypatch.setattr(app[REQUESTS], "_clock", clock)
    door = door_of(app[REQUESTS], clock, [], LIMITS)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, keepalive_timeout=75)
    await runner.setup()
    site = GuardedSite(runner, "127.0.0.1", 0, door)
    await site.start()
    try:
        async with swept(door, app[SERVICES].failures):
            yield Place(clock, door, runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def answered(place: Place) -> None:
    async with aiohttp.ClientSession() as person, person.get(place.url) as answer:
        assert answer.status == 200


async def test_a_crowd_that_says_nothing_and_one_that_dawdles(place: Place) -> None:
    with contextlib.ExitStack() as stack:
        for says in (b"", b"GET / HTTP/1.1\r\nX-") * 4:
            await crowd(place.port, 250, stack, says)
            assert len(place.door) <= LIMITS.total
        await answered(place)
        place.clock.advance(LIMITS.first_request_s + 1)
        async with asyncio.timeout(20):
            while len(place.door) > 0:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await answered(place)


async def test_a_body_that_never_comes_keeps_no_place(place: Place) -> None:
    head = b"POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    async with contextlib.AsyncExitStack() as stack:
        waiting = []
        for _ in range(LIMITS.per_address):
            reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
            stack.callback(writer.close)
            writer.write(head)
            waiting.append(reader)
        async with asyncio.timeout(20):
            while len(place.door) < LIMITS.per_address:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        place.clock.advance(LIMITS.quiet_s + 1)
        await answered(place)
        assert place.door.displaced == 1
        assert place.door.refused == 0


async def test_giant_heads_are_refused(place: Place) -> None:
    for head in (b"GET /" + b"a" * 1_000_000, b"GET / HTTP/1.1\r\nX: " + b"a" * 1_000_000, b"X: y\r\n" * 100_000):
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        with contextlib.suppress(ConnectionError):
            writer.write(head)
            await writer.drain()
        said = await place.closed(reader)
        assert said == b"" or said.startswith(b"HTTP/1.1 4") or b" 400 " in said[:40]
        writer.close()
    await answered(place)


async def test_who_takes_nothing_is_let_go(place: Place) -> None:
    with socket.socket() as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        taker.setblocking(False)
        await asyncio.get_running_loop().sock_connect(taker, ("127.0.0.1", place.port))
        async with asyncio.timeout(60):
            while place.door.unsent == 0:
                with contextlib.suppress(BlockingIOError):
                    taker.send(b"GET /api/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
                await asyncio.sleep(0.01)
        async with asyncio.timeout(20):
            while len(place.door):
                place.clock.advance(10)
                await asyncio.sleep(0.1)
    await answered(place)

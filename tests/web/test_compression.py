"""What ISA-L makes, others read; what others made, or pretend to have made, is read as with zlib."""

import gzip
import zlib
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from aiohttp import web

from tests.support.loopback import on_loopback
from web.compression import compress_quickly
from web.live import answers

TEXT = "".join(f"#EXTINF:4.0,\nvideo/{number}.m4s\n" for number in range(400))
MOST_BYTES = 64 * 1024


async def _playlist(request: web.Request) -> web.Response:
    return answers.playlist(request, TEXT)


async def _page(_: web.Request) -> web.Response:
    answer = web.Response(text=TEXT)
    answer.enable_compression()
    return answer


async def _length(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.read())))


async def _echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data)
    return socket


@pytest.fixture
def _quick() -> Iterator[None]:
    compress_quickly()
    yield
    aiohttp.set_zlib_backend(zlib)


@pytest.fixture
async def site(_quick: None) -> AsyncIterator[str]:
    app = web.Application(client_max_size=MOST_BYTES)
    app.add_routes([web.get("/playlist", _playlist), web.get("/page", _page)])
    app.add_routes([web.post("/length", _length), web.get("/echo", _echo)])
    async with on_loopback(app) as address:
        yield address


@pytest.mark.parametrize(
    ("path", "coding", "wbits"), [("playlist", "gzip", 31), ("page", "gzip", 31), ("page", "deflate", 15)]
)
async def test_zlib_reads_what_is_sent(site: str, path: str, coding: str, wbits: int) -> None:
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(f"{site}/{path}", headers={"Accept-Encoding": coding}) as answer,
    ):
        body = await answer.read()
    assert answer.headers["Content-Encoding"] == coding
    assert zlib.decompress(body, wbits).decode() == TEXT
    assert len(body) < len(TEXT) / 4


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip, deflate, br, zstd", True),
        ("br;q=1.0, GZIP;q=0.8", True),
        ("deflate, gzip; q=0.001", True),
        ("gzip;q=0, deflate", False),
        ("deflate, gzip ; q=0.000", False),
        ("deflate", False),
        ("identity", False),
        ("", False),
    ],
)
async def test_a_playlist_is_packed_for_whoever_takes_that(site: str, accepted: str, packed: bool) -> None:
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(f"{site}/playlist", headers={"Accept-Encoding": accepted}) as answer,
    ):
        body = await answer.read()
    assert answer.headers.get("Content-Encoding") == ("gzip" if packed else None)
    assert (gzip.decompress(body) if packed else body).decode() == TEXT
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert answer.headers["Content-Type"] == "application/vnd.apple.mpegurl; charset=utf-8"


async def test_a_body_is_read_and_bounded_unpacked(site: str) -> None:
    bodies = {gzip.compress(b"x" * 1_000): 200, gzip.compress(b"x" * 50_000_000): 413}
    async with aiohttp.ClientSession() as session:
        for body, status in bodies.items():
            async with session.post(f"{site}/length", data=body, headers={"Content-Encoding": "gzip"}) as answer:
                assert answer.status == status


async def test_messages_of_a_socket_come_through(site: str) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{site}/echo", compress=15) as socket:
        assert socket.compress == 15
        for text in ("a", TEXT, "会议", TEXT * 3, ""):
            await socket.send_str(text)
            assert await socket.receive_str() == text

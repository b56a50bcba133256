"""The media handlers on a loopback server, and players that fetch from it."""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import imageio_ffmpeg
from aiohttp import web

from media.clock import SystemClock
from media.stream import LiveStream, StreamId
from recorder.errors import RecorderError
from recorder.export import Mp4Export
from recorder.playback import Playback
from storage.database import Database
from storage.errors import StorageError
from storage.objects import ObjectStore
from streaming.errors import StreamingError
from streaming.hls.window import WindowSettings
from streaming.hls.windows import LiveWindows
from tests.support.loopback import on_loopback
from web.live import download, hls, vod
from web.live.context import LIVE, LiveContext

KEY = "X-Test-Key"


@dataclass
class KeyGate:
    """Lets in who brings a header, and counts. ``open`` lets everybody in."""

    asked: Counter[str] = field(default_factory=Counter)
    open: bool = False

    async def _ask(self, request: web.Request, what: str) -> None:
        self.asked[what] += 1
        if not self.open and request.headers.get(KEY) != "let-me-in":
            raise web.HTTPForbidden

    async def watch_camera(self, request: web.Request, camera_id: str) -> None:
        """Count and judge."""
        await self._ask(request, f"watch {camera_id}")

    async def watch_meeting(self, request: web.Request, meeting_id: str) -> None:
        """Count and judge."""
        await self._ask(request, f"play {meeting_id}")

    async def download_meeting(self, request: web.Request, meeting_id: str) -> None:
        """Count and judge."""
        await self._ask(request, f"download {meeting_id}")


@dataclass
class Site:
    """A running site."""

    url: str
    gate: KeyGate
    windows: LiveWindows
    playback: Playback | None


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _plain_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    statuses = {"playlist-request-invalid": 400, "window-timeout": 503, "stream-away": 503}
    try:
        return await handler(request)
    except (StreamingError, RecorderError, StorageError) as error:
        return web.json_response({"code": error.code}, status=statuses.get(error.code, 404))


@contextlib.asynccontextmanager
async def media_site(
    streams: Callable[[StreamId], LiveStream | None] = lambda _: None,
    *,
    database: Database | None = None,
    store: ObjectStore | None = None,
    settings: WindowSettings | None = None,
) -> AsyncIterator[Site]:
    """The handlers with live ``streams``, and recordings if there are a database and a store."""
    gate = KeyGate()
    with ThreadPoolExecutor(2) as executor:
        async with LiveWindows(streams, SystemClock(), executor, settings) as windows:
            playback = Playback(database, store, None, executor) if database is not None and store is not None else None
            app = web.Application(middlewares=[_plain_problems])
            app[LIVE] = LiveContext(windows, playback, gate, Mp4Export(playback, executor))  # type: ignore[arg-type]
            app.add_routes([*hls.routes(), *vod.routes(), *download.routes()])
            async with on_loopback(app) as address:
                yield Site(address, gate, windows, playback)


@dataclass
class Played:
    """What ffmpeg made of something."""

    log: str
    code: int

    @property
    def frames(self) -> int:
        """Pictures decoded."""
        found = re.findall(r"frame=\s*(\d+)", self.log)
        return int(found[-1]) if found else 0

    @property
    def complaints(self) -> list[str]:
        """Lines of the log at level warning or worse."""
        return [line for line in self.log.splitlines() if re.search(r"\[(warning|error|fatal|panic)\]", line)]


async def ffmpeg(*arguments: str, limit_s: float = 60.0) -> Played:
    """Run ffmpeg with ``arguments``; its log has levels."""
    process = await asyncio.create_subprocess_exec(
        imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-loglevel", "level+info", *arguments,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(limit_s):
            _, log = await process.communicate()
    except TimeoutError:
        process.kill()
        _, log = await process.communicate()
    return Played(log.decode(errors="replace"), process.returncode or 0)


def from_site(url: str) -> list[str]:
    """ffmpeg's arguments to read an address of the site."""
    return ["-headers", f"{KEY}: let-me-in\r\n", "-i", url]

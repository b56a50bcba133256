"""The service's own live HLS on a loopback port, for whoever comes."""

import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from media.clock import SystemClock
from recorder.export import Mp4Export
from recorder.playback import Playback
from storage.database import Database
from storage.directory_store import DirectoryStore
from streaming.cameras import CameraSupervisor
from streaming.hls.windows import LiveWindows
from tests.support.loopback import on_loopback
from web.compression import compress_quickly
from web.live import hls
from web.live.context import LIVE, LiveContext


class OpenGate:
    """Lets in everybody."""

    async def watch_camera(self, request: web.Request, camera_id: str) -> None:
        """Yes."""

    async def watch_meeting(self, request: web.Request, meeting_id: str) -> None:
        """Yes."""

    async def download_meeting(self, request: web.Request, meeting_id: str) -> None:
        """Yes."""


@contextlib.asynccontextmanager
async def hls_site(cameras: CameraSupervisor, database: Database, store: DirectoryStore) -> AsyncIterator[str]:
    """Serve; the address."""
    compress_quickly()
    with ThreadPoolExecutor(2, thread_name_prefix="hls") as executor:
        async with LiveWindows(cameras.stream, SystemClock(), executor) as windows:
            playback = Playback(database, store, None, executor)
            app = web.Application()
            app[LIVE] = LiveContext(windows, playback, OpenGate(), Mp4Export(playback, executor))
            app.add_routes(hls.routes())
            async with on_loopback(app) as address:
                yield address

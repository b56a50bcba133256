"""WHEP for all cameras of a supervisor on a loopback port, without log-in, for whoever comes."""

import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from media.clock import SystemClock
from media.stream import Quality
from streaming.cameras import CameraSupervisor
from streaming.webrtc.errors import WebRtcError
from streaming.webrtc.port import PortSettings, WebRtcPort
from streaming.webrtc.relay import Relays
from streaming.webrtc.whep import WhepSessions, WhepSettings
from tests.support.loopback import on_loopback


@contextlib.asynccontextmanager
async def whep_site(cameras: CameraSupervisor) -> AsyncIterator[str]:
    """Serve ``POST /whep/{camera}`` and ``DELETE /whep/{session}``; the address."""
    clock = SystemClock()
    limits = WhepSettings(max_sessions=5_000, offers_per_s=1_000, offers_burst=1_000)
    async with (
        WebRtcPort(PortSettings(host="127.0.0.1"), clock) as port,
        Relays(clock) as relays,
        WhepSessions(port, relays, cameras.stream, clock, limits) as whep,
    ):

        async def offer(request: web.Request) -> web.Response:
            try:
                session = await whep.offer(request.match_info["name"], Quality.MAIN, await request.text())
            except WebRtcError as error:
                return web.Response(status=503, text=str(error))
            headers = {"Location": f"/whep/{session.id}"}
            return web.Response(status=201, text=session.answer, content_type="application/sdp", headers=headers)

        async def delete(request: web.Request) -> web.Response:
            with contextlib.suppress(WebRtcError):
                await whep.close(request.match_info["name"])
            return web.Response()

        app = web.Application()
        app.add_routes([web.post("/whep/{name}", offer), web.delete("/whep/{name}", delete)])
        async with on_loopback(app) as address:
            yield address

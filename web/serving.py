"""Run the application until it is told to stop."""

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from media.clock import SystemClock
from web.app import build_app
from web.compression import compress_quickly
from web.config import Settings
from web.door import REQUESTS, GuardedSite, door_of, swept
from web.errors import SettingsError
from web.services import SERVICES, Services

# Players hold requests open for the next part; they are cut off after this.
_GRACE_S = 3.0
# Longer than nginx keeps a connection to its upstream server.
_KEEP_ALIVE_S = 75.0


@dataclass(frozen=True, slots=True)
class Running:
    """A service that answers at ``url``."""

    url: str
    services: Services


async def serve(settings: Settings, started: Callable[[Running], Awaitable[None]]) -> None:
    """Serve until SIGTERM or SIGINT; ``started`` is awaited once it answers.

    Raises SettingsError if a port is taken or an address not ours, and what the parts of the service raise when they
    cannot start.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    compress_quickly()
    app = build_app(settings)
    # The head of a request, too, has to come within the keep-alive time.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_GRACE_S, keepalive_timeout=_KEEP_ALIVE_S)
    clock = SystemClock()
    door = door_of(app[REQUESTS], clock, settings.trusted_proxies)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        await _listening(runner.setup(), "SANHUI_RTSP", settings.rtsp_host, settings.rtsp_port)
        await stack.enter_async_context(swept(door, app[SERVICES].failures))
        site = GuardedSite(runner, settings.http_host, settings.http_port, door)
        await _listening(site.start(), "SANHUI_HTTP", settings.http_host, settings.http_port)
        port = runner.addresses[0][1]
        host = settings.http_host
        shown = "localhost" if host in {"127.0.0.1", "0.0.0.0", "::", "::1"} else host
        await started(Running(settings.public_url or f"http://{shown}:{port}", app[SERVICES]))
        await stop.wait()


async def _listening(work: Awaitable[None], setting: str, host: str, port: int) -> None:
    try:
        await work
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            name = f"{setting}_PORT"
            chinese = f"端口 {port} 已被别的程序占用。请停掉它，或用 {name} 换一个端口。"
            english = f"Port {port} is taken by another program. Stop it, or choose another port with {name}."
        elif error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
            name = f"{setting}_HOST"
            chinese = f"设置 {name} 不对：{host} 不是本机的地址。"
            english = f"The setting {name} is wrong: {host} is no address of this machine."
        else:
            raise
        raise SettingsError(name, {"zh-CN": chinese, "en": english}) from error

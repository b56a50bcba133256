"""Sanhui as a real process, and a person with a browser's habits who talks to it over HTTP."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp

from tests.support.ports import free_port

START_S = 120.0
"""Long, for a busy machine; a start takes some seconds."""
PASSWORD = "Correct-horse-9"


@dataclass
class ServiceProcess:
    """``sanhui serve`` with ``settings`` in its environment; its log is in ``folder / "service.log"``."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    rtsp_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """Everything it has said, over restarts."""
        path = self.folder / "service.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def environment(self) -> dict[str, str]:
        """The environment it runs in; also for other commands on the same data."""
        own = {
            "SANHUI_DATA_DIR": str(self.folder / "data"),
            "SANHUI_HTTP_PORT": str(self.port),
            "SANHUI_RTSP_PORT": str(self.rtsp_port),
            "SANHUI_WEBRTC_PORT": "0",
            "SANHUI_CAMERA_ALLOW_LOOPBACK": "true",
            "SANHUI_OBJECT_S": "8",
        }
        # Nothing that is set for the tests, or for whoever runs them, is a setting of this service.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SANHUI_")}
        return {**inherited, **own, **self.settings}

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "service.log").open("ab") as log:
            self.process = await asyncio.to_thread(
                subprocess.Popen,
                [sys.executable, "-m", "web.cli", "serve"],
                env=self.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        async with aiohttp.ClientSession() as session:
            await until(
                lambda: self._is_ready(session), START_S, lambda: f"the service is not ready:\n{self.log[-3000:]}"
            )

    async def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(self.process.wait)

    async def stop(self) -> None:
        """SIGTERM, and what it returns. Raises TimeoutExpired if it takes more than 30 s."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            await asyncio.to_thread(self.process.wait, 30)

    async def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another ``sanhui`` command on the same data."""
        return await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "web.cli", *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the service ended with {self.process.returncode}:\n{self.log[-3000:]}")
        try:
            async with session.get(f"{self.url}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def setup_token(self) -> str:
        """The one-time token of the first start's link, which is printed as soon as the service is ready."""

        async def printed() -> list[str]:
            return re.findall(r"/setup/([A-Za-z0-9_-]{16,})", self.log)

        return str((await until(printed, 10, lambda: self.log[-2000:]))[-1])


@asynccontextmanager
async def running_service(folder: Path, settings: Mapping[str, str] | None = None) -> AsyncIterator[ServiceProcess]:
    """A service that is stopped at the end, however the test ends."""
    service = ServiceProcess(folder, settings or {})
    try:
        await service.start()
        yield service
    finally:
        await service.stop()


class Person:
    """Someone who is logged in. ``call`` answers with the JSON; a problem is an AssertionError with its text."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        self._csrf = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()

    @property
    def cookie_header(self) -> str:
        """The Cookie header's value, for players."""
        return "; ".join(f"{cookie.key}={cookie.value}" for cookie in self.http.cookie_jar)

    async def set_up(self, token: str, username: str = "county") -> None:
        """Create the first administrator by the one-time link, and be logged in as them."""
        body = {"username": username, "display_name": "县委组织部", "password": PASSWORD, "county_name": "云岭县"}
        self._csrf = (await self.call("POST", f"/setup/{token}", body))["csrf_token"]

    async def log_in(self, username: str = "county", password: str = PASSWORD) -> None:
        """Log in with name and password."""
        answer = await self.call("POST", "/session", {"username": username, "password": password})
        self._csrf = answer["csrf_token"]

    @property
    def headers(self) -> dict[str, str]:
        """The CSRF header, for requests that change something."""
        return {"X-CSRF-Token": self._csrf} if self._csrf else {}

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """One API call under ``/api/v1``."""
        url = f"{self.base}/api/v1{path}"
        async with self.http.request(method, url, json=body, headers=self.headers) as response:
            text = await response.text()
            assert response.status < 400, f"{method} {path}: {response.status} {text}"
            return await response.json() if text else None


async def until(condition: Any, seconds: float, failure: str | Any = "it did not happen in time") -> Any:
    """Poll an async ``condition`` until it gives something true; that is returned. AssertionError at the time limit."""
    deadline = time.monotonic() + seconds
    while True:
        value = await condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(failure() if callable(failure) else failure)
        await asyncio.sleep(0.1)

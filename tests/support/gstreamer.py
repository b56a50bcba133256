"""Starts and stops the GStreamer camera (gst_camera.py)."""

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

SYSTEM_PYTHON = "/usr/bin/python3"
SCRIPT = Path(__file__).with_name("gst_camera.py")
START_S = 30.0
_CHECK = (
    "import gi; gi.require_version('Gst','1.0'); gi.require_version('GstRtspServer','1.0');"
    "from gi.repository import Gst, GstRtspServer; Gst.init(None);"
    "assert all(Gst.ElementFactory.find(n) for n in ('x264enc','x265enc','voaacenc','rtph265pay'))"
)


@cache
def gstreamer_missing() -> bool:
    """Whether this machine lacks GStreamer's RTSP server, its Python bindings, or a plugin the camera needs."""
    if not Path(SYSTEM_PYTHON).exists():
        return True
    return subprocess.run([SYSTEM_PYTHON, "-c", _CHECK], capture_output=True, check=False).returncode != 0


def require_gstreamer() -> None:
    """Skip the test where GStreamer is missing; fail in CI, where nothing may be skipped."""
    if not gstreamer_missing():
        return
    if os.environ.get("CI"):
        pytest.fail("GStreamer's RTSP server is missing")
    pytest.skip("GStreamer's RTSP server is missing")


@dataclass(frozen=True, slots=True)
class GstCamera:
    """A running camera."""

    port: int
    pid: int

    def url(self, mount: str) -> str:
        """The URL of one of its mounts, without credentials."""
        return f"rtsp://127.0.0.1:{self.port}/{mount}"


@contextlib.asynccontextmanager
async def gst_camera(
    *,
    port: int = 0,
    auth: str = "none",
    user: str = "admin",
    password: str = "secret",
    gop: int = 25,
    certificate: Path | None = None,
    heard: Path | None = None,
) -> AsyncIterator[GstCamera]:
    """A GStreamer camera for as long as the context is open. ``auth`` is none, basic or digest; with a ``certificate``
    (PEM, key and all) it speaks TLS; with ``heard`` it has a loudspeaker that writes what it hears into that WAV file.
    """
    require_gstreamer()
    environment = {**os.environ, "CAMERA_AUTH": auth, "CAMERA_USER": user, "CAMERA_PASSWORD": password}
    process = await asyncio.create_subprocess_exec(
        SYSTEM_PYTHON,
        str(SCRIPT),
        f"--port={port}",
        f"--gop={gop}",
        *((f"--heard={heard}",) if heard is not None else ()),
        *([f"--certificate={certificate}"] if certificate is not None else []),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_S):
            line = await process.stdout.readline()
        yield GstCamera(int(json.loads(line)["port"]), process.pid)
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(3):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

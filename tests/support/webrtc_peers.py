"""Starts other people's WebRTC: GStreamer's webrtcbin (gst_webrtc.py) and ffmpeg's WHIP muxer, each a process."""

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import imageio_ffmpeg

from tests.support.gstreamer import SYSTEM_PYTHON
from tests.support.servers import cannot_run

SCRIPT = Path(__file__).with_name("gst_webrtc.py")
LIMIT_S = 90
_CHECK = (
    "import gi; gi.require_version('Gst','1.0'); gi.require_version('GstWebRTC','1.0');"
    "from gi.repository import Gst, GstWebRTC; Gst.init(None);"
    "assert all(Gst.ElementFactory.find(n) for n in ('webrtcbin','nicesrc','avdec_h264','x264enc','opusenc'))"
)


@cache
def webrtcbin_missing() -> bool:
    """Whether this machine lacks webrtcbin, libnice's elements, or their Python bindings."""
    if not Path(SYSTEM_PYTHON).exists():
        return True
    return subprocess.run([SYSTEM_PYTHON, "-c", _CHECK], capture_output=True, check=False).returncode != 0


def require_webrtcbin() -> None:
    """Skip the test, or fail it where everything is required, unless webrtcbin is there."""
    if webrtcbin_missing():
        cannot_run("GStreamer's webrtcbin is missing: make system-packages")


class GstPeer:
    """A running peer."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def end(self) -> dict[str, Any]:
        """Tell a publisher to hang up, wait for the end, and return what it tells. AssertionError if it failed."""
        async with asyncio.timeout(LIMIT_S):
            output, log = await self._process.communicate(b"\n")
        assert self._process.returncode == 0, log.decode(errors="replace") + output.decode()
        told: dict[str, Any] = json.loads(output)
        return told


@contextlib.asynccontextmanager
async def gst_peer(role: str, url: str, token: str, *options: str) -> AsyncIterator[GstPeer]:
    """``view`` or ``publish`` at an address, with a Bearer token."""
    require_webrtcbin()
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        SYSTEM_PYTHON, str(SCRIPT), role, url, *options,
        stdin=pipe, stdout=pipe, stderr=pipe, env={**os.environ, "PEER_TOKEN": token},
    )  # fmt: skip
    try:
        yield GstPeer(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@cache
def ffmpeg_sends_whip() -> bool:
    """Whether the ffmpeg of this environment has the WHIP muxer (FFmpeg 8 and later, built with TLS)."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-muxers"]
    return " whip " in subprocess.run(command, capture_output=True, text=True, check=True).stdout

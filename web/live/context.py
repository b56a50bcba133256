"""What the media handlers need, handed in by the composition root."""

from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Protocol

from aiohttp import web

from recorder.export import Mp4Export
from recorder.playback import Playback
from streaming.hls.windows import LiveWindows


class Gate(Protocol):
    """Access checks and the register of looks. Every method raises the access layer's own error when refused."""

    async def watch_camera(self, request: web.Request, camera_id: str) -> None:
        """May the asker see this camera live? Puts the look on record, once per viewer and meeting."""
        ...

    async def watch_meeting(self, request: web.Request, meeting_id: str) -> None:
        """May the asker see this meeting's recording? Puts the look on record, once per viewer and meeting."""
        ...

    async def download_meeting(self, request: web.Request, meeting_id: str) -> None:
        """May the asker take a copy away? Puts each download on record."""
        ...


@dataclass(frozen=True, slots=True)
class LiveContext:
    """Services behind the media handlers. ``timezone`` is that of file names."""

    windows: LiveWindows
    playback: Playback
    gate: Gate
    export: Mp4Export
    timezone: tzinfo = UTC


LIVE = web.AppKey("live", LiveContext)

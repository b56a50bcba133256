"""One bounded window of HLS per live stream: opened by the first request, closed when nobody has asked for a while."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from media.clock import Clock
from media.stream import LiveStream, StreamId

Rendition = Literal["video", "sound"]


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """How much is kept and how long requests may wait."""

    segments: int = 7
    segments_with_parts: int = 3
    idle_s: float = 30.0
    max_target_s: int = 6
    open_timeout_s: float = 10.0


class LiveWindow:
    """The newest segments of one stream, for players."""

    async def master_playlist(self) -> str:
        """Multivariant playlist: one variant, sound as its audio group."""
        raise NotImplementedError

    async def media_playlist(self, rendition: Rendition, msn: int | None = None, part: int | None = None) -> str:
        """LL-HLS media playlist; with ``msn`` (and ``part``) it waits until that is in it (RFC 8216bis, 6.2.5.2)."""
        raise NotImplementedError

    async def init(self, rendition: Rendition, period: int) -> bytes:
        """Init segment of a period."""
        raise NotImplementedError

    async def segment(self, rendition: Rendition, msn: int) -> bytes:
        """A whole segment."""
        raise NotImplementedError

    async def part(self, rendition: Rendition, msn: int, part: int) -> bytes:
        """One part; waits for the part that is hinted."""
        raise NotImplementedError

    async def ts_playlist(self) -> str:
        """Plain HLS version 3 playlist of whole MPEG-TS segments."""
        raise NotImplementedError

    async def ts_segment(self, msn: int) -> bytes:
        """A whole segment as MPEG-TS, sound and picture together."""
        raise NotImplementedError


class LiveWindows:
    """All open windows of this node. Async context manager; owns the windows' tasks."""

    def __init__(
        self,
        streams: Callable[[StreamId], LiveStream | None],
        clock: Clock,
        executor: Executor,
        settings: WindowSettings | None = None,
    ) -> None:
        self._streams = streams
        self._clock = clock
        self._executor = executor
        self._settings = settings or WindowSettings()
        self._windows: dict[StreamId, LiveWindow] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    async def window(self, stream_id: StreamId) -> LiveWindow:
        """The stream's window, opened if need be and kept open by being asked for; raises StreamAwayError."""
        raise NotImplementedError

"""All open windows of this node: opened by the first request, closed when nobody has asked for a while."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Executor
from types import TracebackType
from typing import Self

from media.clock import Clock
from media.stream import LiveStream, StreamId
from media.tasks import Failures, lasting
from media.unit import NS_PER_S
from streaming.hls.errors import StreamAwayError
from streaming.hls.window import LiveWindow, WindowSettings


class LiveWindows:
    """Async context manager; owns the windows' lifetimes. ``streams`` gives a live stream, or None while it is away.

    ``executor`` runs sound encoding and TS muxing.
    """

    def __init__(
        self,
        streams: Callable[[StreamId], LiveStream | None],
        clock: Clock,
        executor: Executor,
        settings: WindowSettings | None = None,
        failures: Failures | None = None,
    ) -> None:
        self._streams = streams
        self._clock = clock
        self._executor = executor
        self._settings = settings or WindowSettings()
        self._open: dict[StreamId, tuple[LiveStream, LiveWindow, contextlib.AsyncExitStack]] = {}
        self._next_msn: dict[StreamId, int] = {}
        self._failures = failures or Failures(clock)
        self._janitor: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        work = lasting("hls windows", self._close_idle, self._failures)
        self._janitor = asyncio.create_task(work, name="hls windows")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._janitor is not None:
            self._janitor.cancel()
            await asyncio.gather(self._janitor, return_exceptions=True)
        for stream_id in list(self._open):
            await self._close(stream_id)

    def __len__(self) -> int:
        """How many windows are open."""
        return len(self._open)

    async def window(self, stream_id: StreamId) -> LiveWindow:
        """The stream's window, opened if need be. Raises StreamAwayError."""
        stream = self._streams(stream_id)
        known = self._open.get(stream_id)
        if known is not None and (known[0] is not stream or known[1].ended):
            await self._close(stream_id)
            known = self._open.get(stream_id)
        if known is not None:
            return known[1]
        if stream is None or self._stale(stream):
            raise StreamAwayError("the camera is away", camera=stream_id.camera)
        # Seconds of the wall clock: addresses of media stay unique over closing, opening and restarts.
        first = max(self._clock.utc_ns() // NS_PER_S, self._next_msn.get(stream_id, 0))
        window = LiveWindow(stream, self._clock, self._executor, self._settings, self._failures, first_msn=first)
        stack = contextlib.AsyncExitStack()
        self._open[stream_id] = (stream, window, stack)
        await stack.enter_async_context(window.running())
        return window

    def _stale(self, stream: LiveStream) -> bool:
        """Whether the cached GOP, or sound, is from before the camera went away: nobody may take it for live."""
        begins_utc_ns = stream.begins_utc_ns
        return begins_utc_ns is not None and self._clock.utc_ns() - begins_utc_ns > self._settings.stale_s * NS_PER_S

    async def _close(self, stream_id: StreamId) -> None:
        _, window, stack = self._open.pop(stream_id)
        self._next_msn[stream_id] = window.next_msn
        await stack.aclose()

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self._settings.idle_s / 4))
            for stream_id in list(self._open):
                # Closing takes a moment, in which others may be closed, or opened anew.
                known = self._open.get(stream_id)
                if known is not None and known[1].idle_s() > self._settings.idle_s:
                    await self._close(stream_id)

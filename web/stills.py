"""Still pictures of live cameras: made when somebody asks, off the event loop, kept for some seconds."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from media.clock import Clock
from media.errors import MediaError
from media.picture import still
from media.stream import LiveStream, StreamId
from media.unit import NS_PER_S, VideoTrack

_MAX_KEPT = 2000


@dataclass(frozen=True, slots=True)
class Still:
    """A JPEG, and when its picture was taken (Unix nanoseconds)."""

    jpeg: bytes
    taken_utc_ns: int


@dataclass(frozen=True, slots=True)
class StillSettings:
    """A picture younger than ``max_age_s`` is not made again. Pictures are ``width`` pixels wide."""

    max_age_s: float = 10.0
    width: int = 640


class Stills:
    """Owned by the application; used from its event loop only. Keeps the newest picture of each camera, so that a
    camera that is away still shows what it last saw."""

    def __init__(
        self,
        streams: Callable[[StreamId], LiveStream | None],
        executor: Executor,
        clock: Clock,
        settings: StillSettings | None = None,
    ) -> None:
        self._streams = streams
        self._executor = executor
        self._clock = clock
        self._settings = settings or StillSettings()
        self._kept: OrderedDict[str, Still] = OrderedDict()
        self._making: dict[str, asyncio.Task[None]] = {}

    async def get(self, camera_id: str) -> Still | None:
        """The camera's newest picture; None before the first."""
        kept = self._kept.get(camera_id)
        if kept is None or self._clock.utc_ns() - kept.taken_utc_ns > self._settings.max_age_s * NS_PER_S:
            task = self._making.get(camera_id)
            if task is None:
                task = self._making[camera_id] = asyncio.create_task(self._make(camera_id))
                task.add_done_callback(lambda _: self._making.pop(camera_id, None))
            # Shared by all who ask at once: one of them going away must not stop it for the others.
            await asyncio.shield(task)
        return self._kept.get(camera_id)

    async def _make(self, camera_id: str) -> None:
        stream = self._streams(StreamId(camera_id))
        unit = stream.last_keyframe if stream is not None else None
        if unit is None or not isinstance(unit.track, VideoTrack):
            return
        kept = self._kept.get(camera_id)
        if kept is not None and kept.taken_utc_ns == unit.utc_ns:
            return
        loop = asyncio.get_running_loop()
        try:
            jpeg = await loop.run_in_executor(self._executor, still, unit.track, unit.data, self._settings.width)
        except MediaError:
            return
        self._kept[camera_id] = Still(jpeg, unit.utc_ns)
        self._kept.move_to_end(camera_id)
        while len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)

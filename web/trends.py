"""The last minutes of each camera's bit rate, for its sparkline."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from media.tasks import Failures, kept_running

STEP_S = 10
VALUES = 30


class Trends:
    """Asks ``rates`` (bits per second by camera) every ten seconds and keeps five minutes of it. Owned by the
    application."""

    def __init__(self, rates: Callable[[], Mapping[str, int]]) -> None:
        self._rates = rates
        self._values: dict[str, deque[int]] = {}

    def of(self, camera_id: str) -> list[int]:
        """Bits per second, newest last, one value per ``STEP_S`` seconds."""
        return list(self._values.get(camera_id, ()))

    def sample(self) -> None:
        """Take one value of each camera; forget cameras that are gone."""
        rates = self._rates()
        for camera_id in self._values.keys() - rates.keys():
            del self._values[camera_id]
        for camera_id, rate in rates.items():
            self._values.setdefault(camera_id, deque(maxlen=VALUES)).append(rate)

    def running(self, failures: Failures) -> AbstractAsyncContextManager[None]:
        """Sample for as long as the context is open."""
        return kept_running("trends", self._run, failures)

    async def _run(self) -> None:
        while True:
            self.sample()
            await asyncio.sleep(STEP_S)

"""What is wrong with the service itself, told to the operator: on the desk while it lasts, in the log once."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager

import structlog

from media.clock import Clock
from media.tasks import Failures, kept_running
from media.unit import NS_PER_S
from web.messages import Catalog

log = structlog.get_logger("web.notices")

_LOOK_S = 2.0
_CALM_NS = 60 * NS_PER_S
"""What is over for this long and comes again is news again; before, it is the same trouble that flickers."""


class Notices:
    """``sources`` give the codes of what is wrong now; ``catalog`` has the sentence that goes to the log."""

    def __init__(self, sources: Iterable[Callable[[], Iterable[str]]], catalog: Catalog, clock: Clock) -> None:
        self._sources = tuple(sources)
        self._catalog = catalog
        self._clock = clock
        self._told: dict[str, int] = {}

    @property
    def codes(self) -> tuple[str, ...]:
        """What is wrong now, in order of the codes."""
        return tuple(sorted({code for source in self._sources for code in source()}))

    def look(self) -> None:
        """Write what is new to the log, each as one sentence, and what is over."""
        now_ns = self._clock.monotonic_ns()
        for code in self.codes:
            if code not in self._told:
                notice = self._catalog.notice(code)
                log.warning(f"{notice.title}: {notice.detail}", code=code)
            self._told[code] = now_ns
        for code in [code for code, seen_ns in self._told.items() if now_ns - seen_ns >= _CALM_NS]:
            del self._told[code]
            log.info("notice is over", code=code)

    def running(self, failures: Failures) -> AbstractAsyncContextManager[None]:
        """Look for as long as the context is open."""
        return kept_running("notices", self._run, failures)

    async def _run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(_LOOK_S)

"""Reading from all cameras together, at a steady pace, instead of whenever a packet comes.

A picture comes in a handful of packets, and a county's cameras send theirs at any moment: left to itself the event loop
wakes for each, does next to nothing, and sleeps again, with the processor's caches cold each time. So a connection that
plays takes no wake-ups; every ``interval_s`` one timer reads from all of them in one go. What that costs is up to
``interval_s`` of delay, so a stream through which somebody talks is taken out while they do
(:meth:`media.stream.LiveStream.hurry`).
"""

import asyncio
from typing import Protocol


class PacedReader(Protocol):
    """What reads when it is told to."""

    def read_now(self) -> None:
        """Read what is there, without waiting. Must not raise."""
        ...


class ReadPacer:
    """One timer for all connections of an event loop; used from that loop only. :meth:`close` it."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._readers: dict[PacedReader, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """No more reading."""
        self._readers.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def add(self, reader: PacedReader) -> None:
        """Let it read from now on."""
        self._readers[reader] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._read)

    def remove(self, reader: PacedReader) -> None:
        """It reads no more."""
        self._readers.pop(reader, None)

    def _read(self) -> None:
        self._timer = None
        if not self._readers:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + self._interval_s
        for reader in tuple(self._readers):
            if reader in self._readers:
                reader.read_now()
        # Not sooner than a moment from now: where reading takes longer than the interval, others get their turn too.
        self._timer = loop.call_at(max(due, loop.time() + 0.001), self._read)

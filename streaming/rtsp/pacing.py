"""Reading from all cameras together, at a steady pace, instead of whenever a packet comes.

A picture comes in a handful of packets, and a county's cameras send theirs at any moment: left to itself the event loop
wakes for each, does next to nothing, and sleeps again, with the processor's caches cold each time. So a connection that
plays takes no wake-ups; every ``interval_s`` one timer reads from all of them in one go. What that costs is up to
``interval_s`` of delay: how much may be is for those to say who read the stream (:class:`media.stream.Pace`).
"""

import asyncio
from typing import Protocol


class PacedReader(Protocol):
    """What reads when it is told to."""

    def read_now(self) -> None:
        """Read what is there, without waiting. Must not raise."""
        ...


class ReadPacer:
    """One timer for all connections of an event loop; used from that loop only. :meth:`close` it.

    Each is read every ``interval_s``, at most ``at_once`` in a turn: what a long interval gathers for hundreds of
    connections must not hold the event loop up in one piece, and what finds the processor's caches cold costs half as
    much again.
    """

    def __init__(self, interval_s: float, at_once: int = 50) -> None:
        self._interval_s = interval_s
        self._at_once = at_once
        self._turns = 1
        self._turn = 0
        self._round: tuple[PacedReader, ...] = ()
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
            self._turn = 0
            return
        loop = asyncio.get_running_loop()
        if self._turn == 0:
            self._round = tuple(self._readers)
            self._turns = (len(self._round) + self._at_once - 1) // self._at_once
        due = loop.time() + self._interval_s / self._turns
        share = self._round[self._turn :: self._turns]
        self._turn = (self._turn + 1) % self._turns
        try:
            for reader in share:
                if reader in self._readers:
                    reader.read_now()
        finally:
            # Not sooner than a moment from now: where reading takes longer than the interval, others get their turn
            # too. And in any case: no fault may stop the reading of all.
            if self._timer is None:
                self._timer = loop.call_at(max(due, loop.time() + 0.001), self._read)

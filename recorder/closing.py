"""A recording's objects on their way from the recording to the uploader: closed, written, or refused by the disk."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from media.clock import Clock
from media.stream import LiveStream
from media.unit import NS_PER_S, GapCause
from recorder.gaps import GapBook, Ledger
from recorder.machine import refusal_code
from recorder.spool import OpenSpoolFile, Spool
from recorder.spool_format import SpoolFile
from recorder.state import RecorderMetrics, RecordingSettings
from recorder.uploader import Uploader


@dataclass(frozen=True, slots=True)
class RecordingTools:
    """What every recording of a service shares."""

    spool: Spool
    uploader: Uploader
    ledger: Ledger
    clock: Clock
    settings: RecordingSettings
    metrics: RecorderMetrics
    streams: Callable[[str], LiveStream | None]


@dataclass(frozen=True, slots=True)
class _Closing:
    file: OpenSpoolFile
    begun_utc_ns: int


class ClosingObjects:
    """Owned by one recording, used from its event loop. What an object lacks when it is on disk goes into ``book``.

    ``follows`` tells where media goes on behind all closed objects, UTC nanoseconds; ``on_lost`` is told from when on
    the disk did not keep what an object had taken. ``durable_end`` is where what is known to be on disk ends;
    ``trouble`` a warning's code while the disk refuses.
    """

    def __init__(
        self,
        tools: RecordingTools,
        book: GapBook,
        durable_end: int,
        follows: Callable[[], int],
        on_lost: Callable[[int], None],
    ) -> None:
        self._tools = tools
        self._settings = tools.settings
        self._book = book
        self._follows = follows
        self._on_lost = on_lost
        self.durable_end = durable_end
        self.trouble = ""
        self._trouble_at_ns = 0
        self._heard_at_ns = 0
        self._on_record: set[OpenSpoolFile] = set()
        self._closing: dict[asyncio.Future[SpoolFile | None], _Closing] = {}

    @property
    def files(self) -> tuple[OpenSpoolFile, ...]:
        """Those that are not yet the uploader's."""
        return tuple([item.file for item in self._closing.values()])

    async def through(self) -> None:
        """Wait until there are none."""
        while self._closing:
            await asyncio.wait(self._closing)

    def add(self, file: OpenSpoolFile, begun_utc_ns: int) -> None:
        """Close the object that was begun at a time, and see it through."""
        closing = file.close()
        self._closing[closing] = _Closing(file, begun_utc_ns)
        closing.add_done_callback(self._closed)

    def give_up(self, file: OpenSpoolFile, error: OSError, begun_utc_ns: int, until_utc_ns: int) -> None:
        """The disk has refused the object in progress, which has taken media up to a time; it is to be added yet."""
        # Those before it first, though the loop may not have told of them yet: where it begins is where they end.
        self._settle()
        self._lose(file, until_utc_ns)
        self._has_failed(file, error, begun_utc_ns)
        self._on_record.add(file)

    def _closed(self, _: "asyncio.Future[SpoolFile | None]") -> None:
        self._settle()

    def _settle(self) -> None:
        """Files that are closed go to the uploader, in their order; what one of them lacks goes on record."""
        for closing in [item for item in self._closing if item.done()]:
            item = self._closing.pop(closing)
            if not closing.cancelled():
                self._through(item.file, closing.result(), item.begun_utc_ns)

    def _through(self, file: OpenSpoolFile, spool: SpoolFile | None, begun_utc_ns: int) -> None:
        if spool is not None:
            self._tools.uploader.submit(spool)
        if file.segments:
            self.durable_end = file.segments[-1].facts.end_utc_ns
        # Until a whole object is on disk, and for a while: who looks now and then must see it too, also where the loop
        # hears of the refusal and of what the disk took after it at once.
        if file.failed is not None:
            self._has_failed(file, file.failed, begun_utc_ns)
        elif spool is not None and (file.start_utc_ns or 0) > self._trouble_at_ns:
            heard_s = (self._tools.clock.monotonic_ns() - self._heard_at_ns) / NS_PER_S
            if heard_s >= self._settings.disk_retry_s:
                self.trouble = ""
        if file.failed is None or file in self._on_record:
            self._on_record.discard(file)
            return
        # It was closed before the disk's refusal was known here.
        end = file.end_utc_ns
        if end is None:
            return
        after = next((item.start_utc_ns for item in self.files if item.start_utc_ns is not None), self._follows())
        if 0 <= after - end <= self._settings.tolerance_s * NS_PER_S:
            end = after
        if self._lose(file, end):
            self._on_lost(self.durable_end)

    def _has_failed(self, file: OpenSpoolFile, error: OSError, begun_utc_ns: int) -> None:
        self.trouble = refusal_code(error)
        self._trouble_at_ns = file.start_utc_ns or begun_utc_ns
        self._heard_at_ns = self._tools.clock.monotonic_ns()

    def _lose(self, file: OpenSpoolFile, until_utc_ns: int) -> bool:
        """Put on record what a file took, up to ``until_utc_ns``, and the disk did not keep; whether that is anything.
        All files before it are settled."""
        if file.start_utc_ns is None:
            return False
        if file.segments:
            start = self.durable_end = file.segments[-1].facts.end_utc_ns
        elif 0 <= file.start_utc_ns - self.durable_end <= self._settings.tolerance_s * NS_PER_S:
            start = self.durable_end
        else:
            # A longer hole before it has a cause of its own, and so has a step back.
            start = file.start_utc_ns
        if start >= until_utc_ns:
            return False
        self._book.miss(start, until_utc_ns, GapCause.STORAGE_LOST)
        self._tools.ledger.changed()
        return True

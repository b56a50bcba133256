"""One camera of one meeting: from segment events to spool files and gaps. A reader like any other, and restartable."""

import asyncio
import contextlib

from media.fanout import Reader, ReaderLimits
from media.segments import Part, Period, SegmentEnd, SegmentEvent, SegmentStart
from media.stream import Pace
from media.unit import NS_PER_S, Gap, GapCause
from recorder.closing import ClosingObjects, RecordingTools
from recorder.gaps import GapBook
from recorder.plan import RecordingPlan, ResumePoint, header_of
from recorder.spool import OpenSpoolFile
from recorder.state import RecordingState
from storage.records import GapRecord

_NO_STREAM_POLL_S = 0.5
_TAKEN_UP_S = 5.0
_CAUGHT_UP_S = 1.0
_CAUGHT_UP_POLL_S = 0.005
_LIMITS = ReaderLimits(max_bytes=64 * 1024 * 1024, max_items=10_000)
"""A reader begins with all of the open segment, which may have 32 MiB, or the cached GOP."""


class Recording:
    """Runs as one task, which owns all of its state; ``state`` and ``trouble`` may be read from the same event loop."""

    def __init__(self, plan: RecordingPlan, start: ResumePoint, tools: RecordingTools) -> None:
        self.plan = plan
        self._tools = tools
        self._settings = tools.settings
        self._book: GapBook = tools.ledger.book(plan.recording)
        self._start = start
        self._file: OpenSpoolFile | None = None
        self._before: OpenSpoolFile | None = None
        self._period_number = start.period - 1
        self._period: Period | None = None
        self._segment: SegmentStart | None = None
        self._segment_parts = 0
        self._refused: GapCause | None = None
        self._retry_at_ns = 0
        self._resume_cause: GapCause | None = start.cause
        self._hole_cause: GapCause | None = start.cause
        self._begin = self._media_end = start.missing_since_utc_ns
        self._break = True
        self._since: int | None = None
        self._last_part: int | None = None
        self._arrival_ns = tools.clock.monotonic_ns()
        self._object_start = 0
        self._bytes = 0
        self._segments = 0
        self._away = False
        self._end_ns: int | None = None
        self._end_reached = asyncio.Event()
        self._reading = asyncio.Event()
        self._reader: Reader[SegmentEvent] | None = None
        self._closing = ClosingObjects(
            tools, self._book, start.missing_since_utc_ns, self._goes_on_at, self._was_lost_from
        )

    @property
    def state(self) -> RecordingState:
        """What the meeting's page shows."""
        return RecordingState(
            recording=self.plan.recording,
            camera=self.plan.camera,
            since_utc_ns=self._since,
            last_part_utc_ns=self._last_part,
            bytes=self._bytes,
            segments=self._segments,
            away=self._away,
        )

    @property
    def files(self) -> tuple[OpenSpoolFile, ...]:
        """Objects that are not yet the uploader's: those being closed, and the one in progress."""
        return (*self._closing.files, *((self._file,) if self._file is not None else ()))

    @property
    def trouble(self) -> str:
        """A warning's code while the disk refuses what is recorded; else empty."""
        return self._closing.trouble

    @property
    def oldest_utc_ns(self) -> int | None:
        """When the oldest media in the object in progress was taken."""
        return self._object_start if self._file is not None and self._file.media_bytes else None

    async def run(self) -> None:
        """Record until cancelled; then, or on any error, what is on its way is spooled and the object closed."""
        if self._resume_cause is GapCause.SERVICE_DOWN and not self.plan.intermittent:
            self._begin_gap(GapCause.SERVICE_DOWN)
        try:
            while True:
                stream = self._tools.streams(self.plan.source)
                if stream is None:
                    self._look_for_absence()
                    await asyncio.sleep(_NO_STREAM_POLL_S)
                    continue
                with stream.read_segments(f"recording {self.plan.recording}", _LIMITS, pace=Pace.CALM) as reader:
                    self._reader = reader
                    self._reading.set()
                    await self._read(reader)
                self._reader = None
                self._reading.clear()
                # The stream has ended for good; its camera may come back as another one.
                self._break = True
                await asyncio.sleep(0)
        finally:
            self._notice_failure()
            self._close_object()

    async def taken_up(self) -> None:
        """Wait until the stream is being read, if there is one: what is published from then on is recorded. Five
        seconds at most; a recording that failed or whose stream went away is taken up again by others."""
        if self._tools.streams(self.plan.source) is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TAKEN_UP_S):
                await self._reading.wait()

    async def stopped(self) -> None:
        """Wait until everything handed to the spool is on disk and queued for upload. After :meth:`run` has ended."""
        await self._closing.through()

    async def covered(self, utc_ns: int, limit_s: float) -> None:
        """Wait, for ``limit_s`` at most, until media up to ``utc_ns`` has come: when a meeting ends, its last part is
        still being made. Where media is missing anyway there is nothing to wait for. What is spoken now and then has
        come when its stream was closed: it only has to be taken."""
        if self.plan.intermittent:
            await self._caught_up(limit_s)
            return
        if self._since is None or self._book.open_gap is not None or self._media_end >= utc_ns:
            return
        self._end_ns = utc_ns
        self._end_reached.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._end_reached.wait()

    async def _caught_up(self, limit_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(_CAUGHT_UP_S, limit_s)):
                while self._reader is not None and self._reader.queued_items:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(_CAUGHT_UP_POLL_S)

    def end(self, utc_ns: int) -> None:
        """The meeting is over: settle the gap that lasts. After :meth:`run` has ended."""
        missing = utc_ns - self._media_end > self._tolerance_ns and not self.plan.intermittent
        if self._book.open_gap is None and missing:
            self._book.begin(self._media_end, self._cause_of_hole())
        self._book.finish(utc_ns)
        self._tools.ledger.changed()
        self._tools.ledger.retire(self.plan.recording)

    @property
    def _tolerance_ns(self) -> int:
        return int(self._settings.tolerance_s * NS_PER_S)

    async def _read(self, reader: Reader[SegmentEvent]) -> None:
        overflows = reader.overflows
        while True:
            try:
                events = await reader.take(self._settings.away_s)
            except TimeoutError:
                # Media that has come while this task could not run is no absence.
                if not reader.queued_bytes:
                    self._look_for_absence()
                continue
            if not events:
                return
            if reader.overflows != overflows:
                self._tools.metrics.overflows += reader.overflows - overflows
                overflows = reader.overflows
                self._interrupt(GapCause.OVERLOADED)
            self._take_all(events)
            # It waits here for most of the time, and would keep media that nobody else has.
            events.clear()

    def _take_all(self, events: list[SegmentEvent]) -> None:
        for event in events:
            self._take(event)

    def _take(self, event: SegmentEvent) -> None:
        if isinstance(event, Part):
            self._part(event)
        elif isinstance(event, SegmentStart):
            self._start_segment(event)
        elif isinstance(event, SegmentEnd):
            if self._segment is not None and self._segment.sequence == event.sequence:
                self._end_segment(event.duration_ns)
        else:
            self._gap(event)

    def _start_segment(self, event: SegmentStart) -> None:
        if self._segment is not None:
            self._end_segment(None)
        if self._refused is not None:
            room = self._tools.spool.max_bytes // 100
            if self._tools.clock.monotonic_ns() < self._retry_at_ns or self._tools.spool.refusal(room) is not None:
                return
            self._refused = None
        self._open_object_for(event)
        self._segment = event
        self._segment_parts = 0

    def _part(self, part: Part) -> None:
        segment, file = self._segment, self._file
        if self._refused is not None:
            self._tools.metrics.parts_refused += 1
            return
        if segment is None or file is None or segment.sequence != part.sequence:
            return
        # Asked before a segment is begun with it: what is missing goes on where this part cannot be kept.
        refused = file.refusal(part) if self._segment_parts == 0 else None
        if refused is None:
            if self._segment_parts == 0:
                self._begin_segment(file, segment)
            refused = file.part(part)
        metrics = self._tools.metrics
        if refused is not None:
            metrics.parts_refused += 1
            if not self._notice_failure():
                self._interrupt(refused)
                self._refused = refused
                self._begin_gap(refused)
            return
        if self._segment_parts and self._book.open_gap is not None:
            # It goes on in the middle of a segment: a stall. What was not shown meanwhile ends with this part.
            self._gap_ends(part.start_utc_ns + part.duration_ns)
        self._segment_parts += 1
        self._media_end = max(self._media_end, part.start_utc_ns + part.duration_ns)
        if self._end_ns is not None and self._media_end >= self._end_ns:
            self._end_reached.set()
        self._last_part = self._media_end
        self._arrival_ns = self._tools.clock.monotonic_ns()
        self._bytes += part.size
        metrics.parts += 1
        if self._since is None:
            self._since = segment.start_utc_ns

    def _begin_segment(self, file: OpenSpoolFile, segment: SegmentStart) -> None:
        self._media_returns(segment)
        file.start_segment(segment.sequence, segment.start_utc_ns, discontinuity=segment.discontinuity or self._break)
        self._break = False

    def _end_segment(self, duration_ns: int | None) -> None:
        segment, file = self._segment, self._file
        self._segment = None
        if segment is None or file is None or self._segment_parts == 0:
            return
        file.end_segment(duration_ns)
        self._segments += 1
        self._tools.metrics.segments += 1
        if duration_ns is not None:
            self._media_end = segment.start_utc_ns + duration_ns
        longest_ns = self._settings.object_ns(self.plan.recording, first=self._before is None)
        if self._media_end - self._object_start >= longest_ns or file.media_bytes >= self._settings.object_bytes:
            self._close_object()

    def _interrupt(self, cause: GapCause) -> None:
        """What follows does not run on from what came before: the open segment ends with what it has."""
        self._end_segment(None)
        self._break = True
        self._hole_cause = cause

    def _open_object_for(self, event: SegmentStart) -> None:
        period = event.period
        known = self._period
        if event.start_utc_ns < self._object_start:
            # The clock was set back: an object has one span of time.
            self._close_object()
        if known is None or (period is not known and (period.tracks != known.tracks or period.init != known.init)):
            self._close_object()
            self._period_number += 1
            self._period = period
        if self._file is not None:
            return
        header = header_of(self.plan, self._start, self._period_number, period)
        self._file = self._tools.spool.open(header, after=self._before)
        self._object_start = event.start_utc_ns

    def _notice_failure(self) -> bool:
        """Whether the disk has refused the object in progress: then nothing since its last segment on disk was kept.
        Room is not asked for again at every segment."""
        file = self._file
        if file is None or file.failed is None:
            return False
        self._closing.give_up(file, file.failed, self._object_start, self._media_end)
        self._retry_at_ns = self._tools.clock.monotonic_ns() + int(self._settings.disk_retry_s * NS_PER_S)
        self._break = True
        self._segment = None
        self._close_object()
        self._refused = self._hole_cause = GapCause.STORAGE_LOST
        self._begin_gap(GapCause.STORAGE_LOST)
        self._media_end = self._closing.durable_end
        return True

    def _close_object(self) -> None:
        file = self._file
        if file is None:
            return
        if file.failed is None and self._segment is not None:
            segment_parts, self._segment = self._segment_parts, None
            if segment_parts:
                file.end_segment(None)
                self._segments += 1
        self._file, self._before = None, file
        self._closing.add(file, self._object_start)

    def _goes_on_at(self) -> int:
        """Where media goes on behind all objects that are closed."""
        start = self._file.start_utc_ns if self._file is not None else None
        return self._media_end if start is None else start

    def _was_lost_from(self, utc_ns: int) -> None:
        self._tell("media-lost", utc_ns, cause=GapCause.STORAGE_LOST.value)

    def _look_for_absence(self) -> None:
        """No media for a while: that is on record from now on, not only when it is over."""
        self._notice_failure()
        # By arrival, not by the media's own wall clock: a camera's may be off.
        quiet_ns = self._tools.clock.monotonic_ns() - self._arrival_ns
        if self._book.open_gap is not None or quiet_ns < self._settings.away_s * NS_PER_S:
            return
        if self.plan.intermittent:
            if self._file is not None:
                self._file.sync()
            return
        self._begin_gap(self._cause_of_hole())
        if self._file is not None:
            self._file.sync()

    def _cause_of_hole(self) -> GapCause:
        return self._hole_cause or GapCause.DISCONNECTED

    def _begin_gap(self, cause: GapCause) -> None:
        if self._book.open_gap is not None:
            return
        self._end_reached.set()
        self._away = cause is not GapCause.STORAGE_LOST and cause is not GapCause.OVERLOADED
        self._book.begin(self._media_end, cause)
        self._tools.ledger.changed()
        self._tell("media-lost", self._media_end, cause=cause.value)

    def _gap(self, gap: Gap) -> None:
        """The stream says what was missing."""
        # A clock that was set back puts its jump before all that is recorded.
        set_back = gap.cause is GapCause.CLOCK_JUMP and self._since is not None
        if gap.end_utc_ns <= self._gap_floor() and not set_back:
            return
        if self._book.open_gap is not None and gap.cause in (GapCause.DISCONNECTED, GapCause.SILENT):
            if self._book.open_gap.cause in (GapCause.DISCONNECTED.value, GapCause.NOT_STARTED.value):
                # The open one stays until media is there; the stream knows better why it began.
                self._book.explain(gap.cause, gap.detail)
            return
        record = self._book.add(gap)
        self._tools.ledger.changed()
        if self._file is not None:
            self._file.gap(record)

    def _gap_floor(self) -> int:
        """Gaps from before the recording are none of its business."""
        return self._since if self._since is not None else self._media_end

    def _media_returns(self, segment: SegmentStart) -> None:
        """The first part of a segment is here: whatever was missing before it is over, and on record whole."""
        start = segment.start_utc_ns
        hole = start - self._media_end
        closed: GapRecord | None = None
        if self._book.open_gap is not None:
            self._gap_ends(start)
        elif self.plan.intermittent and self._hole_cause not in (GapCause.OVERLOADED, GapCause.STORAGE_LOST):
            pass
        elif hole > (0 if self._resume_cause is GapCause.SERVICE_DOWN else self._tolerance_ns):
            closed = self._book.cover(self._media_end, start, self._hole_cause or GapCause.SILENT)
        elif self._hole_cause in (GapCause.OVERLOADED, GapCause.STORAGE_LOST) and hole > 0:
            closed = self._book.cover(self._media_end, start, self._hole_cause)
        if closed is not None and self._file is not None:
            self._file.gap(closed)
            self._tools.ledger.changed()
        if self._since is None and not self.plan.intermittent:
            # The open segment may have begun before the meeting did.
            self._tell("recording-runs", max(start, self._begin))
        self._hole_cause = None
        self._resume_cause = None
        self._media_end = start

    def _gap_ends(self, utc_ns: int) -> None:
        """Media is here again, from this time on."""
        missing_ns = max(0, utc_ns - self._media_end)
        closed = self._book.finish(utc_ns)
        self._away = False
        self._tell("media-back", utc_ns, missing_ns=missing_ns)
        if closed is not None and self._file is not None:
            self._file.gap(closed)
        self._tools.ledger.changed()

    def _tell(self, kind: str, utc_ns: int, **params: str | int) -> None:
        self._tools.ledger.tell(self.plan.meeting, utc_ns, kind, {"camera": self.plan.camera, **params})

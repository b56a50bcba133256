"""The recorder as a whole: meetings start and end, what they need is recorded, spooled, stored and committed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from media.clock import Clock, uptime_ns
from media.stream import LiveStream
from media.tasks import Failures, kept_running
from media.unit import NS_PER_S, GapCause
from recorder import meetings
from recorder.closing import RecordingTools
from recorder.cut_off import finish_cut_off, lasting, resume_point, with_torn_marked
from recorder.errors import MeetingStateError
from recorder.gaps import Ledger
from recorder.machine import MachineWatch
from recorder.plan import ResumePoint
from recorder.reconcile import Todo, compare, read_rows
from recorder.running import RunningRecordings
from recorder.spool import Spool
from recorder.spooled import SpooledMedia
from recorder.state import LiveState, RecorderMetrics, RecorderSettings
from recorder.told import Told
from recorder.uploader import Uploader
from storage import records
from storage.database import Database
from storage.errors import ConflictError, RecordNotFoundError, StorageError
from storage.objects import ObjectStore
from storage.records import MeetingPlace

_log = logging.getLogger(__name__)
T = TypeVar("T")

_LAST_WORDS_S = 3.0


class RecorderService:
    """An async context manager: recovers what a crash cut off, then keeps recordings as meetings want them.

    ``streams`` gives a camera's main stream by camera id, or None while there is none. Neither database nor store need
    to be there when it is entered: it goes on trying. ``disks`` are folders, beside the spool's, whose disks must not
    fill up; ``uptime_ns`` is for how long the machine has been up. All of its state is owned by the event loop it is
    entered on.
    """

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        streams: Callable[[str], LiveStream | None],
        spool_dir: Path,
        clock: Clock,
        settings: RecorderSettings | None = None,
        disks: Sequence[Path] = (),
        uptime_ns: Callable[[], int] = uptime_ns,
    ) -> None:
        self._settings = settings or RecorderSettings()
        self._database = database
        self._clock = clock
        self._uptime_ns = uptime_ns
        self._metrics = RecorderMetrics(spool_max_bytes=self._settings.spool.max_bytes)
        self._spool = Spool(spool_dir, self._settings.spool)
        self._told = Told(clock)
        self._ledger = Ledger(
            database,
            self._metrics,
            self._told,
            merge_gaps_s=self._settings.recording.merge_gaps_s,
            retry_s=self._settings.retry_s,
        )
        self._failures = Failures(clock)
        self._uploader = Uploader(
            database, store, self._spool, self._ledger, self._settings.upload, self._metrics, self._failures
        )
        tools = RecordingTools(
            spool=self._spool,
            uploader=self._uploader,
            ledger=self._ledger,
            clock=clock,
            settings=self._settings.recording,
            metrics=self._metrics,
            streams=streams,
        )
        self._recordings = RunningRecordings(tools, self._failures)
        self.spooled = SpooledMedia(self._uploader, self._recordings)
        self._deciding = asyncio.Lock()
        # Told the id of each meeting that starts, ends or is missed, whoever did it. They must not block.
        self.on_change: list[Callable[[str], None]] = []
        # Awaited with the id of each meeting that has ended, before its recordings do: whoever sends something of their
        # own into them (a voice) is cut off now, so that all that was sent before the end is on record.
        self.on_end: list[Callable[[str], Awaitable[None]]] = []
        self._database_away = False
        self._machine = MachineWatch(spool_dir, disks, clock, self._settings.spool.disk_warn_bytes)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "RecorderService":
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._spool)
            recovered = await self._spool.recover()
            await stack.enter_async_context(self._uploader)
            stack.push_async_callback(self._drain)
            for spool in with_torn_marked(recovered):
                self._uploader.submit(spool)
            if recovered:
                _log.info("%d spool files of an earlier run are taken up", len(recovered))
            await stack.enter_async_context(kept_running("gaps and story", self._ledger.run, self._failures))
            stack.push_async_callback(self._stop_all)
            await stack.enter_async_context(kept_running("reconciliation", self._reconcile_forever, self._failures))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def metrics(self) -> RecorderMetrics:
        """Counters and gauges, as they are now."""
        metrics = self._metrics
        metrics.recordings = len(self._recordings.ids)
        metrics.spool_bytes = self._spool.bytes
        metrics.spool_pending_bytes = self._spool.pending_bytes
        metrics.upload_queue = self._uploader.queued
        metrics.upload_lag_s = self._lag_s(self._uploader.oldest_utc_ns())
        return metrics

    @property
    def warnings(self) -> tuple[str, ...]:
        """Codes of what an operator should look at now: ``spool-half-full``, ``spool-full``, ``spool-damaged``,
        ``disk-low``, ``disk-full``, ``disk-fails``, ``files-exhausted``, ``store-away``, ``store-full``,
        ``store-refuses``, ``store-damages``, ``store-changed``, ``upload-behind``, ``database-away``,
        ``clock-stepped``, ``task-failed``."""
        found = set(self._uploader.troubles | self._machine.warnings | self._recordings.troubles)
        if self._spool.disk_full:
            found.add("disk-full")
        if self._failures.recent:
            found.add("task-failed")
        if self._spool.nearly_full:
            found.add("spool-half-full")
        if self._spool.full:
            found.add("spool-full")
        if self._uploader.damaged_files:
            found.add("spool-damaged")
        oldest_ns = self._uploader.oldest_utc_ns()
        if oldest_ns is not None and self._lag_s(oldest_ns) > self._settings.lag_warn_s:
            found.add("upload-behind")
        if self._ledger.away or self._database_away:
            found.add("database-away")
        return tuple(sorted(found))

    async def start_meeting(self, meeting_id: str, by: str | None) -> None:
        """Start a meeting and its recording now. ``by`` is a user id, None for the plan.

        Raises MeetingStateError unless the meeting is planned (or missed), RecordNotFoundError, DatabaseError.
        """
        async with self._deciding:
            await self._start(meeting_id, by or meetings.BY_PLAN)

    async def end_meeting(self, meeting_id: str, by: str | None) -> None:
        """End a meeting and its recording now. Returns when all is spooled, and, unless the store is away, stored.

        Raises MeetingStateError unless the meeting is running, RecordNotFoundError, DatabaseError.
        """
        async with self._deciding:
            now = self._clock.utc_ns()
            completions = await self._close(meeting_id, await self._end(meeting_id, now, by or meetings.BY_PLAN), now)
        if completions:
            await asyncio.wait(completions, timeout=self._settings.end_wait_s)

    async def record_guidance(self, meeting_id: str) -> bool:
        """Somebody speaks into a running meeting's room: record it, from the meeting's stream of guidance. False where
        the meeting is not to be recorded. Once is enough for a meeting; more does no harm. Once this returns, what the
        stream brings is taken: no word is lost.

        Raises MeetingStateError, RecordNotFoundError, DatabaseError.
        """
        async with self._deciding:
            recording = self._recordings.guidance_of(meeting_id)
            if recording is None:
                async with self._database.read() as repos:
                    place = await repos.meetings.place(meeting_id)
                if not meetings.wants_recording(place):
                    return False
                now = self._clock.utc_ns()
                place, row = await meetings.add_guidance_recording(self._database, meeting_id, now)
                await self._resume(place, row)
                recording = self._recordings.guidance_of(meeting_id)
        if recording is not None:
            await recording.taken_up()
        return True

    async def reconcile(self) -> Todo:
        """Compare what should run with what does, and make it so; what there was to do. Runs by itself every few
        seconds. Raises DatabaseError."""
        async with self._deciding:
            now = self._clock.utc_ns()
            rows = await read_rows(self._database, now)
            finishing = {row.id for row in rows.active if self._uploader.finishing(row.id)}
            todo = compare(
                rows,
                now,
                recorded=self._recordings.ids,
                finishing=finishing,
                settings=self._settings,
                settled=self._uptime_ns() >= self._settings.settle_s * NS_PER_S,
            )
            for recording_id in todo.stop:
                await self._recordings.stop(recording_id)
            for meeting in todo.miss:
                await self._apart(meetings.miss(self._database, meeting, now))
                self._tell(meeting.id)
            # Side by side: a county's meetings end in the same minute, others begin in it, and each recording takes its
            # time to have its last part on disk.
            closing: list[asyncio.Task[object]] = []
            try:
                for meeting_id, end in todo.end:
                    ended = await self._apart(self._end(meeting_id, end, meetings.BY_PLAN))
                    if ended is not None:
                        closing.append(asyncio.create_task(self._apart(self._close(meeting_id, ended, end))))
                for meeting in todo.start:
                    await self._apart(self._start(meeting.id, meetings.BY_PLAN))
                for meeting_id, known in todo.record:
                    await self._apart(self._record(meeting_id, known, now))
                for recording_id in todo.finish:
                    await self._apart(self._finish_over(recording_id))
            finally:
                closed = await asyncio.gather(*closing, return_exceptions=True)
            for error in closed:
                if isinstance(error, BaseException):
                    raise error
        return todo

    async def _apart(self, step: Awaitable[T]) -> T | None:
        """One meeting's step of a reconciliation: what is wrong with it alone does not hold up the others. Raises
        StorageError if it concerns all."""
        try:
            return await step
        except (MeetingStateError, ConflictError, RecordNotFoundError) as error:
            # Somebody else moved the meeting between our look and our step; the next look sees it.
            _log.info("a meeting changed meanwhile: %s", error)
        except Exception as error:
            if isinstance(error, StorageError) and error.retryable:
                raise
            self._failures.note("reconciliation", error)
        return None

    def live_state(self, meeting_id: str) -> LiveState | None:
        """What a running meeting's page shows; None if it is not being recorded here."""
        recordings = self._recordings.cameras_of(meeting_id)
        if not recordings:
            return None
        states = tuple(recording.state for recording in recordings)
        ids = [recording.plan.recording for recording in recordings]
        oldest = [self._uploader.oldest_utc_ns(item) for item in ids] + [item.oldest_utc_ns for item in recordings]
        closed = sum(spool.size for item in ids for spool in self._uploader.pending(item))
        return LiveState(
            meeting=meeting_id,
            recording_since_utc_ns=min((s.since_utc_ns for s in states if s.since_utc_ns is not None), default=None),
            last_part_utc_ns=max((s.last_part_utc_ns for s in states if s.last_part_utc_ns is not None), default=None),
            bytes=sum(state.bytes for state in states),
            spool_bytes=closed + sum(file.bytes for recording in recordings for file in recording.files),
            spool_lag_s=self._lag_s(min((item for item in oldest if item is not None), default=None)),
            warnings=self.warnings,
            recordings=states,
        )

    def _lag_s(self, oldest_utc_ns: int | None) -> float:
        return max(0, self._clock.utc_ns() - oldest_utc_ns) / NS_PER_S if oldest_utc_ns is not None else 0.0

    async def _start(self, meeting_id: str, by: str) -> None:
        late_ns = int(self._settings.late_s * NS_PER_S)
        begun = await meetings.begin(self._database, meeting_id, self._clock.utc_ns(), by, late_ns=late_ns)
        self._tell(meeting_id)
        if begun.recording is not None:
            self._recordings.launch(begun.place, begun.recording, ResumePoint.fresh(begun.recording.started_utc_ns))

    def _tell(self, meeting_id: str) -> None:
        for listener in tuple(self.on_change):
            listener(meeting_id)

    async def _record(self, meeting_id: str, known: str | None, utc_ns: int) -> None:
        async with self._database.read() as repos:
            place = await repos.meetings.place(meeting_id)
            recording = await repos.recordings.get(known) if known is not None else None
        await self._resume(place, recording or await meetings.add_missing_recording(self._database, place, utc_ns))

    async def _resume(self, place: MeetingPlace, row: records.Recording) -> None:
        await self._recordings.stop(row.id)
        # Before the rows: what is stored meanwhile is then in one of the two, or in both.
        pending = self._uploader.pending(row.id)
        async with self._database.read() as repos:
            last = await repos.objects.last(row.id)
            periods = await repos.recordings.periods(row.id)
            gaps = await repos.gaps.of_recording(row.id)
        point = resume_point(row, last, periods, gaps, pending)
        book = self._ledger.book(row.id)
        still_open = lasting(gaps, pending)
        if still_open is not None and book.open_gap is None:
            book.adopt(still_open)
        if point.cause is GapCause.SERVICE_DOWN and row.kind is records.RecordingKind.CAMERA:
            self._ledger.tell(place.meeting.id, self._clock.utc_ns(), "recording-resumed", {"camera": row.camera_id})
        self._recordings.launch(place, row, point)

    async def _end(self, meeting_id: str, utc_ns: int, by: str) -> tuple[records.Recording, ...]:
        """The row first: if the database refuses, the meeting goes on as if nothing had been asked. Its recordings."""
        rows = await meetings.finish(self._database, meeting_id, utc_ns, by)
        self._tell(meeting_id)
        return rows

    async def _close(
        self, meeting_id: str, rows: Sequence[records.Recording], utc_ns: int
    ) -> list[asyncio.Future[None]]:
        await self._last_words(meeting_id)
        return [await self._finish(row, utc_ns) for row in rows]

    async def _last_words(self, meeting_id: str) -> None:
        for cut_off in tuple(self.on_end):
            try:
                async with asyncio.timeout(_LAST_WORDS_S):
                    await cut_off(meeting_id)
            except Exception as error:  # noqa: BLE001 - the recording ends in any case
                self._failures.note("last words", error, meeting_id)

    async def _finish(self, row: records.Recording, end_utc_ns: int) -> asyncio.Future[None]:
        if (recording := self._recordings.running(row.id)) is not None:
            passed_s = max(0, self._clock.utc_ns() - end_utc_ns) / NS_PER_S
            await recording.covered(end_utc_ns, self._settings.last_part_s - passed_s)
        recording = await self._recordings.stop(row.id)
        if recording is not None:
            recording.end(end_utc_ns)
        else:
            tolerance_s = self._settings.recording.tolerance_s
            pending = self._uploader.pending(row.id)
            await finish_cut_off(self._database, row, pending, end_utc_ns, tolerance_s=tolerance_s)
        return self._uploader.finish(row.id)

    async def _finish_over(self, recording_id: str) -> None:
        async with self._database.read() as repos:
            row = await repos.recordings.get(recording_id)
            end = row.ended_utc_ns or (await repos.meetings.get(row.meeting_id)).ended_utc_ns
        await self._finish(row, end or self._clock.utc_ns())

    async def _reconcile_forever(self) -> None:
        while True:
            try:
                await self.reconcile()
                self._database_away = False
            except StorageError as error:
                if self._told.is_news("reconciliation"):
                    _log.warning("meetings cannot be reconciled: %s", error.code)
                self._database_away = True
            except Exception as error:  # noqa: BLE001 - whatever is wrong, the rooms that meet must stay under watch
                self._failures.note("reconciliation", error)
            self._spool.disk_free = (await self._machine.look()).spool_free
            await asyncio.sleep(self._settings.reconcile_s)

    async def _stop_all(self) -> None:
        await self._recordings.stop_all()
        try:
            await self._ledger.save()
        except StorageError as error:
            _log.warning("gaps and story are not saved: %s", error.code)

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self._settings.shutdown_s):
                await self._uploader.drained()
        except TimeoutError:
            _log.warning("%d objects stay in the spool for the next start", self._uploader.queued)

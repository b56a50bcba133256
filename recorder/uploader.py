"""From the spool to the object store: law 1, one object at a time per recording, several recordings at once.

Order: the spool file is on disk → the object is stored, its length and hash confirmed → the row is committed → the
spool file goes. A crash between any two leaves a state in which doing it all again does nothing twice.
"""

import asyncio
import hashlib
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TypeVar

from media.tasks import Failures, lasting
from media.unit import GapCause
from recorder.errors import SpoolDamagedError
from recorder.facts import tracks_to_json
from recorder.gaps import Ledger
from recorder.machine import refusal_code
from recorder.manifest import CONTENT_TYPE, build_manifest, manifest_key, object_metadata
from recorder.spool import Spool
from recorder.spool_format import SpoolFile
from recorder.spool_object import Assembled, assemble
from recorder.spool_read import read_spool
from recorder.state import RecorderMetrics, UploadSettings
from storage.database import Database
from storage.errors import (
    ConflictError,
    DatabaseError,
    IntegrityError,
    ObjectNotFoundError,
    ObjectStoreError,
    OtherStoreError,
    RecordNotFoundError,
    StorageError,
    StoreRefusedError,
)
from storage.objects import ObjectStore
from storage.records import GapRecord, MediaObject, RecordingPeriod, RecordingState

_log = logging.getLogger(__name__)
T = TypeVar("T")

_STORE_FULL = frozenset({"XMinioStorageFull", "QuotaExceeded", "HTTP 507", "ENOSPC", "EDQUOT"})


@dataclass(slots=True)
class _Finish:
    """All objects of the recording are through: write its manifest, call it complete."""

    done: asyncio.Future[None]


@dataclass(slots=True)
class _Line:
    """One recording's queue. Owned by the uploader."""

    jobs: "deque[SpoolFile | _Finish]"
    task: "asyncio.Task[None] | None" = None
    trouble: str = ""


class Uploader:
    """An async context manager. Leaving it stops at once: what is not stored stays in the spool for the next start."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        spool: Spool,
        ledger: Ledger,
        settings: UploadSettings,
        metrics: RecorderMetrics,
        failures: Failures,
    ) -> None:
        self._database = database
        self._store = store
        self._spool = spool
        self._ledger = ledger
        self._settings = settings
        self._metrics = metrics
        self._failures = failures
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._lines: dict[str, _Line] = {}
        self._told: set[str] = set()
        self._periods: dict[str, int] = {}
        self.damaged_files = 0

    async def __aenter__(self) -> "Uploader":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = self.tasks()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for line in self._lines.values():
            for job in line.jobs:
                if isinstance(job, _Finish):
                    job.done.cancel()
        self._lines.clear()

    @property
    def troubles(self) -> frozenset[str]:
        """What uploads wait for now: ``store-away``, ``store-full``, ``store-refuses``, ``store-damages``,
        ``store-changed``, ``database-away``, ``disk-full``, ``disk-fails``, ``files-exhausted``, ``task-failed``."""
        return frozenset(line.trouble for line in self._lines.values() if line.trouble)

    @property
    def queued(self) -> int:
        """Objects not yet through."""
        return sum(isinstance(job, SpoolFile) for line in self._lines.values() for job in line.jobs)

    def pending(self, recording_id: str) -> tuple[SpoolFile, ...]:
        """Closed spool files of a recording that are not yet through, in order."""
        line = self._lines.get(recording_id)
        return tuple(job for job in line.jobs if isinstance(job, SpoolFile)) if line is not None else ()

    def oldest_utc_ns(self, recording_id: str | None = None) -> int | None:
        """When the oldest media that is not through was taken: of one recording or of all."""
        lines = self._lines.values() if recording_id is None else filter(None, (self._lines.get(recording_id),))
        starts = [
            job.segments[0].facts.start_utc_ns
            for line in lines
            for job in line.jobs
            if isinstance(job, SpoolFile) and job.segments
        ]
        return min(starts, default=None)

    def finishing(self, recording_id: str) -> bool:
        """Whether the recording's end is queued."""
        line = self._lines.get(recording_id)
        return line is not None and any(isinstance(job, _Finish) for job in line.jobs)

    def submit(self, spool: SpoolFile) -> None:
        """Queue a closed spool file. Files of one recording must come in order of their number."""
        self._queue(spool.header.recording, spool)

    def finish(self, recording_id: str) -> asyncio.Future[None]:
        """Queue a recording's end behind its objects. The future is done once it is complete."""
        job = _Finish(asyncio.get_running_loop().create_future())
        self._queue(recording_id, job)
        return job.done

    def tasks(self) -> "tuple[asyncio.Task[None], ...]":
        """The tasks at work, one per recording."""
        return tuple(line.task for line in self._lines.values() if line.task is not None)

    async def drained(self) -> None:
        """Wait until nothing is queued."""
        while tasks := self.tasks():
            await asyncio.wait(tasks)

    def _queue(self, recording_id: str, job: "SpoolFile | _Finish") -> None:
        line = self._lines.setdefault(recording_id, _Line(deque()))
        line.jobs.append(job)
        if line.task is None:
            work = lasting("upload", lambda: self._work(recording_id, line), self._failures)
            line.task = asyncio.create_task(work, name=f"upload {recording_id}")

    async def _work(self, recording_id: str, line: _Line) -> None:
        while line.jobs:
            job = line.jobs[0]
            if isinstance(job, SpoolFile):
                await self._retried(line, lambda job=job: self._upload(job))  # type: ignore[misc]
            else:
                await self._retried(line, lambda: self._complete(recording_id))
                if not job.done.done():
                    job.done.set_result(None)
            line.jobs.popleft()
        # No await between the last look at the queue and here, so nothing can have been queued for a dead task.
        del self._lines[recording_id]

    async def _retried(self, line: _Line, step: Callable[[], Awaitable[T]]) -> T:
        delay = self._settings.backoff_s
        while True:
            try:
                async with self._slots:
                    result = await step()
            except (StorageError, OSError) as error:
                trouble = trouble_of(error)
                # Once for all recordings that wait for the same, also where one fault has several shapes in turn.
                if trouble not in self._told:
                    self._told.add(trouble)
                    _log.warning("%s: %s", trouble, error.code if isinstance(error, StorageError) else error.strerror)
                line.trouble = trouble
            except Exception as error:  # noqa: BLE001 - a fault of ours must not silence this recording's queue
                self._failures.note("upload", error)
                line.trouble = "task-failed"
            else:
                line.trouble = ""
                if not self.troubles:
                    self._told.clear()
                return result
            self._metrics.upload_retries += 1
            # Jitter, so that hundreds of recordings do not all ask at once when a server is back.
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, self._settings.max_backoff_s)

    async def _upload(self, spool: SpoolFile) -> None:
        if not spool.segments:
            try:
                # A file of which only the removal was cut off says that all of it was lost.
                if not (spool.torn_inside and await self._is_stored(spool)):
                    await self._commit(spool, None)
            except (ConflictError, RecordNotFoundError) as error:
                _log.warning("gaps of recording %s are not kept: %s", spool.header.recording, error.code)
            await self._spool.remove(spool)
            return
        try:
            spool, assembled = await asyncio.to_thread(_assembled, spool)
        except SpoolDamagedError as error:
            await self._give_up(spool, error.code)
            return
        except FileNotFoundError:
            # Uploaded by an earlier run that was cut off after the last step, or taken away by hand.
            await self._gone(spool)
            return
        if spool.torn_inside and await self._is_stored(spool):
            # Only its removal was cut off: what is damaged since is lost nowhere.
            await self._spool.set_aside(spool)
            return
        key = await self._put(spool, assembled)
        try:
            await self._commit(spool, self._row(spool, key, assembled))
        except (ConflictError, RecordNotFoundError) as error:
            await self._give_up(spool, error.code)
            return
        if spool.torn_inside:
            _log.error("spool file %s of %s is damaged; what is whole is kept", spool.path.name, spool.header.recording)
            self.damaged_files += 1
            await self._spool.set_aside(spool)
        else:
            await self._spool.remove(spool)
        self._metrics.objects_stored += 1
        self._metrics.bytes_stored += assembled.size

    async def _put(self, spool: SpoolFile, assembled: Assembled) -> str:
        """Store the object unless it is there; never over another one."""
        key = f"recordings/{spool.header.recording}/{spool.header.number:06d}.mp4"
        for candidate in (key, f"{key.removesuffix('.mp4')}-{assembled.sha256[:12]}.mp4"):
            try:
                found = await self._store.head(candidate)
            except ObjectNotFoundError:
                await self._store.put(candidate, assembled, object_metadata(spool, assembled.sha256), "video/mp4")
                return candidate
            if found.sha256 == assembled.sha256 and found.size == assembled.size:
                return candidate
            _log.error("object %s is there already and is another one", candidate)
        raise ObjectStoreError(f"{key} is taken by another object", key=key)

    def _row(self, spool: SpoolFile, key: str, assembled: Assembled) -> MediaObject:
        segments = tuple(item.facts for item in spool.segments)
        return MediaObject(
            recording_id=spool.header.recording,
            number=spool.header.number,
            period=spool.header.period,
            key=key,
            size=assembled.size,
            sha256=assembled.sha256,
            start_utc_ns=segments[0].start_utc_ns,
            end_utc_ns=segments[-1].end_utc_ns,
            segments=segments,
            chain=segments[-1].chain,
        )

    async def _commit(self, spool: SpoolFile, row: MediaObject | None) -> None:
        header = spool.header
        period = RecordingPeriod(
            recording_id=header.recording,
            number=header.period,
            tracks=tracks_to_json(header.tracks),
            init=dict(header.track_init),
        )
        async with self._database.transaction() as repos:
            if row is not None:
                if self._periods.get(header.recording) != header.period:
                    await repos.recordings.add_period(period)
                await repos.objects.add(row)
            for gap in _latest(spool.gaps):
                await repos.gaps.save(gap)
        if row is not None:
            self._periods[header.recording] = header.period

    async def _give_up(self, spool: SpoolFile, code: str) -> None:
        """What the spool holds cannot be kept as it is: keep the file for a person, and its time as a gap."""
        _log.error("spool file %s of %s is set aside: %s", spool.path.name, spool.header.recording, code)
        if not await self._is_stored(spool):
            await self._commit_lost(spool, code)
        await self._spool.set_aside(spool)

    async def _gone(self, spool: SpoolFile) -> None:
        if await self._is_stored(spool):
            await self._spool.remove(spool)
            return
        _log.error("media of spool file %s of %s has vanished", spool.path.name, spool.header.recording)
        await self._commit_lost(spool, "spool-vanished")
        if await asyncio.to_thread(spool.path.exists):
            # The journal has the sound, and tells what there was.
            await self._spool.set_aside(spool)
        else:
            await self._spool.remove(spool)

    async def _is_stored(self, spool: SpoolFile) -> bool:
        async with self._database.read() as repos:
            row = await repos.objects.find(spool.header.recording, spool.header.number)
        start = spool.segments[0].facts.start_utc_ns if spool.segments else None
        # Two files may have one number (recorder.spool_files): it must be this one's media.
        return row is not None and (start is None or row.start_utc_ns <= start < row.end_utc_ns)

    async def _commit_lost(self, spool: SpoolFile, code: str) -> None:
        first, last = spool.segments[0].facts, spool.segments[-1].facts
        lost = GapRecord(
            recording_id=spool.header.recording,
            start_utc_ns=first.start_utc_ns,
            end_utc_ns=last.end_utc_ns,
            cause=GapCause.STORAGE_LOST.value,
            detail=code,
        )
        try:
            await self._commit(replace(spool, gaps=(*spool.gaps, lost)), None)
        except (ConflictError, RecordNotFoundError):
            _log.warning("recording %s has no row", spool.header.recording)
        self.damaged_files += 1

    async def _complete(self, recording_id: str) -> None:
        self._periods.pop(recording_id, None)
        # The manifest must not lack a gap that only waits to be written.
        await self._ledger.save()
        try:
            async with self._database.read() as repos:
                recording = await repos.recordings.get(recording_id)
                periods = await repos.recordings.periods(recording_id)
                objects = await repos.objects.of_recording(recording_id)
                gaps = await repos.gaps.of_recording(recording_id)
                notes = await repos.notes.of_meetings([recording.meeting_id])
                attendance = await repos.attendance.of_meeting(recording.meeting_id)
                talks = await repos.talks.of_meeting(recording.meeting_id)
        except RecordNotFoundError:
            return
        if recording.state is RecordingState.COMPLETE:
            return
        manifest = await asyncio.to_thread(build_manifest, recording, periods, objects, gaps, notes, attendance, talks)
        metadata = {"recording": recording.id, "meeting": recording.meeting_id, "camera": recording.camera_id}
        await self._put_manifest(manifest_key(recording_id), manifest, metadata)
        async with self._database.transaction() as repos:
            await repos.recordings.set_state(recording_id, RecordingState.COMPLETE)

    async def _put_manifest(self, key: str, manifest: bytes, metadata: dict[str, str]) -> None:
        try:
            found = await self._store.head(key)
        except ObjectNotFoundError:
            found = None
        if found is None or found.sha256 != hashlib.sha256(manifest).hexdigest():
            # One may be there from before a crash, when a gap was not yet known; it says less than the rows do now.
            await self._store.put(key, manifest, metadata, CONTENT_TYPE)


def _assembled(spool: SpoolFile) -> tuple[SpoolFile, Assembled]:
    """The object of a spool file; where it is damaged, of what is whole in it. Raises OSError, SpoolDamagedError."""
    try:
        return spool, assemble(spool)
    except SpoolDamagedError:
        found = read_spool(spool.path)
        if found is None or not found.segments:
            raise
        # Gaps that are known already have their rows, and are found again by their times.
        return found, assemble(found)


def _latest(gaps: Sequence[GapRecord]) -> Iterable[GapRecord]:
    """Each gap as it was last known, without its row's id: a database that was brought back from a backup has other
    rows under the ids of today."""
    return {(gap.cause, gap.start_utc_ns): replace(gap, id=0) for gap in gaps}.values()


def trouble_of(error: StorageError | OSError) -> str:
    """What an operator is told while this keeps objects from the store: one of :attr:`Uploader.troubles`."""
    if isinstance(error, DatabaseError):
        return "database-away"
    if isinstance(error, OSError):
        return refusal_code(error)
    if isinstance(error, OtherStoreError) or error.params.get("reason") == "NoSuchBucket":
        return "store-changed"
    if isinstance(error, StoreRefusedError):
        return "store-full" if error.params.get("reason") in _STORE_FULL else "store-refuses"
    if isinstance(error, IntegrityError):
        return "store-damages"
    return "files-exhausted" if error.params.get("reason") in ("EMFILE", "ENFILE") else "store-away"

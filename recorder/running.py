"""The recordings that run in this process, each as a task of its own."""

import asyncio
from dataclasses import dataclass

from media.tasks import Failures, cancelled
from recorder import meetings
from recorder.closing import RecordingTools
from recorder.plan import ResumePoint
from recorder.recording import Recording
from storage import records
from storage.records import MeetingPlace


@dataclass(slots=True)
class _Running:
    recording: Recording
    meeting: str
    task: asyncio.Task[None]


class RunningRecordings:
    """Owned by the event loop that its service is entered on. One that failed is kept until it is stopped: playback
    finds through it what it has spooled."""

    def __init__(self, tools: RecordingTools, failures: Failures) -> None:
        self._tools = tools
        self._failures = failures
        self._running: dict[str, _Running] = {}
        self._failed: dict[str, Recording] = {}

    @property
    def ids(self) -> tuple[str, ...]:
        """Of those that run."""
        return tuple(self._running)

    @property
    def troubles(self) -> frozenset[str]:
        """Codes of what keeps those that run from writing."""
        return frozenset(item.recording.trouble for item in self._running.values() if item.recording.trouble)

    def running(self, recording_id: str) -> Recording | None:
        """That recording, if it runs."""
        item = self._running.get(recording_id)
        return item.recording if item is not None else None

    def known(self, recording_id: str) -> Recording | None:
        """That recording, if it runs or has failed and was not stopped yet."""
        return self.running(recording_id) or self._failed.get(recording_id)

    def cameras_of(self, meeting_id: str) -> list[Recording]:
        """Those that run of a meeting's cameras."""
        return [recording for recording in self._of(meeting_id) if not recording.plan.intermittent]

    def guidance_of(self, meeting_id: str) -> Recording | None:
        """The one that runs of what is said into a meeting's room."""
        return next((recording for recording in self._of(meeting_id) if recording.plan.intermittent), None)

    def launch(self, place: MeetingPlace, row: records.Recording, start: ResumePoint) -> None:
        """Record ``row`` from ``start`` on. A recording that fails is noted, and no longer among those that run."""
        recording = Recording(meetings.plan_of(place, row), start, self._tools)
        task = asyncio.create_task(recording.run(), name=f"recording {row.id}")
        self._running[row.id] = _Running(recording, task=task, meeting=place.meeting.id)
        task.add_done_callback(lambda done: self._task_ended(row.id, done))

    async def stop(self, recording_id: str) -> Recording | None:
        """Let a recording end and its files reach the uploader. None if there is none here."""
        item = self._running.get(recording_id)
        if item is not None:
            await cancelled(item.task)
        recording = item.recording if item is not None else self._failed.get(recording_id)
        if recording is not None:
            await recording.stopped()
        # Only now: until its files are the uploader's, playback finds them through here.
        self._running.pop(recording_id, None)
        self._failed.pop(recording_id, None)
        return recording

    async def stop_all(self) -> None:
        """Stop those that run, all at once: the disk takes what is on its way in one go."""
        await asyncio.gather(*(self.stop(recording_id) for recording_id in self.ids))

    def _of(self, meeting_id: str) -> list[Recording]:
        return [item.recording for item in self._running.values() if item.meeting == meeting_id]

    def _task_ended(self, recording_id: str, task: asyncio.Task[None]) -> None:
        """A recording that failed is taken up again by the next reconciliation."""
        item = self._running.get(recording_id)
        if item is None or item.task is not task or task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._failures.note("recording", error, recording_id)
        self._failed[recording_id] = self._running.pop(recording_id).recording

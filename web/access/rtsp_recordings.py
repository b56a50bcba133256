"""Recorded meetings over RTSP: ``rtsp://…/meeting/{id}``, from ``?t=`` on, under the same rules as recorded HLS."""

import contextlib
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import Executor
from urllib.parse import parse_qs

import structlog

from media.clock import Clock
from media.errors import MediaError
from media.unit import Track
from recorder.errors import NothingRecordedError, PlaybackError
from recorder.playback import Playback
from recorder.playout import PlayedPiece, Playout, open_playout
from storage.database import Database
from storage.errors import RecordNotFoundError, StorageError
from storage.records import MeetingPlace, User
from streaming.errors import RecordingForbiddenError, RecordingNotFoundError, RecordingUnavailableError
from streaming.rtsp.server_range import RangeInvalidError, read_npt, read_utc
from web.access.audit import Audit, meeting_detail
from web.access.gate import demand_supervision, meeting_inside, put_on_record
from web.access.scopes import Scope, scopes_of
from web.county import County
from web.errors import OutsideAreaError, SupervisionRefusedError

log = structlog.get_logger("web.rtsp")
_MAX_REMEMBERED = 1000
_MEETING = re.compile(r"/*meeting/([A-Za-z0-9_-]{1,64})/*")


class RtspRecordings:
    """The library of the RTSP server; see :class:`streaming.rtsp.server_recorded.RecordedLibrary`."""

    def __init__(
        self, county: County, database: Database, playback: Playback, audit: Audit, clock: Clock, executor: Executor
    ) -> None:
        self._county = county
        self._database = database
        self._playback = playback
        self._audit = audit
        self._clock = clock
        self._executor = executor
        # Which organization each meeting asked for belongs to, so that rights can be judged again without a query.
        self._organizations: OrderedDict[str, str] = OrderedDict()

    def names(self, path: str) -> bool:
        """Whether a path is that of a recording."""
        return bool(meeting_of(path))

    async def open(self, path: str, query: str, user: str | None) -> "RecordedMeetingSource":
        """The recording, from ``t`` on: seconds, or a time such as ``20261121T093000Z``. Raises RecordingError
        members."""
        meeting_id = meeting_of(path)
        with _as_recording_errors():
            await self._admitted(meeting_id, user)
            playout = await open_playout(self._playback.meetings, meeting_id, self._executor)
            try:
                start_ns = _start_of(query, playout)
            except RangeInvalidError:
                raise RecordingNotFoundError("t is neither seconds nor a time") from None
            if start_ns:
                await playout.begin_at(start_ns)
        return RecordedMeetingSource(playout)

    async def look(self, path: str, user: str | None, address: str) -> None:
        """Put on record that a person begins to look. Raises RecordingError members."""
        with _as_recording_errors():
            person, meeting = await self._admitted(meeting_of(path), user)
            subject = f"meeting/{meeting.meeting.id}"
            detail = meeting_detail(meeting.meeting, meeting.organization.name)
            entry = self._audit.entry(person, "meeting.play", subject, address, detail=detail)
            await put_on_record(self._database, entry, person, meeting, self._clock.utc_ns())

    def allows(self, user: User, path: str) -> bool:
        """Whether a person may still see a recording that was opened before."""
        organization_id = self._organizations.get(meeting_of(path))
        if organization_id is None or Scope.RECORDINGS_PLAY not in scopes_of(user.role, user.scopes):
            return False
        return self._county.picture.within(user.organization_id, organization_id)

    async def _admitted(self, meeting_id: str, user: str | None) -> tuple[User, MeetingPlace]:
        picture = self._county.picture
        person = picture.users_by_name.get((user or "").lower())
        if person is None or Scope.RECORDINGS_PLAY not in scopes_of(person.role, person.scopes):
            raise RecordingForbiddenError("the person may not play recordings")
        meeting = await meeting_inside(self._database, picture, person.organization_id, meeting_id)
        demand_supervision(meeting)
        self._organizations[meeting_id] = meeting.organization.id
        self._organizations.move_to_end(meeting_id)
        while len(self._organizations) > _MAX_REMEMBERED:
            self._organizations.popitem(last=False)
        return person, meeting


class RecordedMeetingSource:
    """A recording as the RTSP server takes it; its errors are those the server knows."""

    def __init__(self, playout: Playout) -> None:
        self._playout = playout

    @property
    def tracks(self) -> Sequence[Track]:
        """What it begins with."""
        return self._playout.tracks

    @property
    def duration_ns(self) -> int:
        """How much there is to play so far."""
        return self._playout.duration_ns

    def play_time(self, utc_ns: int) -> int:
        """Play time of a wall clock time."""
        return self._playout.play_time(utc_ns)

    def wall_clock(self, play_ns: int) -> int:
        """Wall clock at a play time."""
        return self._playout.wall_clock(play_ns)

    async def pieces(self, start_ns: int) -> AsyncGenerator[PlayedPiece, None]:
        """All from the keyframe at or before ``start_ns`` on. Raises RecordingError members."""
        with _as_recording_errors():
            async with contextlib.aclosing(self._playout.pieces(start_ns)) as pieces:
                async for piece in pieces:
                    yield piece


def meeting_of(path: str) -> str:
    """The meeting in ``/meeting/{id}``; empty for another path, and for what no meeting is called."""
    match = _MEETING.fullmatch(path)
    return match[1] if match is not None else ""


def _start_of(query: str, playout: Playout) -> int:
    """Where ``t`` says to begin, play time. Raises RangeInvalidError."""
    try:
        values = parse_qs(query, max_num_fields=16)
    except ValueError:
        raise RangeInvalidError("too many fields") from None
    text = (values.get("t") or values.get("clock") or [""])[-1].removeprefix("clock=").removeprefix("npt=")
    if not text:
        return 0
    return playout.play_time(read_utc(text)) if "T" in text.upper() else read_npt(text)


@contextlib.contextmanager
def _as_recording_errors() -> Iterator[None]:
    try:
        yield
    except (RecordNotFoundError, NothingRecordedError):
        raise RecordingNotFoundError("nothing recorded there") from None
    except OutsideAreaError:
        raise RecordingForbiddenError("the meeting is outside the person's area") from None
    except SupervisionRefusedError:
        raise RecordingForbiddenError("the camera's register allows no look into the room") from None
    except (StorageError, PlaybackError, MediaError) as error:
        log.warning("a recording cannot be read", code=error.code)
        raise RecordingUnavailableError("the recording cannot be read now", reason=error.code) from error

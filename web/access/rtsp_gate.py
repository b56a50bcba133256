"""The door of the RTSP server: log-in with stream passwords, the person's area, and each look put on record (law 5)."""

import asyncio
import contextlib

import structlog

from media.clock import Clock
from media.stream import Quality, StreamId
from media.tasks import Failures, kept_running
from storage.database import Database
from storage.errors import DatabaseError, DatabaseUnavailableError
from storage.records import AuditEntry, CameraPlace, User
from streaming.rtsp.auth import ServerAuthenticator, Verdict
from streaming.rtsp.server_url import split_path
from streaming.secret import Secret
from web.access.audit import Audit, camera_detail
from web.access.rtsp_recordings import RtspRecordings, meeting_of
from web.access.scopes import Scope, scopes_of
from web.access.stream_access import StreamPasswords
from web.county import County
from web.viewers import Viewers

log = structlog.get_logger("web.rtsp")
_MAX_WAITING = 1000
_AGAIN_S = 2.0


class RtspGate(ServerAuthenticator):
    """Refuses cameras outside the person's area as it refuses a wrong password: with 401. A PLAY is a look."""

    def __init__(
        self,
        county: County,
        stream_passwords: StreamPasswords,
        audit: Audit,
        database: Database,
        clock: Clock,
        recordings: RtspRecordings | None = None,
        viewers: Viewers | None = None,
    ) -> None:
        super().__init__("Sanhui", lambda name: stream_passwords.lookup(county.picture, name), clock)
        self._county = county
        self._audit = audit
        self._database = database
        self._recordings = recordings
        self._viewers = viewers
        self._looks: asyncio.Queue[AuditEntry] = asyncio.Queue(_MAX_WAITING)

    def check(self, method: str, url: str, authorization: str | None) -> Verdict:
        """See :class:`ServerAuthenticator`."""
        verdict = super().check(method, url, authorization)
        if verdict.user is None:
            return verdict
        picture = self._county.picture
        user = picture.users_by_name.get(verdict.user.lower())
        place = picture.cameras.get(camera_of(url))
        if user is None or place is None:
            return verdict if user is not None else Verdict(None)
        if not self._may_watch(user, place):
            return Verdict(None)
        if method == "PLAY":
            subject = f"camera/{place.camera.id}"
            entry = self._audit.entry(user, "stream.rtsp", subject, "", detail=camera_detail(place))
            if self._looks.full():
                # Without a record there is no look.
                return Verdict(None)
            self._looks.put_nowait(entry)
        return verdict

    def standing(self, user: str, url: str) -> Secret | None:
        """See :class:`ServerAuthenticator`. Judged by the county as it is now: who is disabled, has lost the area or
        has a new password is out."""
        password = super().standing(user, url)
        picture = self._county.picture
        person = picture.users_by_name.get(user.lower())
        if password is None or person is None:
            return None
        if meeting_of(path := path_of(url)):
            # While a meeting is being asked for the first time nothing is known of it, and nothing is sent.
            return password if self._recordings is None or self._recordings.allows(person, path) else None
        place = picture.cameras.get(camera_of(url))
        return password if place is not None and self._may_watch(person, place) else None

    def looking(self, user: str, url: str) -> contextlib.AbstractContextManager[None]:
        """See :class:`ServerAuthenticator`. A decoder or TV wall counts as the person whose password it has."""
        picture = self._county.picture
        person, place = picture.users_by_name.get(user.lower()), picture.cameras.get(camera_of(url))
        if self._viewers is None or person is None or place is None:
            return contextlib.nullcontext()
        return self._viewers.holding(place.camera.id, person.id)

    def _may_watch(self, user: User, place: CameraPlace) -> bool:
        return (
            Scope.LIVE_WATCH in scopes_of(user.role, user.scopes)
            and place.camera.supervision_allowed
            and self._county.picture.within(user.organization_id, place.organization.id)
        )

    def recording_looks(self, failures: Failures) -> contextlib.AbstractAsyncContextManager[None]:
        """Write looks down for as long as the context is open."""
        return kept_running("rtsp looks", self._write, failures)

    async def _write(self) -> None:
        while True:
            await self._keep(await self._looks.get())

    async def _keep(self, entry: AuditEntry) -> None:
        """Write a look down, when the database is back if it is away. Looks wait meanwhile; when too many do, nobody
        begins another."""
        while True:
            try:
                async with self._database.transaction() as repos:
                    await repos.audit.add(entry)
            except DatabaseUnavailableError:
                await asyncio.sleep(_AGAIN_S)
                continue
            except DatabaseError as error:
                log.exception("a look over RTSP is not on record", subject=entry.subject, code=error.code)
            return


def stream_of(path: str) -> StreamId:
    """The stream behind ``/live/{camera}`` or ``/live/{camera}/sub``; another path names no camera."""
    parts = path.strip("/").split("/")
    camera = parts[1] if len(parts) >= 2 and parts[0] == "live" else ""
    return StreamId(camera, Quality.SUB if len(parts) >= 3 and parts[2] == "sub" else Quality.MAIN)


def camera_of(url: str) -> str:
    """The camera in a request's URL, read as the server reads it; empty if it names none."""
    return stream_of(path_of(url)).camera


def path_of(url: str) -> str:
    """The path in a request's URL, read as the server reads it; empty for what is no URL."""
    try:
        return split_path(url)[0]
    except ValueError:
        return ""

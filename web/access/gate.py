"""The door of the media handlers: may the asker watch, and the look put on record (law 5)."""

from collections import OrderedDict
from collections.abc import Mapping

from aiohttp import web

from media.clock import Clock
from media.unit import NS_PER_S
from storage.database import Database
from storage.records import AuditEntry, MeetingPlace, MeetingState, StoryEntry, User
from web.access.audit import camera_detail, meeting_detail
from web.access.identity import demand_login
from web.access.principal import Principal
from web.access.scopes import Scope
from web.county import CountyPicture
from web.errors import NotFoundError, OutsideAreaError, SupervisionRefusedError
from web.services import SERVICES, Services

_ASK_AGAIN_NS = 30 * NS_PER_S
_MAX = 20_000


class _Recent:
    """Remembers what was done lately. Bounded; the oldest is forgotten first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: OrderedDict[tuple[str, ...], int] = OrderedDict()

    def holds(self, *key: str) -> bool:
        return self._until.get(key, 0) > self._clock.monotonic_ns()

    def add(self, *key: str, for_ns: int) -> None:
        self._until[key] = self._clock.monotonic_ns() + for_ns
        self._until.move_to_end(key)
        while len(self._until) > _MAX:
            self._until.popitem(last=False)


class SanhuiGate:
    """See :class:`web.live.context.Gate`. A live playlist is fetched twice a second by each viewer, so a look that was
    allowed and put on record is not asked about again for half a minute; its session is, every time."""

    def __init__(self, clock: Clock) -> None:
        self._recent = _Recent(clock)
        self._looks = _Recent(clock)

    async def watch_camera(self, request: web.Request, camera_id: str) -> None:
        """May the asker see this camera live? Puts the look on record, once per session and meeting."""
        services = request.app[SERVICES]
        principal = await demand_login(request)
        principal.demand(Scope.LIVE_WATCH)
        place = services.county.picture.cameras.get(camera_id)
        if place is None:
            raise NotFoundError
        _inside(services, principal, place.organization.id)
        if not place.camera.supervision_allowed:
            raise SupervisionRefusedError
        services.viewers.seen(camera_id, principal.user.id)
        if self._recent.holds(principal.session, "live", camera_id):
            return
        async with services.database.read() as repos:
            running = [item for item in await repos.meetings.running() if item.camera.id == camera_id]
        meeting = running[0] if running else None
        await self._look(request, principal, "camera.watch", f"camera/{camera_id}", camera_detail(place), meeting)
        self._recent.add(principal.session, "live", camera_id, for_ns=_ASK_AGAIN_NS)

    async def watch_meeting(self, request: web.Request, meeting_id: str) -> None:
        """May the asker see this meeting's recording? Puts the look on record, once per session and meeting."""
        principal = await demand_login(request)
        principal.demand(Scope.RECORDINGS_PLAY)
        # With the area: who has been given another one has been allowed nothing yet.
        look = (principal.session, principal.area or "", "play", meeting_id)
        if self._recent.holds(*look):
            return
        meeting = await self._meeting(request, principal, meeting_id)
        if meeting.meeting.state is MeetingState.RUNNING:
            # Who plays what is still being recorded sees the room, some seconds late: the room is told.
            seconds = 2 * _ASK_AGAIN_NS / NS_PER_S
            request.app[SERVICES].viewers.seen(meeting.camera.id, principal.user.id, seconds)
        detail = meeting_detail(meeting.meeting, meeting.organization.name)
        await self._look(request, principal, "meeting.play", f"meeting/{meeting_id}", detail, meeting)
        self._recent.add(*look, for_ns=_ASK_AGAIN_NS)

    async def download_meeting(self, request: web.Request, meeting_id: str) -> None:
        """May the asker take a copy away? Puts each download on record; the further ranges of one are the same."""
        principal = await demand_login(request)
        principal.demand(Scope.RECORDINGS_DOWNLOAD)
        meeting = await self._meeting(request, principal, meeting_id)
        if request.method == "HEAD" or "Range" in request.headers:
            if self._looks.holds(principal.session, "meeting.download", meeting_id):
                return
        else:
            self._looks.add(principal.session, "meeting.download", meeting_id, for_ns=0)
        detail = meeting_detail(meeting.meeting, meeting.organization.name)
        await self._look(request, principal, "meeting.download", f"meeting/{meeting_id}", detail, meeting)

    async def _meeting(self, request: web.Request, principal: Principal, meeting_id: str) -> MeetingPlace:
        services = request.app[SERVICES]
        meeting = await meeting_inside(services.database, services.county.picture, principal.area, meeting_id)
        demand_supervision(meeting)
        return meeting

    async def _look(
        self,
        request: web.Request,
        principal: Principal,
        action: str,
        subject: str,
        detail: Mapping[str, str | int | float],
        meeting: MeetingPlace | None,
    ) -> None:
        meeting_id = meeting.meeting.id if meeting else subject
        if self._looks.holds(principal.session, action, meeting_id):
            return
        services = request.app[SERVICES]
        entry = services.audit.entry(principal.user, action, subject, request.remote or "", detail=detail)
        await put_on_record(services.database, entry, principal.user, meeting, services.clock.utc_ns())
        self._looks.add(principal.session, action, meeting_id, for_ns=services.sessions.settings.max_s * NS_PER_S)


async def meeting_inside(database: Database, picture: CountyPicture, area: str | None, meeting_id: str) -> MeetingPlace:
    """The meeting, if it belongs to the area. Raises RecordNotFoundError, OutsideAreaError."""
    async with database.read() as repos:
        meeting = await repos.meetings.place(meeting_id)
    if not picture.within(area, meeting.organization.id):
        raise OutsideAreaError
    return meeting


def demand_supervision(meeting: MeetingPlace) -> None:
    """A recording that still grows is a look into the room. Raises SupervisionRefusedError where the camera's register
    allows none, until the meeting has ended."""
    if meeting.meeting.state is MeetingState.RUNNING and not meeting.camera.supervision_allowed:
        raise SupervisionRefusedError


async def put_on_record(
    database: Database, entry: AuditEntry, user: User, meeting: MeetingPlace | None, now_utc_ns: int
) -> None:
    """Write a look down: in the log and, where it is at a meeting, in that meeting's story. Raises DatabaseError."""
    kind = {"camera.watch": "looked-in", "meeting.play": "looked-back", "meeting.download": "downloaded"}[entry.action]
    async with database.transaction() as repos:
        await repos.audit.add(entry)
        if meeting is not None:
            story = StoryEntry(
                meeting_id=meeting.meeting.id,
                at_utc_ns=now_utc_ns,
                kind=kind,
                params={"name": user.display_name, "user": user.id},
            )
            await repos.story.add(story)


def _inside(services: Services, principal: Principal, organization_id: str) -> None:
    if not services.county.picture.within(principal.area, organization_id):
        raise OutsideAreaError

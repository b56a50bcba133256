"""Who looks in at which meeting, put on record as stretches of time (law 5)."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import structlog

from media.clock import Clock
from media.unit import NS_PER_S
from storage.database import Database
from storage.errors import DatabaseError
from storage.records import Attendance, MeetingPlace, Organization, Role, User
from web.county import CountyPicture

log = structlog.get_logger("web.presence")

_JOIN_NS = 60 * NS_PER_S
_SEEN_NS = 60 * NS_PER_S
_MAX = 20_000


@dataclass(slots=True)
class _Stretch:
    """``entry.id`` is 0 until it is written. Not ``here`` is kept for a while, for a person who comes back."""

    entry: Attendance
    here: bool = True
    written_ns: int = 0
    dirty: bool = True


def office_of(picture: CountyPicture, user: User) -> Organization | None:
    """The organization that a person speaks for: their own, or the county's root for those who see everything."""
    if user.organization_id is not None:
        return picture.organizations.get(user.organization_id)
    return next(iter(picture.children.get(None, ())), None)


def is_superior(picture: CountyPicture, user: User, organization_id: str) -> bool:
    """Whether the person is an official of an office above the organization."""
    office = office_of(picture, user)
    above = picture.path(organization_id)[1:]
    return user.role is Role.OFFICIAL and office is not None and any(item.id == office.id for item in above)


class Presence:
    """Owned by the live board, which tells it once a second who looks. What the database did not take is tried again
    at the next time."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._stretches: dict[tuple[str, str], _Stretch] = {}
        self._here: dict[str, tuple[Attendance, ...]] = {}
        self._away = False

    async def close_forgotten(self) -> None:
        """End what a crash left open. Raises DatabaseError."""
        async with self._database.transaction() as repos:
            await repos.attendance.close_forgotten()

    def of(self, meeting_id: str) -> tuple[Attendance, ...]:
        """Who looks in now."""
        return self._here.get(meeting_id, ())

    def _by_meeting(self) -> dict[str, tuple[Attendance, ...]]:
        """Entries differ only where somebody came or left."""
        found: defaultdict[str, list[Attendance]] = defaultdict(list)
        for (meeting_id, _), stretch in self._stretches.items():
            if stretch.here:
                found[meeting_id].append(replace(stretch.entry, id=0, seen_utc_ns=stretch.entry.from_utc_ns))
        return {meeting: tuple(entries) for meeting, entries in found.items()}

    async def update(
        self, running: Iterable[MeetingPlace], viewers: Mapping[str, Iterable[str]], picture: CountyPicture
    ) -> None:
        """Take note of who looks through which camera while meetings run. Raises nothing: see the class."""
        now = self._clock.utc_ns()
        present: set[tuple[str, str]] = set()
        for place in running:
            for user_id in viewers.get(place.camera.id, ()):
                user = picture.users.get(user_id)
                if user is not None and len(self._stretches) < _MAX:
                    present.add((place.meeting.id, user_id))
                    self._come(place, user, picture, now)
        for key, stretch in self._stretches.items():
            if stretch.here and key not in present:
                stretch.here = False
                stretch.entry = replace(stretch.entry, seen_utc_ns=now, to_utc_ns=now)
                stretch.dirty = True
        self._here = self._by_meeting()
        await self._save(now)
        for key in [key for key, item in self._stretches.items() if self._is_over(item, now)]:
            del self._stretches[key]

    async def leave_all(self) -> None:
        """The service ends: so does every look."""
        await self.update((), {}, CountyPicture())

    def _come(self, place: MeetingPlace, user: User, picture: CountyPicture, now: int) -> None:
        key = (place.meeting.id, user.id)
        known = self._stretches.get(key)
        if known is None:
            office = office_of(picture, user)
            entry = Attendance(
                meeting_id=place.meeting.id,
                user_id=user.id,
                name=user.display_name,
                office_id=office.id if office else None,
                office_name=office.name if office else "",
                superior=is_superior(picture, user, place.organization.id),
                from_utc_ns=now,
                seen_utc_ns=now,
            )
            self._stretches[key] = _Stretch(entry)
        elif not known.here:
            known.here = known.dirty = True
            known.entry = replace(known.entry, seen_utc_ns=now, to_utc_ns=None)

    async def _save(self, now: int) -> None:
        due = [item for item in self._stretches.values() if item.dirty or self._is_due(item, now)]
        if not due:
            return
        try:
            async with self._database.transaction() as repos:
                written = [(item, await repos.attendance.save(self._as_of(item, now))) for item in due]
        except DatabaseError as error:
            if not self._away:
                log.warning("who looks in is not on record yet", code=error.code)
            self._away = True
            return
        self._away = False
        for item, entry in written:
            item.entry, item.dirty, item.written_ns = entry, False, now

    @staticmethod
    def _as_of(item: _Stretch, now: int) -> Attendance:
        return replace(item.entry, seen_utc_ns=now) if item.here else item.entry

    @staticmethod
    def _is_due(item: _Stretch, now: int) -> bool:
        return item.here and now - item.written_ns > _SEEN_NS

    @staticmethod
    def _is_over(item: _Stretch, now: int) -> bool:
        gone = item.entry.to_utc_ns
        return not item.here and not item.dirty and gone is not None and now - gone > _JOIN_NS

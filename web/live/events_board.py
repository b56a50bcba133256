"""What is live in the county, in memory, and the events that tell of its changes.

Who changes something says so (:meth:`LiveBoard.meeting_changed` and its like); what changes by itself, cameras and
recordings, is compared once a second, and only for topics that somebody has. The database is read when a meeting
changes and every few seconds for all, never for one page.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog
from aiohttp import web

from media.tasks import Failures, kept_running
from media.unit import NS_PER_S
from storage.errors import DatabaseError, RecordNotFoundError
from storage.records import CameraPlace, GuidanceNote, Meeting, MeetingPlace, MeetingState, Recording
from web.access.counted import Counted
from web.api import live_view
from web.api.live_view import CameraFacts, MeetingFacts, RecordingFacts, RoomFacts
from web.api.now import compose, read_rooms, rooms_of
from web.api.now_view import Rooms, today_only
from web.api.schemas import events as messages
from web.api.schemas.guidance import Talk
from web.api.schemas.meetings import RecordingState
from web.live import events_render
from web.live.events_cameras import CameraTopics
from web.live.events_hub import Hub, Subscription
from web.live.presence import Presence
from web.messages import Catalog
from web.services import Services

log = structlog.get_logger("web.events")

NOW = "now"
MEETINGS = "meetings"
_TICK_S = 1.0
_REFRESH_NS = 10 * NS_PER_S
_PAGE_S = 4.0
"""For how long an open page counts as a look after it was last seen open."""


@dataclass(slots=True)
class _Known:
    """A meeting that somebody has open. ``recordings`` are those of one that does not run."""

    place: MeetingPlace
    recordings: tuple[Recording, ...] = ()
    notes: tuple[GuidanceNote, ...] = ()
    facts: MeetingFacts | None = None


class LiveBoard:
    """Owned by the application's event loop; :meth:`running` is its lifetime."""

    def __init__(self, services: Services, hub: Hub, presence: Presence) -> None:
        self._services = services
        self.hub = hub
        self.presence = presence
        self.notes_written = Counted(services.clock, span_s=60)
        self._rows = Rooms()
        self._held: dict[str, MeetingPlace] = {}
        self._notes: dict[str, tuple[GuidanceNote, ...]] = {}
        self._talks: dict[str, Talk] = {}
        self._meetings: dict[str, _Known] = {}
        self._rooms: dict[str, RoomFacts] = {}
        self._cards: dict[str, object] | None = None
        self._codes: tuple[str, ...] = ()
        self._cameras = CameraTopics(services, hub)
        self._picture = services.county.picture
        self._read_ns = 0
        self._stale = True
        self._changed: set[str] = set()
        # Counts what was written to notes, to know whether rows were read before or after it.
        self._noted = 0
        # Sends a page its topic anew; set by the socket module, which knows pages.
        self.refill: Callable[[str, tuple[Subscription, ...]], None] = lambda _topic, _pages: None

    # What others say.

    def meeting_changed(self, meeting_id: str) -> None:
        """A meeting was planned, changed, started, ended, called off, or missed."""
        self._changed.add(meeting_id)
        self._stale = True
        self.hub.publish(MEETINGS, events_render.meetings)

    def note_changed(self, place: MeetingPlace, note: GuidanceNote) -> None:
        """A note was written, shown or answered. Pages have it before this returns."""
        meeting_id = place.meeting.id
        others = (item for item in self._notes.get(meeting_id, ()) if item.id != note.id)
        self._notes[meeting_id] = tuple(sorted((*others, note), key=lambda item: (item.at_utc_ns, item.id)))
        self._noted += 1
        self.hub.publish(f"meeting/{meeting_id}", events_render.note(note, place.meeting.started_utc_ns))
        self.hub.publish(f"meeting/{meeting_id}", events_render.story)
        self._publish_room(place.site.id)

    def talk_changed(self, meeting_id: str, talk: Talk) -> None:
        """Somebody began or ended to speak into the room, or to wait."""
        if talk.speaker is None and not talk.queue:
            self._talks.pop(meeting_id, None)
        else:
            self._talks[meeting_id] = talk
        self.hub.publish(f"meeting/{meeting_id}", events_render.talk(talk))
        if (place := self._rows.places.get(meeting_id)) is not None:
            self._publish_room(place.site.id)

    # Topics as they stand.

    def now(self, area: str | None, catalog: Catalog) -> messages.NowSnapshot:
        """The first page of an area."""
        if self._cards is None:
            # From here on changes are events; before, nobody was there to be told.
            self._compare_cards()
        data = compose(self._services, self._rows, area, catalog)
        return messages.NowSnapshot(topic=NOW, id=self.hub.newest_id, data=data)

    async def meeting(self, meeting_id: str, catalog: Catalog) -> messages.MeetingSnapshot:
        """A meeting. Raises RecordNotFoundError, DatabaseError."""
        number = self.hub.newest_id
        known = self._meetings.get(meeting_id)
        if known is None:
            known = self._meetings[meeting_id] = await self._known(meeting_id)
        facts = self._meeting_facts(known)
        # Those who have the topic already are told of differences to what they know, so that stays.
        known.facts = known.facts or facts
        data = live_view.meeting_now(facts, self._services.county.picture, catalog)
        return messages.MeetingSnapshot(topic=f"meeting/{meeting_id}", id=number, data=data)

    def cameras(self, topic: str, catalog: Catalog, host: str) -> messages.CamerasSnapshot:
        """Cameras; ``host`` is what the page calls this machine."""
        return self._cameras.snapshot(topic, self._rows.running, catalog, host)

    def room(self, site_id: str, catalog: Catalog, device: str | None) -> messages.RoomState | None:
        """A room; None if there is no such site."""
        number = self.hub.newest_id
        facts = self.room_facts(site_id)
        if facts is None:
            return None
        self._rooms.setdefault(site_id, facts)
        data = live_view.room(facts, catalog, self._services.clock.utc_ns(), device=device, csrf_token=None)
        return messages.RoomState(topic=f"room/{site_id}", id=number, data=data)

    def room_facts(self, site_id: str, viewers: Mapping[str, Iterable[str]] | None = None) -> RoomFacts | None:
        """What a room's page shows; None if there is no such site. ``viewers`` are :meth:`Viewers.by_camera`."""
        services, picture = self._services, self._services.county.picture
        site = picture.sites.get(site_id)
        village = picture.organizations.get(site.organization_id) if site is not None else None
        if site is None or village is None:
            return None
        place = self._held.get(site_id)
        meeting = place.meeting if place is not None else None
        cameras = [item for item in picture.cameras_by_site.get(site_id, ()) if item.camera.enabled]
        upcoming = {item.camera.id: self._rows.next.get(item.camera.id) for item in cameras}
        today = today_only(
            {key: item for key, item in upcoming.items() if item is not None},
            services.sessions.now(),
            services.settings.zone,
        )
        viewers = services.viewers.by_camera() if viewers is None else viewers
        people = {user for item in cameras for user in viewers.get(item.camera.id, ())}
        return RoomFacts(
            site=site,
            village=village,
            cameras=tuple(self._camera_facts(item) for item in cameras),
            meeting=meeting,
            recording=self._recording_facts(meeting) if meeting is not None else None,
            next=min(today.values(), key=lambda item: item.planned_start, default=None),
            presence=self.presence.of(meeting.id) if meeting is not None else (),
            viewers=len(people),
            notes=tuple(item for item in self._notes.get(meeting.id, ()) if item.answered_utc_ns is None)
            if meeting is not None
            else (),
            talk=self._talks.get(meeting.id, live_view.SILENT_TALK) if meeting is not None else live_view.SILENT_TALK,
        )

    # Its own time.

    @contextlib.asynccontextmanager
    async def running(self, failures: Failures) -> AsyncIterator[None]:
        """Keep the board for as long as the context is open. Raises DatabaseError."""
        await self.presence.close_forgotten()
        changes = self._services.recorder.on_change
        changes.append(self.meeting_changed)
        await self.tick()
        async with kept_running("live board", self._run, failures):
            yield
            changes.remove(self.meeting_changed)
            await self.presence.leave_all()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            await self.tick()

    async def tick(self) -> None:
        """Compare what is with what was, and publish what differs. A database that is away leaves rows as they were."""
        services = self._services
        if self._stale or services.clock.monotonic_ns() - self._read_ns > _REFRESH_NS:
            try:
                await self._refresh()
            except DatabaseError as error:
                log.debug("rows of meetings not refreshed", code=error.code)
        await self._look()
        self._compare_tree()
        self._compare_cards()
        self._compare_meetings()
        for name in self._cameras.compare(self._rows.running):
            self.refill(name, self.hub.reset(name))
        viewers = services.viewers.by_camera()
        for topic in self.hub.topics("room/"):
            self._publish_room(topic.name.removeprefix("room/"), viewers)

    async def _refresh(self) -> None:
        self._stale = False
        changed, self._changed = self._changed, set()
        noted = self._noted
        try:
            async with self._services.database.read() as repos:
                rows = await read_rooms(self._services, repos)
                found = await repos.notes.of_meetings(list(rows.places))
        except DatabaseError:
            self._stale, self._changed = True, changed | self._changed
            raise
        before, self._rows = self._rows, rows
        # Of two that run at one site, the room's page shows the one that began first.
        places = sorted(rows.places.values(), key=lambda place: place.meeting.started_utc_ns or 0, reverse=True)
        self._held = {place.site.id: place for place in places}
        notes: dict[str, list[GuidanceNote]] = {}
        for note in found:
            notes.setdefault(note.meeting_id, []).append(note)
        if noted == self._noted:
            self._notes = {meeting_id: tuple(items) for meeting_id, items in notes.items()}
        else:
            # A note came while rows were being read, and may not be among them: it must not vanish from the TV.
            self._stale = True
        self._talks = {key: talk for key, talk in self._talks.items() if key in rows.places}
        self._read_ns = self._services.clock.monotonic_ns()
        over = set(before.places) - set(rows.places)
        wanted = {topic.name.removeprefix("meeting/") for topic in self.hub.topics("meeting/")}
        self._meetings = {key: known for key, known in self._meetings.items() if key in wanted}
        for meeting_id, known in self._meetings.items():
            if (place := rows.places.get(meeting_id)) is not None:
                known.place = place
            elif meeting_id in changed | over or self._is_filing(known):
                await self._reread(meeting_id, known)

    @staticmethod
    def _is_filing(known: _Known) -> bool:
        return known.facts is not None and known.facts.recording.state is RecordingState.FILING

    async def _known(self, meeting_id: str) -> _Known:
        place = self._rows.places.get(meeting_id)
        if place is not None:
            return _Known(place)
        async with self._services.database.read() as repos:
            place = await repos.meetings.place(meeting_id)
            recordings = await repos.recordings.of_meeting(meeting_id)
            notes = await repos.notes.of_meetings([meeting_id])
        return _Known(place, tuple(recordings), notes)

    async def _reread(self, meeting_id: str, known: _Known) -> None:
        try:
            fresh = await self._known(meeting_id)
        except RecordNotFoundError:
            return
        except DatabaseError:
            self._changed.add(meeting_id)
            self._stale = True
            return
        known.place, known.recordings, known.notes = fresh.place, fresh.recordings, fresh.notes

    async def _look(self) -> None:
        """An open page of a running meeting is a look; so who looks where goes on record."""
        viewers, picture = self._services.viewers, self._services.county.picture
        for topic in self.hub.topics("meeting/"):
            place = self._rows.places.get(topic.name.removeprefix("meeting/"))
            if place is not None:
                for page in topic.subscriptions:
                    if page.watching:
                        viewers.seen(place.camera.id, page.user, _PAGE_S)
        await self.presence.update(self._rows.places.values(), viewers.by_camera(), picture)

    # Comparing.

    def _compare_tree(self) -> None:
        before, self._picture = self._picture, self._services.county.picture
        if before is self._picture:
            return
        if (before.organizations, before.sites) != (self._picture.organizations, self._picture.sites):
            self._cards = None
            self.refill(NOW, self.hub.reset(NOW))

    def _compare_cards(self) -> None:
        if not self.hub.known(NOW):
            self._cards = None
            return
        services, before = self._services, self._cards
        codes, told = services.notices.codes, self._codes
        self._codes = codes
        if before is not None and codes != told:
            self.hub.publish(NOW, events_render.notices(codes))
        now_ns, picture = services.clock.utc_ns(), services.county.picture
        cards: dict[str, object] = {}
        for room in rooms_of(services, self._rows, picture.cameras.values()):
            camera_id = room.place.camera.id
            key = cards[camera_id] = events_render.card_key(room, now_ns)
            if before is not None and before.get(camera_id) != key:
                render = events_render.changed_card(room, picture, now_ns)
                self.hub.publish(NOW, render, room.place.organization.id)
        self._cards = cards
        if before is not None and before.keys() - cards.keys():
            self.refill(NOW, self.hub.reset(NOW))

    def _compare_meetings(self) -> None:
        for topic in self.hub.topics("meeting/"):
            known = self._meetings.get(topic.name.removeprefix("meeting/"))
            if known is None or known.facts is None:
                continue
            before, after = known.facts, self._meeting_facts(known)
            known.facts = after
            for render in events_render.differences(before, after, self._services.county.picture):
                self.hub.publish(topic.name, render)

    def _publish_room(self, site_id: str, viewers: Mapping[str, Iterable[str]] | None = None) -> None:
        name = f"room/{site_id}"
        if not self.hub.known(name):
            self._rooms.pop(site_id, None)
            return
        facts = self.room_facts(site_id, viewers)
        if facts is None or self._rooms.get(site_id) == facts:
            return
        self._rooms[site_id] = facts
        self.hub.publish(name, events_render.room(facts, self._services.clock.utc_ns()))

    # Facts.

    def _camera_facts(self, place: CameraPlace) -> CameraFacts:
        camera_id = place.camera.id
        status = self._services.supervisor.status(camera_id)
        return live_view.camera_facts(place, status, unreadable=self._services.wanted.is_unreadable(camera_id))

    def _recording_facts(self, meeting: Meeting, recordings: tuple[Recording, ...] = ()) -> RecordingFacts:
        return live_view.recording_facts(meeting, self._services.recorder.live_state(meeting.id), recordings)

    def _meeting_facts(self, known: _Known) -> MeetingFacts:
        place = known.place
        meeting_id, running = place.meeting.id, place.meeting.state is MeetingState.RUNNING
        camera = CameraPlace(camera=place.camera, site=place.site, organization=place.organization)
        return MeetingFacts(
            place=place,
            camera=self._camera_facts(self._services.county.picture.cameras.get(place.camera.id, camera)),
            recording=self._recording_facts(place.meeting, known.recordings),
            presence=self.presence.of(meeting_id) if running else (),
            notes=self._notes.get(meeting_id, ()) if running else known.notes,
            talk=self._talks.get(meeting_id, live_view.SILENT_TALK),
        )


BOARD = web.AppKey("live_board", LiveBoard)

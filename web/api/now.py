"""What happens now."""

from collections.abc import Iterable

from storage.records import CameraPlace, MeetingState
from storage.repositories import Repositories
from web.access.scopes import Scope
from web.api import present
from web.api.now_view import Room, Rooms, cards, today_only
from web.api.schemas.now import Now
from web.call import Call
from web.messages import Catalog
from web.operations import Operations
from web.services import Services

operations = Operations("now")


@operations.operation("GET", "/now", scope=Scope.MEETINGS_READ)
async def get_now(call: Call) -> Now:
    """What happens now, in the order of the first page."""
    async with call.services.database.read() as repos:
        rows = await read_rooms(call.services, repos)
    return compose(call.services, rows, call.principal.area, call.catalog)


async def read_rooms(services: Services, repos: Repositories) -> Rooms:
    """What the database says of all rooms at this moment. Raises DatabaseError."""
    now = services.sessions.now()
    running = await repos.meetings.running()
    due = await repos.meetings.due(now)
    return Rooms(
        places={item.meeting.id: item for item in running},
        running={item.camera.id: item.meeting for item in running},
        due={item.camera_id: item for item in due},
        next=await repos.meetings.next_by_camera(now),
    )


def rooms_of(services: Services, rows: Rooms, places: Iterable[CameraPlace]) -> list[Room]:
    """What is known of each camera's room now; none of those that are off and have nothing on."""
    today = today_only(rows.next, services.sessions.now(), services.settings.zone)
    viewers = services.viewers.counts()
    rooms = []
    for place in places:
        camera_id = place.camera.id
        meeting = rows.running.get(camera_id) or rows.due.get(camera_id)
        if not place.camera.enabled and meeting is None:
            continue
        room = Room(
            place=place,
            status=services.supervisor.status(camera_id),
            meeting=meeting,
            next=today.get(camera_id),
            live=services.recorder.live_state(meeting.id) if meeting else None,
            viewers=viewers.get(camera_id, 0),
            unreadable=services.wanted.is_unreadable(camera_id),
        )
        rooms.append(room)
    return rooms


def compose(services: Services, rows: Rooms, area: str | None, catalog: Catalog) -> Now:
    """The first page of an area."""
    picture = services.county.picture
    places = picture.cameras_in(area)
    mine = {place.camera.id for place in places}
    following = min(
        (item for key, item in rows.next.items() if key in mine and item.state is MeetingState.PLANNED),
        key=lambda item: item.planned_start,
        default=None,
    )
    village = picture.organizations.get(following.organization_id) if following else None
    root = picture.organizations.get(area or "")
    return Now(
        at=services.sessions.now(),
        area=present.organization_ref(root) if root else None,
        cards=cards(rooms_of(services, rows, places), picture, catalog, services.clock.utc_ns()),
        next_meeting=present.brief(following, catalog) if following else None,
        next_meeting_village=present.organization_ref(village) if village else None,
        notices=[catalog.notice(code) for code in services.notices.codes],
    )

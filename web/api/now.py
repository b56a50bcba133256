"""What happens now."""

from storage.records import MeetingState
from web.access.scopes import Scope
from web.api import present
from web.api.now_view import Room, cards, today_only
from web.api.schemas.now import Now
from web.call import Call
from web.operations import Operations

operations = Operations("now")


@operations.operation("GET", "/now", scope=Scope.MEETINGS_READ)
async def get_now(call: Call) -> Now:
    """What happens now, in the order of the first page."""
    services, picture = call.services, call.picture
    area, now = call.principal.area, call.now()
    async with services.database.read() as repos:
        running = {item.camera.id: item.meeting for item in await repos.meetings.running(area)}
        due = {item.camera_id: item for item in await repos.meetings.due(now)}
        upcoming = await repos.meetings.next_by_camera(now)
    today = today_only(upcoming, now, services.settings.zone)
    viewers = services.viewers.counts()
    rooms = []
    for place in picture.cameras_in(area):
        camera_id = place.camera.id
        meeting = running.get(camera_id) or due.get(camera_id)
        if not place.camera.enabled and meeting is None:
            continue
        live = services.recorder.live_state(meeting.id) if meeting else None
        room = Room(
            place=place,
            status=services.supervisor.status(camera_id),
            meeting=meeting,
            next=today.get(camera_id),
            live=live,
            viewers=viewers.get(camera_id, 0),
            unreadable=services.wanted.is_unreadable(camera_id),
        )
        rooms.append(room)
    mine = {place.camera.id for place in picture.cameras_in(area)}
    following = min(
        (item for key, item in upcoming.items() if key in mine and item.state is MeetingState.PLANNED),
        key=lambda item: item.planned_start,
        default=None,
    )
    village = picture.organizations.get(following.organization_id) if following else None
    root = picture.organizations.get(area or "")
    return Now(
        at=now,
        area=present.organization_ref(root) if root else None,
        cards=cards(rooms, picture, call.catalog, services.clock.utc_ns()),
        next_meeting=present.brief(following, call.catalog) if following else None,
        next_meeting_village=present.organization_ref(village) if village else None,
        notices=[call.catalog.notice(code) for code in services.notices.codes],
    )

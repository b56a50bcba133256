"""The first page's cards: which room has a problem, which is live, which comes next. Pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from zoneinfo import ZoneInfo

from media.unit import NS_PER_S, AudioTrack, VideoTrack
from recorder.state import LiveState
from storage.records import CameraPlace, Meeting, MeetingPlace, MeetingState
from streaming.camera_status import CameraState, CameraStatus
from web.api import present
from web.api.schemas.common import Notice
from web.api.schemas.meetings import RecordingState
from web.api.schemas.now import Chip, ChipKind, NowCard, NowGroup
from web.county import CountyPicture
from web.messages import Catalog

_ORDER = {NowGroup.PROBLEM: 0, NowGroup.LIVE: 1, NowGroup.NEXT: 2, NowGroup.IDLE: 3}
# A meeting that has just begun is given this long before its absent recording is called a problem.
_PATIENCE_NS = 10 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Room:
    """What is known of one camera's room at one moment. ``meeting`` runs or is due; ``next`` is the next one today."""

    place: CameraPlace
    status: CameraStatus | None
    meeting: Meeting | None = None
    next: Meeting | None = None
    live: LiveState | None = None
    viewers: int = 0
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the database says of all rooms: meetings by camera id, and where those that run are held by their own id.
    ``next`` is each camera's next planned meeting, of whatever day."""

    places: Mapping[str, MeetingPlace] = field(default_factory=dict)
    running: Mapping[str, Meeting] = field(default_factory=dict)
    due: Mapping[str, Meeting] = field(default_factory=dict)
    next: Mapping[str, Meeting] = field(default_factory=dict)


def today_only(meetings: Mapping[str, Meeting], now: datetime, zone: ZoneInfo) -> dict[str, Meeting]:
    """Those that are planned for today."""
    today: date = now.astimezone(zone).date()
    return {key: item for key, item in meetings.items() if item.planned_start.astimezone(zone).date() == today}


def cards(rooms: list[Room], picture: CountyPicture, catalog: Catalog, now_ns: int) -> list[NowCard]:
    """All cards in the order of the page; inside a group by time, then by place."""
    shown = [(card(room, picture, catalog, now_ns), place) for place, room in enumerate(rooms)]
    shown.sort(key=lambda item: (_ORDER[item[0].group], _time_of(item[0]), item[1]))
    return [item for item, _ in shown]


def _time_of(item: NowCard) -> float:
    meeting = item.meeting or item.next_meeting
    moment = (meeting.started_at or meeting.planned_start) if meeting else None
    return moment.timestamp() if moment else 0.0


def card(room: Room, picture: CountyPicture, catalog: Catalog, now_ns: int) -> NowCard:
    """One camera's card."""
    place, status, meeting = room.place, room.status, room.meeting
    running = meeting is not None and meeting.state is MeetingState.RUNNING
    recording = RecordingState.NONE
    if running and meeting is not None and meeting.record:
        recording = present.recording_state((), room.live, running=True)
    online = status is not None and status.state is CameraState.ONLINE
    problem = _problem(room, catalog, recording, now_ns)
    if meeting is not None and problem is not None:
        group = NowGroup.PROBLEM
    elif meeting is not None:
        group = NowGroup.LIVE
    else:
        group = NowGroup.NEXT if room.next is not None else NowGroup.IDLE
    return NowCard(
        camera=present.camera_ref(place.camera),
        site=present.site_ref(place.site),
        village=present.organization_ref(place.organization),
        town=present.town_ref(picture, place.organization.id),
        group=group,
        chips=_chips(room, recording, online=online),
        online=online,
        since=present.at(status.since_utc_ns) if status is not None else None,
        meeting=present.brief(meeting, catalog) if meeting is not None else None,
        recording=recording,
        next_meeting=present.brief(room.next, catalog) if room.next is not None else None,
        still_url=present.still_url(place.camera.id),
        live_url=present.live_url(place.camera.id),
        rtc_url=present.rtc_url(place.camera.id),
        problem=problem,
    )


def _chips(room: Room, recording: RecordingState, *, online: bool) -> list[Chip]:
    status = room.status
    chips: list[Chip] = []
    since = present.at(status.since_utc_ns) if status is not None else None
    if online:
        chips.append(Chip(kind=ChipKind.LIVE, since=since))
    elif status is None or status.state is CameraState.CONNECTING:
        chips.append(Chip(kind=ChipKind.CONNECTING, since=since))
    else:
        chips.append(Chip(kind=ChipKind.OFFLINE, since=since))
    if recording is RecordingState.RECORDING and room.live is not None:
        chips.append(Chip(kind=ChipKind.RECORDING, since=present.at_or_none(room.live.recording_since_utc_ns)))
    if status is not None and online and _is_mute(status):
        chips.append(Chip(kind=ChipKind.NO_SOUND))
    if status is not None and status.picture_missing:
        chips.append(Chip(kind=ChipKind.NO_PICTURE))
    if room.viewers:
        chips.append(Chip(kind=ChipKind.WATCHED, count=room.viewers))
    return chips


def _is_mute(status: CameraStatus) -> bool:
    has_picture = any(isinstance(track, VideoTrack) for track in status.tracks)
    return has_picture and not any(isinstance(track, AudioTrack) for track in status.tracks)


def _problem(room: Room, catalog: Catalog, recording: RecordingState, now_ns: int) -> Notice | None:
    camera = present.camera_problem(room.place, room.status, catalog, unreadable=room.unreadable)
    if camera is not None and (room.status is None or room.status.state is not CameraState.ONLINE):
        return camera
    meeting = room.meeting
    if meeting is None:
        return None
    began_ns = meeting.started_utc_ns or int(meeting.planned_start.timestamp() * NS_PER_S)
    if meeting.record and recording is not RecordingState.RECORDING and now_ns - began_ns > _PATIENCE_NS:
        return catalog.notice("meeting-not-recorded")
    if room.status is not None and room.status.picture_missing:
        return catalog.notice("sound-only", group="advice")
    return None

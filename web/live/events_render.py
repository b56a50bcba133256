"""From facts to the messages of the event socket, in the language of whoever gets them."""

from media.unit import NS_PER_S
from storage.records import GuidanceNote, MeetingState
from web.api import live_view
from web.api.live_view import MeetingFacts, RoomFacts
from web.api.now_view import Room, card
from web.api.present import brief, recording_state
from web.api.schemas import events as messages
from web.api.schemas.guidance import Talk
from web.county import CountyPicture
from web.live.events_hub import Render
from web.messages import Catalog

_PATIENCE_NS = 10 * NS_PER_S


def story(_: Catalog, topic: str, number: str) -> messages.StoryChanged:
    """The timeline has something new."""
    return messages.StoryChanged(topic=topic, id=number)


def meetings(_: Catalog, topic: str, number: str) -> messages.MeetingsChanged:
    """Some meeting is another than it was."""
    return messages.MeetingsChanged(topic=topic, id=number)


def notices(codes: tuple[str, ...]) -> Render:
    """What is wrong with the service."""

    def render(catalog: Catalog, topic: str, number: str) -> messages.ServiceNotices:
        return messages.ServiceNotices(topic=topic, id=number, data=[catalog.notice(code) for code in codes])

    return render


def changed_card(room: Room, picture: CountyPicture, now_ns: int) -> Render:
    """A card of the first page."""

    def render(catalog: Catalog, topic: str, number: str) -> messages.CardChanged:
        return messages.CardChanged(topic=topic, id=number, data=card(room, picture, catalog, now_ns))

    return render


def card_key(room: Room, now_ns: int) -> object:
    """What a card shows, without what only counts up."""
    status, meeting, live = room.status, room.meeting, room.live
    running = meeting is not None and meeting.state is MeetingState.RUNNING
    began = 0
    if meeting is not None:
        began = meeting.started_utc_ns or int(meeting.planned_start.timestamp() * NS_PER_S)
    return (
        room.place,
        (status.state, status.since_utc_ns, status.problem, status.tracks, status.picture_missing) if status else None,
        meeting,
        room.next,
        recording_state((), live, running=running) if running else None,
        live.recording_since_utc_ns if live is not None else None,
        meeting is not None and now_ns - began > _PATIENCE_NS,
        room.viewers,
        room.unreadable,
    )


def differences(before: MeetingFacts, after: MeetingFacts, picture: CountyPicture) -> list[Render]:
    """The events that lead from one to the other; notes and talk have been told by who changed them."""
    renders: list[Render] = []
    if before.place.meeting != after.place.meeting:
        renders.append(_state(after))
    if before.camera != after.camera:
        renders.append(_camera(after))
    if before.recording != after.recording:
        renders.append(_recording(after))
    if before.presence != after.presence:
        renders.append(_presence(after, picture))
    if renders:
        renders.append(story)
    return renders


def _state(facts: MeetingFacts) -> Render:
    def render(catalog: Catalog, topic: str, number: str) -> messages.MeetingChanged:
        return messages.MeetingChanged(topic=topic, id=number, data=brief(facts.place.meeting, catalog))

    return render


def _camera(facts: MeetingFacts) -> Render:
    def render(catalog: Catalog, topic: str, number: str) -> messages.CameraChanged:
        return messages.CameraChanged(topic=topic, id=number, data=live_view.camera_now(facts.camera, catalog))

    return render


def _recording(facts: MeetingFacts) -> Render:
    def render(_: Catalog, topic: str, number: str) -> messages.RecordingChanged:
        return messages.RecordingChanged(topic=topic, id=number, data=live_view.recording_now(facts.recording))

    return render


def _presence(facts: MeetingFacts, picture: CountyPicture) -> Render:
    def render(_: Catalog, topic: str, number: str) -> messages.PresenceChanged:
        return messages.PresenceChanged(topic=topic, id=number, data=live_view.presence_now(facts.presence, picture))

    return render


def note(record: GuidanceNote, started_utc_ns: int | None) -> Render:
    """A note of a meeting that began then."""

    def render(_: Catalog, topic: str, number: str) -> messages.NoteChanged:
        return messages.NoteChanged(topic=topic, id=number, data=live_view.shown_note(record, started_utc_ns))

    return render


def talk(state: Talk) -> Render:
    """Who speaks."""

    def render(_: Catalog, topic: str, number: str) -> messages.TalkChanged:
        return messages.TalkChanged(topic=topic, id=number, data=state)

    return render


def room(facts: RoomFacts, utc_ns: int) -> Render:
    """A whole room."""

    def render(catalog: Catalog, topic: str, number: str) -> messages.RoomState:
        data = live_view.room(facts, catalog, utc_ns, device=None, csrf_token=None)
        return messages.RoomState(topic=topic, id=number, data=data)

    return render

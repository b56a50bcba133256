"""Messages of the event socket. ``docs/events.md`` tells when each comes."""

from typing import Annotated, Literal

from pydantic import Field, RootModel, StringConstraints

from web.api.schemas.cameras import CameraList, CameraNumbers, CameraStanding
from web.api.schemas.common import Notice, RequestModel, ResponseModel, Time
from web.api.schemas.guidance import Note, NoteList, PresenceNow, Talk
from web.api.schemas.meetings import MeetingBrief
from web.api.schemas.now import Now, NowCard
from web.api.schemas.rooms import CameraNow, RecordingNow, Room

_TOPIC = r"^(now|meetings|(meeting|room|cameras?)/[A-Za-z0-9_-]{1,64})$"
Topic = Annotated[str, StringConstraints(max_length=80, pattern=_TOPIC)]
EventId = Annotated[str, StringConstraints(max_length=64)]


class Subscribe(RequestModel):
    """Have the events of a topic from now on. Said again of the same topic, it changes ``watching`` alone."""

    type: Literal["subscribe"]
    topic: Topic
    after: EventId | None = Field(default=None, description="The last id seen of this topic, after a drop")
    watching: bool = Field(default=True, description="Whether the person looks; of a meeting, that is on record")


class Unsubscribe(RequestModel):
    """No more events of a topic."""

    type: Literal["unsubscribe"]
    topic: Topic


class ClientMessage(RootModel[Annotated[Subscribe | Unsubscribe, Field(discriminator="type")]]):
    """What a page sends."""


class Hello(ResponseModel):
    """The first message. Without a message for twice ``beat_s`` the connection is dead."""

    type: Literal["hello"] = "hello"
    at: Time
    beat_s: int


class Beat(ResponseModel):
    """A sign of life."""

    type: Literal["beat"] = "beat"
    at: Time


class Refused(ResponseModel):
    """A topic that is not there or not for this person, or a message that cannot be understood (``topic`` empty)."""

    type: Literal["refused"] = "refused"
    topic: str
    problem: Notice


class _Event(ResponseModel):
    topic: str
    id: str = Field(description="To be sent as ``after`` when the connection comes back")


class NowSnapshot(_Event):
    """The whole first page; in the place of all that was known."""

    type: Literal["now"] = "now"
    data: Now


class CardChanged(_Event):
    """One card of the first page; in the place of the card of the same camera."""

    type: Literal["card"] = "card"
    data: NowCard


class ServiceNotices(_Event):
    """What is wrong with the service itself."""

    type: Literal["notices"] = "notices"
    data: list[Notice]


class MeetingNow(ResponseModel):
    """What changes while a meeting runs."""

    meeting: MeetingBrief
    camera: CameraNow
    recording: RecordingNow
    presence: PresenceNow
    notes: NoteList
    talk: Talk


class MeetingSnapshot(_Event):
    """A meeting as it stands; in the place of all that was known."""

    type: Literal["meeting"] = "meeting"
    data: MeetingNow


class MeetingChanged(_Event):
    """The meeting began, ended, or its plan changed."""

    type: Literal["state"] = "state"
    data: MeetingBrief


class CameraChanged(_Event):
    """The camera came, went, or has another problem."""

    type: Literal["camera"] = "camera"
    data: CameraNow


class RecordingChanged(_Event):
    """The recording began, waits for the camera, or ended."""

    type: Literal["recording"] = "recording"
    data: RecordingNow


class PresenceChanged(_Event):
    """Somebody came or left: all who look in now."""

    type: Literal["presence"] = "presence"
    data: PresenceNow


class NoteChanged(_Event):
    """A note was written, shown or answered; in the place of the note of the same id."""

    type: Literal["note"] = "note"
    data: Note


class TalkChanged(_Event):
    """Somebody began or ended to speak, or to wait."""

    type: Literal["talk"] = "talk"
    data: Talk


class StoryChanged(_Event):
    """The timeline has something new: fetch it again."""

    type: Literal["story"] = "story"


class RoomState(_Event):
    """A room as it stands; in the place of all that was known."""

    type: Literal["room"] = "room"
    data: Room


class MeetingsChanged(_Event):
    """A meeting was planned, changed, started, ended or called off: lists of meetings are to be fetched again."""

    type: Literal["meetings"] = "meetings"


class CamerasSnapshot(_Event):
    """Cameras as they stand; in the place of all that was known."""

    type: Literal["cameras"] = "cameras"
    data: CameraList


class CamerasChanged(_Event):
    """Cameras that came or went, or before which a meeting began or ended."""

    type: Literal["standings"] = "standings"
    data: list[CameraStanding]


class CamerasCounted(_Event):
    """What the cameras that bring pictures bring now: one value more of each one's ``bitrate_history_bps``."""

    type: Literal["numbers"] = "numbers"
    data: list[CameraNumbers]


class EventMessage(
    RootModel[
        Annotated[
            Hello
            | Beat
            | Refused
            | NowSnapshot
            | CardChanged
            | ServiceNotices
            | MeetingSnapshot
            | MeetingChanged
            | CameraChanged
            | RecordingChanged
            | PresenceChanged
            | NoteChanged
            | TalkChanged
            | StoryChanged
            | RoomState
            | MeetingsChanged
            | CamerasSnapshot
            | CamerasChanged
            | CamerasCounted,
            Field(discriminator="type"),
        ]
    ]
):
    """What the event socket sends: one of these as JSON in each text message."""

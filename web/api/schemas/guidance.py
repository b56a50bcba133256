"""Guidance notes (指导意见) and who looks in at a meeting."""

from typing import Annotated

from pydantic import Field, StringConstraints

from storage.records import NoteKind
from web.api.schemas.common import Id, OrganizationRef, PersonRef, RequestModel, ResponseModel, Time

NOTE_MAX_LENGTH = 200


class NoteInput(RequestModel):
    """A note to a running meeting."""

    kind: NoteKind
    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=NOTE_MAX_LENGTH)]
    key: Annotated[str, StringConstraints(min_length=8, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")] = Field(
        description="Chosen by the page for this note, such as a UUID: sent again after a drop, it makes no second note"
    )
    at: Time | None = Field(
        default=None,
        description="The moment of the picture that the note is about, which is a little behind now; empty is now",
    )


class Note(ResponseModel):
    """A note on record. Only ``shown_at`` and ``answered_at`` change, once each."""

    id: str
    meeting_id: str
    kind: NoteKind
    text: str
    author: PersonRef
    office: str = Field(description="Name of the author's organization when it was written")
    at: Time = Field(description="The moment of the picture that the note is about")
    at_s: float = Field(description="The same as seconds since the meeting began")
    written_at: Time
    shown_at: Time | None = Field(description="When the room's page showed it; null while it has not")
    answered_at: Time | None = Field(description="When the room answered 已收到; null while it has not")


class NoteList(ResponseModel):
    """All notes of a meeting in order of time."""

    items: list[Note]


class Presence(ResponseModel):
    """Somebody who looks in now."""

    person: PersonRef
    office: OrganizationRef | None = Field(description="Null for somebody of the service itself")
    superior: bool = Field(description="An official of an organization above the village: 上级列席, shown in the room")
    since: Time


class PresenceNow(ResponseModel):
    """Who looks in at a meeting now, superior officials first, each since when."""

    people: list[Presence]


class Attendance(ResponseModel):
    """A stretch of time in which somebody looked in; short absences are joined."""

    person: PersonRef
    office: str
    superior: bool
    from_at: Time
    to_at: Time | None = Field(description="Null while it lasts")


class PresenceRecord(PresenceNow):
    """Who looks in now, and all who did."""

    entries: list[Attendance]


class TalkSpeaker(ResponseModel):
    """Somebody who speaks into the room, or waits to."""

    id: Id
    name: str
    office: str
    since: Time = Field(description="Since when they speak, or wait")


class TalkTurn(ResponseModel):
    """Somebody spoke into the room of a meeting, or could have."""

    id: Id
    person: PersonRef
    office: str
    starts_at: Time
    ends_at: Time | None = Field(description="Null while they speak")
    reason: str = Field(
        description="Why it ended: released, vanished, silent, too-long, superior, closed, service-down; empty while it"
        " lasts"
    )


class TalkRecord(ResponseModel):
    """All that was spoken into the room of a meeting, in order of time."""

    items: list[TalkTurn]
    track_url: str | None = Field(
        description="HLS of what was said, in step with the meeting's playback: played beside it, second for second."
        " Null where nothing was recorded, or the person may not play it"
    )


class Talk(ResponseModel):
    """Who speaks into the room. One at a time."""

    speaker: TalkSpeaker | None
    queue: list[TalkSpeaker] = Field(description="Who waits, the next one first")

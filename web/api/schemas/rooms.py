"""Rooms: the page of a TV or box that is paired with a village's site."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from web.api.schemas.cameras import CameraState
from web.api.schemas.common import (
    CameraRef,
    Notice,
    OrganizationRef,
    PersonRef,
    RequestModel,
    ResponseModel,
    SiteRef,
    Time,
)
from web.api.schemas.guidance import Note, Talk
from web.api.schemas.meetings import MeetingBrief, RecordingState


class PairingState(StrEnum):
    """A code is shown and awaited (``waiting``), was entered (``paired``), or is no longer good (``over``)."""

    WAITING = "waiting"
    PAIRED = "paired"
    OVER = "over"


class Pairing(ResponseModel):
    """How the pairing of this box stands."""

    state: PairingState
    code: str | None = Field(description="Six digits to show in very large type; null unless ``waiting``")
    expires_at: Time | None = Field(description="From then on a new pairing must be started")


class PairingQuery(RequestModel):
    """How long to wait for a change."""

    wait_s: int = Field(default=0, ge=0, le=25, description="Seconds to hold the answer until something changes")


class DeviceInput(RequestModel):
    """The code that a box shows."""

    code: Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[0-9]{3} ?[0-9]{3}$")]
    name: Annotated[str, StringConstraints(strip_whitespace=True, max_length=80)] = Field(
        default="", description="Such as 会议室电视; empty takes the name of the site"
    )


class Device(ResponseModel):
    """A TV or box that shows a room's page."""

    id: str
    name: str
    site: SiteRef
    village: OrganizationRef
    paired_at: Time
    paired_by: PersonRef | None
    last_seen_at: Time | None
    online: bool = Field(description="Its page is open now")
    address: str = Field(description="Network address from which it was paired")
    user_agent: str


class DeviceList(ResponseModel):
    """Paired devices of the person's area, by village."""

    items: list[Device]


class CameraNow(ResponseModel):
    """How a camera is right now."""

    camera: CameraRef
    state: CameraState
    since: Time | None
    has_audio: bool | None = Field(description="Null while the camera is away")
    has_picture: bool | None = Field(
        description="False where it has sent sound alone for a while; null while it is away"
    )
    problem: Notice | None


class RecordingNow(ResponseModel):
    """How a meeting's recording stands right now."""

    state: RecordingState
    since: Time | None = Field(description="Since when there is media on record")


class Office(ResponseModel):
    """An office that looks in."""

    name: str
    people: int
    since: Time


class Room(ResponseModel):
    """Everything that the room's page shows. Each event of the room carries all of it."""

    at: Time
    device: str | None = Field(description="Name of the device that asks; null for a person")
    topic: str = Field(description="Topic of the events of this room")
    csrf_token: str | None = Field(description="For ``X-CSRF-Token``; null in events")
    site: SiteRef
    village: OrganizationRef
    cameras: list[CameraNow]
    meeting: MeetingBrief | None = Field(description="The meeting that runs here")
    recording: RecordingNow | None
    picture_missing: bool = Field(description="The meeting's camera has sent sound alone for a while")
    next_meeting: MeetingBrief | None = Field(description="The next one planned here today")
    offices: list[Office] = Field(description="上级列席中: offices above the village that look in now")
    viewers: int = Field(description="All who look in now, those of ``offices`` among them")
    notes: list[Note] = Field(description="Notes not yet answered, the oldest first")
    talk: Talk
    voice_url: str | None = Field(description="WHEP address of the voice of whoever speaks; null without a meeting")
    send_url: str | None = Field(description="WHIP address for the picture of this device; null where a camera is set")

"""What happens now."""

from enum import StrEnum

from pydantic import Field

from web.api.schemas.common import CameraRef, Notice, OrganizationRef, ResponseModel, SiteRef, Time
from web.api.schemas.meetings import MeetingBrief, RecordingState


class ChipKind(StrEnum):
    """Small marks on a card: 直播, 录制中, 无声, 没有画面, 断线, 连接中, 上级列席."""

    LIVE = "live"
    RECORDING = "recording"
    NO_SOUND = "no-sound"
    NO_PICTURE = "no-picture"
    OFFLINE = "offline"
    CONNECTING = "connecting"
    WATCHED = "watched"


class Chip(ResponseModel):
    """One mark; ``count`` is for ``watched``."""

    kind: ChipKind
    since: Time | None = None
    count: int | None = None


class NowGroup(StrEnum):
    """Order of the cards: what has a problem, what is live, what comes next today, rooms with nothing on."""

    PROBLEM = "problem"
    LIVE = "live"
    NEXT = "next"
    IDLE = "idle"


class NowCard(ResponseModel):
    """One camera of a room."""

    camera: CameraRef
    site: SiteRef
    village: OrganizationRef
    town: OrganizationRef | None
    group: NowGroup
    chips: list[Chip]
    online: bool
    since: Time | None = Field(description="Since when the camera is in its state")
    meeting: MeetingBrief | None = Field(description="The meeting that runs, or is due and not yet on record")
    recording: RecordingState
    next_meeting: MeetingBrief | None = Field(description="The next one planned today")
    still_url: str = Field(description="JPEG, at most 10 s old while the camera is online")
    live_url: str
    rtc_url: str = Field(description="WHEP address of the live picture; `?quality=sub` for the sub stream")
    problem: Notice | None


class Now(ResponseModel):
    """Everything the first page shows, in its order."""

    at: Time
    area: OrganizationRef | None = Field(description="Whose area this is; null is everything")
    cards: list[NowCard]
    next_meeting: MeetingBrief | None = Field(description="The next one planned anywhere in the area")
    next_meeting_village: OrganizationRef | None
    notices: list[Notice] = Field(description="What is wrong with the service itself: spool, object store, database")

"""Meetings: plans, state, playback, timeline and story."""

import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from media.unit import GapCause
from storage.records import MeetingKind, MeetingState
from web.api.schemas.common import (
    FIRST_YEAR,
    LAST_YEAR,
    Action,
    CameraRef,
    Id,
    OrganizationRef,
    PersonRef,
    RequestModel,
    ResponseModel,
    SiteRef,
    Time,
)


class RecordingState(StrEnum):
    """Whether a recording is being written (``recording``), waits for a camera (``waiting``), is being filed
    (``filing``), is filed (``filed``), could not be kept (``failed``), or there is none (``none``)."""

    NONE = "none"
    WAITING = "waiting"
    RECORDING = "recording"
    FILING = "filing"
    FILED = "filed"
    FAILED = "failed"


class MeetingBrief(ResponseModel):
    """A meeting in one line."""

    id: str
    kind: MeetingKind
    title: str
    state: MeetingState
    planned_start: Time | None
    planned_end: Time | None
    started_at: Time | None
    ended_at: Time | None


class RecordingSummary(ResponseModel):
    """How much of a meeting is on record."""

    state: RecordingState
    recorded_s: float = Field(description="Seconds of picture on record")
    gap_count: int
    gap_s: float = Field(description="Seconds missing, open gaps up to now")
    size_bytes: int
    waiting_bytes: int = Field(description="Bytes on this machine that are not yet in the object store")


class MeetingSummary(MeetingBrief):
    """A meeting in a list."""

    organization: OrganizationRef
    town: OrganizationRef | None
    site: SiteRef
    camera: CameraRef
    recording: RecordingSummary
    still_url: str | None


class LiveSource(ResponseModel):
    """Where a camera can be watched now."""

    camera: CameraRef
    online: bool
    has_video: bool
    has_audio: bool
    hls_url: str = Field(description="Low-latency HLS in fMP4")
    rtc_url: str = Field(description="WHEP address of the live picture; `?quality=sub` for the sub stream")
    talk_url: str = Field(description="WHIP address for a voice into the room")
    voice_url: str = Field(description="WHEP address of the voice of whoever speaks into the room")
    ts_url: str = Field(description="HLS version 3 in MPEG-TS, for old set-top boxes")
    rtsp_url: str
    still_url: str


class RecordedPart(ResponseModel):
    """A stretch of a recording in which the picture is of one kind, as an MP4 of its own."""

    starts_at: Time
    ends_at: Time
    picture: str = Field(description="Codec and size, such as ``H.265 2560×1440``; empty without picture")
    download_url: str
    download_name: str


class RecordedSource(ResponseModel):
    """Where what a camera recorded of a meeting can be played. It grows while the meeting runs."""

    camera: CameraRef
    hls_url: str = Field(description="HLS in fMP4; it grows while the meeting runs")
    ts_url: str = Field(description="HLS version 3 in MPEG-TS")
    download_url: str = Field(description="One MP4 with everything; ranges are taken, so a broken download goes on")
    download_name: str
    parts: list[RecordedPart] = Field(
        description="More than one where the picture changed its codec or size, empty elsewhere: most players follow"
        " an MP4 only up to such a change"
    )


class MeetingActions(ResponseModel):
    """What the person may do with the meeting now."""

    start: Action
    end: Action
    edit: Action
    cancel: Action
    watch: Action
    download: Action


class Meeting(MeetingSummary):
    """A meeting with all that its page shows, but for the timeline."""

    record: bool = Field(description="False where recording is refused (涉密不录)")
    no_record_reason: str
    created_by: PersonRef | None
    started_by: PersonRef | None = Field(description="Null where it started by plan")
    ended_by: PersonRef | None = Field(description="Null where it ended by plan")
    live: LiveSource | None = Field(description="Null unless the meeting runs and the person may watch")
    playback: RecordedSource | None = Field(
        description="Null while nothing is on record, or the person may not play it"
    )
    recordings: list[RecordedSource] = Field(
        description="One for each camera that recorded; ``playback`` is the first of them"
    )
    viewers: int = Field(description="Officials who look in now")
    actions: MeetingActions


class MeetingInput(RequestModel):
    """A plan for a meeting."""

    kind: MeetingKind
    title: Annotated[str, StringConstraints(strip_whitespace=True, max_length=120)] = Field(
        default="", description="Empty takes the name of the kind"
    )
    organization_id: Id
    site_id: Id | None = Field(default=None, description="Empty takes the first site of the organization")
    camera_id: Id | None = Field(default=None, description="Empty takes the first camera of the site")
    planned_start: Time
    planned_end: Time | None = None
    record: bool = Field(default=True, description="False refuses recording (涉密不录)")
    no_record_reason: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)] = Field(
        default="", description="Demanded where ``record`` is false"
    )


class MeetingQuery(RequestModel):
    """Which meetings."""

    day: datetime.date | None = Field(
        default=None,
        ge=datetime.date(FIRST_YEAR, 1, 1),
        le=datetime.date(LAST_YEAR, 12, 31),
        description="Day in the service's time zone; empty is today",
    )
    organization_id: Id | None = Field(default=None, description="This organization and all below it")
    kind: MeetingKind | None = None
    state: MeetingState | None = None
    search: Annotated[str, StringConstraints(strip_whitespace=True, max_length=80)] = ""


class DayCount(ResponseModel):
    """How many meetings a day has."""

    day: datetime.date
    planned: int
    running: int
    ended: int
    missed: int


class MeetingList(ResponseModel):
    """The meetings of a day in order of time."""

    day: datetime.date
    time_zone: str
    items: list[MeetingSummary]
    previous_day: datetime.date | None = Field(description="The nearest day before that has meetings")
    next_day: datetime.date | None = Field(description="The nearest day after that has meetings")


class CalendarQuery(RequestModel):
    """Which month."""

    month: Annotated[str, StringConstraints(pattern=r"^2[01][0-9]{2}-(0[1-9]|1[0-2])$")] = Field(description="YYYY-MM")
    organization_id: Id | None = None


class Calendar(ResponseModel):
    """The days of a month that have meetings."""

    month: str
    days: list[DayCount]


class Span(ResponseModel):
    """A stretch of time on record."""

    starts_at: Time
    ends_at: Time


class TimelineGap(ResponseModel):
    """A stretch of time in which something is missing."""

    starts_at: Time
    ends_at: Time | None = Field(description="Null while it lasts")
    cause: GapCause
    cause_text: str = Field(description="The cause in a sentence, in the person's language")
    packets: int = Field(description="Packets lost, where they were counted")
    damaged_only: bool = Field(description="True where the stretch is recorded but some packets of it were lost")


class StoryKind(StrEnum):
    """What an entry of the story is about, for its icon."""

    PLAN = "plan"
    START = "start"
    LOOK = "look"
    NOTE = "note"
    LOSS = "loss"
    RETURN = "return"
    END = "end"
    FILED = "filed"
    DOWNLOAD = "download"


class StoryEntry(ResponseModel):
    """One thing that happened."""

    at: Time
    until: Time | None
    kind: StoryKind
    code: str
    params: dict[str, str | int | float]
    text: str = Field(description="The entry as a sentence, in the person's language")


class Timeline(ResponseModel):
    """One meeting from start to end, or to now."""

    meeting_id: str
    state: MeetingState
    starts_at: Time | None
    ends_at: Time | None = Field(description="Null while the meeting runs")
    now: Time
    spans: list[Span] = Field(description="What is on record, in order")
    gaps: list[TimelineGap] = Field(description="What is missing or damaged, in order")
    story: list[StoryEntry]

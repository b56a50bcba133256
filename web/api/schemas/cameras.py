"""Cameras: register, state, probe."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, SecretStr, StringConstraints

from storage.records import CameraTransport, PlaceKind, TlsTrust
from web.api.schemas.common import (
    CameraRef,
    Id,
    Name,
    Notice,
    OrganizationRef,
    RequestModel,
    ResponseModel,
    SiteRef,
    Time,
)
from web.api.schemas.meetings import MeetingBrief

Address = Annotated[str, StringConstraints(strip_whitespace=True, min_length=5, max_length=500)]
"""An RTSP address; `whip:` is a room that sends its picture by itself, from its page."""


Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=400)]


class CameraState(StrEnum):
    """``silent`` is connected without media. ``refused`` (log-in), ``unsupported`` (codec), ``misconfigured`` (address,
    path) need a person. ``disabled`` is switched off in Sanhui."""

    CONNECTING = "connecting"
    ONLINE = "online"
    SILENT = "silent"
    OFFLINE = "offline"
    REFUSED = "refused"
    UNSUPPORTED = "unsupported"
    MISCONFIGURED = "misconfigured"
    DISABLED = "disabled"


class VideoFacts(ResponseModel):
    """What the picture is."""

    codec: str = Field(description="``h264`` or ``h265``")
    width: int
    height: int
    fps: float | None
    gop_s: float | None = Field(description="Seconds between keyframes")


class AudioFacts(ResponseModel):
    """What the sound is."""

    codec: str = Field(description="``pcma``, ``pcmu``, ``aac`` or ``opus``")
    sample_rate_hz: int
    channels: int


class CameraStatus(ResponseModel):
    """How a camera is right now."""

    state: CameraState
    since: Time | None
    problem: Notice | None
    advice: Notice | None = Field(description="What to change of a camera that works all the same")
    transport: CameraTransport | None = Field(
        description="How its media comes now; null while none comes, and where the room sends its picture itself"
    )
    video: VideoFacts | None
    audio: AudioFacts | None
    has_picture: bool | None = Field(
        description="False where it has sent sound alone for a while; null while it is away"
    )
    bitrate_bps: int
    bitrate_history_bps: list[int] = Field(description="Newest last, one value per ``bitrate_step_s``")
    bitrate_step_s: int
    packets_received: int
    packets_lost: int
    loss_ratio: float = Field(description="0 to 1, of the packets of this connection")
    reconnects: int
    clock_offset_ms: float | None = Field(description="Camera's clock minus ours")
    last_picture_at: Time | None
    viewers: int = Field(description="People who look through the camera now")
    recording: bool


class CameraRegistration(RequestModel):
    """Why a camera may look (个人信息保护法 art. 17, 26; 公共安全视频图像信息系统管理条例 art. 13-17)."""

    place_kind: PlaceKind = PlaceKind.MEETING_ROOM
    purpose: Line = ""
    legal_basis: Line = ""
    notice: Line = Field(default="", description="Where the notice sign hangs, and since when")
    filing_number: Annotated[str, StringConstraints(strip_whitespace=True, max_length=80)] = ""
    retention_days: int = Field(default=30, ge=30, le=36500)
    supervision_allowed: bool = Field(default=True, description="Whether the purpose covers looking in and speaking")


class Camera(ResponseModel):
    """A camera in the register with its state. Its password is never given out."""

    id: str
    name: str
    site: SiteRef
    organization: OrganizationRef
    town: OrganizationRef | None
    address: str = Field(
        description="RTSP address without name and password; one among its parameters is hidden, and stays as it is"
        " where the address is sent back so"
    )
    sub_address: str = Field(description="The same of the sub stream; empty where there is none")
    username: str
    has_password: bool
    transport: CameraTransport
    tls_trust: TlsTrust
    tls_pin: str = Field(description="SHA-256 of the certificate that alone is taken; empty until one was met")
    enabled: bool
    registration: CameraRegistration
    status: CameraStatus
    meeting: MeetingBrief | None = Field(description="The meeting that it records now")
    still_url: str
    live_url: str
    rtc_url: str = Field(description="WHEP address of the live picture; `?quality=sub` for the sub stream")
    rtsp_url: str


class CameraNumbers(ResponseModel):
    """What counts up of a camera, for the topics of the event socket."""

    id: str
    bitrate_bps: int
    fps: float | None
    packets_received: int
    packets_lost: int
    loss_ratio: float


class CameraStanding(ResponseModel):
    """How a camera is and which meeting runs before it."""

    id: str
    status: CameraStatus
    meeting: MeetingBrief | None


class CameraCounts(ResponseModel):
    """How many cameras are in which state."""

    total: int
    online: int
    connecting: int
    offline: int = Field(description="Offline or silent")
    needs_person: int = Field(description="Refused, unsupported or misconfigured")
    disabled: int


class CameraList(ResponseModel):
    """The cameras one may see, in order of town, village and name."""

    at: Time
    items: list[Camera]
    counts: CameraCounts


class CameraQuery(RequestModel):
    """Which cameras."""

    organization_id: Id | None = Field(default=None, description="This organization and all below it")
    state: CameraState | None = None
    search: Annotated[str, StringConstraints(strip_whitespace=True, max_length=80)] = ""


class CameraInput(RequestModel):
    """A camera to add or to change.

    A name and password in ``address`` are taken out of it and kept apart. ``password`` null keeps the one stored.
    """

    name: Name
    site_id: Id
    address: Address
    sub_address: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)] = ""
    username: Annotated[str, StringConstraints(max_length=120)] = ""
    password: SecretStr | None = Field(default=None, max_length=256)
    transport: CameraTransport = CameraTransport.TCP
    tls_trust: TlsTrust = TlsTrust.VERIFY
    forget_certificate: bool = Field(default=False, description="Take the certificate that is met next, whatever it is")
    enabled: bool = True
    registration: CameraRegistration = CameraRegistration()


class ProbeRequest(RequestModel):
    """What to test: a stored camera, an address that is still being typed, or a stored camera with some fields new."""

    camera_id: Id | None = None
    address: Address | None = None
    username: Annotated[str, StringConstraints(max_length=120)] | None = None
    password: SecretStr | None = Field(default=None, max_length=256)
    transport: CameraTransport = CameraTransport.TCP
    tls_trust: TlsTrust | None = Field(default=None, description="Null is as stored; ``verify`` where nothing is")


class ProbeStepName(StrEnum):
    """Steps of a probe in their order."""

    REACH = "reach"
    LOGIN = "login"
    DESCRIBE = "describe"
    PICTURE = "picture"
    SOUND = "sound"
    CLOCK = "clock"


class ProbeOutcome(StrEnum):
    """How a step went. ``running`` comes first for a step that is under way."""

    RUNNING = "running"
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class ProbeFact(ResponseModel):
    """One thing found, ready to be shown."""

    code: str = Field(description="Such as ``codec``, ``size``, ``gop``, ``fps``, ``sound``, ``clock-drift``")
    label: str
    value: str


class ProbeEvent(ResponseModel):
    """One line of the NDJSON answer of a probe."""

    type: Literal["step", "done"]
    step: ProbeStepName | None = Field(default=None, description="Null in the last line, of type ``done``")
    outcome: ProbeOutcome
    took_ms: float
    facts: list[ProbeFact] = Field(default=[])
    problem: Notice | None = Field(default=None, description="Why it failed and what to do")
    advice: list[Notice] = Field(default=[], description="What to change at the camera")
    still: str | None = Field(default=None, description="JPEG as a ``data:`` URL, with the step ``picture``")


class CameraDeleted(ResponseModel):
    """A camera taken out of the register. Its recordings stay."""

    camera: CameraRef

"""The county's tree of organizations, their sites, and the cameras with their register."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class OrganizationLevel(StrEnum):
    """County 县委组织部, town 镇办党委, village branch 村党支部."""

    COUNTY = "county"
    TOWN = "town"
    VILLAGE = "village"


class CameraTransport(StrEnum):
    """How RTP comes from the camera."""

    TCP = "tcp"
    UDP = "udp"


class TlsTrust(StrEnum):
    """Which certificate of an ``rtsps`` camera is taken: one an authority has signed, or the one met first."""

    VERIFY = "verify"
    PIN = "pin"


class PlaceKind(StrEnum):
    """What kind of place a camera looks at; the register decides by it whether supervision is allowed."""

    MEETING_ROOM = "meeting-room"  # 会议室
    DUTY_OFFICE = "duty-office"  # 坐班值班室
    SERVICE_HALL = "service-hall"  # 便民服务大厅
    PUBLIC_AREA = "public-area"  # 公共区域
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """A node of the county's tree. ``position`` orders siblings; ``code`` is the county's own number for it."""

    id: str
    parent_id: str | None
    level: OrganizationLevel
    name: str
    code: str = ""
    position: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place where an organization meets."""

    id: str
    organization_id: str
    name: str
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A camera and its register entry. ``url`` and ``sub_url`` are RTSP addresses without credentials;
    ``password_encrypted`` is what :class:`storage.secrets.SecretBox` made of the password, with the camera's id as
    context; empty for none. ``tls_pin`` is the SHA-256 of the certificate that alone is taken, hexadecimal; empty until
    one was met.

    Register (个人信息保护法 art. 17, 26; 公共安全视频图像信息系统管理条例 art. 13–17): ``place_kind``, ``purpose``,
    ``legal_basis``, ``notice`` (where the sign hangs, since when), ``notice_photo_key`` (object), ``filing_number``,
    ``retention_days``, ``supervision_allowed`` (whether the purpose covers looking in and speaking).
    """

    id: str
    site_id: str
    name: str
    url: str
    sub_url: str = ""
    username: str = ""
    password_encrypted: str = field(default="", repr=False)
    transport: CameraTransport = CameraTransport.TCP
    tls_trust: TlsTrust = TlsTrust.VERIFY
    tls_pin: str = ""
    enabled: bool = True
    position: int = 0
    place_kind: PlaceKind = PlaceKind.MEETING_ROOM
    purpose: str = ""
    legal_basis: str = ""
    notice: str = ""
    notice_photo_key: str = ""
    filing_number: str = ""
    retention_days: int = 30
    supervision_allowed: bool = True
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraPlace:
    """A camera with where it stands."""

    camera: Camera
    site: Site
    organization: Organization

"""Every setting of the service, with its unit, bounds and default. :mod:`web.settings_source` reads them."""

import ipaddress
import re
import ssl
import zoneinfo
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from web.api.schemas.session import Language

Port = Annotated[int, Field(ge=0, le=65535)]


def _split(value: object) -> object:
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError as error:
        raise PydanticCustomError("network", "not a network") from error


def _host_address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError as error:
        raise PydanticCustomError("network", "not an address") from error


def _ice_server(value: str) -> str:
    # RFC 7064, RFC 7065: what a page may be told without breaking the header that carries it.
    if not re.fullmatch(r"(stun|stuns|turn|turns):[A-Za-z0-9.\-\[\]:]{1,255}(\?transport=(udp|tcp))?", value):
        raise PydanticCustomError("network", "not a STUN or TURN server")
    return value


Addresses = list[Annotated[str, AfterValidator(_host_address)]]
IceServers = list[Annotated[str, AfterValidator(_ice_server)]]
Networks = list[Annotated[str, AfterValidator(_network)]]


def _multicast(value: str) -> str:
    try:
        if value and not ipaddress.IPv4Network(value, strict=False).is_multicast:
            raise PydanticCustomError("network", "not a multicast network")
    except ValueError as error:
        raise PydanticCustomError("network", "not a network") from error
    return str(ipaddress.IPv4Network(value, strict=False)) if value else ""


def _certificates(value: Path) -> Path:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(value)
    except OSError as error:
        raise PydanticCustomError("certificates", "not a file of certificates") from error
    return value


def _address(value: str) -> str:
    try:
        return str(ipaddress.IPv4Address(value)) if value else ""
    except ValueError as error:
        raise PydanticCustomError("network", "not an address") from error


class StoreKind(StrEnum):
    """Where objects are kept."""

    DIRECTORY = "directory"
    S3 = "s3"


class CookieSecure(StrEnum):
    """When the session cookie is marked Secure; ``auto`` does so where the request came over HTTPS."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class LogFormat(StrEnum):
    """How the log looks."""

    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """From which severity on lines are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class MetricsAccess(StrEnum):
    """Who may read ``/metrics``."""

    LOOPBACK = "loopback"
    TOKEN = "token"
    OFF = "off"


class Settings(BaseModel):
    """Every setting of the service. Descriptions give the unit."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    data_dir: Path = Field(default=Path("data"), description="Folder for everything Sanhui keeps on this machine.")
    time_zone: str = Field(default="Asia/Shanghai", description="IANA time zone that days and times are shown in.")
    language: Language = Field(
        default=Language.ZH_CN, description="Language of messages for people who have chosen none, and of the terminal."
    )
    node: str = Field(
        default="main", pattern=r"^[a-z0-9-]{1,32}$", description="Name of this process among several, in logs."
    )

    http_host: str = Field(default="127.0.0.1", description="Address that the web server listens on.")
    http_port: Port = Field(default=8080, description="TCP port of the web server; 0 takes a free one.")
    http_body_max_kb: int = Field(default=256, ge=16, le=16384, description="Largest request body, KiB.")
    public_url: str = Field(
        default="",
        pattern=r"^(https?://[^/\s]+)?$",
        description="Address under which people reach Sanhui, such as `https://sanhui.example.gov.cn`; "
        "empty takes what the browser asked for.",
    )
    trusted_proxies: Networks = Field(
        default=[],
        description="Networks of reverse proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed, "
        "separated by commas.",
    )
    cookie_secure: CookieSecure = Field(
        default=CookieSecure.AUTO,
        description="Whether the session cookie is sent over HTTPS alone: `auto` (where log-in came over HTTPS), "
        "`always`, `never`.",
    )

    session_idle_min: int = Field(
        default=60, ge=1, le=1440, description="Minutes without a request after which a session ends."
    )
    session_max_h: int = Field(default=12, ge=1, le=720, description="Hours after which a session ends in any case.")
    login_failures: int = Field(
        default=5, ge=1, le=100, description="Failed log-ins in a row after which a name must wait."
    )
    lockout_first_s: int = Field(
        default=60, ge=1, le=86400, description="First wait, seconds; each further failure doubles it."
    )
    lockout_max_s: int = Field(default=3600, ge=1, le=604800, description="Longest wait, seconds.")
    setup_link_h: int = Field(default=24, ge=1, le=168, description="Hours for which the first set-up link is good.")

    database_url: SecretStr = Field(
        default=SecretStr(""),
        description="`sqlite:///path` or `postgresql://user:password@host/name`; empty is SQLite in the data folder.",
    )
    database_password: SecretStr = Field(
        default=SecretStr(""),
        description="Password of the database's user, where it is kept apart from the address (`…_FILE`).",
    )
    secret_key_file: Path | None = Field(
        default=None,
        description="File of the keys that camera passwords are encrypted with; empty is `secret.key` in the data "
        "folder, made at the first start. Keep a copy of it apart from the backup.",
    )

    store: StoreKind = Field(default=StoreKind.DIRECTORY, description="Object store: `directory` or `s3`.")
    store_dir: Path | None = Field(
        default=None, description="Folder of objects; empty is `objects` in the data folder."
    )
    s3_endpoint: str = Field(
        default="", pattern=r"^(https?://[^/\s]+)?$", description="S3 server, such as `http://minio:9000`."
    )
    s3_bucket: str = Field(
        default="sanhui", pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="S3 bucket; made if it is absent."
    )
    s3_access_key: SecretStr = Field(default=SecretStr(""), description="S3 access key.")
    s3_secret_key: SecretStr = Field(default=SecretStr(""), description="S3 secret key.")
    s3_region: str = Field(default="us-east-1", description="S3 region.")
    s3_versioning: bool = Field(default=True, description="Ask for versions when the bucket is made.")
    s3_object_lock: bool = Field(default=False, description="Demand object lock when the bucket is made.")
    s3_ca: Annotated[Path, AfterValidator(_certificates)] | None = Field(
        default=None, description="CA certificates that the S3 server's own is checked with."
    )

    spool_dir: Path | None = Field(
        default=None,
        description="Folder of recordings not yet in the object store; empty is `spool` in the data folder.",
    )
    spool_max_gb: float = Field(default=20.0, gt=0, le=100_000, description="Most that the spool may hold, GiB.")
    spool_warn_percent: int = Field(
        default=50, ge=5, le=95, description="Fill of the spool from which on the desk warns, per cent."
    )
    disk_warn_gb: float = Field(
        default=5.0, ge=0, le=100_000, description="Free space on a data disk below which the desk warns, GiB."
    )
    upload_concurrency: int = Field(default=4, ge=1, le=64, description="Objects on their way to the store at a time.")
    object_s: float = Field(default=30.0, ge=4, le=300, description="Length of an object in the store, seconds.")
    part_ms: int = Field(
        default=500, ge=100, le=1000, description="Length of a part, the least that live players fetch, milliseconds."
    )
    segment_s: float = Field(
        default=4.0, ge=1, le=30, description="Least length of a segment, seconds; it ends at the next keyframe."
    )
    reconcile_s: float = Field(
        default=2.0, ge=0.2, le=60, description="How often what should be recorded is compared with what is, seconds."
    )

    camera_allow_loopback: bool = Field(
        default=False, description="Whether cameras may be on this machine itself; for demonstrations."
    )
    camera_refused_networks: Networks = Field(
        default=[], description="Networks that no camera may be in, beside the special ones, separated by commas."
    )
    hls_idle_s: float = Field(
        default=30.0, ge=5, le=600, description="Seconds without a viewer after which a live window is closed."
    )
    hls_segments: int = Field(default=6, ge=4, le=60, description="Segments in a live window.")
    rtsp_enabled: bool = Field(default=True, description="Whether live streams are served over RTSP too.")
    rtsp_host: str = Field(default="127.0.0.1", description="Address that the RTSP server listens on.")
    rtsp_port: Port = Field(default=8554, description="TCP port of the RTSP server; 0 takes a free one.")
    rtsp_multicast: Annotated[str, AfterValidator(_multicast)] = Field(
        default="",
        description="Network of group addresses on which decoders may ask for live streams, one packet stream per "
        "camera, such as `239.192.40.0/24` (any source) or `232.40.0.0/24` (source-specific); empty is off. Whoever "
        "is on that network can take the packets without a log-in.",
    )
    rtsp_multicast_port: int = Field(
        default=15000, ge=1024, le=65530, multiple_of=2, description="First of the four UDP ports of a multicast group."
    )
    rtsp_multicast_ttl: int = Field(default=8, ge=1, le=255, description="How many routers multicast may pass.")
    rtsp_multicast_interface: Annotated[str, AfterValidator(_address)] = Field(
        default="", description="Address of this machine on the network that multicast leaves by; empty: by its routes."
    )
    webrtc_enabled: bool = Field(
        default=True, description="Whether live pictures go over WebRTC too: at once, and a quarter of a second behind."
    )
    webrtc_host: str = Field(
        default="", description="Address that WebRTC listens on; empty is all addresses, IPv4 and IPv6."
    )
    webrtc_port: Port = Field(
        default=8189, description="UDP port of all WebRTC, and TCP port for networks without UDP; 0 takes a free one."
    )
    webrtc_tcp: bool = Field(default=True, description="Whether WebRTC listens on TCP too.")
    webrtc_public_addresses: Addresses = Field(
        default=[],
        description="IP addresses under which the WebRTC port is reached, separated by commas, where this machine is "
        "behind a NAT; empty takes those of its network cards.",
    )
    webrtc_max_viewers: int = Field(default=500, ge=1, le=5000, description="WebRTC viewers at a time.")
    transcodes_max: int = Field(
        default=2,
        ge=0,
        le=64,
        description="Streams converted at a time for WebRTC viewers that can take neither of a camera's (H.265, "
        "B-frames), each in a process of its own, a good part of a core; 0 converts none.",
    )
    transcode_height: int = Field(
        default=720, ge=144, le=2160, description="Largest height of a converted picture, lines."
    )
    webrtc_ice_servers: IceServers = Field(
        default=[],
        description="STUN and TURN servers that browsers may use, such as `turn:turn.example:3478?transport=tcp`, "
        "separated by commas. Sanhui itself needs none.",
    )
    webrtc_turn_username: str = Field(default="", max_length=200, description="User name for the TURN servers.")
    webrtc_turn_password: SecretStr = Field(
        default=SecretStr(""), description="Password for the TURN servers; every viewer's browser is told it."
    )
    webrtc_turn_secret: SecretStr = Field(
        default=SecretStr(""),
        description="Secret shared with the TURN servers (coturn's `use-auth-secret`): each viewer gets a log-in of "
        "its own that ends after 12 hours. Goes before name and password.",
    )
    still_max_age_s: float = Field(
        default=10.0, ge=1, le=300, description="Oldest still picture that is shown, seconds."
    )

    log_level: LogLevel = Field(default=LogLevel.INFO, description="`debug`, `info`, `warning` or `error`.")
    log_format: LogFormat = Field(
        default=LogFormat.JSON, description="`json`, one object a line, or `console` for people."
    )
    metrics_access: MetricsAccess = Field(
        default=MetricsAccess.LOOPBACK,
        description="Who may read `/metrics`: `loopback` (this machine), `token` (Bearer), or `off`.",
    )
    metrics_token: SecretStr = Field(default=SecretStr(""), description="Bearer token for `/metrics`.")
    demo: bool = Field(default=False, description="Show the sample log-in on the log-in page. Never in production.")

    @field_validator(
        "trusted_proxies",
        "camera_refused_networks",
        "webrtc_public_addresses",
        "webrtc_ice_servers",
        mode="before",
    )
    @classmethod
    def _commas(cls, value: object) -> object:
        return _split(value)

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value not in zoneinfo.available_timezones():
            raise PydanticCustomError("time_zone", "unknown time zone")
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url and not url.startswith(("sqlite:", "sqlite+aiosqlite:", "postgresql:", "postgresql+psycopg:")):
            raise PydanticCustomError("database_url", "unknown kind of database")
        return value

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.store is StoreKind.S3:
            for name in ("s3_endpoint", "s3_access_key", "s3_secret_key"):
                value = getattr(self, name)
                if not (value.get_secret_value() if isinstance(value, SecretStr) else value):
                    raise PydanticCustomError("needed", "needed for S3", {"setting": name, "other": "store = s3"})
        if self.metrics_access is MetricsAccess.TOKEN and not self.metrics_token.get_secret_value():
            raise PydanticCustomError(
                "needed", "needed", {"setting": "metrics_token", "other": "metrics_access = token"}
            )
        return self

    @property
    def database_address(self) -> str:
        """Address of the database, with its password."""
        url = self.database_url.get_secret_value() or f"sqlite:///{(self.data_dir / 'sanhui.db').resolve()}"
        password = self.database_password.get_secret_value()
        if not password:
            return url
        parts = urlsplit(url)
        user = parts.username or ""
        return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{parts.netloc.rpartition('@')[2]}").geturl()

    @property
    def key_file(self) -> Path:
        """File of the keys that camera passwords are encrypted with."""
        return self.secret_key_file or self.data_dir / "secret.key"

    @property
    def spool_path(self) -> Path:
        """Folder of the spool."""
        return self.spool_dir or self.data_dir / "spool"

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        """The time zone of the screen."""
        return zoneinfo.ZoneInfo(self.time_zone)

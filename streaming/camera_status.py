"""What is known of a camera right now, for people and for the recorder."""

from dataclasses import dataclass, field
from enum import StrEnum

from media.errors import MediaError, UnsupportedCodecError
from media.stream import Quality
from media.unit import Track
from streaming.errors import (
    AddressRefusedError,
    CameraCertificateChangedError,
    CameraCertificateUntrustedError,
    CameraSilentError,
    CameraTlsError,
    CredentialsMissingError,
    CredentialsRefusedError,
    NotRtspError,
    PathNotFoundError,
    StreamingError,
    UrlInvalidError,
)
from streaming.source import CameraSource, Transport


class CameraState(StrEnum):
    """Where a camera stands. All but ONLINE are being retried; a state is kept while the next try runs."""

    CONNECTING = "connecting"
    """Never had media in this process, and no try has failed yet."""
    ONLINE = "online"
    SILENT = "silent"
    """Connected, but no media came."""
    OFFLINE = "offline"
    REFUSED = "refused"
    """The camera refuses user name or password."""
    UNSUPPORTED = "unsupported"
    """A codec nobody here takes."""
    MISCONFIGURED = "misconfigured"
    """The URL, address or path is wrong; waiting alone will not help."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A typed error as data: ``code`` and ``params`` as in streaming.errors and media.errors."""

    code: str
    params: dict[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Advice:
    """What a person should change: a code of the list in :mod:`streaming.probe`, and what its sentence needs."""

    code: str
    params: dict[str, str | int | float] = field(default_factory=dict)


def transport_advice(source: CameraSource, taken: Transport | None) -> tuple[Advice, ...]:
    """What there is to say where a camera takes another transport than the one set."""
    if taken is None or taken is source.transport:
        return ()
    return (Advice("transport-changed", {"asked": source.transport.upper(), "got": taken.upper()}),)


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """One stream of one camera. Times are Unix nanoseconds; rates are of the last few seconds; counters are since the
    supervisor took the camera over. ``clock_offset_ns`` is the camera's clock minus ours. ``tls_pin`` is the SHA-256 of
    the certificate that alone is taken. ``transport`` is the one in use, None where nothing comes by RTSP; ``advice``
    is what should be changed of a camera that works all the same. ``picture_missing``: it has been online for a while,
    and no picture comes; what comes is sound."""

    camera_id: str
    quality: Quality
    state: CameraState
    since_utc_ns: int
    problem: Problem | None = None
    tracks: tuple[Track, ...] = ()
    bitrate_bps: int = 0
    fps: float = 0.0
    packets: int = 0
    packets_lost: int = 0
    reconnects: int = 0
    clock_offset_ns: int | None = None
    last_media_utc_ns: int | None = None
    last_keyframe_utc_ns: int | None = None
    next_try_utc_ns: int | None = None
    tls_pin: str = ""
    transport: Transport | None = None
    advice: Advice | None = None
    picture_missing: bool = False


def state_after(error: StreamingError | MediaError) -> CameraState:
    """The state a camera is in after ``error``."""
    if isinstance(error, CredentialsRefusedError | CredentialsMissingError):
        return CameraState.REFUSED
    if isinstance(error, UnsupportedCodecError):
        return CameraState.UNSUPPORTED
    if isinstance(error, CameraSilentError):
        return CameraState.SILENT
    if isinstance(error, NotRtspError) and error.params.get("looks_like") not in ("closed", "silent"):
        return CameraState.MISCONFIGURED
    if isinstance(error, CameraTlsError | CameraCertificateUntrustedError | CameraCertificateChangedError):
        return CameraState.MISCONFIGURED
    if isinstance(error, UrlInvalidError | AddressRefusedError | PathNotFoundError):
        return CameraState.MISCONFIGURED
    return CameraState.OFFLINE


SLOW_STATES = frozenset({CameraState.REFUSED, CameraState.UNSUPPORTED, CameraState.MISCONFIGURED})
"""States in which trying again soon cannot help."""

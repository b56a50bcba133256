"""The unit that travels: one encoded access unit with two clocks, and the track it belongs to."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

VIDEO_TRACK_ID: Final = 1
AUDIO_TRACK_ID: Final = 2
NS_PER_S: Final = 1_000_000_000


class Codec(StrEnum):
    """The codecs Sanhui takes in and keeps as they come."""

    H264 = "h264"
    H265 = "h265"
    AAC = "aac"
    PCMA = "pcma"
    PCMU = "pcmu"
    OPUS = "opus"


@dataclass(frozen=True, slots=True)
class VideoTrack:
    """A video track as its parameter sets describe it.

    ``parameter_sets`` are NAL units without start code or length: SPS, PPS for H.264; VPS, SPS, PPS for H.265, in
    that order, several of a kind allowed. A stream whose parameter sets change gets a new VideoTrack, so ``is not``
    tells a reader that a new period begins.
    """

    codec: Codec
    parameter_sets: tuple[bytes, ...]
    width: int
    height: int
    clock_rate: int = 90_000
    id: int = VIDEO_TRACK_ID


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """An audio track. ``clock_rate`` is the sampling rate in Hz and the unit of pts, dts and duration.

    ``config`` is the AudioSpecificConfig (ISO/IEC 14496-3) for AAC, empty for G.711 and Opus.
    """

    codec: Codec
    clock_rate: int
    channels: int
    config: bytes = b""
    id: int = AUDIO_TRACK_ID


Track = VideoTrack | AudioTrack


@dataclass(init=False, slots=True)
class AccessUnit:
    """One encoded picture, or one packet's worth of sound.

    ``pts`` and ``dts`` are ticks of ``track.clock_rate`` on the stream's own timeline. All tracks share its zero, and
    it follows the wall clock: after a reconnect (a new ``epoch``) it goes on later by as much as was missed.
    ``utc_ns`` is the wall clock at ``pts`` (Unix nanoseconds). ``duration`` is in ticks; 0 where it is known only when
    the next unit comes (video).

    ``data`` of a video unit is NAL units, each behind a 4-byte length (ISO/IEC 14496-15), without parameter sets and
    access unit delimiters: those are in ``track``. Of an audio unit it is one raw AAC frame without ADTS, G.711
    octets, or one Opus packet.
    """

    track: Track
    pts: int
    dts: int
    utc_ns: int
    data: bytes
    keyframe: bool
    duration: int
    epoch: int

    # Written out, because it is made for every picture: compiled it takes a fifth of what dataclass makes.
    def __init__(
        self,
        track: Track,
        pts: int,
        dts: int,
        utc_ns: int,
        data: bytes,
        keyframe: bool = True,
        duration: int = 0,
        epoch: int = 0,
    ) -> None:
        self.track = track
        self.pts = pts
        self.dts = dts
        self.utc_ns = utc_ns
        self.data = data
        self.keyframe = keyframe
        self.duration = duration
        self.epoch = epoch


class GapCause(StrEnum):
    """Why something is missing."""

    DISCONNECTED = "disconnected"
    SILENT = "silent"
    PACKETS_LOST = "packets-lost"
    CLOCK_JUMP = "clock-jump"
    OVERLOADED = "overloaded"
    SERVICE_DOWN = "service-down"
    STORAGE_LOST = "storage-lost"
    NOT_STARTED = "not-started"


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of wall clock in which media is missing or damaged, on record like the media itself."""

    start_utc_ns: int
    end_utc_ns: int
    cause: GapCause
    packets: int = 0
    detail: str = ""


StreamItem = AccessUnit | Gap

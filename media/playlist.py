"""HLS playlists as text: RFC 8216 and its successor draft-pantos-hls-rfc8216bis (partial segments, blocking reload).

Values only: which segments there are, and under which addresses, is the caller's business.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A stretch of a resource, in bytes."""

    length: int
    offset: int


@dataclass(frozen=True, slots=True)
class InitMap:
    """EXT-X-MAP: where the init segment is."""

    uri: str
    byte_range: ByteRange | None = None


@dataclass(frozen=True, slots=True)
class PartEntry:
    """EXT-X-PART. ``independent``: it has a keyframe at its start."""

    uri: str
    duration_s: float
    independent: bool = False
    byte_range: ByteRange | None = None
    gap: bool = False


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """One media segment, or, as ``MediaPlaylist.open_segment``, one that has parts only so far (``duration_s`` and
    ``uri`` are then not written).

    ``start_utc_ns`` is written as EXT-X-PROGRAM-DATE-TIME. ``map`` is written where it differs from the one before.
    """

    uri: str
    duration_s: float
    start_utc_ns: int | None = None
    map: InitMap | None = None
    byte_range: ByteRange | None = None
    discontinuity: bool = False
    gap: bool = False
    parts: tuple[PartEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerControl:
    """EXT-X-SERVER-CONTROL, seconds. ``None`` leaves the attribute out."""

    can_block_reload: bool = False
    part_hold_back_s: float | None = None
    hold_back_s: float | None = None
    can_skip_until_s: float | None = None


@dataclass(frozen=True, slots=True)
class RenditionReport:
    """EXT-X-RENDITION-REPORT: how far another rendition has come."""

    uri: str
    last_sequence: int
    last_part: int | None = None


class PlaylistType(StrEnum):
    """EXT-X-PLAYLIST-TYPE."""

    VOD = "VOD"
    EVENT = "EVENT"


@dataclass(frozen=True, slots=True)
class MediaPlaylist:
    """A media playlist. ``target_duration_s`` ``None``: the longest segment, rounded as section 4.4.3.1 wants it.

    ``part_target_s`` set makes it a low-latency one; ``preload_uri`` is the next part's address.
    """

    segments: Sequence[SegmentEntry]
    media_sequence: int = 0
    discontinuity_sequence: int = 0
    target_duration_s: int | None = None
    playlist_type: PlaylistType | None = None
    ended: bool = False
    independent_segments: bool = True
    part_target_s: float | None = None
    server_control: ServerControl | None = None
    open_segment: SegmentEntry | None = None
    preload_uri: str | None = None
    rendition_reports: Sequence[RenditionReport] = ()
    start_offset_s: float | None = None


@dataclass(frozen=True, slots=True)
class Variant:
    """EXT-X-STREAM-INF. ``bandwidth`` is the peak in bits per second, ``codecs`` RFC 6381 strings."""

    uri: str
    bandwidth: int
    codecs: tuple[str, ...]
    average_bandwidth: int | None = None
    resolution: tuple[int, int] | None = None
    frame_rate: float | None = None
    audio_group: str | None = None


@dataclass(frozen=True, slots=True)
class AudioRendition:
    """EXT-X-MEDIA of type AUDIO."""

    uri: str
    group_id: str
    name: str
    channels: int
    default: bool = True
    autoselect: bool = True
    language: str | None = None


def master_playlist(
    variants: Sequence[Variant],
    audio: Sequence[AudioRendition] = (),
    *,
    version: int = 7,
    independent_segments: bool = True,
) -> str:
    """The text of a multivariant playlist."""
    raise NotImplementedError


def media_playlist(playlist: MediaPlaylist, *, skip: int = 0) -> str:
    """The text of a media playlist; ``skip`` > 0 makes it a delta update without the oldest ``skip`` segments."""
    raise NotImplementedError

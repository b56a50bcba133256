"""HLS playlists as text: RFC 8216 and its successor draft-pantos-hls-rfc8216bis (partial segments, blocking reload).

Values only: which segments there are, and under which addresses, is the caller's business.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache


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
    ``text`` is what :func:`segment_text` makes of it, kept by whoever lists it in many playlists.
    """

    uri: str
    duration_s: float
    start_utc_ns: int | None = None
    map: InitMap | None = None
    byte_range: ByteRange | None = None
    discontinuity: bool = False
    gap: bool = False
    parts: tuple[PartEntry, ...] = ()
    text: str | None = None


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

    ``part_target_s`` set makes it a low-latency one; ``preload_uri`` is the next part's address. The protocol version
    is the lowest that allows what is used (section 8): 3 for plain segments.
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


def _quoted(value: str) -> str:
    if any(character in value for character in '"\r\n'):
        raise ValueError("a quoted string of a playlist holds no quotes nor line breaks")
    return f'"{value}"'


def _address(value: str) -> str:
    if value.startswith("#") or value.split() != [value]:
        raise ValueError("not an address that a playlist can hold")
    return value


def _range(value: ByteRange) -> str:
    return f"{value.length}@{value.offset}"


@lru_cache(maxsize=4096)
def _seconds(value: float) -> str:
    """Decimal seconds, to the microsecond and without trailing zeros."""
    text = f"{value:.6f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def _date_time(utc_ns: int) -> str:
    whole, ns = divmod(utc_ns, 1_000_000_000)
    minutes, second = divmod(whole, 60)
    return f"{_minute(minutes)}:{second:02d}.{ns // 1_000_000:03d}Z"


@lru_cache(maxsize=1024)
def _minute(minutes: int) -> str:
    """The minute that begins so many minutes after 1970. Kept: a playlist of hours has a date at each segment."""
    return datetime.fromtimestamp(minutes * 60, UTC).isoformat()[:16]


def _attributes(pairs: Sequence[tuple[str, str | None]]) -> str:
    return ",".join(f"{name}={value}" for name, value in pairs if value is not None)


def master_playlist(
    variants: Sequence[Variant],
    audio: Sequence[AudioRendition] = (),
    *,
    version: int = 6,
    independent_segments: bool = True,
) -> str:
    """The text of a multivariant playlist (section 4.4.6). Raises ValueError for text that would break its lines."""
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{version}"]
    if independent_segments:
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
    for rendition in audio:
        attributes = _attributes(
            [
                ("TYPE", "AUDIO"),
                ("GROUP-ID", _quoted(rendition.group_id)),
                ("NAME", _quoted(rendition.name)),
                ("LANGUAGE", None if rendition.language is None else _quoted(rendition.language)),
                ("DEFAULT", "YES" if rendition.default else "NO"),
                ("AUTOSELECT", "YES" if rendition.default or rendition.autoselect else "NO"),
                ("CHANNELS", _quoted(str(rendition.channels))),
                ("URI", _quoted(rendition.uri)),
            ]
        )
        lines.append(f"#EXT-X-MEDIA:{attributes}")
    for variant in variants:
        attributes = _attributes(
            [
                ("BANDWIDTH", str(variant.bandwidth)),
                ("AVERAGE-BANDWIDTH", None if variant.average_bandwidth is None else str(variant.average_bandwidth)),
                ("CODECS", _quoted(",".join(variant.codecs))),
                ("RESOLUTION", None if variant.resolution is None else "x".join(map(str, variant.resolution))),
                ("FRAME-RATE", None if variant.frame_rate is None else f"{variant.frame_rate:.3f}"),
                ("AUDIO", None if variant.audio_group is None else _quoted(variant.audio_group)),
            ]
        )
        lines += [f"#EXT-X-STREAM-INF:{attributes}", _address(variant.uri)]
    return "\n".join(lines) + "\n"


def target_duration(durations_s: Sequence[float]) -> int:
    """EXT-X-TARGETDURATION for these segments: the longest, to the nearest second (section 4.4.3.1); at least 1."""
    return max(1, int(max(durations_s, default=1.0) + 0.5))


def _version(playlist: MediaPlaylist) -> int:
    entries = [*playlist.segments, *([playlist.open_segment] if playlist.open_segment else [])]
    if playlist.server_control is not None and playlist.server_control.can_skip_until_s is not None:
        return 9
    if any(entry.map is not None for entry in entries):
        return 6
    return 4 if any(entry.byte_range is not None for entry in entries) else 3


def _header(playlist: MediaPlaylist) -> Iterator[str]:
    yield "#EXTM3U"
    yield f"#EXT-X-VERSION:{_version(playlist)}"
    target = playlist.target_duration_s
    if target is None:
        target = target_duration([segment.duration_s for segment in playlist.segments])
    yield f"#EXT-X-TARGETDURATION:{target}"
    control = playlist.server_control
    if control is not None:
        seconds = [
            ("CAN-SKIP-UNTIL", control.can_skip_until_s),
            ("PART-HOLD-BACK", control.part_hold_back_s),
            ("HOLD-BACK", control.hold_back_s),
        ]
        pairs = [(name, None if value is None else _seconds(value)) for name, value in seconds]
        attributes = _attributes([("CAN-BLOCK-RELOAD", "YES" if control.can_block_reload else None), *pairs])
        if attributes:
            yield f"#EXT-X-SERVER-CONTROL:{attributes}"
    if playlist.part_target_s is not None:
        yield f"#EXT-X-PART-INF:PART-TARGET={_seconds(playlist.part_target_s)}"
    yield f"#EXT-X-MEDIA-SEQUENCE:{playlist.media_sequence}"
    if playlist.discontinuity_sequence:
        yield f"#EXT-X-DISCONTINUITY-SEQUENCE:{playlist.discontinuity_sequence}"
    if playlist.playlist_type is not None:
        yield f"#EXT-X-PLAYLIST-TYPE:{playlist.playlist_type}"
    if playlist.independent_segments:
        yield "#EXT-X-INDEPENDENT-SEGMENTS"
    if playlist.start_offset_s is not None:
        yield f"#EXT-X-START:TIME-OFFSET={_seconds(playlist.start_offset_s)}"


@lru_cache(maxsize=4096)
def _part(part: PartEntry) -> str:
    """Kept: a live playlist is made anew with each part, and all but one are the same as before."""
    attributes = _attributes(
        [
            ("DURATION", _seconds(part.duration_s)),
            ("URI", _quoted(part.uri)),
            ("BYTERANGE", None if part.byte_range is None else _quoted(_range(part.byte_range))),
            ("INDEPENDENT", "YES" if part.independent else None),
            ("GAP", "YES" if part.gap else None),
        ]
    )
    return f"#EXT-X-PART:{attributes}"


def _joint(segment: SegmentEntry, before: InitMap | None) -> Iterator[str]:
    """The tags that say how a segment follows the one before, which had the map ``before``."""
    if segment.discontinuity:
        yield "#EXT-X-DISCONTINUITY"
    # The same map is one object in most lists, and comparing is dear where there are thousands.
    if segment.map is not before and segment.map is not None and segment.map != before:
        attributes = _attributes(
            [
                ("URI", _quoted(segment.map.uri)),
                ("BYTERANGE", None if segment.map.byte_range is None else _quoted(_range(segment.map.byte_range))),
            ]
        )
        yield f"#EXT-X-MAP:{attributes}"


def _begun(segment: SegmentEntry) -> list[str]:
    """What can be said of a segment while it is open."""
    lines = [_part(part) for part in segment.parts]
    if segment.start_utc_ns is not None:
        lines.insert(0, f"#EXT-X-PROGRAM-DATE-TIME:{_date_time(segment.start_utc_ns)}")
    return lines


def segment_text(segment: SegmentEntry) -> str:
    """The lines of a whole segment that are the same wherever it stands. Raises as :func:`media_playlist`."""
    lines = _begun(segment)
    if segment.gap:
        lines.append("#EXT-X-GAP")
    lines.append(f"#EXTINF:{_seconds(segment.duration_s)},")
    if segment.byte_range is not None:
        lines.append(f"#EXT-X-BYTERANGE:{_range(segment.byte_range)}")
    lines.append(_address(segment.uri))
    return "\n".join(lines)


def media_playlist(playlist: MediaPlaylist, *, skip: int = 0) -> str:
    """The text of a media playlist; ``skip`` > 0 makes it a delta update without the oldest ``skip`` segments, of
    which the caller knows that they are past the skip boundary (section 6.2.5.1).

    Raises ValueError for text that would break its lines.
    """
    lines = list(_header(playlist))
    if skip:
        lines.append(f"#EXT-X-SKIP:SKIPPED-SEGMENTS={skip}")
    before = playlist.segments[skip - 1].map if skip else None
    for segment in playlist.segments[skip:]:
        lines += _joint(segment, before)
        before = segment.map
        lines.append(segment_text(segment) if segment.text is None else segment.text)
    if playlist.open_segment is not None:
        lines += _joint(playlist.open_segment, before)
        lines += _begun(playlist.open_segment)
    if playlist.preload_uri is not None:
        lines.append(f"#EXT-X-PRELOAD-HINT:TYPE=PART,URI={_quoted(playlist.preload_uri)}")
    for report in playlist.rendition_reports:
        attributes = _attributes(
            [
                ("URI", _quoted(report.uri)),
                ("LAST-MSN", str(report.last_sequence)),
                ("LAST-PART", None if report.last_part is None else str(report.last_part)),
            ]
        )
        lines.append(f"#EXT-X-RENDITION-REPORT:{attributes}")
    if playlist.ended:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join(lines) + "\n"

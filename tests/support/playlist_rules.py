"""Checks any playlist text against the rules of RFC 8216 and draft-pantos-hls-rfc8216bis, section by section.

Written against the text of the specification, not against our writer. ``problems`` lists what is wrong; ``check``
raises AssertionError with that list.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"\r\n]*"|[^",\s][^",]*)(?:,|$)')
_MASTER_TAGS = {"EXT-X-MEDIA", "EXT-X-STREAM-INF", "EXT-X-I-FRAME-STREAM-INF", "EXT-X-SESSION-DATA"}
_MEDIA_TAGS = {
    "EXT-X-TARGETDURATION", "EXT-X-MEDIA-SEQUENCE", "EXT-X-DISCONTINUITY-SEQUENCE", "EXT-X-ENDLIST",
    "EXT-X-PLAYLIST-TYPE", "EXT-X-PART-INF", "EXT-X-SERVER-CONTROL", "EXT-X-SKIP", "EXT-X-PRELOAD-HINT",
    "EXT-X-RENDITION-REPORT", "EXTINF", "EXT-X-BYTERANGE", "EXT-X-DISCONTINUITY", "EXT-X-KEY", "EXT-X-MAP",
    "EXT-X-PROGRAM-DATE-TIME", "EXT-X-GAP", "EXT-X-BITRATE", "EXT-X-PART", "EXT-X-DATERANGE",
}  # fmt: skip
_BOTH_TAGS = {"EXTM3U", "EXT-X-VERSION", "EXT-X-INDEPENDENT-SEGMENTS", "EXT-X-START", "EXT-X-DEFINE"}
_ONCE = {
    "EXT-X-VERSION", "EXT-X-TARGETDURATION", "EXT-X-MEDIA-SEQUENCE", "EXT-X-DISCONTINUITY-SEQUENCE", "EXT-X-ENDLIST",
    "EXT-X-PLAYLIST-TYPE", "EXT-X-PART-INF", "EXT-X-SERVER-CONTROL", "EXT-X-SKIP", "EXT-X-INDEPENDENT-SEGMENTS",
    "EXT-X-START", "EXTM3U",
}  # fmt: skip
_BEFORE_SEGMENTS = {
    "EXT-X-MEDIA-SEQUENCE", "EXT-X-DISCONTINUITY-SEQUENCE", "EXT-X-TARGETDURATION", "EXT-X-PART-INF",
    "EXT-X-SERVER-CONTROL", "EXT-X-SKIP", "EXT-X-PLAYLIST-TYPE",
}  # fmt: skip


@dataclass
class Segment:
    """One media segment as the playlist tells it; ``uri`` is None for one that has parts only."""

    uri: str | None = None
    duration: float = 0.0
    parts: list[dict[str, str]] = field(default_factory=list)
    discontinuity: bool = False
    gap: bool = False
    byte_range: str | None = None
    date_time: datetime | None = None
    map: dict[str, str] | None = None


@dataclass
class Playlist:
    """What was read. ``problems`` is empty for a playlist that keeps all rules."""

    tags: list[tuple[str, str]] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    open_segment: Segment | None = None
    variants: list[tuple[dict[str, str], str]] = field(default_factory=list)
    media: list[dict[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def values(self, tag: str) -> list[str]:
        """What stands behind each occurrence of ``tag``."""
        return [value for name, value in self.tags if name == tag]

    def first(self, tag: str) -> str | None:
        """What stands behind the first occurrence of ``tag``."""
        return next(iter(self.values(tag)), None)

    def expect(self, holds: bool, rule: str) -> None:
        """Note ``rule`` as broken unless it holds."""
        if not holds:
            self.problems.append(rule)


def attributes(text: str, playlist: Playlist) -> dict[str, str]:
    """An attribute list (4.2); quotes are taken off the values."""
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _ATTRIBUTE.match(text, position)
        if match is None:
            playlist.problems.append(f"4.2: not an attribute list: {text}")
            break
        playlist.expect(match[1] not in found, f"4.2: {match[1]} twice in one list")
        found[match[1]] = match[2].strip('"')
        position = match.end()
    return found


def read(text: str) -> Playlist:
    """Read a playlist and judge it."""
    playlist = Playlist()
    playlist.expect("\r" not in text.replace("\r\n", "\n"), "4.1: a bare carriage return")
    playlist.expect(not text.startswith("\ufeff"), "4.1: a byte order mark")
    playlist.expect(not re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f]", text), "4.1: control characters")
    lines = [line for line in text.splitlines() if line]
    playlist.expect(bool(lines) and lines[0] == "#EXTM3U", "4.4.1.1: #EXTM3U is not the first line")
    segment, last_map, variant = Segment(), None, None
    has_duration = seen_segment = False
    for line in lines:
        if not line.startswith("#"):
            playlist.expect(not any(character.isspace() for character in line), f"4.1: white space in address {line}")
            if variant is not None:
                playlist.variants.append((variant, line))
                variant = None
                continue
            playlist.expect(has_duration, f"4.4.4.1: {line} has no EXTINF")
            segment.uri = line
            segment.map = segment.map or last_map
            last_map = segment.map
            playlist.segments.append(segment)
            segment, has_duration, seen_segment = Segment(), False, True
            continue
        if not line.startswith("#EXT"):
            continue
        name, _, value = line[1:].partition(":")
        playlist.expect(variant is None, "4.4.6.2: EXT-X-STREAM-INF is not followed by its address")
        playlist.tags.append((name, value))
        playlist.expect(name in _MASTER_TAGS | _MEDIA_TAGS | _BOTH_TAGS, f"unknown tag {name}")
        if name in _BEFORE_SEGMENTS:
            begun = seen_segment or has_duration or bool(segment.parts) or segment.discontinuity
            playlist.expect(not begun, f"4.4.3: {name} after the first segment")
        if name == "EXT-X-STREAM-INF":
            variant = attributes(value, playlist)
        elif name == "EXT-X-MEDIA":
            playlist.media.append(attributes(value, playlist))
        elif name == "EXTINF":
            match = re.fullmatch(r"(\d+(?:\.\d+)?),(.*)", value)
            playlist.expect(match is not None, f"4.4.4.1: EXTINF:{value}")
            segment.duration = float(match[1]) if match else 0.0
            has_duration = True
        else:
            _segment_tag(playlist, segment, name, value)
    playlist.expect(not has_duration, "4.4.4.1: EXTINF without an address")
    if segment != Segment():
        segment.map = segment.map or last_map
        playlist.open_segment = segment
    _judge(playlist)
    return playlist


def _segment_tag(playlist: Playlist, segment: Segment, name: str, value: str) -> None:
    if name == "EXT-X-DISCONTINUITY":
        playlist.expect(not segment.parts, "4.4.4.3: EXT-X-DISCONTINUITY inside a segment")
        segment.discontinuity = True
    elif name == "EXT-X-GAP":
        segment.gap = True
    elif name == "EXT-X-BYTERANGE":
        segment.byte_range = value
        playlist.expect(re.fullmatch(r"\d+(@\d+)?", value) is not None, f"4.4.4.2: BYTERANGE {value}")
    elif name == "EXT-X-PROGRAM-DATE-TIME":
        playlist.expect(not segment.parts, "4.4.4.6: EXT-X-PROGRAM-DATE-TIME after the segment's parts")
        try:
            segment.date_time = datetime.fromisoformat(value)
        except ValueError:
            playlist.problems.append(f"4.4.4.6: not a date: {value}")
        else:
            playlist.expect(segment.date_time.tzinfo is not None, "4.4.4.6: a date without time zone")
            segment.date_time = segment.date_time.astimezone(UTC)
    elif name == "EXT-X-MAP":
        playlist.expect(not segment.parts, "4.4.4.5: EXT-X-MAP after the segment's parts")
        segment.map = attributes(value, playlist)
        playlist.expect("URI" in segment.map, "4.4.4.5: EXT-X-MAP without URI")
        if "BYTERANGE" in segment.map:
            playlist.expect(
                re.fullmatch(r"\d+@\d+", segment.map["BYTERANGE"]) is not None, "4.4.4.5: MAP's BYTERANGE has no offset"
            )
    elif name == "EXT-X-PART":
        segment.parts.append(attributes(value, playlist))


def _judge(playlist: Playlist) -> None:
    names = [name for name, _ in playlist.tags]
    for name in _ONCE:
        playlist.expect(names.count(name) <= 1, f"{name} more than once")
    master, media = _MASTER_TAGS.intersection(names), _MEDIA_TAGS.intersection(names)
    playlist.expect(not (master and media), "4.1: both multivariant and media playlist")
    if master:
        _judge_master(playlist)
    else:
        _judge_media(playlist)


def _judge_master(playlist: Playlist) -> None:
    groups = {(entry.get("TYPE"), entry.get("GROUP-ID")) for entry in playlist.media}
    playlist.expect(bool(playlist.variants), "4.4.6.2: no variants")
    for entry, uri in playlist.variants:
        playlist.expect(entry.get("BANDWIDTH", "").isdigit(), f"4.4.6.2: {uri} has no BANDWIDTH")
        playlist.expect(bool(entry.get("CODECS")), f"4.4.6.2: {uri} should name its CODECS")
        if "AVERAGE-BANDWIDTH" in entry:
            playlist.expect(int(entry["AVERAGE-BANDWIDTH"]) <= int(entry["BANDWIDTH"]), "4.4.6.2: average above peak")
        if "RESOLUTION" in entry:
            playlist.expect(re.fullmatch(r"\d+x\d+", entry["RESOLUTION"]) is not None, "4.4.6.2: RESOLUTION")
        if "AUDIO" in entry:
            playlist.expect(("AUDIO", entry["AUDIO"]) in groups, f"4.4.6.2: {uri} names a group that is not there")
    seen = set()
    for entry in playlist.media:
        for needed in ("TYPE", "GROUP-ID", "NAME"):
            playlist.expect(bool(entry.get(needed)), f"4.4.6.1: EXT-X-MEDIA without {needed}")
        key = (entry.get("TYPE"), entry.get("GROUP-ID"), entry.get("NAME"))
        playlist.expect(key not in seen, "4.4.6.1.1: two renditions of one name in a group")
        seen.add(key)
        if entry.get("DEFAULT") == "YES":
            playlist.expect(entry.get("AUTOSELECT") != "NO", "4.4.6.1: DEFAULT=YES with AUTOSELECT=NO")
    for group in groups:
        defaults = [
            entry for entry in playlist.media
            if (entry.get("TYPE"), entry.get("GROUP-ID")) == group and entry.get("DEFAULT") == "YES"
        ]  # fmt: skip
        playlist.expect(len(defaults) <= 1, "4.4.6.1.1: two default renditions in a group")


def _judge_media(playlist: Playlist) -> None:
    target_text = playlist.first("EXT-X-TARGETDURATION")
    playlist.expect(target_text is not None and target_text.isdigit(), "4.4.3.1: no EXT-X-TARGETDURATION")
    target = int(target_text) if target_text and target_text.isdigit() else 0
    for segment in playlist.segments:
        playlist.expect(int(segment.duration + 0.5) <= target, f"4.4.3.1: {segment.uri} is longer than the target")
        if segment.parts:
            together = sum(float(part.get("DURATION", 0)) for part in segment.parts)
            playlist.expect(abs(together - segment.duration) < 0.05, f"4.4.4.9: parts of {segment.uri} do not add up")
    ranged = any(segment.byte_range for segment in playlist.segments)
    needed = 3 if any(segment.duration % 1 for segment in playlist.segments) else 1
    needed = max(needed, 4 if ranged else 1, 6 if playlist.values("EXT-X-MAP") else 1)
    needed = max(needed, 9 if playlist.values("EXT-X-SKIP") else 1)
    playlist.expect(int(playlist.first("EXT-X-VERSION") or 1) >= needed, f"8: version {needed} is needed")
    if ranged:
        first = next(segment for segment in playlist.segments if segment.byte_range)
        playlist.expect("@" in (first.byte_range or ""), "4.4.4.2: the first byte range has no offset")
    dates = [(segment.date_time, segment.duration) for segment in playlist.segments if segment.date_time]
    for (before, duration), (after, _) in pairwise(dates):
        playlist.expect((after - before).total_seconds() > -duration, "4.4.4.6: dates run backwards")
    for earlier, later in pairwise(playlist.segments):
        if earlier.date_time and later.date_time and not later.discontinuity:
            # Sound begins a frame or a camera's packet off its picture; more than that is another time.
            off = (later.date_time - earlier.date_time).total_seconds() - earlier.duration
            playlist.expect(abs(off) < 0.3, f"4.4.4.6: {later.uri} is {off:+.3f} s off what the durations say")
    for segment in playlist.segments:
        gaps = [part for part in segment.parts if part.get("GAP") == "YES"]
        playlist.expect(not segment.gap or gaps == segment.parts, f"4.4.4.7: {segment.uri} is a gap, its parts are not")
    start = attributes(playlist.first("EXT-X-START") or "", playlist)
    if "TIME-OFFSET" in start:
        whole = sum(segment.duration for segment in playlist.segments)
        whole += sum(float(part["DURATION"]) for part in (playlist.open_segment or Segment()).parts)
        offset = float(start["TIME-OFFSET"])
        playlist.expect(abs(offset) <= whole + 0.01, "4.4.2.2: EXT-X-START is outside of the playlist")
    ended = playlist.first("EXT-X-ENDLIST") is not None
    if playlist.first("EXT-X-PLAYLIST-TYPE") == "VOD":
        playlist.expect(ended, "4.4.3.5: a VOD playlist does not end")
    if ended:
        playlist.expect(playlist.open_segment is None, "an open segment in a playlist that has ended")
        playlist.expect(not playlist.values("EXT-X-PRELOAD-HINT"), "4.4.5.3: a hint in a playlist that has ended")
    playlist.expect(playlist.first("EXT-X-PLAYLIST-TYPE") in (None, "VOD", "EVENT"), "4.4.3.5: playlist type")
    _judge_low_latency(playlist, float(target), ended)


def _judge_low_latency(playlist: Playlist, target: float, ended: bool) -> None:
    control = attributes(playlist.first("EXT-X-SERVER-CONTROL") or "", playlist)
    part_info = attributes(playlist.first("EXT-X-PART-INF") or "", playlist)
    all_segments = [*playlist.segments, *([playlist.open_segment] if playlist.open_segment else [])]
    has_parts = any(segment.parts for segment in all_segments)
    if has_parts or playlist.values("EXT-X-PRELOAD-HINT"):
        playlist.expect("PART-TARGET" in part_info, "4.4.3.7: parts without PART-TARGET")
        playlist.expect("PART-HOLD-BACK" in control, "4.4.3.8: parts without PART-HOLD-BACK")
    part_target = float(part_info.get("PART-TARGET", 0))
    if "PART-HOLD-BACK" in control:
        playlist.expect(float(control["PART-HOLD-BACK"]) >= 2 * part_target - 1e-6, "4.4.3.8: PART-HOLD-BACK too small")
    if "HOLD-BACK" in control:
        playlist.expect(float(control["HOLD-BACK"]) >= 3 * target - 1e-6, "4.4.3.8: HOLD-BACK below three targets")
    if "CAN-SKIP-UNTIL" in control:
        playlist.expect(
            float(control["CAN-SKIP-UNTIL"]) >= 6 * target - 1e-6, "4.4.3.8: CAN-SKIP-UNTIL below six targets"
        )
    for index, segment in enumerate(all_segments):
        before_jump = index + 1 < len(all_segments) and all_segments[index + 1].discontinuity
        for place, part in enumerate(segment.parts):
            playlist.expect("URI" in part and "DURATION" in part, "4.4.4.9: EXT-X-PART without URI or DURATION")
            duration = float(part.get("DURATION", 0))
            playlist.expect(duration <= part_target + 1e-6, f"4.4.4.9: part of {duration} s, target {part_target} s")
            last = place + 1 == len(segment.parts) and (segment.uri is not None or before_jump or ended)
            newest = segment is playlist.open_segment and place + 1 == len(segment.parts)
            short = duration < 0.85 * part_target - 1e-6
            # Of the newest part nobody knows yet whether it is its segment's last.
            if short and not last and not newest and part.get("GAP") != "YES":
                playlist.problems.append(f"4.4.3.7: part of {duration} s is below 85 % of {part_target} s")
    hints = playlist.values("EXT-X-PRELOAD-HINT")
    kinds = [attributes(hint, playlist).get("TYPE") for hint in hints]
    playlist.expect(len(set(kinds)) == len(kinds), "4.4.5.3: two hints of one type")
    if has_parts:
        playlist.expect(bool(hints) or ended, "4.4.5.3: nothing is hinted at in a low-latency playlist")
    for hint in hints:
        entry = attributes(hint, playlist)
        playlist.expect(entry.get("TYPE") in ("PART", "MAP") and "URI" in entry, "4.4.5.3: EXT-X-PRELOAD-HINT")
        listed = {part.get("URI") for segment in all_segments for part in segment.parts if "BYTERANGE" not in part}
        playlist.expect(entry.get("URI") not in listed, "4.4.5.3: a hint at a part that is listed")
    for report in playlist.values("EXT-X-RENDITION-REPORT"):
        entry = attributes(report, playlist)
        playlist.expect("URI" in entry and "LAST-MSN" in entry, "4.4.5.4: EXT-X-RENDITION-REPORT")
        playlist.expect(not entry.get("URI", "").startswith(("http:", "https:")), "4.4.5.4: the URI must be relative")
    skip = playlist.first("EXT-X-SKIP")
    if skip is not None:
        playlist.expect("CAN-SKIP-UNTIL" in control, "6.2.5.1: a delta update that was not announced")
        playlist.expect(int(attributes(skip, playlist).get("SKIPPED-SEGMENTS", "0")) > 0, "4.4.5.2: nothing is skipped")


def problems(text: str) -> list[str]:
    """Every rule that the playlist breaks."""
    return read(text).problems


def check(text: str) -> Playlist:
    """The playlist, read; AssertionError if it breaks a rule."""
    playlist = read(text)
    assert not playlist.problems, "\n".join([*playlist.problems, "", text])
    return playlist

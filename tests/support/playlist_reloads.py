"""Checks what a client sees that reloads a playlist against RFC 8216 and draft-pantos-hls-rfc8216bis: rules that hold
from one telling to the next."""

from collections.abc import Callable

from tests.support.playlist_rules import Playlist, attributes, read


class Reloads:
    """What a client sees that reloads one media playlist: rules that hold from one to the next (6.2.1, 6.2.2)."""

    def __init__(self) -> None:
        self._before: Playlist | None = None

    def check(self, text: str) -> Playlist:
        """The playlist, read; AssertionError if it breaks a rule by itself or after the one before."""
        found = self.problems(text)
        assert not found, "\n".join([*found, "", text])
        assert self._before is not None
        return self._before

    def problems(self, text: str) -> list[str]:
        """Every rule that the playlist breaks, by itself or after the one before."""
        now, before = read(text), self._before
        found = list(now.problems)
        if not now.values("EXT-X-SKIP"):
            self._before = now
            if before is not None:
                found += _after(before, now)
        return found


def _number(playlist: Playlist, tag: str) -> int:
    return int(playlist.first(tag) or 0)


def _after(before: Playlist, now: Playlist) -> list[str]:
    """Rules that ``now`` breaks, told after ``before`` under the same address."""
    found: list[str] = []

    def expect(holds: bool, rule: str) -> None:
        if not holds:
            found.append(rule)

    for tag in ("EXT-X-TARGETDURATION", "EXT-X-PART-INF", "EXT-X-SERVER-CONTROL"):
        expect(before.first(tag) == now.first(tag), f"6.2.1: {tag} has changed")
    old, new = _number(before, "EXT-X-MEDIA-SEQUENCE"), _number(now, "EXT-X-MEDIA-SEQUENCE")
    expect(new >= old, "6.2.1: EXT-X-MEDIA-SEQUENCE runs backwards")
    gone = before.segments[: max(0, new - old)]
    if before.first("EXT-X-PLAYLIST-TYPE") is not None:
        expect(not gone, "4.4.3.5: a segment is taken from a playlist of a type")
        over = now.first("EXT-X-PLAYLIST-TYPE") == "VOD" and before.first("EXT-X-PLAYLIST-TYPE") == "EVENT"
        same = before.first("EXT-X-PLAYLIST-TYPE") == now.first("EXT-X-PLAYLIST-TYPE")
        expect(same or over, "4.4.3.5: the type of the playlist has changed")
    missed = new - old - len(before.segments)
    if missed <= 0:
        passed = sum(segment.discontinuity for segment in gone)
        counted = _number(now, "EXT-X-DISCONTINUITY-SEQUENCE") - _number(before, "EXT-X-DISCONTINUITY-SEQUENCE")
        expect(counted == passed, f"6.2.2: {passed} discontinuities are gone, {counted} are counted")
    if gone:
        left = sum(segment.duration for segment in now.segments)
        least = 3 * _number(now, "EXT-X-TARGETDURATION")
        expect(left >= least - 1e-6, f"6.2.2: {left:.1f} s are left after a segment was taken, {least} s is the least")
    if before.first("EXT-X-ENDLIST") is not None:
        expect(
            now.first("EXT-X-ENDLIST") is not None and len(now.segments) == len(before.segments), "6.2.1: it had ended"
        )
    shared = before.segments[max(0, new - old) :]
    for was, told in zip(shared, now.segments, strict=False):
        name = was.uri
        for what in ("uri", "duration", "discontinuity", "gap", "byte_range", "date_time", "map"):
            # A gap needs no init segment: it has the one before it, or none once that has gone.
            same = getattr(was, what) == getattr(told, what) or (what == "map" and was.gap)
            expect(same, f"6.2.1: {what} of {name} has changed")
        if told.parts and was.parts:
            expect(was.parts == told.parts, f"6.2.1: parts of {name} have changed")
    expect(len(now.segments) >= len(shared), "6.2.1: segments at the end are gone")
    _open_segment_after(before, now, len(shared), expect)
    return found


def _open_segment_after(before: Playlist, now: Playlist, shared: int, expect: Callable[[bool, str], None]) -> None:
    """What was open may only have grown, and what was hinted at came next."""
    following = [*now.segments, *([now.open_segment] if now.open_segment else [])][shared:]
    was = before.open_segment
    if was is not None and following:
        parts = following[0].parts
        if parts:
            expect(parts[: len(was.parts)] == was.parts, "6.2.1: parts of the open segment have changed")
        expect(was.date_time == following[0].date_time, "6.2.1: the open segment's date has changed")
        expect(was.discontinuity == following[0].discontinuity, "6.2.1: the open segment's discontinuity has changed")
    hints = [attributes(hint, before) for hint in before.values("EXT-X-PRELOAD-HINT")]
    # A segment may end, or turn out to be a gap, without the part that was expected (6.2.6).
    told = [part.get("URI") for part in following[0].parts] if following else []
    known = [part.get("URI") for part in was.parts] if was is not None else []
    came = [uri for uri in told if uri not in known]
    if hints and came:
        expect(came[0] == hints[0].get("URI"), f"4.4.5.3: {hints[0].get('URI')} was hinted at, {came[0]} came")

"""A recording's media playlist from its segments: what all its renditions have in common."""

from collections.abc import Sequence
from dataclasses import replace

from media.playlist import MediaPlaylist, PlaylistType, SegmentEntry, media_playlist, target_duration
from media.unit import NS_PER_S

_LEAST_TARGET_S = 10


def recorded_playlist(entries: Sequence[SegmentEntry], *, over: bool) -> str:
    """The text of a playlist: of type VOD, or EVENT while it is not ``over``."""
    return media_playlist(
        MediaPlaylist(
            segments=_dated(entries),
            playlist_type=PlaylistType.VOD if over else PlaylistType.EVENT,
            ended=over,
            independent_segments=False,
            # A growing playlist's target should stay as it is (RFC 8216, 6.2.1).
            target_duration_s=None if over else max(_LEAST_TARGET_S, target_duration([e.duration_s for e in entries])),
            start_offset_s=None if over else 0.0,
        )
    )


def _dated(entries: Sequence[SegmentEntry]) -> Sequence[SegmentEntry]:
    """Without dates that run backwards, where a clock was set back: players count on from the last one."""
    newest, found = 0, []
    for entry in entries:
        start = entry.start_utc_ns or 0
        found.append(entry if start >= newest - NS_PER_S else replace(entry, start_utc_ns=None))
        newest = max(newest, start)
    return found

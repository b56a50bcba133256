"""One rendition of a live window, fed by hand: what its playlist says of it."""

from media.playlist import media_playlist
from media.unit import NS_PER_S
from streaming.hls.rendition import Rendition, RenditionSettings, WindowPart
from tests.support import playlist_rules
from tests.support.encoded import ORIGIN_NS
from tests.support.playlist_rules import attributes
from tests.support.segmented import VIDEO


def test_players_are_told_to_start_at_the_keyframe_also_while_a_picture_stands() -> None:
    """The part of a picture that stood is told no longer than a part may be."""
    rendition = Rendition(RenditionSettings("video", part_target_s=0.5, target_s=6))
    at_s = 100.0
    for msn, parts in enumerate([[(0.5, True)] * 4, [(0.5, False)] * 4, [(8.2, False)]]):
        rendition.begin(msn, init=0, track=VIDEO, start_utc_ns=ORIGIN_NS + round(at_s * NS_PER_S), discontinuity=False)
        for duration_s, independent in parts:
            rendition.append(WindowPart(b"part", round(at_s * VIDEO.clock_rate), duration_s, independent))
            at_s += duration_s
        if msn < 2:
            rendition.end(2.0)
    playlist = playlist_rules.check(media_playlist(rendition.playlist(ended=False)))
    told = attributes(playlist.values("EXT-X-START")[0], playlist)
    assert told["TIME-OFFSET"] == "-4.5"


def slid(durations_s: list[float]) -> None:
    """Let a window slide over segments that last so long. Each may go only when its own length and that of the longest
    playlist which listed it have passed since it was last listed (RFC 8216, 6.2.2)."""
    rendition = Rendition(RenditionSettings("video", part_target_s=0.5, target_s=6))
    at_s, longest_s, last_listed_s = 0.0, dict[int, float](), dict[int, float]()
    for msn, duration_s in enumerate(durations_s):
        until_now = rendition.listed()
        start_utc_ns = ORIGIN_NS + round(at_s * NS_PER_S)
        rendition.begin(msn, init=0, track=VIDEO, start_utc_ns=start_utc_ns, discontinuity=False)
        rendition.append(WindowPart(b"part", round(at_s * VIDEO.clock_rate), duration_s, True))
        at_s += duration_s
        rendition.end(duration_s)
        for listed in (until_now, rendition.listed()):
            length_s = sum(segment.duration_s for segment in listed)
            for segment in listed:
                longest_s[segment.msn] = max(longest_s.get(segment.msn, 0.0), length_s)
                last_listed_s[segment.msn] = at_s
        wanted = {
            known
            for known, seen_s in last_listed_s.items()
            if at_s - seen_s < durations_s[known] + longest_s[known]
        }  # fmt: skip
        assert wanted <= {segment.msn for segment in rendition.segments}, msn
        # And not for ever.
        assert sum(segment.duration_s for segment in rendition.segments) <= 2 * max(longest_s.values()) + 3 * 6


def test_what_is_no_longer_listed_stays_for_as_long_as_a_player_may_want_it() -> None:
    slid([1.0, 2.0, *[4.0] * 60])
    slid([6.0] * 40 + [2.0] * 40 + [6.0] * 40)
    slid([4.0, 1.0, 5.96, 2.0] * 30)

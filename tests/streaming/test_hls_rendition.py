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

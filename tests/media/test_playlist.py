"""Playlists keep the rules of RFC 8216 and 8216bis, and the checker notices each rule that is broken."""

import pytest

from media.playlist import (
    AudioRendition,
    ByteRange,
    InitMap,
    MediaPlaylist,
    PartEntry,
    PlaylistType,
    RenditionReport,
    SegmentEntry,
    ServerControl,
    Variant,
    master_playlist,
    media_playlist,
    target_duration,
)
from tests.support.playlist_rules import check, problems

MAP = InitMap("init-0-1.mp4")
PARTS = tuple(PartEntry(f"s7p{index}.m4s", 0.48, index == 0) for index in range(8))
# 2026-11-21 04:00:00.5 UTC
START = 1_795_233_600_500_000_000


def live(**changes: object) -> MediaPlaylist:
    values: dict[str, object] = {
        "segments": [
            SegmentEntry("s6.m4s", 4.0, START, MAP),
            SegmentEntry("s7.m4s", 3.84, START + 4_000_000_000, MAP, parts=PARTS),
        ],
        "media_sequence": 6,
        "target_duration_s": 5,
        "part_target_s": 0.51,
        "server_control": ServerControl(True, part_hold_back_s=1.53, can_skip_until_s=30),
        "open_segment": SegmentEntry(
            "s8.m4s", 0, START + 7_840_000_000, MAP, parts=(PartEntry("s8p0.m4s", 0.48, True),)
        ),
        "preload_uri": "s8p1.m4s",
        "rendition_reports": [RenditionReport("sound.m3u8", 8, 0)],
    }
    return MediaPlaylist(**(values | changes))  # type: ignore[arg-type]


def test_low_latency_playlist_word_for_word() -> None:
    text = media_playlist(live(segments=[SegmentEntry("s7.m4s", 3.84, START, MAP, parts=PARTS[:1])], media_sequence=7))
    assert text.splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:9",
        "#EXT-X-TARGETDURATION:5",
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=30.0,PART-HOLD-BACK=1.53",
        "#EXT-X-PART-INF:PART-TARGET=0.51",
        "#EXT-X-MEDIA-SEQUENCE:7",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        '#EXT-X-MAP:URI="init-0-1.mp4"',
        "#EXT-X-PROGRAM-DATE-TIME:2026-11-21T04:00:00.500Z",
        '#EXT-X-PART:DURATION=0.48,URI="s7p0.m4s",INDEPENDENT=YES',
        "#EXTINF:3.84,",
        "s7.m4s",
        "#EXT-X-PROGRAM-DATE-TIME:2026-11-21T04:00:08.340Z",
        '#EXT-X-PART:DURATION=0.48,URI="s8p0.m4s",INDEPENDENT=YES',
        '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="s8p1.m4s"',
        '#EXT-X-RENDITION-REPORT:URI="sound.m3u8",LAST-MSN=8,LAST-PART=0',
    ]


def test_low_latency_playlist_keeps_the_rules() -> None:
    playlist = check(media_playlist(live()))
    assert [segment.uri for segment in playlist.segments] == ["s6.m4s", "s7.m4s"]
    assert playlist.open_segment is not None
    assert playlist.open_segment.map == {"URI": "init-0-1.mp4"}


def test_delta_update_leaves_out_the_oldest_and_their_map() -> None:
    text = media_playlist(live(), skip=1)
    check(text)
    assert "#EXT-X-SKIP:SKIPPED-SEGMENTS=1" in text
    assert "s6.m4s" not in text
    assert "EXT-X-MAP" not in text


def test_recorded_playlist_across_a_gap_and_a_codec_change() -> None:
    other = InitMap("object", ByteRange(900, 0))
    text = media_playlist(
        MediaPlaylist(
            [
                SegmentEntry("object-1", 4.0, START, MAP, ByteRange(5_000, 900)),
                SegmentEntry("object-1", 2.2, None, MAP, ByteRange(3_000, 5_900)),
                SegmentEntry("missing", 4.6, None, MAP, discontinuity=True, gap=True),
                SegmentEntry("object-2", 4.5, START + 20_000_000_000, other, ByteRange(5_000, 900), discontinuity=True),
            ],
            playlist_type=PlaylistType.VOD,
            ended=True,
        )
    )
    playlist = check(text)
    assert playlist.first("EXT-X-TARGETDURATION") == "5"
    assert len(playlist.values("EXT-X-DISCONTINUITY")) == 2
    assert playlist.values("EXT-X-MAP")[1] == 'URI="object",BYTERANGE="900@0"'
    assert playlist.segments[2].gap


def test_plain_ts_playlist_stays_at_version_3() -> None:
    text = media_playlist(
        MediaPlaylist(
            [SegmentEntry(f"{number}.ts", 4.04) for number in range(3)], media_sequence=9, discontinuity_sequence=2
        )
    )
    check(text)
    assert "#EXT-X-VERSION:3\n" in text
    assert "#EXT-X-DISCONTINUITY-SEQUENCE:2\n" in text


def test_master_playlist() -> None:
    text = master_playlist(
        [Variant("video.m3u8", 2_400_000, ("avc1.4D401F", "mp4a.40.2"), 2_000_000, (1920, 1080), 25.0, "sound")],
        [AudioRendition("sound.m3u8", "sound", "现场声", 1, language="zh")],
    )
    playlist = check(text)
    assert playlist.variants[0][0]["FRAME-RATE"] == "25.000"
    assert playlist.media[0]["NAME"] == "现场声"


@pytest.mark.parametrize(("longest", "target"), [(0.2, 1), (4.0, 4), (4.499, 4), (4.5, 5), (5.5, 6)])
def test_target_is_the_longest_to_the_nearest_second(longest: float, target: int) -> None:
    assert target_duration([0.1, longest]) == target


@pytest.mark.parametrize("uri", ['a"b.m3u8', "a\nb", "", "#EXT-X-ENDLIST", "a b"])
def test_text_that_would_break_the_playlist_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match=r"playlist"):
        media_playlist(MediaPlaylist([SegmentEntry(uri or "", 4.0, None, InitMap(uri))]))


GOOD = media_playlist(live())


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("#EXTM3U\n", "", "4.4.1.1"),
        ("VERSION:9", "VERSION:5", "8: version"),
        ("#EXT-X-TARGETDURATION:5\n", "", "4.4.3.1"),
        ("TARGETDURATION:5", "TARGETDURATION:3", "4.4.3.1"),
        ("#EXT-X-PART-INF:PART-TARGET=0.51\n", "", "4.4.3.7"),
        ("PART-TARGET=0.51", "PART-TARGET=0.4", "4.4.4.9"),
        ("PART-TARGET=0.51", "PART-TARGET=0.7", "4.4.3.7"),
        ("PART-HOLD-BACK=1.53", "PART-HOLD-BACK=0.9", "4.4.3.8"),
        ("CAN-SKIP-UNTIL=30.0", "CAN-SKIP-UNTIL=12.0", "4.4.3.8"),
        ("#EXTINF:3.84,\n", "", "4.4.4.1"),
        ("EXTINF:3.84", "EXTINF:4.24", "4.4.4.9"),
        ('URI="s8p1.m4s"', 'URI="s8p0.m4s"', "4.4.5.3"),
        ("LAST-MSN=8,", "", "4.4.5.4"),
        ("2026-11-21T04:00:00.500Z", "2026-11-21T04:00:00.500", "4.4.4.6"),
        ("#EXT-X-MEDIA-SEQUENCE:6\n", "#EXT-X-MEDIA-SEQUENCE:6\n#EXT-X-MEDIA-SEQUENCE:7\n", "more than once"),
        ("#EXT-X-INDEPENDENT", "#EXT-X-INDEPENDANT", "unknown tag"),
        ("s7.m4s\n", "s7.m4s\n#EXT-X-PLAYLIST-TYPE:EVENT\n", "4.4.3"),
    ],
)
def test_checker_notices_a_broken_rule(old: str, new: str, rule: str) -> None:
    assert problems(GOOD) == []
    assert old in GOOD
    broken = problems(GOOD.replace(old, new, 1)) or problems(GOOD.replace(old, new))
    assert any(rule in problem for problem in broken), broken

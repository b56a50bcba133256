"""A live window over hours, in simulated time: every playlist after the one before, over reconnects and lost sound."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from media.clock import SystemClock
from media.stream import LiveStream, StreamId
from media.unit import AUDIO_TRACK_ID, AccessUnit, Codec, StreamItem
from streaming.hls.window import WindowSettings
from streaming.hls.windows import LiveWindows
from tests.support import playlist_rules
from tests.support.encoded import ORIGIN_NS, interleave, sound_units, video_units
from tests.support.live_feed import gap, later
from tests.support.playlist_reloads import Reloads

CAMERA = StreamId("camera")
ROUND_S = 12.0


def round_of_media(fps: int) -> list[AccessUnit]:
    """Twelve seconds."""
    video = video_units(frames=round(ROUND_S * fps), fps=fps, gop=fps * 2)
    return list(interleave(video, sound_units(Codec.AAC, rate=16_000, seconds=ROUND_S)))


def hours(media: list[AccessUnit], rounds: int, *, lost_every: int, mute_every: int) -> Iterator[StreamItem]:
    """Rounds of media. Each ``lost_every``-th one the camera is away for 30 s, and comes back as a new epoch; each
    ``mute_every``-th one has no sound."""
    shift_s, epoch = 0.0, 0
    for number in range(rounds):
        if number and number % lost_every == 0:
            at = 100.0 + shift_s
            yield gap(at, at + 30.0, ORIGIN_NS)
            shift_s += 30.0
            epoch += 1
        units = later(media, shift_s, epoch=epoch)
        # Sound that is missing from the first moment on would be a period without any.
        if number % mute_every == mute_every - 1 and number % lost_every:
            units = [unit for unit in units if unit.track.id != AUDIO_TRACK_ID]
        yield from units
        shift_s += ROUND_S


@pytest.mark.parametrize(("fps", "duration_h", "reload_units"), [(5, 2.0, 120), (12, 0.15, 11)])
async def test_hours_of_playlists_keep_the_rules(fps: int, duration_h: float, reload_units: int) -> None:
    """Two hours read segment by segment, and some minutes part by part. Every playlist passes through
    the checker in ``tests/support/every_playlist.py``, each after the one before."""
    media = round_of_media(fps)
    rounds = round(duration_h * 3600 / ROUND_S)
    stream = LiveStream(CAMERA, SystemClock())
    read = gaps = 0
    with ThreadPoolExecutor(1) as executor:
        async with LiveWindows(lambda _: stream, SystemClock(), executor, WindowSettings(segments=5)) as windows:
            window = await windows.window(CAMERA)
            for number, item in enumerate(hours(media, rounds, lost_every=37, mute_every=23)):
                stream.publish(item)
                if number % reload_units == 0:
                    await asyncio.sleep(0)
                    if number > len(media):
                        video, sound = await window.media_playlist("video"), await window.media_playlist("sound")
                        await window.ts_playlist()
                        read += 1
                        gaps += "#EXT-X-GAP" in sound
                        assert first_of(video) == first_of(sound)
            last = playlist_rules.check(await window.media_playlist("video"))
    assert read > 1_000
    assert gaps > 0
    passed = int(last.first("EXT-X-DISCONTINUITY-SEQUENCE") or 0)
    assert passed + sum(segment.discontinuity for segment in last.segments) == (rounds - 1) // 37
    date = last.segments[-1].date_time
    assert date is not None
    # After hours the date is still the media's own.
    away_s = 30.0 * ((rounds - 1) // 37)
    assert 0 < ORIGIN_NS / 1e9 + 100 + rounds * ROUND_S + away_s - date.timestamp() < ROUND_S


def first_of(text: str) -> str:
    """The number of the first segment."""
    return text.partition("#EXT-X-MEDIA-SEQUENCE:")[2].partition("\n")[0]


async def test_what_follows_a_playlist_is_judged() -> None:
    """The checker itself: each of these breaks a rule that no single playlist shows."""
    head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n"

    def listed(first: int, last: int, *, more: str = "", skipped: int = 0) -> str:
        segments = "".join(f"#EXTINF:2.0,\n{number}.ts\n" for number in range(first, last + 1))
        sequence = f"#EXT-X-DISCONTINUITY-SEQUENCE:{skipped}\n" if skipped else ""
        return f"{head}#EXT-X-MEDIA-SEQUENCE:{first}\n{sequence}{segments}{more}"

    good = [(listed(1, 4), listed(2, 5)), (listed(1, 4), listed(1, 5, more="#EXT-X-ENDLIST\n"))]
    bad = [
        (listed(2, 5), listed(1, 5)),
        (listed(1, 5), listed(4, 5)),
        (listed(1, 5), listed(1, 4)),
        (listed(1, 4), listed(1, 4).replace("2.ts", "two.ts")),
        (listed(1, 4), listed(1, 4).replace("2.0", "1.9", 1)),
        (listed(1, 4), listed(1, 4).replace("DURATION:2", "DURATION:3")),
        (listed(1, 4).replace("#EXTINF", "#EXT-X-DISCONTINUITY\n#EXTINF", 1), listed(2, 5)),
        (listed(1, 4), listed(2, 5, skipped=1)),
        (listed(1, 4, more="#EXT-X-ENDLIST\n"), listed(1, 5, more="#EXT-X-ENDLIST\n")),
    ]
    for pairs, right in ((good, True), (bad, False)):
        for before, after in pairs:
            reloads = Reloads()
            assert reloads.problems(before) == []
            assert (reloads.problems(after) == []) is right, (before, after)


def test_a_copy_is_moved_whole() -> None:
    """Rounds run on from each other: nothing in these hours is a break that a camera did not make."""
    media = round_of_media(5)
    moved = later(media, ROUND_S, epoch=0)
    pictures = [unit for unit in media if unit.track.id != AUDIO_TRACK_ID]
    assert next(unit for unit in moved if unit.track.id != AUDIO_TRACK_ID).pts - pictures[-1].pts == 90_000 // 5
    assert replace(moved[0], pts=media[0].pts, dts=media[0].dts, utc_ns=media[0].utc_ns) == media[0]

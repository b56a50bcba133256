"""What is kept for viewers that come later: never older than is meant, never a picture that cannot be shown."""

from media.gop import GopCache
from media.unit import Codec
from tests.support.encoded import g711_units, interleave, sound_units, video_units


def test_hours_of_sound_alone_leave_the_newest() -> None:
    """All that has passed through counts for nothing: only what is kept takes room."""
    cache = GopCache(max_bytes=50_000, max_audio_units=50)
    sound = g711_units(seconds=20.0)
    assert sum(len(unit.data) for unit in sound) > 50_000
    for unit in sound:
        cache.push(unit)
    assert cache.units() == tuple(sound[-50:])


def test_nothing_is_kept_of_pictures_before_their_keyframe() -> None:
    pictures = video_units(frames=60, gop=50)[1:]
    sound = sound_units(Codec.AAC, rate=16_000, seconds=2.4)
    cache = GopCache()
    for unit in interleave(pictures, sound):
        cache.push(unit)
        kept = cache.units()
        seen = [item for item in kept if item.track.id == 1]
        assert not seen or seen[0].keyframe
        # Sound alone would look like a camera without picture.
        assert seen or not cache.has_video or not kept
    assert cache.units()[0] is pictures[49]


def test_sound_counts_from_the_keyframe_on() -> None:
    cache = GopCache()
    for unit in interleave(video_units(frames=75, gop=50), sound_units(Codec.AAC, rate=16_000, seconds=3.0)):
        cache.push(unit)
    kept = cache.units()
    assert kept[0].keyframe
    assert {unit.track.id for unit in kept} == {1, 2}
    assert min(unit.dts / unit.track.clock_rate for unit in kept) == kept[0].dts / 90_000

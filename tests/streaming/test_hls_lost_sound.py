"""Live windows of cameras whose AAC passes and of which a line loses some: what is lost is silence in its place.

Every playlist passes through the checker in ``tests/support/every_playlist.py``, each after the one before.
"""

import asyncio
import random
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from media.fmp4_read import read_fragments
from media.transcode import AAC_FRAME, AacSettings, silent_frame
from media.unit import NS_PER_S, AccessUnit, Codec
from streaming.hls.rendition import WindowSegment
from tests.streaming.test_hls_uneven import part_target, told_s, watched
from tests.streaming.test_hls_window import decoded, fed_window
from tests.support import playlist_rules
from tests.support.encoded import g711_units, interleave, sound_units, video_units
from tests.support.he_aac import signalled
from tests.support.live_feed import until


def lost(units: Iterable[AccessUnit], *holes: tuple[float, float]) -> list[AccessUnit]:
    """What is left: nothing begins from the first to the second moment of a hole, in seconds."""
    return [unit for unit in units if not any(a <= unit.dts / unit.track.clock_rate < b for a, b in holes)]


async def heard(units: Iterable[AccessUnit], at_end: Callable[[list[WindowSegment]], None]) -> None:
    """Feed a window whose sound is asked for again and again, and look at its whole segments."""
    async with fed_window() as (window, stream):
        for number, unit in enumerate(units):
            stream.publish(unit)
            await asyncio.sleep(0)
            if number % 4 == 0 and window._video.whole:  # noqa: SLF001
                await window.media_playlist("sound")
        at_end([segment for segment in window._sound.segments if segment.complete])  # noqa: SLF001


@pytest.mark.parametrize(
    ("rate", "channels", "hole"),
    [
        (16_000, 1, (107.72, 108.3)),  # over the end of a segment
        (16_000, 2, (111.7, 112.7)),
        (48_000, 1, (111.55, 112.0)),  # up to it
        (44_100, 2, (108.0, 108.45)),  # from it on
        (8_000, 1, (109.0, 109.13)),  # a single frame
        (48_000, 2, (108.9, 109.8)),
        (16_000, 1, (109.0, 111.0)),
    ],
)
async def test_what_is_lost_of_sound_is_silence_in_its_place(
    rate: int, channels: int, hole: tuple[float, float]
) -> None:
    sound = lost(sound_units(Codec.AAC, rate=rate, channels=channels, seconds=18.0), hole)
    playlists, media = await watched(interleave(video_units(frames=450, gop=100), sound), "video", "sound")
    playlist, (stretch,) = playlists["sound"], media["sound"]
    times = [sample.dts for sample in read_fragments(stretch)]
    assert times == list(range(times[0], times[0] + AAC_FRAME * len(times), AAC_FRAME))
    camera, silence = {unit.dts: unit.data for unit in sound}, silent_frame(AacSettings(rate, channels))
    assert [bytes(sample.data) for sample in read_fragments(stretch)] == [camera.get(dts, silence) for dts in times]
    assert times[0] < hole[0] * rate < hole[1] * rate < times[-1]
    # No time is told twice, none is left out.
    assert abs(told_s(playlist) - sum(segment.duration for segment in playlist.segments)) < 0.01
    assert abs(told_s(playlist) - told_s(playlists["video"])) < 0.3
    # Parts are told of segments with a hole as well: they have as many frames as any.
    parts = [float(part["DURATION"]) for segment in playlist.segments[-3:] for part in segment.parts[:-1]]
    assert len(parts) > 10
    assert parts == [pytest.approx(part_target(playlist), rel=0.003)] * len(parts)
    pcm = [frame.to_ndarray() for frame in decoded(b"", [stretch])]
    assert len(pcm) == len(times)
    for dts, frame in zip(times, pcm, strict=True):
        # Beside a loss a window fades in or out.
        if not {dts - AAC_FRAME, dts, dts + AAC_FRAME} & camera.keys():
            assert np.abs(frame).max() < 1e-3


async def test_dates_of_segments_are_those_of_their_sound_whatever_is_lost() -> None:
    chance = random.Random(17)
    sound = [unit for unit in sound_units(Codec.AAC, rate=16_000, seconds=30.0) if chance.random() >= 0.1]
    holes = [(107.72, 108.3), (114.54, 115.22), (115.88, 116.22), (118.86, 119.24), (119.48, 119.84), (123.2, 124.9)]

    def judge(segments: list[WindowSegment]) -> None:
        assert len(segments) > 6
        first = segments[0]
        for segment in segments:
            after_ns = segment.start_utc_ns - first.start_utc_ns
            assert after_ns == pytest.approx((segment.parts[0].dts - first.parts[0].dts) * NS_PER_S / 16_000, abs=1e3)

    await heard(interleave(video_units(frames=750, gop=100), lost(sound, *holes)), judge)


async def test_a_segment_of_the_target_duration_takes_what_the_one_before_it_lacks() -> None:
    """It would be longer than the playlist has promised."""
    video = video_units(frames=540, fps=30, gop=540)
    for edge in (109.0, 115.0):
        sound = sound_units(Codec.AAC, rate=8_000, seconds=18.0)
        await watched(interleave(video, lost(sound, (edge - 0.48, edge + 0.3))), "sound")


async def test_sound_that_begins_late_begins_with_silence() -> None:
    """Where it has begun a little late, as it does, there is nothing to be filled."""
    for late_s, first_s in ((0.3, 100.3), (0.9, 100.0)):
        sound = lost(sound_units(Codec.AAC, rate=16_000, seconds=12.0), (0, 100 + late_s))

        def judge(segments: list[WindowSegment], first_s: float = first_s) -> None:
            assert segments[0].parts[0].dts / 16_000 == pytest.approx(first_s, abs=0.1)

        await heard(interleave(video_units(frames=300), sound), judge)


async def test_nothing_is_put_between_frames_that_no_silence_fits_among() -> None:
    camera = signalled(lost(sound_units(Codec.AAC, rate=16_000, seconds=14.0), (105.2, 105.5)))

    def judge(segments: list[WindowSegment]) -> None:
        frames = {unit.data for unit in camera}
        heard = [bytes(sample.data) for segment in segments for sample in read_fragments(segment.data)]
        assert len(heard) > 100
        assert frames.issuperset(heard)

    await heard(interleave(video_units(frames=350), camera), judge)


def stamped(units: Sequence[AccessUnit], when: Callable[[int], float]) -> list[AccessUnit]:
    """Frames at other ticks, as receivers give them out: each at least a tick after the one before. Each one's data is
    its own, so that it is known again."""
    told: list[AccessUnit] = []
    for number, unit in enumerate(units):
        dts = round(when(unit.dts))
        dts = max(dts, told[-1].dts + 1) if told else dts
        own = unit.data + number.to_bytes(4, "big")
        told.append(replace(unit, dts=dts, pts=dts, data=own, utc_ns=unit.utc_ns))
    return told


@pytest.mark.parametrize(("rate", "uneven_s"), [(16_000, 0.02), (48_000, 0.02), (48_000, 0.04)])
async def test_a_camera_that_stamps_its_frames_unevenly_has_lost_none(rate: int, uneven_s: float) -> None:
    chance = random.Random(11)
    exact = sound_units(Codec.AAC, rate=rate, seconds=30.0)
    camera = stamped(exact, lambda dts: dts + chance.uniform(-uneven_s, uneven_s) * rate)

    def judge(segments: list[WindowSegment]) -> None:
        played = [bytes(sample.data) for segment in segments for sample in read_fragments(segment.data)]
        order = [unit.data for unit in camera]
        first = order.index(played[0])
        assert len(played) / rate * AAC_FRAME > 20
        assert played == order[first : first + len(played)]

    await heard(interleave(video_units(frames=750), camera), judge)


@pytest.mark.parametrize("rate", [16_000, 48_000])
@pytest.mark.parametrize("slower", [0.03, 0.08])
async def test_sound_whose_time_goes_more_slowly_than_it_lasts_keeps_its_time(rate: int, slower: float) -> None:
    """A camera's clock that is set back is followed bit by bit; another stamps sound in ticks of a rate it has not."""
    start = 100 * rate
    exact = sound_units(Codec.AAC, rate=rate, seconds=30.0)
    camera = stamped(exact, lambda dts: start + (dts - start) * (1 - slower))
    stamps = {unit.data: unit.dts for unit in camera}

    def judge(segments: list[WindowSegment]) -> None:
        samples = [sample for segment in segments for sample in read_fragments(segment.data)]
        assert len(samples) / rate * AAC_FRAME > 20
        assert max(abs(sample.dts - stamps[bytes(sample.data)]) for sample in samples) < 0.1 * rate

    await heard(interleave(video_units(frames=750), camera), judge)


async def test_sound_that_goes_back_in_time_is_not_late_for_minutes() -> None:
    exact = sound_units(Codec.AAC, rate=16_000, seconds=30.0)
    camera = stamped(exact, lambda dts: dts if dts < 110 * 16_000 else dts - 3 * 16_000)
    stamps = {unit.data: unit.dts for unit in camera}
    pictures = video_units(frames=750)
    arrivals = {unit.data: was.dts / 16_000 for unit, was in zip(camera, exact, strict=True)}
    both = sorted([*pictures, *camera], key=lambda unit: arrivals.get(unit.data, unit.dts / unit.track.clock_rate))

    def judge(segments: list[WindowSegment]) -> None:
        samples = [sample for segment in segments for sample in read_fragments(segment.data)]
        assert max(sample.dts for sample in samples) > 120 * 16_000
        assert max(abs(sample.dts - stamps[bytes(sample.data)]) for sample in samples) < 0.1 * 16_000

    await heard(both, judge)


async def test_sound_that_is_made_too_slowly_goes_on_with_what_there_still_is() -> None:
    """What makes it is busy with something else for longer than the window reaches back, and the camera came back in
    between: players find sound that belongs to a picture by how many discontinuities were before it."""
    before = list(interleave(video_units(frames=300), g711_units(seconds=12.0)))
    after = list(
        interleave(video_units(frames=1_500, start_s=113.0, epoch=1), g711_units(seconds=60.0, start_s=113.0, epoch=1))
    )
    busy = threading.Event()
    async with fed_window() as (window, stream):
        for unit in before:
            stream.publish(unit)
            await asyncio.sleep(0)
        await window._sound_ready()  # noqa: SLF001
        jobs = [window._executor.submit(busy.wait, 30) for _ in range(2)]  # noqa: SLF001
        for unit in after:
            stream.publish(unit)
            await asyncio.sleep(0)
        busy.set()
        for job in jobs:
            await asyncio.wrap_future(job)
        await until(lambda: window._sound.next_msn == window._video.next_msn)  # noqa: SLF001
        playlists = [playlist_rules.check(await window.media_playlist(name)) for name in ("video", "sound")]
        for tag in ("EXT-X-MEDIA-SEQUENCE", "EXT-X-DISCONTINUITY-SEQUENCE"):
            video, sound = (playlist.values(tag) for playlist in playlists)
            assert video == sound != []
        assert all(segment.complete for segment in list(window._sound.segments)[:-1])  # noqa: SLF001

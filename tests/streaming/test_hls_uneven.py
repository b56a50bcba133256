"""Live windows of cameras that are uneven: slow, with lost pictures, with sound in bursts, with another codec later.

Every playlist passes through the checker in ``tests/support/every_playlist.py``, each after the one before.
"""

import asyncio
import random
import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain

import pytest

from media.fmp4_read import read_fragments, read_init
from media.unit import AUDIO_TRACK_ID, AccessUnit, Codec
from streaming.hls.window import LiveWindow, RenditionName, WindowSettings
from tests.streaming.test_hls_window import decoded, fed_window
from tests.support import playlist_rules
from tests.support.encoded import g711_units, interleave, sound_units, video_units
from tests.support.live_feed import until
from tests.support.playlist_rules import Playlist, attributes


async def watched(
    window_units: Iterable[AccessUnit], *names: RenditionName, every: int = 5
) -> tuple[dict[str, Playlist], dict[str, list[bytes]]]:
    """Feed a window whose playlists are read all the time. The last ones, and the bytes of each stretch between two
    init segments, the init segment first."""
    # Two segments of each stretch, three times.
    async with fed_window(WindowSettings(segments=7)) as (window, stream):
        for number, unit in enumerate(window_units):
            stream.publish(unit)
            await asyncio.sleep(0)
            if number % every == 0 and any(segment.complete for segment in window._video.segments):  # noqa: SLF001
                for name in names:
                    await window.media_playlist(name)
        if "sound" in names:
            await window.media_playlist("sound")
            await until(lambda: window._sound.next_msn == window._video.next_msn)  # noqa: SLF001
        texts = {name: await window.media_playlist(name) for name in names}
        media: dict[str, list[bytes]] = {name: await _stretches(window, name, texts[name]) for name in names}
    return {name: playlist_rules.check(text) for name, text in texts.items()}, media


async def _stretches(window: LiveWindow, name: RenditionName, text: str) -> list[bytes]:
    found: list[bytes] = []
    gap = False
    for line in text.splitlines():
        if init := re.search(r"EXT-X-MAP:.*init-(\d+)", line):
            found.append(await window.init(name, int(init[1])))
        elif segment := re.fullmatch(r"\w+/(\d+)\.m4s", line):
            found[-1] += b"" if gap else await window.segment(name, int(segment[1]))
            gap = False
        gap = gap or line == "#EXT-X-GAP"
    return found


def part_target(playlist: Playlist) -> float:
    """EXT-X-PART-INF."""
    return float(attributes(playlist.values("EXT-X-PART-INF")[0], playlist)["PART-TARGET"])


def told_s(playlist: Playlist) -> float:
    """Seconds from the first segment's date to the end of the last one."""
    first, last = playlist.segments[0], playlist.segments[-1]
    assert first.date_time is not None
    assert last.date_time is not None
    return (last.date_time - first.date_time).total_seconds() + last.duration


@pytest.mark.parametrize("fps", [1, 3, 7])
async def test_parts_of_slow_cameras_are_as_long_as_they_must_be(fps: int) -> None:
    units = interleave(
        video_units(frames=30 * fps, fps=fps, gop=4 * fps), sound_units(Codec.AAC, rate=16_000, seconds=30.0)
    )
    playlists, _ = await watched(units, "video", "sound", every=3)
    shortest = max(0.5 // (1 / fps), 1) / fps
    assert shortest <= part_target(playlists["video"]) < 1.05 * max(shortest, 0.5)
    assert sum(len(segment.parts) for segment in playlists["video"].segments) >= 6


@pytest.mark.parametrize(("before", "after"), [(25, 1), (5, 25)])
async def test_a_camera_that_changes_its_pace_with_the_light(before: int, after: int) -> None:
    first = video_units(frames=16 * before, fps=before, gop=4 * before)
    track = first[0].track
    second = [replace(unit, track=track) for unit in video_units(frames=30 * after, fps=after, gop=4 * after)]
    moved = [replace(u, pts=u.pts + 16 * 90_000, dts=u.dts + 16 * 90_000, utc_ns=u.utc_ns + 16 * 10**9) for u in second]
    playlists, _ = await watched([*first, *moved], "video", every=3)
    assert len(playlists["video"].segments) < 30


@pytest.mark.parametrize("hole_s", [0.7, 3.0, 8.0])
@pytest.mark.parametrize("sound", ["none", "stops", "goes on"])
async def test_pictures_that_are_lost_for_seconds(hole_s: float, sound: str) -> None:
    """A line that loses everything for a while, or only pictures: the camera is not away, it is one epoch."""

    def is_there(unit: AccessUnit) -> bool:
        return not 106.3 <= unit.dts / unit.track.clock_rate < 106.3 + hole_s

    pictures = [unit for unit in video_units(frames=500, gop=50) if is_there(unit)]
    heard = sound_units(Codec.AAC, rate=16_000, seconds=20.0) if sound != "none" else []
    units = interleave(pictures, [unit for unit in heard if sound == "goes on" or is_there(unit)])
    names: list[RenditionName] = ["video", "sound"] if heard else ["video"]
    playlists, media = await watched(units, *names)
    for name in names:
        playlist = playlists[name]
        # No time is told twice, none is left out.
        assert abs(told_s(playlist) - sum(segment.duration for segment in playlist.segments)) < 0.3
        assert abs(told_s(playlist) - told_s(playlists["video"])) < 0.3
    assert any(segment.gap for segment in playlists["video"].segments) is (hole_s > 6)
    (stretch,) = media["video"]
    shown = [sample.dts for sample in read_fragments(stretch)]
    assert shown == [unit.dts for unit in pictures][: len(shown)]
    assert len(shown) >= 200
    if sound == "goes on":
        (stretch,) = media["sound"]
        times = [sample.dts for sample in read_fragments(stretch)]
        assert times == list(range(times[0], times[0] + 1024 * len(times), 1024))


@pytest.mark.parametrize("rate", [16_000, 48_000])
@pytest.mark.parametrize("late_s", [0.0, 0.3])
async def test_sound_that_comes_in_bursts_passes_in_even_parts(rate: int, late_s: float) -> None:
    chance = random.Random(3)
    pictures, sound = video_units(frames=500, gop=50, b_frames=3), sound_units(Codec.AAC, rate=rate, seconds=20.0)
    arrivals = [(unit.dts / 90_000, unit) for unit in pictures]
    at = 0.0
    for unit in sound:
        at = max(at, unit.dts / rate + late_s + chance.uniform(0, 0.15))
        arrivals.append((at, unit))
    arrivals.sort(key=lambda arrival: arrival[0])
    playlists, media = await watched([unit for _, unit in arrivals], "video", "sound")
    assert part_target(playlists["sound"]) == 0.512
    # The camera's own frames, all of them, in their order.
    (stretch,) = media["sound"]
    played = {sample.dts: bytes(sample.data) for sample in read_fragments(stretch)}
    first, last = min(played), max(played)
    assert played == {unit.dts: unit.data for unit in sound if first <= unit.dts <= last}
    assert list(played) == sorted(played)
    assert len(played) / rate * 1024 > 12


def seconds_of(codec: Codec | None, start_s: float, epoch: int) -> list[AccessUnit]:
    """Ten seconds of a camera."""
    sound: list[AccessUnit] = []
    if codec is Codec.PCMA:
        sound = g711_units(seconds=10.0, start_s=start_s, epoch=epoch)
    elif codec is not None:
        rate = 16_000 if codec is Codec.AAC else 48_000
        sound = sound_units(codec, rate=rate, seconds=10.0, start_s=start_s, epoch=epoch)
    return list(interleave(video_units(frames=250, start_s=start_s, epoch=epoch), sound))


@pytest.mark.parametrize(
    "codecs",
    [(Codec.PCMA, Codec.AAC), (Codec.AAC, Codec.PCMA), (Codec.PCMA, None), (Codec.AAC, None), (Codec.AAC, Codec.OPUS)],
)
async def test_a_camera_that_comes_back_with_other_sound(codecs: tuple[Codec | None, Codec | None]) -> None:
    """What was told of the sound before holds, and each stretch plays from its init segment."""
    order = [codecs[0], codecs[1], codecs[0]]
    units = chain.from_iterable(seconds_of(codec, 100.0 + 12 * n, n) for n, codec in enumerate(order))
    playlists, media = await watched(units, "video", "sound", every=20)
    numbers = [playlist.values("EXT-X-MEDIA-SEQUENCE") for playlist in playlists.values()]
    assert numbers[0] == numbers[1]
    breaks = [[segment.discontinuity for segment in playlist.segments] for playlist in playlists.values()]
    assert breaks[0] == breaks[1]
    for stretch in media["sound"]:
        (track,) = read_init(stretch)
        assert track.codec is Codec.AAC
        frames = read_fragments(stretch, AUDIO_TRACK_ID)
        assert len(decoded(b"", [stretch])) == len(frames) > 50


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("lost", [0.02, 0.1])
async def test_frames_of_sound_that_are_lost_leave_parts_as_long_as_they_are_told(rate: int, lost: float) -> None:
    """Whoever adds parts up is nowhere further off than a frame: none lasts longer than it may, and all their own."""
    chance = random.Random(7)
    sound = [unit for unit in sound_units(Codec.AAC, rate=rate, seconds=30.0) if chance.random() >= lost]
    units = interleave(video_units(frames=750, gop=50), sound)
    async with fed_window() as (window, stream):
        for unit in units:
            stream.publish(unit)
            await asyncio.sleep(0)
            if window._video.whole:  # noqa: SLF001
                await window.media_playlist("sound")
        parts = [part for segment in window._sound.segments for part in segment.parts]  # noqa: SLF001
    for part in parts:
        frames = read_fragments(part.data)
        assert part.duration_s == pytest.approx(sum(frame.duration for frame in frames) / rate)
        assert part.duration_s < 0.513
    assert len(parts) > 30


@pytest.mark.parametrize("codec", [Codec.PCMA, Codec.OPUS])
async def test_sound_that_pauses_over_the_end_of_a_segment_moves_no_dates(codec: Codec) -> None:
    """What is derived fills the pause with silence, in one go when sound goes on."""

    def is_there(unit: AccessUnit) -> bool:
        return not 111.0 <= unit.dts / unit.track.clock_rate < 112.9

    tone = g711_units(seconds=20.0) if codec is Codec.PCMA else sound_units(codec, seconds=20.0)
    units = interleave(video_units(frames=500, gop=50), [unit for unit in tone if is_there(unit)])
    playlists, _ = await watched(units, "video", "sound")
    ends = [segment.duration for segment in playlists["sound"].segments]
    assert abs(told_s(playlists["sound"]) - sum(ends)) < 0.3


async def test_a_camera_that_is_back_for_a_moment_sets_no_standard() -> None:
    """The first thing that a player hears of is a segment of a third of a second."""
    flicker = video_units(frames=8)
    rest = video_units(frames=300, start_s=103.0, epoch=1)
    playlists, _ = await watched([*flicker, *rest], "video", every=1)
    assert part_target(playlists["video"]) == pytest.approx(0.51)


async def test_who_comes_while_there_is_only_sound_gets_the_picture_too() -> None:
    """A sub stream that is opened for its first viewer: sound at once, pictures from the next keyframe on."""
    sound = sound_units(Codec.AAC, rate=16_000, seconds=12.0)
    pictures = video_units(frames=225, start_s=103.0)
    early = [unit for unit in sound if unit.dts < 102.5 * 16_000]
    async with fed_window() as (window, stream):
        for unit in early:
            stream.publish(unit)
        await window.media_playlist("sound")
        master = asyncio.create_task(window.master_playlist())
        await asyncio.sleep(0)
        assert not master.done()
        for unit in interleave(pictures, sound[len(early) :]):
            stream.publish(unit)
            await asyncio.sleep(0)
        told = playlist_rules.check(await master)
        assert told.variants[0][0]["RESOLUTION"] == "320x180"
        assert told.media
    # Where no picture comes, sound is all there is.
    async with fed_window(WindowSettings(picture_wait_s=0.05)) as (window, stream):
        for unit in early:
            stream.publish(unit)
        assert "RESOLUTION" not in await window.master_playlist()

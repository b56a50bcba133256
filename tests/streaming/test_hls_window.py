"""Live HLS windows: what players are told, when, and what they get."""

import asyncio
import io
import itertools
import re
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import av
import numpy as np
import pytest

from media.clock import SystemClock
from media.fmp4_read import read_fragments, read_init
from media.segmenter import SegmenterSettings
from media.stream import LiveStream, StreamId
from media.unit import AUDIO_TRACK_ID, AccessUnit, Codec, StreamItem
from streaming.hls.errors import MediaGoneError, PlaylistRequestError, StreamAwayError, WindowTimeoutError
from streaming.hls.window import LiveWindow, RenditionName, WindowSettings
from streaming.hls.windows import LiveWindows
from tests.support import playlist_rules
from tests.support.encoded import ORIGIN_NS, g711_units, interleave, sound_units, video_units
from tests.support.live_feed import gap, later, live_stream, looped, until

CAMERA = StreamId("camera")


@cache
def picture_and_sound(sound: Codec | None = Codec.PCMA, gop: int = 50) -> tuple[AccessUnit, ...]:
    """Eight seconds."""
    video = video_units(frames=200, gop=gop)
    if sound is None:
        return tuple(video)
    tone = g711_units(sound, seconds=8.0) if sound is Codec.PCMA else sound_units(sound, seconds=8.0)
    return tuple(interleave(video, tone))


@asynccontextmanager
async def window_on(
    items: Iterable[StreamItem],
    settings: WindowSettings | None = None,
    ahead_s: float = 1.0,
    segmenter: SegmenterSettings | None = None,
) -> AsyncIterator[tuple[LiveWindow, LiveStream]]:
    """A window on a stream that is live."""
    with ThreadPoolExecutor(2) as executor:
        async with (
            live_stream(items, ahead_s=ahead_s, settings=segmenter) as stream,
            LiveWindows(lambda _: stream, SystemClock(), executor, settings) as windows,
        ):
            await until(lambda: stream.last_keyframe is not None)
            yield await windows.window(CAMERA), stream


@asynccontextmanager
async def fed_window(settings: WindowSettings | None = None) -> AsyncIterator[tuple[LiveWindow, LiveStream]]:
    """A window on a stream that the test feeds with :func:`feed`."""
    with ThreadPoolExecutor(2) as executor:
        stream = LiveStream(CAMERA, SystemClock(), SegmenterSettings(stagger=0))
        async with LiveWindows(lambda _: stream, SystemClock(), executor, settings) as windows:
            yield await windows.window(CAMERA), stream


async def feed(stream: LiveStream, items: Iterable[StreamItem]) -> None:
    """Publish as fast as readers can take it."""
    for item in items:
        stream.publish(item)
        await asyncio.sleep(0)


def newest(text: str) -> tuple[int, int]:
    """Number and parts of the segment that is open."""
    msn, part = re.findall(r'PRELOAD-HINT:TYPE=PART,URI="\w+/(\d+)\.(\d+)\.m4s"', text)[-1]
    return int(msn), int(part)


def decoded(init: bytes, media: Iterable[bytes]) -> list[Any]:
    """All frames of a track, decoded in one go."""
    with av.open(io.BytesIO(init + b"".join(media)), "r") as container:
        return list(container.decode(container.streams[0]))


@pytest.mark.parametrize("sound", [None, Codec.PCMA, Codec.AAC])
async def test_a_viewer_has_picture_and_sound_within_two_seconds(sound: Codec | None) -> None:
    async with window_on(looped(picture_and_sound(sound), 8.0)) as (window, _), asyncio.timeout(2.0):
        master = playlist_rules.check(await window.master_playlist())
        assert bool(master.media) == (sound is not None)
        for name in ("video", "sound") if sound is not None else ("video",):
            text = await window.media_playlist(name)
            playlist = playlist_rules.check(text)
            first = playlist.segments[0]
            init = await window.init(name, int(re.findall(r"init-(\d+)", text)[0]))
            data = await window.segment(name, int(re.findall(r"/(\d+)\.m4s", str(first.uri))[0]))
            frames = decoded(init, [data])
            assert len(frames) == len(read_fragments(data)) > 0
            (track,) = read_init(init)
            assert track.codec is (Codec.H264 if name == "video" else Codec.AAC)


async def test_playlists_keep_the_rules_while_the_window_slides() -> None:
    settings = WindowSettings(segments=3, segments_with_parts=2, target_s=2)
    items = looped(picture_and_sound(gop=25), 8.0)
    async with window_on(items, settings, 7.0, SegmenterSettings(segment_s=1.0)) as (window, _):
        await window.media_playlist("sound")
        seen: dict[str, list[playlist_rules.Playlist]] = {"video": [], "sound": []}
        while len(seen["video"]) < 2 or sequence(seen["video"][-1]) < sequence(seen["video"][0]) + 2:
            for name in ("video", "sound"):
                text = await window.media_playlist(name)
                seen[name].append(playlist_rules.check(text))
                msn, part = newest(text)
                await window.media_playlist(name, msn, part)
        for name, playlists in seen.items():
            durations = {
                str(segment.uri): segment.duration
                for playlist in playlists for segment in playlist.segments if segment.uri
            }  # fmt: skip
            # What was told of a segment is never told otherwise.
            for playlist in playlists:
                assert all(durations[str(segment.uri)] == segment.duration for segment in playlist.segments)
                # Three are asked for; three target durations stay listed in any case.
                assert len(playlist.segments) <= 7
            assert {playlist.values("EXT-X-TARGETDURATION")[0] for playlist in playlists} == {"2"}, name
        # Those that are no longer listed can still be fetched; one from before the window was opened cannot.
        begin = sequence(playlist_rules.check(await window.media_playlist("video")))
        assert await window.segment("video", begin - 1)
        assert await window.segment("video", begin - 2)
        with pytest.raises(MediaGoneError):
            await window.segment("video", window._video.segments[0].msn - 1)  # noqa: SLF001


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000])
async def test_parts_of_aac_sound_are_as_long_as_they_must_be_at_any_rate(rate: int) -> None:
    items = interleave(video_units(frames=200, gop=50), sound_units(Codec.AAC, rate=rate, seconds=8.0))
    async with window_on(looped(tuple(items), 8.0), ahead_s=7.0) as (window, _):
        playlists: list[playlist_rules.Playlist] = []
        text = await window.media_playlist("sound")
        (track,) = read_init(await window.init("sound", int(re.findall(r"init-(\d+)", text)[0])))
        assert (track.codec, track.clock_rate) == (Codec.AAC, rate)
        # The rules have the shortest part in them: 85 % of the target.
        while len(playlists) < 12:
            msn, part = newest(text)
            text = await window.media_playlist("sound", msn, part)
            playlists.append(playlist_rules.check(text))
        last = playlists[-1]
        opened = [last.open_segment] if last.open_segment is not None else []
        assert sum(len(segment.parts) for segment in [*last.segments, *opened]) > 8


def sequence(playlist: playlist_rules.Playlist) -> int:
    """The number of the first segment."""
    return int(playlist.values("EXT-X-MEDIA-SEQUENCE")[0])


async def test_parts_are_the_bytes_of_their_segment_and_of_the_archive() -> None:
    archive: dict[int, bytes] = {}
    async with window_on(looped(picture_and_sound(), 8.0), ahead_s=3.0) as (window, stream):
        with stream.read_segments("archive") as reader:
            text = await window.media_playlist("video")
            msn, _ = newest(text)
            await window.media_playlist("video", msn, None)
            whole = await window.segment("video", msn)
            joined = b"".join([await window.part("video", msn, index) for index in range(len(_parts(window, msn)))])
            assert joined == whole
            for event in await reader.take():
                for chunk in getattr(event, "chunks", {}).values():
                    archive[chunk.dts] = chunk.data
    assert any(part in whole for part in archive.values())


def _parts(window: LiveWindow, msn: int) -> list[object]:
    segment = window._video.find(msn)  # noqa: SLF001
    assert segment is not None
    return list(segment.parts)


async def test_blocking_reload_and_hinted_parts_wait_for_media() -> None:
    async with window_on(looped(picture_and_sound(), 8.0)) as (window, _):
        for name in ("video", "sound"):
            msn, part = newest(await window.media_playlist(name))
            text, data = await asyncio.gather(
                window.media_playlist(name, msn, part),
                window.part(name, msn, part),
            )
            assert f"{name}/{msn}.{part}.m4s" in text.replace("PRELOAD", "").split("HINT")[0]
            assert read_fragments(data)


async def test_delivery_directives_out_of_bounds_are_refused() -> None:
    async with window_on(looped(picture_and_sound(None), 8.0)) as (window, _):
        msn, part = newest(await window.media_playlist("video"))
        with pytest.raises(PlaylistRequestError):
            await window.media_playlist("video", None, 0)
        with pytest.raises(PlaylistRequestError):
            await window.media_playlist("video", msn + 3)
        with pytest.raises(PlaylistRequestError):
            await window.media_playlist("video", msn, part + 8)
        with pytest.raises(MediaGoneError):
            await window.part("video", msn, part + 4)
        with pytest.raises(MediaGoneError):
            await window.media_playlist("sound")


async def test_waiting_ends_when_a_camera_stays_silent() -> None:
    units = picture_and_sound(None)[:49]
    settings = WindowSettings(target_s=1, open_timeout_s=0.5)
    async with window_on(units, settings, ahead_s=10.0) as (window, _):
        msn, part = newest(await window.media_playlist("video"))
        async with asyncio.timeout(3.9):
            with pytest.raises(WindowTimeoutError):
                await window.media_playlist("video", msn, part)


async def test_derived_sound_has_no_seam_at_parts_and_segments() -> None:
    async with window_on(looped(picture_and_sound(), 8.0), ahead_s=2.0) as (window, _):
        text = await window.media_playlist("sound")
        first = int(re.findall(r"EXT-X-MEDIA-SEQUENCE:(\d+)", text)[0])
        init = await window.init("sound", int(re.findall(r"init-(\d+)", text)[0]))
        while newest(text)[0] < first + 3:
            text = await window.media_playlist("sound", *newest(text))
        pieces = [await window.segment("sound", msn) for msn in range(first, first + 3)]
        times = [sample.dts for piece in pieces for sample in read_fragments(piece)]
        assert times == list(range(times[0], times[0] + 1024 * len(times), 1024))
        frames = decoded(init, pieces)
        wave = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    # A seam in a 440 Hz tone would show as energy elsewhere; fades at both ends left out.
    inner = wave[4096:-4096].astype(float)
    spectrum = np.abs(np.fft.rfft(inner * np.hanning(len(inner)))) ** 2
    near = np.abs(np.fft.rfftfreq(len(inner), 1 / 16_000) - 440) < 25
    assert spectrum[~near].sum() / spectrum.sum() < 1e-3


def deriving(window: LiveWindow) -> bool:
    """Whether sound is being made."""
    return window._sound_task is not None  # noqa: SLF001


async def test_sound_is_derived_only_while_it_is_played() -> None:
    settings = WindowSettings(sound_idle_s=0.5)
    async with window_on(looped(picture_and_sound(), 8.0), settings) as (window, _):
        await window.media_playlist("video")
        assert not deriving(window)
        await window.media_playlist("sound")
        assert deriving(window)
        await until(lambda: not deriving(window))
        # And again, over the whole window at once, with the numbers that the picture has.
        sound = playlist_rules.check(await window.media_playlist("sound"))
        video = playlist_rules.check(await window.media_playlist("video"))
        assert sound.values("EXT-X-MEDIA-SEQUENCE") == video.values("EXT-X-MEDIA-SEQUENCE")


async def test_a_reconnect_is_a_discontinuity_at_the_true_time() -> None:
    units = list(picture_and_sound())
    items: list[StreamItem] = [*units, gap(108.0, 118.0, ORIGIN_NS), *later(units, 18.0, epoch=1)]
    async with fed_window(WindowSettings(segments=9)) as (window, stream):
        await feed(stream, items)
        await window.media_playlist("sound")
        video = playlist_rules.check(await window.media_playlist("video"))
        starts = [segment for segment in video.segments if segment.discontinuity]
        assert len(starts) == 1
        assert starts[0].date_time is not None
        assert round(starts[0].date_time.timestamp() - ORIGIN_NS / 1e9, 3) == 118.0
        await until(lambda: window._sound.next_msn == window._video.next_msn)  # noqa: SLF001
        sound = playlist_rules.check(await window.media_playlist("sound"))
        assert [s.discontinuity for s in sound.segments] == [s.discontinuity for s in video.segments]
        assert _ts_numbers(await window.ts_playlist()) == _ts_numbers(await window.media_playlist("video"))
        stream.end()
        async with asyncio.timeout(5):
            while "#EXT-X-ENDLIST" not in await window.media_playlist("video"):  # noqa: ASYNC110
                await asyncio.sleep(0)


def _ts_numbers(text: str) -> list[str]:
    return re.findall(r"^\w+/(\d+)\.(?:ts|m4s)$", text, re.MULTILINE)


async def test_long_gops_never_outgrow_the_target_duration() -> None:
    async with fed_window() as (window, stream):
        await feed(stream, itertools.islice(looped(picture_and_sound(None, gop=200), 8.0), 790))
        video = playlist_rules.check(await window.media_playlist("video"))
        assert max(segment.duration for segment in video.segments) <= 6.0
        assert sum(segment.duration for segment in video.segments) > 20
        # The newest keyframe is picture 600; parts of 12 pictures have come up to picture 780.
        assert video.values("EXT-X-START") == ["TIME-OFFSET=-7.2"]


async def test_windows_open_when_asked_and_close_when_nobody_asks() -> None:
    with ThreadPoolExecutor(1) as executor:
        async with live_stream(looped(picture_and_sound(), 8.0), ahead_s=2.0) as stream:
            streams: dict[StreamId, LiveStream] = {CAMERA: stream}
            settings = WindowSettings(idle_s=0.4)
            async with LiveWindows(streams.get, SystemClock(), executor, settings) as windows:
                await until(lambda: stream.last_keyframe is not None)
                with pytest.raises(StreamAwayError):
                    await windows.window(StreamId("elsewhere"))
                first = await windows.window(CAMERA)
                text = await first.media_playlist("video")
                await until(lambda: len(windows) == 0)
                again = await windows.window(CAMERA)
                assert again is not first
                # No address is ever used for other bytes.
                assert newest(await again.media_playlist("video"))[0] > newest(text)[0]
    assert first.ended


class LateClock(SystemClock):
    """A clock that is past everything in these tests by some seconds."""

    def __init__(self, after_s: float) -> None:
        self.after_s = after_s

    def utc_ns(self) -> int:
        """Seconds after the first unit."""
        return ORIGIN_NS + round((100 + self.after_s) * 1e9)


@pytest.mark.parametrize("pictures", [True, False])
async def test_what_is_old_is_never_taken_for_live(pictures: bool) -> None:
    stream = LiveStream(CAMERA, SystemClock())
    await feed(stream, [unit for unit in picture_and_sound() if pictures or unit.track.id == AUDIO_TRACK_ID])
    with ThreadPoolExecutor(1) as executor:
        async with LiveWindows(lambda _: stream, LateClock(120.0), executor) as windows:
            with pytest.raises(StreamAwayError):
                await windows.window(CAMERA)
        async with LiveWindows(lambda _: stream, LateClock(10.0), executor) as windows:
            assert await windows.window(CAMERA)


async def test_renditions_report_on_each_other() -> None:
    async with window_on(looped(picture_and_sound(), 8.0), ahead_s=2.0) as (window, _):
        await window.media_playlist("sound")
        pairs: list[tuple[RenditionName, RenditionName]] = [("video", "sound"), ("sound", "video")]
        for name, other in pairs:
            (report,) = playlist_rules.check(await window.media_playlist(name)).values("EXT-X-RENDITION-REPORT")
            found = re.fullmatch(rf'URI="{other}\.m3u8",LAST-MSN=(\d+),LAST-PART=(\d+)', report)
            assert found is not None
            assert newest(await window.media_playlist(other)) >= (int(found[1]), int(found[2]))


async def test_a_reader_that_was_cut_goes_on_with_a_discontinuity() -> None:
    items = looped(picture_and_sound(None, gop=25), 8.0)
    async with window_on(items, None, 9.0, SegmenterSettings(segment_s=1.0)) as (window, stream):
        await window.media_playlist("video")
        reader = stream._segments.readers[0]  # noqa: SLF001
        reader._limits = type(reader._limits)(max_bytes=1, max_items=1)  # noqa: SLF001
        await until(lambda: reader.overflows > 0, 15.0)
        reader._limits = type(reader._limits)()  # noqa: SLF001
        before = newest(await window.media_playlist("video"))[0]
        text = await window.media_playlist("video", before + 1)
        playlist = playlist_rules.check(text)
        assert [segment.discontinuity for segment in playlist.segments].count(True) == 1


async def test_a_fault_of_ours_costs_a_window_and_not_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(2) as executor:
        async with (
            live_stream(looped(picture_and_sound(), 8.0)) as stream,
            LiveWindows(lambda _: stream, SystemClock(), executor) as windows,
        ):
            await until(lambda: stream.last_keyframe is not None)
            with monkeypatch.context() as patched:
                patched.setattr("streaming.hls.intake.Intake.take", lambda *_: 1 // 0)
                window = await windows.window(CAMERA)
                await until(lambda: window.ended)
            anew = await windows.window(CAMERA)
            assert anew is not window
            assert "#EXTINF" in await anew.media_playlist("video")

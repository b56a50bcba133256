"""One bounded window of HLS per live stream: opened by the first request, closed when nobody has asked for a while.

A window is a reader of the stream's segment events like any other. It starts with the segment that is open (or with the
cached GOP), and cuts its first segments short, so that a player has a whole segment with a keyframe about a second
after the first request, whatever the camera's GOP.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Literal

from media.clock import Clock
from media.fmp4 import codec_string, init_segment
from media.playlist import AudioRendition, Variant, master_playlist, media_playlist
from media.segmenter import SegmenterSettings
from media.segments import Period
from media.stream import LiveStream
from media.tasks import Failures
from media.transcode import AAC_FRAME, AacSettings
from media.unit import NS_PER_S, AudioTrack, VideoTrack
from streaming.hls.errors import MediaGoneError, PlaylistRequestError, StreamAwayError, WindowTimeoutError
from streaming.hls.intake import CutSettings, Intake
from streaming.hls.progress import Progress
from streaming.hls.rendition import Rendition, RenditionSettings
from streaming.hls.sound import SoundDeriver, played_track
from streaming.hls.ts import TsSegments

RenditionName = Literal["video", "sound"]

_DEFAULT_BANDWIDTH = 4_000_000


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """``segments`` whole segments are listed, the newest ``segments_with_parts`` with their parts.

    ``part_s`` is the segmenter's longest part. No segment here is longer than ``target_s``. The first ones after
    opening end at the first part that makes them as long as ``first_segments_s`` says. Sound nobody asks for is no
    longer derived after ``sound_idle_s``; the window closes after ``idle_s``. None opens on a stream whose newest
    keyframe is older than ``stale_s``. Within ``picture_wait_s`` of its opening sound alone is not taken for all there
    is.
    """

    segments: int = 6
    segments_with_parts: int = 3
    part_s: float = 0.5
    target_s: int = 6
    first_segments_s: tuple[float, ...] = (1.0, 2.0)
    open_timeout_s: float = 10.0
    idle_s: float = 30.0
    sound_idle_s: float = 20.0
    stale_s: float = 60.0
    picture_wait_s: float = 5.0
    aac: AacSettings = field(default_factory=AacSettings)


def _has_whole(rendition: Rendition) -> bool:
    # The oldest one is whole, as a rule; all are counted for nobody.
    return any(segment.complete for segment in rendition.segments)


class LiveWindow:
    """The newest segments of one stream, for players. Owned by :class:`streaming.hls.windows.LiveWindows`."""

    def __init__(
        self,
        stream: LiveStream,
        clock: Clock,
        executor: Executor,
        settings: WindowSettings,
        failures: Failures,
        *,
        first_msn: int,
    ) -> None:
        self._stream = stream
        self._failures = failures
        self._clock = clock
        self._settings = settings
        self._executor = executor
        self._progress = Progress()
        # Closed, for whatever reason; over: the stream itself is.
        self._ended = self._over = False
        self._opened_ns = self._asked_ns = clock.monotonic_ns()
        self._waiting = 0
        self._sound_asked_ns: int | None = None
        self._sound_task: asyncio.Task[None] | None = None
        self._deriver: SoundDeriver | None = None
        # Each rendition's playlist, and of which state of the window it is.
        self._texts: dict[str, tuple[tuple[int, int, int, bool], str]] = {}
        part_target_s = SegmenterSettings(part_s=settings.part_s).part_target_s
        self._video = self._rendition("video", part_target_s)
        self._raw_sound = self._rendition("sound", part_target_s)
        frame_s = AAC_FRAME / settings.aac.rate
        self._sound = self._rendition("sound", math.ceil(settings.part_s / frame_s - 1e-9) * frame_s)
        cuts = CutSettings(settings.part_s, settings.target_s, settings.first_segments_s)
        self._intake = Intake(self._video, self._raw_sound, cuts, first_msn)
        self._ts = TsSegments(self._video, self._sound, executor, settings.segments)

    def _rendition(self, name: RenditionName, part_target_s: float) -> Rendition:
        settings = self._settings
        return Rendition(
            RenditionSettings(
                name=name,
                part_target_s=part_target_s,
                target_s=settings.target_s,
                listed=settings.segments,
                with_parts=settings.segments_with_parts,
            )
        )

    # Reading the stream

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Reads the stream while inside. Entering returns at once."""
        task = asyncio.create_task(self._run(), name=f"hls window {self._stream.id.camera}")
        try:
            yield
        finally:
            self._ended = True
            self._progress.advance()
            tasks = [item for item in (task, self._sound_task) if item is not None]
            for item in tasks:
                item.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        try:
            with self._stream.read_segments("hls") as reader:
                while events := await reader.take():
                    for event in events:
                        self._intake.take(event)
                    self._stop_idle_sound()
                    self._pass_sound_on()
                    self._progress.advance()
            self._intake.end_segment()
            self._pass_sound_on()
            self._over = True
        except Exception as error:  # noqa: BLE001 - whatever it was, the next request opens a new window
            self._failures.note("hls window", error, self._stream.id.camera)
        finally:
            self._ended = True
            self._progress.advance()

    # What players ask for

    @property
    def next_msn(self) -> int:
        """The number that the next segment to open gets: where a later window of this stream may go on."""
        return self._intake.next_msn

    @property
    def ended(self) -> bool:
        """The stream is over, or the window closed."""
        return self._ended

    def idle_s(self) -> float:
        """Seconds since somebody asked; 0 while somebody waits."""
        if self._waiting:
            return 0.0
        return (self._clock.monotonic_ns() - self._asked_ns) / NS_PER_S

    async def master_playlist(self) -> str:
        """Multivariant playlist: one variant, sound as its audio group. Waits for the first whole segment.

        Raises StreamAwayError if the stream ends first, WindowTimeoutError if none comes.
        """
        await self._opened_up()
        await self._pictured()
        period = self._playable_period()
        video, sound = self._tracks(period)
        if sound is not None:
            await self._sound_ready()
        heard = played_track(sound, self._settings.aac) if sound is not None else None
        codecs = tuple(codec_string(track) for track in (video, heard) if track is not None)
        main = "video.m3u8" if video is not None else "sound.m3u8"
        audio = (
            (AudioRendition("sound.m3u8", "sound", "sound", heard.channels),)
            if video is not None and heard is not None
            else ()
        )
        variant = Variant(
            uri=main,
            bandwidth=self._bandwidth(),
            codecs=codecs,
            resolution=(video.width, video.height) if video is not None else None,
            audio_group="sound" if audio else None,
        )
        return master_playlist([variant], audio, independent_segments=False)

    async def media_playlist(self, name: RenditionName, msn: int | None = None, part: int | None = None) -> str:
        """LL-HLS media playlist; with ``msn`` (and ``part``) it waits until that is in it (RFC 8216bis, 6.2.5.2).

        Raises PlaylistRequestError, WindowTimeoutError, StreamAwayError, MediaGoneError (no such rendition).
        """
        if part is not None and msn is None:
            raise PlaylistRequestError("_HLS_part without _HLS_msn")
        rendition = await self._playing(name)
        if msn is not None and not self._ended:
            await self._block(rendition, msn, part)
        state = (self._video.version, self._raw_sound.version, self._sound.version, self._ended)
        cached = self._texts.get(name)
        if cached is None or cached[0] != state:
            others = [other for other in self._renditions() if other is not rendition]
            reports = [report for other in others if (report := other.report()) is not None]
            cached = (state, media_playlist(rendition.playlist(reports, ended=self._ended)))
            self._texts[name] = cached
        return cached[1]

    async def init(self, name: RenditionName, number: int) -> bytes:
        """Init segment of a period. Raises MediaGoneError."""
        self._asked()
        period = self._intake.inits.get(number)
        if period is None:
            raise MediaGoneError("no such init segment", rendition=name)
        video, sound = self._tracks(period)
        track = video if name == "video" else sound
        if track is None:
            raise MediaGoneError("no such init segment", rendition=name)
        played = played_track(track, self._settings.aac) if isinstance(track, AudioTrack) else track
        return period.init[track.id] if played is track else init_segment([played])

    async def segment(self, name: RenditionName, msn: int) -> bytes:
        """A whole segment. Raises MediaGoneError."""
        segment = (await self._playing(name)).find(msn)
        if segment is None or not segment.complete or not segment.parts:
            raise MediaGoneError("no such segment", rendition=name)
        return segment.data

    async def part(self, name: RenditionName, msn: int, part: int) -> bytes:
        """One part; the part that a playlist hints at is waited for. Raises MediaGoneError, WindowTimeoutError."""
        rendition = await self._playing(name)
        if (msn, part) in ((rendition.next_msn, rendition.next_part), (rendition.next_msn + 1, 0)):
            settings = self._settings
            # The segment may end without it.
            done = await self._wait(
                lambda: rendition.next_msn > msn or rendition.has(msn, part), 3.0 * settings.target_s
            )
            if not done:
                raise WindowTimeoutError("the part did not come in time")
        segment = rendition.find(msn)
        if segment is None or part >= len(segment.parts):
            raise MediaGoneError("no such part", rendition=name)
        return segment.parts[part].data

    async def ts_playlist(self) -> str:
        """Plain HLS version 3 playlist of whole MPEG-TS segments. Raises as :meth:`master_playlist`."""
        await self._opened_up()
        video, sound = self._tracks(self._playable_period())
        if sound is not None:
            await self._sound_ready()
        with_video, with_sound = video is not None, sound is not None
        return media_playlist(self._ts.playlist(with_video=with_video, with_sound=with_sound, ended=self._ended))

    async def ts_segment(self, msn: int) -> bytes:
        """A whole segment as MPEG-TS, sound and picture together. Raises MediaGoneError."""
        self._asked()
        raw = self._raw_sound.find(msn)
        with_sound = raw is not None and raw.track is not None
        if with_sound:
            await self._sound_ready()
        data = await self._ts.segment(msn, with_sound=with_sound)
        if data is None:
            raise MediaGoneError("no such segment", rendition="ts")
        return data

    # Inside

    def _asked(self) -> None:
        self._asked_ns = self._clock.monotonic_ns()

    async def _wait(self, predicate: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for ``predicate`` or the stream's end; False if neither comes in time. Raises StreamAwayError where the
        window alone is closed: who asks again gets another one, who was told of an end would not."""
        came = self._ended or predicate()
        if not came:
            self._waiting += 1
            try:
                came = await self._progress.until(lambda: self._ended or predicate(), timeout_s)
            finally:
                self._waiting -= 1
                self._asked()
        if self._ended and not self._over:
            raise StreamAwayError("the window is closed")
        return came

    async def _opened_up(self) -> None:
        self._asked()
        main = self._main
        ready = await self._wait(lambda: _has_whole(main()), self._settings.open_timeout_s)
        if not ready:
            raise WindowTimeoutError("no media came in time")
        if not _has_whole(main()):
            raise StreamAwayError("the stream is over")

    async def _pictured(self) -> None:
        """Cameras may send sound at once, and pictures from their next keyframe on; players ask only once which there
        are."""
        left_s = self._settings.picture_wait_s - (self._clock.monotonic_ns() - self._opened_ns) / NS_PER_S
        if left_s > 0 and self._tracks(self._playable_period())[0] is None:
            await self._wait(lambda: self._tracks(self._playable_period())[0] is not None, left_s)

    def _renditions(self) -> list[Rendition]:
        """Those that the multivariant playlist names and that are being made."""
        found = [self._video] if self._main() is self._video else []
        _, sound = self._tracks(self._playable_period())
        return [*found, self._sound] if sound is not None else found

    def _main(self) -> Rendition:
        """The rendition that sets the pace: video, where there is some."""
        if self._video.segments and self._video.segments[-1].track is None:
            return self._raw_sound
        return self._video

    def _playable_period(self) -> Period:
        segment = next(item for item in reversed(self._main().segments) if item.complete)
        return self._intake.inits[segment.init]

    @staticmethod
    def _tracks(period: Period) -> tuple[VideoTrack | None, AudioTrack | None]:
        video = next((track for track in period.tracks if isinstance(track, VideoTrack)), None)
        sound = next((track for track in period.tracks if isinstance(track, AudioTrack)), None)
        return video, sound

    async def _playing(self, name: RenditionName) -> Rendition:
        """The rendition under a name, made if need be, with at least one whole segment."""
        await self._opened_up()
        if name == "video":
            if not any(segment.track is not None for segment in self._video.segments):
                raise MediaGoneError("this stream has no picture", rendition=name)
            return self._video
        return await self._sound_ready()

    async def _sound_ready(self) -> Rendition:
        heard = any(segment.track is not None for segment in self._raw_sound.segments)
        if not heard and self._tracks(self._playable_period())[1] is None:
            raise MediaGoneError("this stream has no sound", rendition="sound")
        self._sound_asked_ns = self._clock.monotonic_ns()
        if self._sound_task is None or self._sound_task.done():
            deriver = SoundDeriver(self._raw_sound, self._sound, self._progress, self._executor, self._settings.aac)
            deriver.begin()
            self._deriver = deriver
            self._sound_task = asyncio.create_task(deriver.run(), name=f"hls sound {self._stream.id.camera}")
        ready = await self._wait(lambda: _has_whole(self._sound), self._settings.open_timeout_s)
        if not ready:
            raise WindowTimeoutError("no sound came in time")
        return self._sound

    def _stop_idle_sound(self) -> None:
        if self._sound_task is None or self._sound_asked_ns is None:
            return
        if self._clock.monotonic_ns() - self._sound_asked_ns > self._settings.sound_idle_s * NS_PER_S:
            self._sound_task.cancel()
            self._sound_task = self._deriver = None
            self._sound.clear()

    def _pass_sound_on(self) -> None:
        if self._deriver is not None:
            self._deriver.pass_on()

    async def _block(self, rendition: Rendition, msn: int, part: int | None) -> None:
        last = rendition.segments[-1]
        part_s = rendition.part_target_s
        part_limit = math.ceil(3 / part_s) if part_s < 1 else 3
        too_far = msn > last.msn + 2 or (
            part is not None and msn == rendition.next_msn and part > rendition.next_part - 1 + part_limit
        )
        if too_far:
            raise PlaylistRequestError("_HLS_msn or _HLS_part too far ahead", msn=msn)
        limit_s = 3.0 * self._settings.target_s
        if not await self._wait(lambda: rendition.has(msn, part), limit_s):
            raise WindowTimeoutError("the segment did not come in time")

    def _bandwidth(self) -> int:
        """Peak bits per second of picture and sound together, as far as is known."""
        peak = 0.0
        for rendition in (self._video, self._raw_sound):
            rates = [
                segment.size * 8 / segment.duration_s
                for segment in rendition.segments
                if segment.complete and segment.duration_s >= 1
            ]
            peak += max(rates, default=0.0)
        return math.ceil(peak * 1.1) or _DEFAULT_BANDWIDTH

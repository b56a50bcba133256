"""The window as plain HLS version 3: whole segments as MPEG-TS, made from the same parts when somebody asks."""

import asyncio
from collections import OrderedDict
from concurrent.futures import Executor

from media.fmp4_read import read_fragments
from media.mpegts import mux_segment
from media.playlist import MediaPlaylist, SegmentEntry
from media.unit import AUDIO_TRACK_ID, VIDEO_TRACK_ID, AudioTrack, VideoTrack
from streaming.hls.rendition import Rendition, WindowSegment


class TsSegments:
    """TS segments of a window. ``sound`` is what players get. Made at most once each while cached."""

    def __init__(self, video: Rendition, sound: Rendition, executor: Executor, cached: int) -> None:
        self._video = video
        self._sound = sound
        self._executor = executor
        self._cached = cached
        self._made: OrderedDict[int, asyncio.Future[bytes]] = OrderedDict()

    def ready(self, *, with_video: bool, with_sound: bool) -> list[tuple[WindowSegment, WindowSegment | None]]:
        """The listed segments that are whole in every rendition that plays."""
        main, other = (self._video, self._sound) if with_video else (self._sound, None)
        pairs: list[tuple[WindowSegment, WindowSegment | None]] = []
        for segment in main.listed():
            partner = other.find(segment.msn) if other is not None and with_sound else None
            if other is not None and with_sound and (partner is None or not partner.complete):
                # Sound is a moment behind, or was made from a later segment on.
                if pairs:
                    break
                continue
            pairs.append((segment, partner))
        return pairs

    def playlist(self, *, with_video: bool, with_sound: bool, ended: bool) -> MediaPlaylist:
        """The playlist of now."""
        main = self._video if with_video else self._sound
        pairs = self.ready(with_video=with_video, with_sound=with_sound)
        first = pairs[0][0].msn if pairs else main.next_msn
        return MediaPlaylist(
            segments=[
                SegmentEntry(
                    uri=f"ts/{segment.msn}.ts",
                    duration_s=segment.duration_s,
                    start_utc_ns=segment.start_utc_ns,
                    discontinuity=segment.discontinuity,
                    gap=not segment.parts and (partner is None or not partner.parts),
                )
                for segment, partner in pairs
            ],
            media_sequence=first,
            discontinuity_sequence=main.discontinuities_before(first),
            target_duration_s=main.settings.target_s,
            ended=ended,
            independent_segments=False,
        )

    async def segment(self, msn: int, *, with_sound: bool) -> bytes | None:
        """A segment's bytes; None if it is not in the window."""
        made = self._made.get(msn)
        if made is None:
            video, sound = self._video.find(msn), self._sound.find(msn) if with_sound else None
            # Both have every number, with or without media; sound comes a moment later.
            if video is None or not video.complete or (with_sound and (sound is None or not sound.complete)):
                return None
            made = asyncio.get_running_loop().run_in_executor(self._executor, _mux, video, sound)
            self._made[msn] = made
            made.add_done_callback(lambda done: self._drop_failed(msn, done))
            while len(self._made) > self._cached:
                self._made.popitem(last=False)
        # Shielded: one viewer who leaves must not cancel what others wait for.
        return await asyncio.shield(made)

    def _drop_failed(self, msn: int, made: "asyncio.Future[bytes]") -> None:
        if (made.cancelled() or made.exception() is not None) and self._made.get(msn) is made:
            del self._made[msn]


def _mux(video: WindowSegment | None, sound: WindowSegment | None) -> bytes:
    picture = video.track if video is not None and isinstance(video.track, VideoTrack) else None
    audio = sound.track if sound is not None and isinstance(sound.track, AudioTrack) else None
    return mux_segment(
        picture,
        read_fragments(video.data, VIDEO_TRACK_ID) if video is not None and picture is not None else (),
        audio,
        read_fragments(sound.data, AUDIO_TRACK_ID) if sound is not None and audio is not None else (),
    )

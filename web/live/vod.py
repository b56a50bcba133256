"""Recorded HLS of a meeting: ``/meetings/{meeting}/vod/index.m3u8`` and what its playlists name; of one of several
cameras ``/meetings/{meeting}/cameras/{camera}/vod/index.m3u8``.

``guidance.m3u8`` is what was said into the room, in step with the picture: a sound of its own beside it.
``start`` and ``end`` in the query (Unix milliseconds) narrow a playlist to the segments that overlap that span.
"""

from collections.abc import Sequence
from typing import cast

from aiohttp import web

from recorder.playback import Playback, RenditionName
from streaming.hls.errors import PlaylistRequestError
from web.live import answers
from web.live.context import LIVE

_MEETING = r"/meetings/{meeting:[A-Za-z0-9_-]{1,64}}"
MEETING_CAMERA = _MEETING + r"/cameras/{camera:[A-Za-z0-9_-]{1,64}}"
_RENDITION = r"{rendition:video|sound}"
_NS_PER_MS = 1_000_000


async def _playback(request: web.Request) -> tuple[Playback, str]:
    context = request.app[LIVE]
    meeting = request.match_info["meeting"]
    await context.gate.watch_meeting(request, meeting)
    return context.playback, meeting


def span_of(request: web.Request) -> tuple[int | None, int | None]:
    """``start`` and ``end`` of the query as Unix nanoseconds. Raises PlaylistRequestError."""
    found = []
    for name in ("start", "end"):
        text = request.query.get(name)
        if text is not None and not (text.isascii() and text.isdecimal() and len(text) <= 15):
            raise PlaylistRequestError(f"{name} is not a time in milliseconds")
        found.append(None if text is None else int(text) * _NS_PER_MS)
    return found[0], found[1]


def camera_of(request: web.Request) -> str | None:
    """The camera of the address; None where it names none, for the first that recorded."""
    return request.match_info.get("camera")


def _rendition(request: web.Request) -> RenditionName:
    return cast(RenditionName, request.match_info["rendition"])


def _type(rendition: RenditionName) -> str:
    return answers.VIDEO_MP4 if rendition == "video" else answers.AUDIO_MP4


async def _master(request: web.Request) -> web.Response:
    span_of(request)
    playback, meeting = await _playback(request)
    wanted = "&".join(f"{name}={request.query[name]}" for name in ("start", "end") if name in request.query)
    return answers.playlist(
        request,
        await playback.master_playlist(meeting, query=f"?{wanted}" if wanted else "", camera_id=camera_of(request)),
    )


async def _media_playlist(request: web.Request) -> web.Response:
    start, end = span_of(request)
    playback, meeting = await _playback(request)
    return answers.playlist(
        request, await playback.media_playlist(meeting, _rendition(request), start, end, camera_id=camera_of(request))
    )


async def _init(request: web.Request) -> web.Response:
    playback, meeting = await _playback(request)
    rendition = _rendition(request)
    data = await playback.init(meeting, rendition, int(request.match_info["period"]), camera_id=camera_of(request))
    return answers.media(request, data, _type(rendition))


async def _segment(request: web.Request) -> web.Response:
    playback, meeting = await _playback(request)
    rendition = _rendition(request)
    data = await playback.segment(meeting, rendition, int(request.match_info["sequence"]), camera_id=camera_of(request))
    return answers.media(request, data, _type(rendition))


async def _guidance_playlist(request: web.Request) -> web.Response:
    playback, meeting = await _playback(request)
    return answers.playlist(request, await playback.guidance.playlist(meeting, camera_id=camera_of(request)))


async def _guidance_init(request: web.Request) -> web.Response:
    playback, _ = await _playback(request)
    return answers.media(request, playback.guidance.init(), answers.AUDIO_MP4)


async def _guidance_segment(request: web.Request) -> web.Response:
    playback, meeting = await _playback(request)
    sequence = int(request.match_info["sequence"])
    # Asked first: what is not all there then may be all there afterwards.
    settled = await playback.guidance.settled(meeting)
    data = await playback.guidance.segment(meeting, sequence, camera_id=camera_of(request))
    return answers.media(request, data, answers.AUDIO_MP4) if settled else answers.growing(data, answers.AUDIO_MP4)


async def _ts_playlist(request: web.Request) -> web.Response:
    start, end = span_of(request)
    playback, meeting = await _playback(request)
    return answers.playlist(request, await playback.ts_playlist(meeting, start, end, camera_id=camera_of(request)))


async def _ts_segment(request: web.Request) -> web.Response:
    playback, meeting = await _playback(request)
    data = await playback.ts_segment(meeting, int(request.match_info["sequence"]), camera_id=camera_of(request))
    return answers.media(request, data, answers.MPEG_TS)


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this module; handlers find their services under :data:`web.live.context.LIVE`."""
    found: list[web.AbstractRouteDef] = []
    for base in (f"{_MEETING}/vod", f"{MEETING_CAMERA}/vod"):
        found += [
            web.get(f"{base}/index.m3u8", _master),
            web.get(f"{base}/{_RENDITION}.m3u8", _media_playlist),
            web.get(base + "/" + _RENDITION + r"/init-{period:\d{1,9}}.mp4", _init),
            web.get(base + "/" + _RENDITION + r"/{sequence:\d{1,18}}.m4s", _segment),
            web.get(f"{base}/guidance.m3u8", _guidance_playlist),
            web.get(f"{base}/guidance/init.mp4", _guidance_init),
            web.get(base + r"/guidance/{sequence:\d{1,18}}.m4s", _guidance_segment),
            web.get(f"{base}/ts.m3u8", _ts_playlist),
            web.get(base + r"/ts/{sequence:\d{1,18}}.ts", _ts_segment),
        ]
    return found

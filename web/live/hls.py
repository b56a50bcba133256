"""Live HLS of a camera: ``/live/{camera}/…`` is its main stream, ``/live/{camera}/sub/…`` its sub stream."""

from collections.abc import Sequence
from typing import cast

from aiohttp import web

from media.stream import Quality, StreamId
from streaming.hls.errors import PlaylistRequestError
from streaming.hls.window import LiveWindow, RenditionName
from web.live import answers
from web.live.context import LIVE

_CAMERA = r"/live/{camera:[A-Za-z0-9_-]{1,64}}{quality:(?:/sub)?}"
_RENDITION = r"{rendition:video|sound}"


async def _window(request: web.Request) -> LiveWindow:
    context = request.app[LIVE]
    camera = request.match_info["camera"]
    await context.gate.watch_camera(request, camera)
    quality = Quality.SUB if request.match_info["quality"] else Quality.MAIN
    return await context.windows.window(StreamId(camera, quality))


def _directive(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 15:
        raise PlaylistRequestError(f"{name} is not a number")
    return int(text)


def _rendition(request: web.Request) -> RenditionName:
    return cast(RenditionName, request.match_info["rendition"])


def _type(rendition: RenditionName) -> str:
    return answers.VIDEO_MP4 if rendition == "video" else answers.AUDIO_MP4


async def _master(request: web.Request) -> web.Response:
    return answers.playlist(request, await (await _window(request)).master_playlist())


async def _media_playlist(request: web.Request) -> web.Response:
    msn, part = _directive(request, "_HLS_msn"), _directive(request, "_HLS_part")
    window = await _window(request)
    return answers.playlist(request, await window.media_playlist(_rendition(request), msn, part))


async def _init(request: web.Request) -> web.Response:
    rendition = _rendition(request)
    data = await (await _window(request)).init(rendition, int(request.match_info["number"]))
    return answers.media(request, data, _type(rendition))


async def _segment(request: web.Request) -> web.Response:
    rendition = _rendition(request)
    data = await (await _window(request)).segment(rendition, int(request.match_info["msn"]))
    return answers.media(request, data, _type(rendition))


async def _part(request: web.Request) -> web.Response:
    rendition = _rendition(request)
    msn, part = int(request.match_info["msn"]), int(request.match_info["part"])
    data = await (await _window(request)).part(rendition, msn, part)
    return answers.media(request, data, _type(rendition))


async def _ts_playlist(request: web.Request) -> web.Response:
    return answers.playlist(request, await (await _window(request)).ts_playlist())


async def _ts_segment(request: web.Request) -> web.Response:
    data = await (await _window(request)).ts_segment(int(request.match_info["msn"]))
    return answers.media(request, data, answers.MPEG_TS)


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this module; handlers find their services under :data:`web.live.context.LIVE`."""
    # They are tried in this order: first what a viewer asks for eight times a second.
    return [
        web.get(_CAMERA + "/" + _RENDITION + r"/{msn:\d{1,15}}.{part:\d{1,5}}.m4s", _part),
        web.get(f"{_CAMERA}/{_RENDITION}.m3u8", _media_playlist),
        web.get(_CAMERA + "/" + _RENDITION + r"/{msn:\d{1,15}}.m4s", _segment),
        web.get(_CAMERA + "/" + _RENDITION + r"/init-{number:\d{1,15}}.mp4", _init),
        web.get(_CAMERA + r"/ts/{msn:\d{1,15}}.ts", _ts_segment),
        web.get(f"{_CAMERA}/ts.m3u8", _ts_playlist),
        web.get(f"{_CAMERA}/index.m3u8", _master),
    ]

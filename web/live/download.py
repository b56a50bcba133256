"""The MP4 of a meeting, for download: sent while it is made, resumable at any byte."""

import contextlib
from collections.abc import Sequence
from datetime import datetime, tzinfo
from urllib.parse import quote

from aiohttp import web

from media.unit import NS_PER_S
from recorder.export import Mp4
from web.live import answers
from web.live.context import LIVE
from web.live.vod import MEETING_CAMERA, camera_of, span_of

_CACHE = "private, no-cache"


def disposition(title: str, start_utc_ns: int, timezone: tzinfo) -> str:
    """Content-Disposition with a file name in any language (RFC 6266, RFC 8187), and an ASCII one for old clients."""
    day = datetime.fromtimestamp(start_utc_ns // NS_PER_S, timezone).strftime("%Y%m%d-%H%M%S")
    kept = "".join("_" if char in '<>:"/\\|?*' or ord(char) < 32 else char for char in title).strip(" .")[:80]
    name = f"{kept}-{day}.mp4" if kept else f"meeting-{day}.mp4"
    return f"attachment; filename=\"meeting-{day}.mp4\"; filename*=UTF-8''{quote(name, safe='')}"


async def _download(request: web.Request) -> web.StreamResponse:
    context = request.app[LIVE]
    meeting = request.match_info["meeting"]
    start, end = span_of(request)
    await context.gate.download_meeting(request, meeting)
    mp4 = await context.export.open(meeting, start, end, camera_id=camera_of(request))
    title = await context.playback.meetings.title(meeting)
    headers = {
        "ETag": mp4.etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": _CACHE,
        "Content-Type": answers.VIDEO_MP4,
        "Content-Disposition": disposition(title, mp4.start_utc_ns, context.timezone),
        # A page of another site must not be able to guess what this is.
        "X-Content-Type-Options": "nosniff",
    }
    if answers.is_known(request, mp4.etag):
        return web.Response(status=304, headers=headers)
    span = answers.requested_span(request, mp4.size, mp4.etag)
    wanted = span or answers.Span(0, mp4.size, mp4.size)
    if span is not None:
        headers["Content-Range"] = span.content_range
    headers["Content-Length"] = str(wanted.end - wanted.start)
    answer = web.StreamResponse(status=200 if span is None else 206, headers=headers)
    await answer.prepare(request)
    if request.method != "HEAD":
        await _send(answer, mp4, wanted)
    await answer.write_eof()
    return answer


async def _send(answer: web.StreamResponse, mp4: Mp4, span: answers.Span) -> None:
    async with contextlib.aclosing(mp4.read(span.start, span.end)) as pieces:
        async for piece in pieces:
            await answer.write(piece)


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this module; handlers find their services under :data:`web.live.context.LIVE`."""
    return [
        web.get(r"/meetings/{meeting:[A-Za-z0-9_-]{1,64}}/download.mp4", _download),
        web.get(f"{MEETING_CAMERA}/download.mp4", _download),
    ]

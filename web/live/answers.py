"""Answers of the media handlers: types, caching, ranges (RFC 9110, RFC 8216)."""

import re
import zlib
from dataclasses import dataclass

from aiohttp import web

from web.compression import packed, takes_gzip

PLAYLIST = "application/vnd.apple.mpegurl"
VIDEO_MP4 = "video/mp4"
AUDIO_MP4 = "audio/mp4"
MPEG_TS = "video/mp2t"

# Media never changes under its address. "private": access is checked for each person, so no shared cache may answer.
IMMUTABLE = "private, max-age=86400, immutable"
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes [start, end) of ``size``."""

    start: int
    end: int
    size: int

    @property
    def content_range(self) -> str:
        """The Content-Range header's value."""
        return f"bytes {self.start}-{self.end - 1}/{self.size}"


def playlist(request: web.Request, text: str, *, cached_s: int = 0) -> web.Response:
    """A playlist, compressed for whoever takes that. ``cached_s`` > 0 only for one that never changes."""
    control = f"private, max-age={cached_s}" if cached_s else "no-store"
    headers = {"Content-Type": f"{PLAYLIST}; charset=utf-8", "Cache-Control": control, "Vary": "Accept-Encoding"}
    if not takes_gzip(request):
        return web.Response(body=text.encode(), headers=headers)
    headers["Content-Encoding"] = "gzip"
    return web.Response(body=packed(text), headers=headers)


def growing(data: bytes, content_type: str) -> web.Response:
    """A piece of media that may come to hold more, for nobody to keep."""
    return web.Response(body=data, content_type=content_type, headers={"Cache-Control": "no-store"})


def media(request: web.Request, data: bytes, content_type: str) -> web.Response:
    """A piece of media that never changes, or the range of it that is asked for.

    Raises HTTPPreconditionFailed, HTTPRequestRangeNotSatisfiable.
    """
    # The address alone names the bytes; hashing megabytes for each viewer would hold up everyone's packets.
    etag = f'"{zlib.crc32(request.path.encode()):08x}-{len(data):x}"'
    headers = {"Cache-Control": IMMUTABLE, "Accept-Ranges": "bytes", "ETag": etag}
    if is_known(request, etag):
        return web.Response(status=304, headers=headers)
    span = requested_span(request, len(data), etag)
    if span is not None:
        headers["Content-Range"] = span.content_range
        return web.Response(status=206, body=data[span.start : span.end], content_type=content_type, headers=headers)
    return web.Response(body=data, content_type=content_type, headers=headers)


def is_known(request: web.Request, etag: str) -> bool:
    """Whether the asker has what ``etag`` is of, and 304 is the answer (RFC 9110, 13.2.2).

    Raises HTTPPreconditionFailed where another version is wanted than the one that there is now: who fetches a file in
    several pieces at a time must not get pieces of two.
    """
    wanted, known = request.if_match, request.if_none_match
    names = ("*", etag.strip('"'))
    if wanted is not None and not any(tag.value in names and not tag.is_weak for tag in wanted):
        raise web.HTTPPreconditionFailed(headers={"ETag": etag})
    return known is not None and any(tag.value in names for tag in known)


def requested_span(request: web.Request, size: int, etag: str) -> Span | None:
    """The one range that is asked for; None for all. Several ranges, another unit, or another method than GET count as
    all (RFC 9110, 14.2).

    Raises HTTPRequestRangeNotSatisfiable.
    """
    header = request.headers.get("Range")
    if header is None or request.method != "GET":
        return None
    condition = request.headers.get("If-Range")
    if condition is not None and condition.strip() != etag:
        return None
    match = _RANGE.fullmatch(header.strip().replace(" ", ""))
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if first == "":
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size or end <= start:
        raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    return Span(start, end, size)

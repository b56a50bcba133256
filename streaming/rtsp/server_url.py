"""URLs as our RTSP server reads them: a path, and the track behind it."""

import re
from urllib.parse import unquote, urlsplit, urlunsplit

_TRACK = re.compile(r"/track(\d{1,3})/?$")


def split_path(url: str) -> tuple[str, int | None]:
    """(path without the track and without percent signs, track id) of a request's URL: what the server's provider is
    asked for, and so what an authenticator has to judge. Raises ValueError for what is no URL."""
    path = unquote(urlsplit(url).path)
    match = _TRACK.search(path)
    if match is None:
        return path.rstrip("/"), None
    return path[: match.start()].rstrip("/"), int(match[1])


def content_base(url: str, *, without_track: bool = False) -> str:
    """The URL under which the tracks are, without log-in and without query."""
    parts = urlsplit(url)
    path = _TRACK.sub("", parts.path) if without_track else parts.path
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path.rstrip("/") + "/", "", ""))

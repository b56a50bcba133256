"""Errors of live HLS.

StreamingError
└── HlsError
    ├── StreamAwayError       no such stream, or it brings no media now
    ├── MediaGoneError        a segment, part or init segment that is not, or no longer, in the window
    ├── PlaylistRequestError  delivery directives that RFC 8216bis says to refuse
    └── WindowTimeoutError    what was waited for did not come in time
"""

from streaming.errors import StreamingError


class HlsError(StreamingError):
    """Base of all errors of this package."""

    code = "hls-error"


class StreamAwayError(HlsError):
    """The camera is not connected, or brings no media that a player could take."""

    code = "stream-away"


class MediaGoneError(HlsError):
    """Media that is not in the window: too old, or never there."""

    code = "segment-gone"


class PlaylistRequestError(HlsError):
    """``_HLS_msn`` or ``_HLS_part`` out of the bounds of RFC 8216bis, 6.2.5.2: answered with 400."""

    code = "playlist-request-invalid"


class WindowTimeoutError(HlsError):
    """A blocking request whose media did not come in time (RFC 8216bis, 6.2.5.2: answered with 503)."""

    code = "window-timeout"

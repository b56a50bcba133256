"""Errors of WebRTC.

StreamingError
└── WebRtcError
    ├── OfferBrokenError      an offer that is no session description, or one beyond the bounds
    ├── OfferUnsuitableError  an offer that WebRTC's own rules refuse (no ICE, no fingerprint, no bundle)
    ├── CodecMismatchError    no codec that both sides know
    ├── PictureUnsendableError a sender whose picture is in no codec that is kept
    ├── PictureUnplayableError pictures that this viewer could not show as they are
    ├── StreamAwayError       no such stream, or it brings no media now
    ├── SessionGoneError      a session that is over, or never was
    ├── SessionUnnamedError   a request that does not say which state of the session it is for
    ├── SessionChangedError   the ETag of a request is not the session's
    ├── TooManySessionsError  as many sessions as the settings allow
    └── TranscodesFullError   the pictures would have to be transcoded, and as many are as the settings allow
"""

from streaming.errors import StreamingError


class WebRtcError(StreamingError):
    """Base of all errors of this package."""

    code = "webrtc-error"


class OfferBrokenError(WebRtcError):
    """Not a session description, or one beyond the bounds. ``params``: reason."""

    code = "webrtc-offer-broken"


class OfferUnsuitableError(WebRtcError):
    """A session description that cannot become a WebRTC session. ``params``: reason."""

    code = "webrtc-offer-unsuitable"


class CodecMismatchError(WebRtcError):
    """No codec in common. ``params``: codec (ours), offered."""

    code = "webrtc-no-codec"


class PictureUnsendableError(WebRtcError):
    """A sender's picture is in no codec that is kept. ``params``: offered."""

    code = "webrtc-picture-unsendable"


class PictureUnplayableError(WebRtcError):
    """The camera's pictures cannot be shown over WebRTC by this viewer. ``params``: reason (b-frames, profile)."""

    code = "webrtc-picture-unplayable"


class StreamAwayError(WebRtcError):
    """The camera is not connected, or brings no media that a player could take."""

    code = "stream-away"


class SessionGoneError(WebRtcError):
    """A session that is over, or never was."""

    code = "webrtc-session-gone"


class SessionUnnamedError(WebRtcError):
    """A restart without If-Match (RFC 9725, 4.3.2): candidates that come late could not be told from it."""

    code = "webrtc-session-unnamed"


class SessionChangedError(WebRtcError):
    """The ETag in If-Match is not that of the session as it is now (RFC 9725, 4.3.1)."""

    code = "webrtc-session-changed"


class TooManySessionsError(WebRtcError):
    """As many sessions, or offers a second, as are allowed. ``params``: seconds until it is worth trying again."""

    code = "webrtc-too-many"


class TranscodesFullError(WebRtcError):
    """The viewer cannot take the pictures as they are, and as many streams are transcoded as is allowed. ``params``:
    limit."""

    code = "webrtc-transcodes-full"

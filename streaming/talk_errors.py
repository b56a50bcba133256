"""Errors of talking into a room.

StreamingError
├── CameraError
│   └── BackchannelMissingError the camera has no loudspeaker that can be reached
└── TalkError                   a talk that cannot be had
    ├── TalkBusyError           somebody else speaks, or is before in the queue
    ├── TalkClosedError         the meeting is not running
    └── TalkUnknownError        no such talk, or it is over
"""

from streaming.errors import CameraError, StreamingError


class BackchannelMissingError(CameraError):
    """The camera has no audio back-channel, or none that we can feed. ``params``: reason (refused, not-offered,
    remembered)."""

    code = "camera-no-backchannel"


class TalkError(StreamingError):
    """A talk that cannot be had."""

    code = "talk-error"


class TalkBusyError(TalkError):
    """Somebody else speaks. ``params``: speaker, office, place (in the queue, from 1; 0 if not queued)."""

    code = "talk-busy"


class TalkClosedError(TalkError):
    """The meeting is not running."""

    code = "talk-closed"


class TalkUnknownError(TalkError):
    """No such talk, or it is over."""

    code = "talk-unknown"

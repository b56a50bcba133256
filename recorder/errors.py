"""Errors of the recorder.

RecorderError
├── MeetingStateError     a meeting cannot be started or ended in the state it is in
├── SpoolError            a spool file that cannot be used
│   ├── SpoolDamagedError  bytes on the spool disk that are not what was written
│   └── SpoolInUseError    another process has the spool
└── PlaybackError         a recording that cannot be played
    ├── NothingRecordedError  nothing (yet) to play
    ├── SegmentGoneError      no such segment in the recording
    └── ExportError           a recording that cannot be laid out as one file

Every Sanhui error, in every package, has a ``code`` (kebab-case, stable: message catalogs and API clients know it by
that name) and ``params`` (what the sentence for the person needs; never a secret).
"""

from typing import ClassVar


class RecorderError(Exception):
    """Base of all errors of this package."""

    code: ClassVar[str] = "recorder-error"

    def __init__(self, message: str, **params: str | int | float) -> None:
        super().__init__(message)
        self.params = params


class MeetingStateError(RecorderError):
    """A meeting cannot be started or ended in the state it is in (``params``: ``meeting``, ``state``)."""

    code = "meeting-state"


class SpoolError(RecorderError):
    """A spool file that cannot be used."""

    code = "spool-error"


class SpoolDamagedError(SpoolError):
    """Bytes on the spool disk that are not what was written."""

    code = "spool-damaged"


class SpoolInUseError(SpoolError):
    """Another process has the spool; two would take each other's files for those of a crash. ``params``: ``spool``."""

    code = "spool-in-use"


class PlaybackError(RecorderError):
    """A recording that cannot be played."""

    code = "playback-error"


class NothingRecordedError(PlaybackError):
    """Nothing to play, or nothing yet (``params``: ``meeting``)."""

    code = "nothing-recorded"


class SegmentGoneError(PlaybackError):
    """No such segment, rendition or init segment in the recording."""

    code = "segment-gone"


class ExportError(PlaybackError):
    """A recording that cannot be laid out as one file."""

    code = "export-failed"

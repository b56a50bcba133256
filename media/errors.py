"""Errors of the media layer.

MediaError
├── BitstreamError        bytes that are not what their codec says they are
├── UnsupportedCodecError a codec Sanhui does not take
└── ContainerError        an fMP4 or MPEG-TS that cannot be read

Every Sanhui error, in every package, has a ``code`` (kebab-case, stable: message catalogs and API clients know it by
that name) and ``params`` (what the sentence for the person needs; never a secret).
"""

from typing import ClassVar


class MediaError(Exception):
    """Base of all errors of this package."""

    code: ClassVar[str] = "media-error"

    def __init__(self, message: str, **params: str | int | float) -> None:
        super().__init__(message)
        self.params = params


class BitstreamError(MediaError):
    """Bytes that break their codec's syntax."""

    code = "bitstream-broken"


class UnsupportedCodecError(MediaError):
    """A codec that Sanhui does not take."""

    code = "codec-unsupported"


class ContainerError(MediaError):
    """A container that cannot be read."""

    code = "container-broken"

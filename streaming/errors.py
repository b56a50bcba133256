"""Errors of the streaming layer.

StreamingError
├── UrlInvalidError             a URL that cannot name a camera
├── AddressRefusedError         an address Sanhui must not connect to (SSRF guard)
├── AddressUnresolvedError      a host name that has no address
├── RtspError                   what was received breaks the protocol
│   ├── MessageBrokenError      not an RTSP message
│   ├── MessageTooLargeError    a message beyond the bounds
│   └── SdpBrokenError          a session description that cannot be read
├── CameraError                 a camera that cannot be used now
│   ├── CameraUnreachableError  no TCP connection
│   ├── NotRtspError            something else than RTSP answers there
│   ├── CameraTlsError          TLS is asked for and does not come about
│   ├── CameraCertificateUntrustedError nobody known has signed the certificate
│   ├── CameraCertificateChangedError another certificate than the one remembered
│   ├── CameraTimeoutError      no answer in time
│   ├── CameraDisconnectedError the connection ended
│   ├── CameraSilentError       connected, yet no media comes
│   │   └── DatagramsMissingError   promised over UDP, and nothing of it arrives
│   ├── WallClockSteppedError   our own wall clock was set to another time
│   ├── CredentialsRefusedError user name or password is wrong
│   ├── CredentialsMissingError a log-in is asked for and none is set
│   ├── PathNotFoundError       the camera has no stream under this path
│   ├── SessionLostError        the camera forgot the session
│   ├── TransportRefusedError   neither TCP nor UDP is taken
│   ├── CameraRedirectError     redirected too often, or to nowhere
│   ├── NoMediaError            the camera offers neither picture nor sound
│   └── CameraRefusedError      any other refusal, with the camera's status
├── RecordingError              a recording that cannot be played over RTSP
│   ├── RecordingNotFoundError  no such recording, or nothing in it yet
│   ├── RecordingForbiddenError the person may not see it
│   └── RecordingUnavailableError it cannot be read now
├── PublisherThereError         somebody else sends this stream already
└── InternalCameraError         a fault of Sanhui itself while it served one camera

A codec nobody takes is :class:`media.errors.UnsupportedCodecError`.

``code`` is stable and is what catalogs and API clients know; ``params`` is what the sentence for the person needs. No
error ever holds a secret: a URL goes through :func:`streaming.addresses.split_credentials` before it gets here.
"""

from typing import ClassVar


class StreamingError(Exception):
    """Base of all errors of this package."""

    code: ClassVar[str] = "streaming-error"

    def __init__(self, message: str, **params: str | int | float) -> None:
        super().__init__(message)
        self.params = params


class UrlInvalidError(StreamingError):
    """A URL that cannot name a camera. ``params``: reason."""

    code = "url-invalid"


class AddressRefusedError(StreamingError):
    """An address Sanhui must not connect to. ``params``: host, address, kind."""

    code = "address-refused"


class AddressUnresolvedError(StreamingError):
    """A host name without an address. ``params``: host."""

    code = "address-unresolved"


class RtspError(StreamingError):
    """What was received breaks RFC 2326."""

    code = "rtsp-broken"


class MessageBrokenError(RtspError):
    """Not an RTSP message. ``params``: looks_like (http, ssh, tls, unknown)."""

    code = "rtsp-message-broken"


class MessageTooLargeError(RtspError):
    """A message beyond the bounds. ``params``: what (header, body), limit in bytes."""

    code = "rtsp-message-too-large"


class SdpBrokenError(RtspError):
    """A session description that cannot be read. ``params``: reason."""

    code = "sdp-broken"


class CameraError(StreamingError):
    """A camera that cannot be used now."""

    code = "camera-error"


class CameraUnreachableError(CameraError):
    """No TCP connection. ``params``: host, port, reason (refused, timeout, no-route, network)."""

    code = "camera-unreachable"


class NotRtspError(CameraError):
    """Something else than RTSP answers. ``params``: host, port, looks_like (http, ssh, tls, silent, unknown)."""

    code = "camera-not-rtsp"


class CameraTlsError(CameraError):
    """TLS is asked for and does not come about. ``params``: host, port, reason."""

    code = "camera-tls-failed"


class CameraCertificateUntrustedError(CameraError):
    """Nobody known has signed the certificate, or for another name. ``params``: host, reason."""

    code = "camera-certificate-untrusted"


class CameraCertificateChangedError(CameraError):
    """Another certificate than the one remembered. ``params``: host, fingerprint (SHA-256 of the new one)."""

    code = "camera-certificate-changed"


class CameraTimeoutError(CameraError):
    """No answer in time. ``params``: method, seconds."""

    code = "camera-timeout"


class CameraDisconnectedError(CameraError):
    """The connection ended."""

    code = "camera-disconnected"


class CameraSilentError(CameraError):
    """Connected, yet no media came for ``seconds``."""

    code = "camera-silent"


class DatagramsMissingError(CameraSilentError):
    """The camera promised its media over UDP, and in ``seconds`` nothing of it has arrived: a firewall's doing."""

    code = "camera-datagrams-missing"


class WallClockSteppedError(CameraError):
    """Our own wall clock was set to another time, so media's times have to begin anew. ``params``: seconds."""

    code = "wall-clock-stepped"


class PublisherThereError(StreamingError):
    """Somebody else sends this stream already. ``params``: camera."""

    code = "publisher-there"


class CredentialsRefusedError(CameraError):
    """User name or password is wrong."""

    code = "camera-credentials-refused"


class CredentialsMissingError(CameraError):
    """The camera asks for a log-in and none is set."""

    code = "camera-credentials-missing"


class PathNotFoundError(CameraError):
    """The camera has no stream under this path. ``params``: path."""

    code = "camera-path-not-found"


class SessionLostError(CameraError):
    """The camera no longer knows the session."""

    code = "camera-session-lost"


class TransportRefusedError(CameraError):
    """The camera takes neither TCP nor UDP."""

    code = "camera-transport-refused"


class CameraRedirectError(CameraError):
    """Redirected too often, to nowhere, out of TLS, or to another than the pinned certificate. ``params``: reason."""

    code = "camera-redirect"


class NoMediaError(CameraError):
    """The camera offers neither picture nor sound."""

    code = "camera-no-media"


class CameraRefusedError(CameraError):
    """Any other refusal. ``params``: method, status, reason."""

    code = "camera-refused"


class RecordingError(StreamingError):
    """A recording that cannot be played over RTSP."""

    code = "recording-error"


class RecordingNotFoundError(RecordingError):
    """No such recording, or nothing in it yet."""

    code = "recording-not-found"


class RecordingForbiddenError(RecordingError):
    """The person may not see it."""

    code = "recording-forbidden"


class RecordingUnavailableError(RecordingError):
    """It cannot be read now: the database or the object store is away, or a part of it is gone."""

    code = "recording-unavailable"


class InternalCameraError(StreamingError):
    """A fault of Sanhui itself while it served one camera; the log has the trace."""

    code = "camera-internal"

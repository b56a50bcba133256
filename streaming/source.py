"""Where a camera's stream comes from: what a person has set, and nothing that changes by itself."""

from dataclasses import dataclass, field
from enum import StrEnum

from media.stream import Quality, StreamId
from streaming.addresses import redacted
from streaming.secret import Secret


class Transport(StrEnum):
    """How RTP comes: inside the RTSP connection, or in datagrams of its own."""

    TCP = "tcp"
    UDP = "udp"


class TlsTrust(StrEnum):
    """Which certificates are taken of an ``rtsps`` camera: those an authority has signed, or the one met first."""

    VERIFY = "verify"
    PIN = "pin"


@dataclass(frozen=True, slots=True, repr=False)
class CameraSource:
    """One stream of one camera. ``url`` has no credentials in it (see ``addresses.split_credentials``). A stream
    ``on_demand`` is connected only while somebody reads it. ``tls_pin`` is the SHA-256 of the one certificate that is
    taken, hexadecimal; empty where the first one met is."""

    camera_id: str
    url: str
    username: str = ""
    password: Secret = field(default_factory=lambda: Secret(""))
    transport: Transport = Transport.TCP
    quality: Quality = Quality.MAIN
    on_demand: bool = False
    tls_trust: TlsTrust = TlsTrust.VERIFY
    tls_pin: str = ""

    def __repr__(self) -> str:
        return f"CameraSource({self.camera_id!r}, {self.quality}, {redacted(self.url)!r}, {self.transport})"

    @property
    def stream_id(self) -> StreamId:
        """The name of the stream this source feeds."""
        return StreamId(self.camera_id, self.quality)

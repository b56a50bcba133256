"""What a session description says about one medium: one ``m=`` line with its ``rtpmap`` and ``fmtp`` (RFC 8866)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class MediaDescription:
    """One medium as a camera offers it.

    ``encoding`` is the upper-case name of the rtpmap (``H264``, ``H265``, ``MPEG4-GENERIC``, ``PCMA``, ``PCMU``,
    ``OPUS``), also where a static payload type leaves the rtpmap out. ``clock_rate`` is in Hz. ``fmtp`` has
    lower-case keys and the values as they came.
    """

    kind: Literal["video", "audio"]
    encoding: str
    payload_type: int
    clock_rate: int
    channels: int = 1
    fmtp: Mapping[str, str] = field(default_factory=dict)

"""RTCP: sender and receiver reports, SDES, BYE (RFC 3550, section 6)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SenderReport:
    """An SR: at ``utc_ns`` (the sender's wall clock, Unix nanoseconds) its RTP clock showed ``rtp_timestamp``."""

    ssrc: int
    utc_ns: int
    rtp_timestamp: int
    packets: int
    octets: int

"""Access units in, RTP packets out (RFC 6184, RFC 7798, RFC 3640, RFC 3551, RFC 7587)."""

from media.unit import AccessUnit, Track


class Packetizer:
    """Makes one track's RTP packets, each at most ``mtu`` bytes. Parameter sets go before each keyframe.

    The RTP timestamp is ``pts + timestamp_offset`` modulo 2^32; packets are numbered from ``sequence``.
    """

    def __init__(
        self,
        track: Track,
        payload_type: int,
        ssrc: int,
        mtu: int = 1400,
        *,
        sequence: int = 0,
        timestamp_offset: int = 0,
    ) -> None:
        raise NotImplementedError

    def packets(self, unit: AccessUnit) -> list[bytes]:
        """The RTP packets of one unit; the marker is on the last one of a picture."""
        raise NotImplementedError

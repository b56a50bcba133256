"""Whether a camera that is connected sends what it is there for: signs of life, counted by packet and by picture."""

from media.receiver import StreamReceiver, TrackCounters
from media.unit import NS_PER_S
from streaming.errors import CameraSilentError, DatagramsMissingError, SessionLostError
from streaming.rtsp.sdp import SessionDescription
from streaming.rtsp.settings import RtspSettings


class Intake:
    """What a receiver has taken in so far."""

    def __init__(self, description: SessionDescription, receiver: StreamReceiver) -> None:
        pairs = [
            (media.kind, counters)
            for media, counters in zip(description.media, receiver.counters, strict=True)
            if counters is not None
        ]
        self._all: list[TrackCounters] = [counters for _, counters in pairs]
        self._video: list[TrackCounters] = [counters for kind, counters in pairs if kind == "video"]

    @property
    def packets(self) -> int:
        """RTP packets taken in so far."""
        return sum([counters.packets for counters in self._all])

    @property
    def pictures(self) -> int:
        """Pictures put together so far."""
        return sum([counters.units for counters in self._video])

    @property
    def main_packets(self) -> int:
        """Packets of the picture; of everything where there is none. Sound alone must not pass for a living camera."""
        return sum([counters.packets for counters in self._video or self._all])

    @property
    def expects_pictures(self) -> bool:
        """Whether there is to be a picture."""
        return bool(self._video)


class Vigil:
    """Notices that a camera has fallen silent. Times are nanoseconds of one monotonic clock. ``datagrams``: whether
    media comes over UDP, where a firewall may let nothing of it through."""

    def __init__(self, intake: Intake, settings: RtspSettings, now_ns: int, *, datagrams: bool) -> None:
        self._intake = intake
        self._settings = settings
        self._datagrams = datagrams
        self._heard_ns = self._seen_ns = now_ns
        self._packets = -1
        self._pictures = 0

    def look(self, now_ns: int, *, forgotten: bool) -> None:
        """Called about once a second: counting then costs nothing per packet. ``forgotten``: the camera says that it
        knows no such session. Raises CameraSilentError, DatagramsMissingError, SessionLostError."""
        intake, settings = self._intake, self._settings
        quiet_ns = now_ns - self._heard_ns
        if (packets := intake.main_packets) != self._packets:
            self._packets, self._heard_ns = packets, now_ns
        elif forgotten and quiet_ns >= settings.forgotten_s * NS_PER_S:
            raise SessionLostError("the camera forgot the session")
        elif self._datagrams and not packets and quiet_ns >= min(settings.datagrams_s, settings.silence_s) * NS_PER_S:
            raise DatagramsMissingError("no datagram", seconds=round(quiet_ns / NS_PER_S, 1))
        elif quiet_ns >= settings.silence_s * NS_PER_S:
            raise CameraSilentError("no media", seconds=round(quiet_ns / NS_PER_S, 1))
        if (pictures := intake.pictures) != self._pictures:
            self._pictures, self._seen_ns = pictures, now_ns
        # A camera may be told to send another codec, and do so in the session it has: then no picture ever comes again.
        patience_s = settings.no_picture_s if pictures else settings.first_picture_s
        if intake.expects_pictures and now_ns - self._seen_ns >= patience_s * NS_PER_S:
            raise CameraSilentError("packets, yet no picture", seconds=patience_s)

"""Whether a camera that is connected sends what it is there for: signs of life, counted by packet and by picture."""

from media.receiver import StreamReceiver, TrackCounters
from media.unit import NS_PER_S
from streaming.errors import CameraSilentError
from streaming.rtsp.sdp import SessionDescription
from streaming.rtsp.settings import RtspSettings


class Intake:
    """What a receiver has taken in so far."""

    def __init__(self, description: SessionDescription, receiver: StreamReceiver) -> None:
        self._description = description
        self._receiver = receiver

    @property
    def packets(self) -> int:
        """RTP packets taken in so far."""
        return sum(counters.packets for counters in self._receiver.counters if counters is not None)

    @property
    def pictures(self) -> int:
        """Pictures put together so far."""
        return sum(counters.units for counters in self._video())

    @property
    def main_packets(self) -> int:
        """Packets of the picture; of everything where there is none. Sound alone must not pass for a living camera."""
        video = self._video()
        return sum(counters.packets for counters in video) if video else self.packets

    @property
    def has_begun(self) -> bool:
        """Whether there was a picture, or none is due."""
        return self.pictures > 0 or not self._video()

    def _video(self) -> list[TrackCounters]:
        pairs = zip(self._description.media, self._receiver.counters, strict=True)
        return [counters for media, counters in pairs if media.kind == "video" and counters is not None]


class Vigil:
    """Notices that a camera has fallen silent. Times are nanoseconds of one monotonic clock."""

    def __init__(self, intake: Intake, settings: RtspSettings, now_ns: int) -> None:
        self._intake = intake
        self._settings = settings
        self._started_ns = self._heard_ns = now_ns
        self._packets = -1

    def look(self, now_ns: int) -> None:
        """Called about once a second: counting then costs nothing per packet. Raises CameraSilentError."""
        if (seen := self._intake.main_packets) != self._packets:
            self._packets, self._heard_ns = seen, now_ns
        elif now_ns - self._heard_ns >= self._settings.silence_s * NS_PER_S:
            raise CameraSilentError("no media", seconds=round((now_ns - self._heard_ns) / NS_PER_S, 1))
        late = now_ns - self._started_ns >= self._settings.first_picture_s * NS_PER_S
        if late and not self._intake.has_begun:
            raise CameraSilentError("packets, yet no picture", seconds=self._settings.first_picture_s)

"""The first moments of an epoch, before it is known which tracks there are."""

from typing import Final

from media.unit import NS_PER_S, AccessUnit, AudioTrack, Track, VideoTrack

_MAX_UNITS: Final = 2_000
_MAX_BYTES: Final = 32 * 1024 * 1024


class Gathering:
    """Holds units until a keyframe and sound are there, or until ``wait_s`` of media has gone by.

    Pictures before the first keyframe cannot be shown and are left out, but tell that there is video.
    """

    def __init__(self, epoch: int, wait_s: float) -> None:
        self.epoch = epoch
        self.units: list[AccessUnit] = []
        self.keyframe: AccessUnit | None = None
        self.video: VideoTrack | None = None
        self.sound: AudioTrack | None = None
        self._wait_ns = round(wait_s * NS_PER_S)
        self._first_ns: int | None = None
        self._bytes = 0

    @property
    def tracks(self) -> tuple[Track, ...]:
        """What has been seen, video first."""
        return tuple(track for track in (self.video, self.sound) if track is not None)

    def add(self, unit: AccessUnit) -> bool:
        """Take a unit; True once the first segment should begin."""
        track = unit.track
        if isinstance(track, VideoTrack):
            if self.keyframe is None:
                self.video = track
                if unit.keyframe:
                    self.keyframe = unit
        elif self.sound is None:
            self.sound = track
        if not isinstance(track, VideoTrack) or self.keyframe is not None:
            self.units.append(unit)
            self._bytes += len(unit.data)
        now_ns = unit.dts * NS_PER_S // track.clock_rate
        if self._first_ns is None:
            self._first_ns = now_ns
        if not self.units:
            return False
        return (
            (self.keyframe is not None and self.sound is not None)
            or abs(now_ns - self._first_ns) >= self._wait_ns
            or len(self.units) >= _MAX_UNITS
            or self._bytes >= _MAX_BYTES
        )

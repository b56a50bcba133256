"""The newest group of pictures, so that a viewer or a segmenter need not wait for the next keyframe."""

from media.unit import VIDEO_TRACK_ID, AccessUnit, Track


class GopCache:
    """Units since the newest keyframe, sound included. Bounded: a GOP past ``max_bytes`` keeps only its keyframe.

    Without video, the newest sound units up to ``max_audio_units``. Nothing where pictures come and no keyframe has.
    """

    def __init__(self, max_bytes: int = 24 * 1024 * 1024, max_audio_units: int = 50) -> None:
        self._max_bytes = max_bytes
        self._max_audio_units = max_audio_units
        self._units: list[AccessUnit] = []
        self._bytes = 0
        self._tracks: dict[int, Track] = {}
        self._epoch = 0
        self._too_long = False
        self._begun = False
        self.last_keyframe: AccessUnit | None = None

    @property
    def tracks(self) -> tuple[Track, ...]:
        """Tracks seen in the current epoch, by id."""
        return tuple(self._tracks[track_id] for track_id in sorted(self._tracks))

    @property
    def has_video(self) -> bool:
        """Whether the current epoch has brought pictures."""
        return VIDEO_TRACK_ID in self._tracks

    def units(self) -> tuple[AccessUnit, ...]:
        """The cached units in order of arrival; empty before the first keyframe."""
        return tuple(self._units)

    def push(self, unit: AccessUnit) -> None:
        """Take the next unit in."""
        if unit.epoch != self._epoch:
            self._epoch = unit.epoch
            self._tracks.clear()
            self._restart()
        self._tracks[unit.track.id] = unit.track
        if unit.track.id == VIDEO_TRACK_ID:
            if unit.keyframe:
                self.last_keyframe = unit
                self._restart()
                self._begun = True
            elif not self._begun:
                # Sound that came before is no beginning either: there are pictures.
                self._restart()
                return
        elif not self._begun:
            if VIDEO_TRACK_ID in self._tracks:
                return
            if len(self._units) >= self._max_audio_units:
                self._bytes -= len(self._units.pop(0).data)
        if self._too_long:
            return
        if self._bytes + len(unit.data) > self._max_bytes:
            # A gap inside the cache would show as a broken picture, so nothing after the first unit may stay.
            del self._units[1:]
            self._too_long = True
            return
        self._units.append(unit)
        self._bytes += len(unit.data)

    def _restart(self) -> None:
        self._units.clear()
        self._bytes = 0
        self._too_long = False
        self._begun = False

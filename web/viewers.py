"""Who looks at what right now. A player that fetches a playlist every few seconds is a viewer until it stops."""

from collections import OrderedDict

from media.clock import Clock
from media.unit import NS_PER_S

_AWAY_NS = 20 * NS_PER_S
_MAX = 20_000


class Viewers:
    """Owned by the application; used from its event loop only. Bounded."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str], int] = OrderedDict()

    def seen(self, camera_id: str, user_id: str) -> None:
        """The person has asked for media of the camera."""
        key = (camera_id, user_id)
        self._seen[key] = self._clock.monotonic_ns()
        self._seen.move_to_end(key)
        while len(self._seen) > _MAX:
            self._seen.popitem(last=False)

    def of_camera(self, camera_id: str) -> tuple[str, ...]:
        """Ids of the people who look through the camera now."""
        self._forget()
        return tuple(user for camera, user in self._seen if camera == camera_id)

    def counts(self) -> dict[str, int]:
        """How many people look through each camera that anybody looks through."""
        self._forget()
        counts: dict[str, int] = {}
        for camera, _ in self._seen:
            counts[camera] = counts.get(camera, 0) + 1
        return counts

    def _forget(self) -> None:
        limit = self._clock.monotonic_ns() - _AWAY_NS
        while self._seen:
            key, seen_ns = next(iter(self._seen.items()))
            if seen_ns >= limit:
                return
            del self._seen[key]

"""Who looks at what right now. A player that fetches a playlist every few seconds is a viewer until it stops; one that
holds a connection is a viewer for as long as it does."""

import contextlib
from collections import Counter, OrderedDict
from collections.abc import Iterator

from media.clock import Clock
from media.unit import NS_PER_S

_AWAY_S = 20.0
_RELEASE_S = 2.0
_MAX = 20_000


class Viewers:
    """Owned by the application; used from its event loop only. Bounded."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._held: Counter[tuple[str, str]] = Counter()

    def seen(self, camera_id: str, user_id: str, for_s: float = _AWAY_S) -> None:
        """The person has asked for media of the camera, and counts as a viewer for so many seconds."""
        key = (camera_id, user_id)
        until = self._clock.monotonic_ns() + int(for_s * NS_PER_S)
        self._until[key] = max(until, self._until.get(key, 0))
        self._until.move_to_end(key)
        while len(self._until) > _MAX:
            self._until.popitem(last=False)

    @contextlib.contextmanager
    def holding(self, camera_id: str, user_id: str) -> Iterator[None]:
        """The person is a viewer for as long as the context is open, and a moment longer: a page that is loaded again
        is the same look."""
        key = (camera_id, user_id)
        self._held[key] += 1
        try:
            yield
        finally:
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key]
                # In the place of any later time: what held the connection knows that it is over.
                self._until.pop(key, None)
                self.seen(camera_id, user_id, _RELEASE_S)

    def of_camera(self, camera_id: str) -> tuple[str, ...]:
        """Ids of the people who look through the camera now."""
        return tuple(self.by_camera().get(camera_id, ()))

    def counts(self) -> dict[str, int]:
        """How many people look through each camera that anybody looks through."""
        return {camera: len(people) for camera, people in self.by_camera().items()}

    def by_camera(self) -> dict[str, dict[str, None]]:
        """Ids of the people who look, by camera, in order of their latest sign."""
        now = self._clock.monotonic_ns()
        for key in [key for key, until in self._until.items() if until < now]:
            del self._until[key]
        found: dict[str, dict[str, None]] = {}
        for camera, user in (*self._until, *self._held):
            found.setdefault(camera, {})[user] = None
        return found

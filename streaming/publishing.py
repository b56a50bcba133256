"""The last step of what a connection brings, taken for every access unit: into the stream."""

from collections.abc import Callable

from media.stream import LiveStream
from media.unit import AccessUnit, StreamItem


class Publisher:
    """Hands items to a stream, and notes how far its media has come.

    ``came`` is told of a unit that comes while ``online`` is not set: it belongs to a connection that nobody has spoken
    of yet. ``newest_utc_ns`` is the time of the newest unit so far, 0 before the first.
    """

    def __init__(self, stream: LiveStream, came: Callable[[AccessUnit], None]) -> None:
        self.online = False
        self.newest_utc_ns = 0
        self._stream = stream
        self._came = came

    def publish(self, item: StreamItem) -> None:
        """Hand one item on. Never waits."""
        if isinstance(item, AccessUnit):
            if not self.online:
                self._came(item)
            if item.utc_ns > self.newest_utc_ns:
                self.newest_utc_ns = item.utc_ns
        self._stream.publish(item)

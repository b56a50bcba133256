"""Where a stream is: on this node, on another, or nowhere. No handler assumes that a stream is here."""

from collections.abc import Callable
from dataclasses import dataclass

from media.stream import LiveStream, StreamId


@dataclass(frozen=True, slots=True)
class LocalStream:
    """The stream is in this process."""

    stream: LiveStream


@dataclass(frozen=True, slots=True)
class RemoteNode:
    """The stream is on the node that answers under ``url``."""

    url: str


Location = LocalStream | RemoteNode


class StreamDirectory:
    """Asks each local owner of streams (cameras, later WHIP ingests), then the table of other nodes.

    ``remote`` tells the node of a stream, None if it knows none; on one machine there is none to know.
    """

    def __init__(
        self,
        *owners: Callable[[StreamId], LiveStream | None],
        remote: Callable[[StreamId], str | None] = lambda stream_id: None,
    ) -> None:
        self._owners = owners
        self._remote = remote

    def locate(self, stream_id: StreamId) -> Location | None:
        """Where the stream is; None if nobody wants it."""
        stream = self.stream(stream_id)
        if stream is not None:
            return LocalStream(stream)
        url = self._remote(stream_id)
        return RemoteNode(url) if url is not None else None

    def stream(self, stream_id: StreamId) -> LiveStream | None:
        """The stream if it is in this process."""
        for owner in self._owners:
            stream = owner(stream_id)
            if stream is not None:
                return stream
        return None

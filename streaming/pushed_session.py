"""A stream that comes by itself: a TV box or a phone sends it from a page (WHIP), on one network or another."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

from media.description import MediaDescription
from media.receiver import StreamReceiver
from media.unit import GapCause, StreamItem
from streaming.camera_status import CameraState
from streaming.errors import PublisherThereError
from streaming.stream_session import ORIGIN_LEAD_NS, StreamSession

PUSHED_URL = "whip:"
"""What stands in the register in the place of an address: nobody is called, the stream is sent."""


class PushedFeed:
    """One publisher's packets on their way into the stream. Used from the event loop only."""

    def __init__(
        self, session: "PushedSession", receiver: StreamReceiver, media: Sequence[MediaDescription | None]
    ) -> None:
        self.receiver = receiver
        self._media = tuple(media)
        self._session = session

    @property
    def pictures(self) -> int:
        """Pictures put together so far."""
        pairs = zip(self._media, self.receiver.counters, strict=True)
        return sum(counters.units for item, counters in pairs if item and counters and item.kind == "video")

    def rtp(self, index: int, packet: bytes, arrival_ns: int) -> None:
        """Take an RTP packet of medium ``index``; ``arrival_ns`` in Unix nanoseconds."""
        for item in self.receiver.rtp(index, packet, arrival_ns):
            self._session.take(item)

    def rtcp(self, index: int, packet: bytes, arrival_ns: int) -> None:
        """Take a compound RTCP packet of medium ``index``."""
        self.receiver.rtcp(index, packet, arrival_ns)


class PushedSession(StreamSession):
    """Waits for its publisher. One at a time: a second one is refused while the first is there."""

    _feed: PushedFeed | None = None

    async def run(self) -> None:
        """Wait until cancelled; publishers come and go meanwhile."""
        self._enter(CameraState.OFFLINE, None)
        await asyncio.Event().wait()

    def retry_now(self) -> None:
        """Nobody is called, so there is nothing to hasten."""

    @property
    def publishing(self) -> bool:
        """Whether a publisher is there."""
        return self._feed is not None

    @contextlib.contextmanager
    def feeding(self, media: Sequence[MediaDescription | None]) -> Iterator[PushedFeed]:
        """Take a publisher's media for as long as this is open; what is missing in between becomes a gap.

        Raises PublisherThereError, and UnsupportedCodecError if no medium can be taken.
        """
        if self._feed is not None:
            raise PublisherThereError("somebody sends already", camera=self.source.camera_id)
        now_ns = self._clock.utc_ns()
        self._origin_utc_ns = min(self._origin_utc_ns, now_ns - ORIGIN_LEAD_NS)
        receiver = StreamReceiver(
            media,
            self._clock,
            epoch=self._epoch + 1,
            reorder=True,
            origin_utc_ns=self._origin_utc_ns,
            after_utc_ns=min(self._publisher.newest_utc_ns, now_ns),
        )
        self._epoch += 1
        self._feed = PushedFeed(self, receiver, media)
        try:
            yield self._feed
        finally:
            for item in receiver.flush():
                self.take(item)
            self.stream.break_off()
            self._before = self._totals()
            self._feed = None
            self._missing_cause = GapCause.DISCONNECTED
            self._enter(CameraState.OFFLINE, None)

    def take(self, item: StreamItem) -> None:
        """Called by the feed with what the packets have made."""
        self._publisher.publish(item)

    def _receiver(self) -> StreamReceiver | None:
        return self._feed.receiver if self._feed is not None else None

    def _pictures(self) -> int:
        return self._feed.pictures if self._feed is not None else 0

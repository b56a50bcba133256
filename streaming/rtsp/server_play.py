"""What a session plays: a live stream, or a recording."""

from collections.abc import Mapping
from typing import Protocol

from media.clock import Clock
from media.stream import LiveStream
from media.unit import Track
from streaming.errors import (
    RecordingError,
    RecordingForbiddenError,
    RecordingNotFoundError,
)
from streaming.rtsp.message import Headers
from streaming.rtsp.sdp import track_control
from streaming.rtsp.server_feed import Output, StreamFeed
from streaming.rtsp.server_multicast import MulticastSeat
from streaming.rtsp.server_range import PlayRange, write_npt, write_utc
from streaming.rtsp.server_recorded import RecordedLibrary, RecordedPlayer, RecordedSource
from streaming.rtsp.server_transport import SessionOutput


class Feeds(Protocol):
    """Who keeps the feeds of live streams."""

    def join(self, stream: LiveStream, output: Output) -> None:
        """Begin to send a stream to a viewer."""
        ...

    def leave(self, stream: LiveStream, output: Output) -> None:
        """Stop that."""
        ...

    def feed(self, stream: LiveStream) -> StreamFeed | None:
        """The stream's feed, if somebody watches it."""
        ...


class _Session:
    """What both have: a path, tracks that are there, tracks that are set up."""

    def __init__(self, path: str, tracks: Mapping[int, Track]) -> None:
        self.path = path
        self.tracks = tracks
        self._taken: dict[int, Track] = {}
        self._base = ""

    def take(self, track_id: int, base: str) -> None:
        """A track is set up. ``base`` is the URL under which the client knows the tracks."""
        self._taken[track_id] = self.tracks[track_id]
        self._base = base

    def _rtp_info(self, packets: Mapping[int, tuple[int, int]]) -> str:
        """Which packet comes first, for each track (RFC 2326, 12.33); empty unless known of all."""
        if any(track_id not in packets for track_id in self._taken):
            return ""
        return ",".join(
            f"url={self._base}{track_control(track)};seq={packets[track_id][0]};rtptime={packets[track_id][1]}"
            for track_id, track in self._taken.items()
        )


class LivePlay(_Session):
    """A live stream: always at now."""

    range = "npt=now-"

    def __init__(self, path: str, stream: LiveStream, feeds: Feeds) -> None:
        super().__init__(path, {track.id: track for track in stream.tracks})
        self._stream = stream
        self._feeds = feeds

    def plays(self, stream: LiveStream) -> bool:
        """Whether it is this stream."""
        return stream is self._stream

    def answer(self, *, shared: bool = False) -> Headers:
        """What the client is told of its PLAY. A ``shared`` packet stream runs already: nothing begins with it."""
        headers = Headers([("Range", self.range)])
        feed = self._feeds.feed(self._stream)
        if feed is not None and not shared:
            first = {track_id: feed.first_packet(track_id) for track_id in self._taken}
            info = self._rtp_info({track_id: packet for track_id, packet in first.items() if packet is not None})
            if info:
                headers.add("RTP-Info", info)
        return headers

    def start(self, output: SessionOutput) -> None:
        """Begin to send."""
        if isinstance(output, MulticastSeat):
            output.group.sit(output)
        else:
            self._feeds.join(self._stream, output)

    def pause(self, output: SessionOutput) -> Headers:
        """Stop sending."""
        if not isinstance(output, MulticastSeat):
            self._feeds.leave(self._stream, output)
        return Headers()

    def close(self) -> None:
        """Nothing to free."""


class RecordedPlay(_Session):
    """A recording: where the client wants it."""

    def __init__(self, path: str, source: RecordedSource, library: RecordedLibrary, clock: Clock) -> None:
        super().__init__(path, {track.id: track for track in source.tracks})
        self._source = source
        self._library = library
        self._clock = clock
        self._player: RecordedPlayer | None = None

    @property
    def range(self) -> str:
        """From its start to what there is so far."""
        return f"npt=0-{write_npt(self._source.duration_ns)}"

    def plays(self, stream: LiveStream) -> bool:
        """Never a live stream."""
        return False

    async def cue(self, wanted: PlayRange, user: str | None, address: str) -> Headers | None:
        """Go where the client wants to, and what it is told of its PLAY; None if there is nothing (457). The first
        time it is put on record. Raises RecordingError members."""
        start, end = wanted.start_ns, wanted.end_ns
        if wanted.wall_clock:
            start = self._source.play_time(start) if start is not None else None
            end = self._source.play_time(end) if end is not None else None
        if start is not None and start >= self._source.duration_ns:
            return None
        if self._player is None:
            await self._library.look(self.path, user, address)
            self._player = RecordedPlayer(self._source, self._taken, self._clock)
        cue = await self._player.cue(start, end)
        if cue is None:
            return None
        until = end if end is not None else self._source.duration_ns
        if wanted.wall_clock:
            shown = (
                f"clock={write_utc(self._source.wall_clock(cue.start_ns))}-{write_utc(self._source.wall_clock(until))}"
            )
        else:
            shown = f"npt={write_npt(cue.start_ns)}-{write_npt(until)}"
        return Headers([("Range", shown), ("RTP-Info", self._rtp_info(cue.packets))])

    def start(self, output: SessionOutput) -> None:
        """Begin to send from there."""
        assert self._player is not None
        assert not isinstance(output, MulticastSeat)
        self._player.play(output)

    def pause(self, output: SessionOutput) -> Headers:
        """Stop sending; the place is kept."""
        if self._player is not None:
            self._player.pause()
        return Headers()

    def close(self) -> None:
        """Stop for good."""
        if self._player is not None:
            self._player.close()


Play = LivePlay | RecordedPlay


def status_of(error: RecordingError) -> int:
    """The RTSP status for what is wrong with a recording."""
    if isinstance(error, RecordingNotFoundError):
        return 404
    return 403 if isinstance(error, RecordingForbiddenError) else 503

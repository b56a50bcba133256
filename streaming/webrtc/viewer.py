"""One viewer of a relay: what differs from the other viewers, and nothing else.

Per medium that is where its numbers and times stand against the relay's, and which batches it was sent last. A viewer
that begins, asks for a keyframe or changes streams gets the pictures since the newest keyframe at once, all of them
squeezed into the time of one: its decoder shows the newest as soon as it can, and time never runs back.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from media.clock import Clock
from media.rtcp import build_sender_report
from media.unit import NS_PER_S
from streaming.webrtc.outgoing import Outgoing
from streaming.webrtc.peer import Peer
from streaming.webrtc.relay_track import Batch, RelayTrack, send_time
from streaming.webrtc.reports import read_report

BURST_FACTOR = 6
BURST_MIN_BPS = 16_000_000
BURST_MAX_BPS = 40_000_000
"""What has piled up goes out at this multiple of the stream's rate, within bounds: a phone's line must carry it."""

PACE_BYTES = 64 * 1024
"""A single picture larger than this is spread out like a burst. A line of ``BURST_MIN_BPS`` carries as much before the
next of 25 pictures a second comes: nothing piles up, and all viewers' packets of it can leave together."""

_BURST_TICK_S = 0.004
_BURST_PACKETS = 32
_KEYFRAME_AGAIN_NS = NS_PER_S
_MAX_REPORTS_PER_S = 100
_MAX_AGAIN_PER_S = 1_000


def _nothing() -> None:
    """What a viewer of no relay does to begin again."""


class Outlook(Protocol):
    """What is told of a viewer's line."""

    def loss(self, fraction: float) -> None:
        """Share of packets lost since the last report, 0 to 1."""
        ...

    def bitrate(self, bps: int) -> None:
        """What the viewer's own estimate is."""
        ...


@dataclass(slots=True)
class ViewerCounters:
    """What happened to one viewer."""

    packets: int = 0
    again: int = 0
    """Packets sent again."""
    keyframes_asked: int = 0
    bursts: int = 0
    cut: int = 0
    """How often pictures were left out up to the next keyframe."""
    fraction_lost: float = 0.0


class Viewer:
    """Owned by its session's task; the relay calls :meth:`picture` and :meth:`sound`. Never waits."""

    def __init__(
        self,
        peer: Peer,
        clock: Clock,
        video: Outgoing | None,
        audio: Outgoing | None,
        outlook: Outlook,
        cname: str = "sanhui",
    ) -> None:
        self.peer = peer
        self.video = video
        self.audio = audio
        self._counters = ViewerCounters()
        self.dismissed = False
        """The stream is over, or no longer what was agreed on."""
        self.news = asyncio.Event()
        """Something about this viewer has to be seen to."""
        self.rejoin: Callable[[], None] = _nothing
        """Set by the relay: begin again at the newest keyframe."""
        self._clock = clock
        self._outlook = outlook
        self._cname = cname
        # (batch, its timestamp for this viewer or None for its own)
        self._queue: deque[tuple[Batch, int | None]] = deque()
        self._rest: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._rate_bps = BURST_MIN_BPS
        self._credit = 0.0
        self._credited_s = 0.0
        self._keyframe_ns = 0
        self._reports_since_ns = 0
        self._reports = 0
        self._again_left = _MAX_AGAIN_PER_S
        peer.on_rtcp = self._report
        peer.on_way = self._alone
        peer.on_count = self._settle
        for outgoing in (video, audio):
            if outgoing is not None:
                outgoing.owner = self

    @property
    def counters(self) -> ViewerCounters:
        """What happened so far."""
        self._settle()
        return self._counters

    @property
    def behind(self) -> bool:
        """Whether pictures wait to be sent."""
        return bool(self._queue or self._rest)

    def dismiss(self) -> None:
        """Told by the relay that it has nothing more for this viewer."""
        self.dismissed = True
        self.news.set()

    def went(self, packets: int, size: int) -> None:
        """A lane has sent packets for this viewer, ``size`` octets on the wire."""
        self._counters.packets += packets
        self.peer.count(packets, size)

    def refused(self, packets: int) -> None:
        """Of what lanes sent, the system did not take so many."""
        self._counters.packets -= packets
        self.peer.count(-packets, 0, packets)

    def failed(self) -> None:
        """Nothing can be sent any more."""
        self.dismiss()

    def is_level(self, outgoing: Outgoing, batch: Batch) -> bool:
        """Whether it has been sent a batch as it came, with nothing left behind: what comes can go with others'."""
        if outgoing is self.video and (outgoing.waiting or self.behind or self._timer is not None):
            return False
        return outgoing.packets > 0 and outgoing.timestamp == batch.timestamp + outgoing.shift

    def close(self) -> None:
        """Send no more, and let go of the relay, whose pictures are megabytes."""
        for outgoing in (self.video, self.audio):
            if outgoing is not None:
                outgoing.close()
        self._stop()
        self.rejoin = _nothing

    def _alone(self) -> None:
        for outgoing in (self.video, self.audio):
            if outgoing is not None:
                outgoing.leave()

    def _settle(self) -> None:
        for outgoing in (self.video, self.audio):
            if outgoing is not None:
                outgoing.settle()

    def _stop(self) -> None:
        self._queue.clear()
        self._rest.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def begin(self, track: RelayTrack) -> None:
        """Send the pictures since the newest keyframe, squeezed; then what comes. Without any, wait for a keyframe."""
        video = self.video
        if video is None:
            return
        video.leave()
        video.track, video.due = track, track.next_number
        self._queue.clear()
        self._rest.clear()
        backlog = track.backlog
        video.waiting = not backlog
        self._rate_bps = min(max(track.bitrate_bps * BURST_FACTOR, BURST_MIN_BPS), BURST_MAX_BPS)
        if not backlog:
            return
        self._counters.bursts += 1
        newest = backlog[-1].timestamp
        room = max(track.spacing - 1, len(backlog))
        start = newest + video.shift - room
        if video.timestamp is not None and video.timestamp > start:
            start = video.timestamp
        step = room / len(backlog)
        for index, batch in enumerate(backlog, 1):
            self._queue.append((batch, start + int(index * step)))
        # What comes next must lie behind.
        video.shift = max(video.shift, start + room + 1 - (newest + track.spacing))
        self._credited_s = asyncio.get_running_loop().time()
        self._credit = float(PACE_BYTES)
        if self._timer is None:
            self._burst()

    def picture(self, batch: Batch, track: RelayTrack) -> None:
        """The next picture."""
        video = self.video
        if video is None:
            return
        video.track, video.due = track, batch.next
        if video.waiting:
            if not batch.starts:
                return
            video.waiting = False
        if batch.starts and self._queue:
            # What was not sent before a newer keyframe is not needed any more.
            self._queue.clear()
            self._counters.cut += 1
        if self._queue or self._rest or self._timer is not None:
            self._queue.append((batch, None))
        elif batch.size > PACE_BYTES:
            self._queue.append((batch, None))
            self._credited_s = asyncio.get_running_loop().time()
            self._credit = float(PACE_BYTES)
            self._burst()
        else:
            self._live(video, batch)

    def sound(self, batch: Batch, track: RelayTrack) -> None:
        """The next stretch of sound."""
        audio = self.audio
        if audio is None:
            return
        audio.track, audio.due = track, batch.next
        self._live(audio, batch)

    def report(self, now_ns: int) -> None:
        """Send sender reports (RFC 3550, 6.4.1); ``now_ns`` is the wall clock."""
        for outgoing in (self.video, self.audio):
            if outgoing is None or outgoing.track is None or not outgoing.track.newest_utc_ns:
                continue
            outgoing.settle()
            clock = outgoing.track.clock_at(now_ns) + outgoing.shift
            self.peer.send_rtcp(
                build_sender_report(outgoing.shape.ssrc, now_ns, clock, outgoing.packets, outgoing.octets, self._cname)
            )

    def _live(self, outgoing: Outgoing, batch: Batch) -> None:
        """Send a batch as it comes, with what it shares with other viewers' packets."""
        shift = outgoing.shift
        if outgoing.timestamp is not None and batch.timestamp + shift <= outgoing.timestamp:
            shift = outgoing.monotonic(batch.timestamp)
        first = outgoing.note(batch, shift, batch.sent)
        wire = batch.live(outgoing.shape, first, shift, self.peer.tag_bytes)
        if wire.fits:
            went = self.peer.send_wire(wire)
            self._counters.packets += went
            if went < wire.count:
                self._full()
        else:
            self._send(batch.plain(outgoing.shape, first, shift, batch.sent))

    def _send(self, packets: list[bytes]) -> None:
        went = self.peer.send_rtp(packets)
        self._counters.packets += went
        if went < len(packets):
            self._full()

    def _full(self) -> None:
        if self.peer.path == "tcp" and self.video is not None and not self.video.waiting:
            # The connection is full. More of this GOP would be of no use.
            self._stop()
            self.video.waiting = True
            self._counters.cut += 1

    def _burst(self) -> None:
        """Send what is due by now, and come again for the rest."""
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._credit = min(self._credit + (now - self._credited_s) * self._rate_bps / 8, 2.0 * PACE_BYTES)
        self._credited_s = now
        while self._credit > 0:
            if not self._rest and not self._next():
                break
            packets, self._rest = self._rest[:_BURST_PACKETS], self._rest[_BURST_PACKETS:]
            self._credit -= sum(map(len, packets))
            self._send(packets)
        if self._queue or self._rest:
            self._timer = loop.call_later(_BURST_TICK_S, self._burst)

    def _next(self) -> bool:
        video = self.video
        if video is None or not self._queue:
            return False
        batch, timestamp = self._queue.popleft()
        shift = video.monotonic(batch.timestamp) if timestamp is None else timestamp - batch.timestamp
        sent = send_time(self._clock.utc_ns())
        first = video.note(batch, shift, sent)
        self._rest = batch.plain(video.shape, first, shift, sent)
        return True

    def _report(self, packet: bytes, arrival_ns: int) -> None:
        """RTCP of the viewer. A flood of it is not read."""
        # The wall clock may be set back: then a new second begins too.
        if not 0 <= arrival_ns - self._reports_since_ns <= NS_PER_S:
            self._reports_since_ns = arrival_ns
            self._reports = 0
            self._again_left = _MAX_AGAIN_PER_S
        self._reports += 1
        if self._reports > _MAX_REPORTS_PER_S:
            return
        report = read_report(packet)
        for ssrc, lost in report.lost.items():
            self._again(ssrc, lost)
        video = self.video
        if video is None:
            return
        if report.keyframe == video.shape.ssrc:
            self._counters.keyframes_asked += 1
            if not 0 <= arrival_ns - self._keyframe_ns <= _KEYFRAME_AGAIN_NS and not self.behind:
                self._keyframe_ns = arrival_ns
                self.rejoin()
        if report.fraction_lost is not None and video.shape.ssrc in report.fraction_lost:
            fraction = report.fraction_lost[video.shape.ssrc]
            self._counters.fraction_lost = fraction
            if fraction > 0.1 and self.behind:
                self._rate_bps = max(self._rate_bps // 2, BURST_MIN_BPS // 8)
            self._outlook.loss(fraction)
        if report.bitrate_bps is not None:
            self._outlook.bitrate(report.bitrate_bps)

    def _again(self, ssrc: int, lost: list[int]) -> None:
        for outgoing in (self.video, self.audio):
            if outgoing is None or outgoing.shape.ssrc != ssrc:
                continue
            wanted = lost[: self._again_left]
            self._again_left -= len(wanted)
            found = [packet for sequence in wanted if (packet := outgoing.again(sequence)) is not None]
            if found:
                self._counters.again += self.peer.send_rtp(found)

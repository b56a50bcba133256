"""From one live stream to all its RTSP viewers: packets are made once and shared.

Owned by the RTSP server. A feed reads its stream with one bounded reader while it has viewers; each viewer is an
:class:`Output`, which never waits: one that cannot keep up is cut to the next keyframe.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from media.clock import Clock
from media.packetizer import Packetizer
from media.rtcp import build_goodbye, build_sender_report
from media.stream import LiveStream
from media.unit import NS_PER_S, VIDEO_TRACK_ID, AccessUnit, Gap, StreamItem, Track
from streaming.rtsp.message import interleaved_header
from streaming.rtsp.sdp import payload_type_of

REPORT_INTERVAL_NS = 5 * NS_PER_S
MAX_BACKLOG_BYTES = 24 * 1024 * 1024
MAX_BACKLOG_SOUNDS = 50

ChannelMap = Mapping[int, tuple[int, int]]
"""Track id to (RTP channel, RTCP channel) of an interleaved viewer."""


class Batch:
    """One unit's packets, or one track's sender report. ``starts`` is true where a viewer may begin."""

    __slots__ = ("is_report", "packets", "size", "starts", "track_id")

    def __init__(
        self, track_id: int, packets: Sequence[bytes], *, starts: bool = False, is_report: bool = False
    ) -> None:
        self.track_id = track_id
        self.packets = packets
        self.starts = starts
        self.is_report = is_report
        self.size = sum(len(packet) for packet in packets)


class Group:
    """Batches that go out together. What they look like on an interleaved connection is made once per channel map."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches
        self._framed: dict[tuple[tuple[int, tuple[int, int]], ...], bytes] = {}

    def from_start(self) -> "Group | None":
        """What a viewer gets that has waited for a keyframe: from there on."""
        for index, batch in enumerate(self.batches):
            if batch.starts:
                return Group(self.batches[index:])
        return None

    def interleaved(self, channels: ChannelMap) -> bytes:
        """The batches of the tracks in ``channels``, each packet behind its interleaved header."""
        key = tuple(channels.items())
        framed = self._framed.get(key)
        if framed is None:
            parts: list[bytes] = []
            for batch in self.batches:
                pair = channels.get(batch.track_id)
                if pair is None:
                    continue
                channel = pair[1] if batch.is_report else pair[0]
                for packet in batch.packets:
                    parts += (interleaved_header(channel, len(packet)), packet)
            framed = self._framed[key] = b"".join(parts)
        return framed


class Output(Protocol):
    """A viewer. Neither call waits or raises."""

    def send(self, group: Group) -> None:
        """Send what is for this viewer, or drop it if the viewer is behind."""
        ...

    def end(self, reason: str) -> None:
        """The stream is over, or is no longer what the viewer was told it is."""
        ...


class StreamFeed:
    """Packetizes one stream for any number of outputs. :meth:`run` is its task."""

    def __init__(self, stream: LiveStream, clock: Clock) -> None:
        self.stream = stream
        self._clock = clock
        self._outputs: list[Output] = []
        self._packetizers: dict[int, Packetizer] = {}
        self._newest: dict[int, AccessUnit] = {}
        self._backlog: list[Batch] = []
        self._backlog_bytes = 0
        self._report_due_ns = 0
        self._cname = f"{secrets.token_hex(6)}@sanhui"

    @property
    def outputs(self) -> int:
        """How many viewers there are."""
        return len(self._outputs)

    async def run(self) -> None:
        """Read the stream until it ends or the task is cancelled. The viewers are told when it is over, however."""
        try:
            with self.stream.read_units("rtsp") as reader:
                while items := await reader.take():
                    self._publish(items)
        finally:
            self._end("stream-ended")

    def add(self, output: Output) -> None:
        """A viewer begins: sender reports first, then all since the newest keyframe."""
        reports = [self._report(track_id) for track_id in self._newest]
        if self._backlog:
            output.send(Group([*reports, *self._backlog]))
        self._outputs.append(output)

    def remove(self, output: Output) -> None:
        """A viewer has gone."""
        if output in self._outputs:
            self._outputs.remove(output)

    def first_packet(self, track_id: int) -> tuple[int, int] | None:
        """(sequence number, RTP timestamp) of the first packet that a viewer who begins now will get of a track."""
        for batch in self._backlog:
            if batch.track_id == track_id and batch.packets:
                header = batch.packets[0]
                return int.from_bytes(header[2:4], "big"), int.from_bytes(header[4:8], "big")
        return None

    def _publish(self, items: Iterable[StreamItem]) -> None:
        batches: list[Batch] = []
        for item in items:
            if isinstance(item, Gap):
                continue
            known = self._newest.get(item.track.id)
            if known is not None and known.track is not item.track and not compatible(known.track, item.track):
                self._changed()
                batches.clear()
                known = None
            packetizer = self._packetizer(item.track)
            batch = Batch(item.track.id, packetizer.packets(item), starts=self._starts(item))
            self._newest[item.track.id] = item
            if known is None:
                batches.append(self._report(item.track.id))
            batches.append(batch)
            self._remember(batch)
        now = self._clock.monotonic_ns()
        if now >= self._report_due_ns:
            self._report_due_ns = now + REPORT_INTERVAL_NS
            batches += [self._report(track_id) for track_id in self._newest]
        if batches and self._outputs:
            group = Group(batches)
            for output in tuple(self._outputs):
                output.send(group)

    def _starts(self, unit: AccessUnit) -> bool:
        return unit.keyframe and (unit.track.id == VIDEO_TRACK_ID or VIDEO_TRACK_ID not in self._newest)

    def _remember(self, batch: Batch) -> None:
        if batch.starts and (batch.track_id == VIDEO_TRACK_ID or len(self._backlog) >= MAX_BACKLOG_SOUNDS):
            self._backlog = []
            self._backlog_bytes = 0
        elif not self._backlog and not batch.starts:
            return
        self._backlog_bytes += batch.size
        if self._backlog_bytes > MAX_BACKLOG_BYTES:
            # A GOP too long to keep: viewers begin at the next keyframe.
            self._backlog = []
            return
        self._backlog.append(batch)

    def _packetizer(self, track: Track) -> Packetizer:
        packetizer = self._packetizers.get(track.id)
        if packetizer is None:
            packetizer = self._packetizers[track.id] = Packetizer(
                track,
                payload_type_of(track),
                secrets.randbits(32),
                sequence=secrets.randbits(15),
                timestamp_offset=secrets.randbits(32),
            )
        return packetizer

    def _report(self, track_id: int) -> Batch:
        """A sender report: what the track's RTP clock shows at this moment (RFC 3550, 6.4.1)."""
        unit, packetizer = self._newest[track_id], self._packetizers[track_id]
        now_ns = self._clock.utc_ns()
        pts = unit.pts + (now_ns - unit.utc_ns) * unit.track.clock_rate // NS_PER_S
        report = build_sender_report(
            packetizer.ssrc,
            now_ns,
            packetizer.rtp_timestamp(pts),
            packetizer.packets_sent,
            packetizer.octets_sent,
            self._cname,
        )
        return Batch(track_id, (report,), is_report=True)

    def _changed(self) -> None:
        """A medium is no longer what the viewers were told: they have to ask anew."""
        self._end("stream-changed")
        self._packetizers.clear()
        self._newest.clear()
        self._backlog = []
        self._backlog_bytes = 0

    def _end(self, reason: str) -> None:
        """Tell viewers that it is over; those without a connection of their own know it from RTCP alone (RFC 3550,
        6.6)."""
        packetizers = self._packetizers.items()
        goodbye = Group([Batch(number, (build_goodbye(item.ssrc),), is_report=True) for number, item in packetizers])
        for output in tuple(self._outputs):
            output.send(goodbye)
            output.end(reason)


def compatible(old: Track, new: Track) -> bool:
    """Whether viewers who were told of ``old`` can go on with ``new``: parameter sets of pictures come in band."""
    if old.codec is not new.codec or old.clock_rate != new.clock_rate:
        return False
    return getattr(old, "config", b"") == getattr(new, "config", b"")

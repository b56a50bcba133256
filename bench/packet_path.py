"""Where the microseconds of one camera go on the event loop: per RTP packet, per access unit, per part.

    python bench/packet_path.py [--seconds 20] [--rounds 15] [--read-interval 0.04] [--json]

One camera's 1080p25 2 Mb/s H.264 + G.711A is cut into reads as a socket gives them and fed to the RTSP connection, with
one stage more behind it in each row. No sockets, no other camera: these are the costs with warm caches. The least of
all rounds is taken, since on a shared machine only that is the program's own.
"""

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.table import Table
from media.description import MediaDescription
from media.packetizer import Packetizer
from media.receiver import StreamReceiver
from media.segments import Part
from media.stream import LiveStream, StreamId
from media.testloop import cached_loop
from media.unit import NS_PER_S, AccessUnit, StreamItem, VideoTrack
from recorder.spool_format import SegmentBuilder
from streaming.cameras import SupervisorSettings
from streaming.rtsp.connection import RtspConnection
from streaming.rtsp.message import interleaved_header
from streaming.rtsp.transport import RtpChannel
from streaming.simulator import LOOP, LOOP_S

START_NS = 1_790_000_000 * NS_PER_S


class FeedClock:
    """Shows when the read at hand came."""

    def __init__(self) -> None:
        self.now_ns = START_NS

    def utc_ns(self) -> int:
        """Wall clock, Unix nanoseconds."""
        return self.now_ns

    def monotonic_ns(self) -> int:
        """Monotonic clock, nanoseconds."""
        return self.now_ns


def camera_reads(seconds: int, interval_s: float) -> tuple[list[MediaDescription], list[tuple[int, bytes]], int]:
    """What the camera offers; what is read from it every ``interval_s``, and when; how many packets that is."""
    loop = cached_loop(Path(tempfile.gettempdir()) / "sanhui-bench-loop.bin", LOOP, LOOP_S)
    offered = [
        MediaDescription(
            "video" if isinstance(t, VideoTrack) else "audio", t.codec.value.upper(), 96 + t.id, t.clock_rate
        )
        for t in loop.tracks
    ]
    packetizers = {track.id: Packetizer(track, 96 + track.id, track.id) for track in loop.tracks}
    interval_ns = round(interval_s * NS_PER_S)
    reads: dict[int, bytearray] = {}
    packets = 0
    for unit in loop.play(START_NS, START_NS):
        if unit.utc_ns >= START_NS + seconds * NS_PER_S:
            break
        read = reads.setdefault((unit.utc_ns - START_NS) // interval_ns, bytearray())
        for packet in packetizers[unit.track.id].packets(unit):
            read += interleaved_header(2 * unit.track.id - 2, len(packet)) + packet
            packets += 1
    return offered, [(START_NS + at * interval_ns, bytes(data)) for at, data in sorted(reads.items())], packets


class Spooling:
    """What the spool's writer does for a part, without the disk."""

    def __init__(self) -> None:
        self.parts = 0
        self._builder = SegmentBuilder(0, 0, False)

    def take(self, part: Part) -> None:
        """Each chunk in one piece, its CRC-32 and SHA-256."""
        self.parts += 1
        for track_id, chunk in part.chunks.items():
            self._builder.add(track_id, chunk.dts, chunk.duration, chunk.samples, chunk.data)


async def run(
    stage: int, offered: Sequence[MediaDescription], reads: Sequence[tuple[int, bytes]]
) -> tuple[float, int, int]:
    """CPU seconds of one round, access units and parts that came out."""
    clock = FeedClock()
    receiver = StreamReceiver(offered, clock, origin_utc_ns=START_NS - NS_PER_S)
    connection = RtspConnection(clock, "camera", 554, lambda *_: None)
    stream = LiveStream(StreamId("camera"), clock)
    units = 0
    spooling = Spooling()

    def count(item: StreamItem) -> None:
        nonlocal units
        units += isinstance(item, AccessUnit)

    publish: Callable[[StreamItem], None] = count if stage == 0 else stream.publish

    for index in range(len(offered)):
        connection.sinks[2 * index] = RtpChannel(receiver, index, publish)
    with ExitStack() as stack:
        reader = stack.enter_context(stream.read_segments("bench")) if stage >= 2 else None
        gc.collect()
        began = time.process_time()
        for now_ns, data in reads:
            clock.now_ns = now_ns
            connection.data_received(data)
            if reader is not None and reader.queued_bytes:
                for event in await reader.take():
                    if stage >= 3 and isinstance(event, Part):
                        spooling.take(event)
        took = time.process_time() - began
    if connection.failure is not None:
        raise connection.failure
    return took, units, spooling.parts


STAGES = ("packets in, access units out", "+ live stream, GOP cache", "+ fMP4 parts and segments", "+ CRC-32, SHA-256")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=20, help="how much media is fed")
    parser.add_argument("--rounds", type=int, default=15, help="how often; the least counts")
    parser.add_argument("--read-interval", type=float, default=SupervisorSettings().read_interval_s, help="seconds")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    offered, reads, packets = camera_reads(options.seconds, options.read_interval)
    least = [1e9] * len(STAGES)
    units = parts = 0
    # In turns, so that a slow moment of the machine does not fall on one stage alone.
    for _ in range(options.rounds):
        for stage in range(len(STAGES)):
            took, its_units, its_parts = asyncio.run(run(stage, offered, reads))
            least[stage] = min(least[stage], took)
            units, parts = max(units, its_units), max(parts, its_parts)
    table = Table(
        "One camera on the event loop, microseconds",
        (
            "up to",
            "a second of media",
            "% of a core",
            "the stage, a second",
            "per packet",
            "per access unit",
            "per part",
        ),
        notes=[
            f"{packets / options.seconds:.0f} packets, {units / options.seconds:.0f} access units, "
            f"{parts / options.seconds:.1f} parts a second, in {len(reads) / options.seconds:.0f} reads."
        ],
    )
    before = 0.0
    for name, took in zip(STAGES, least, strict=True):
        stage_us = (took - before) * 1e6
        table.add(
            name,
            took * 1e6 / options.seconds,
            took * 100 / options.seconds,
            stage_us / options.seconds,
            stage_us / packets,
            stage_us / units,
            stage_us / parts,
        )
        before = took
    table.print(as_json=options.json)


if __name__ == "__main__":
    main()

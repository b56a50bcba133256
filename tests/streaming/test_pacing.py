"""Connections read together at a pace, and fragments taken many at once: the same media comes out."""

import asyncio
import dataclasses
import functools
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.clock import Clock, SystemClock
from media.packetizer import Packetizer
from media.receiver import StreamReceiver
from media.rtp import HEADER
from media.unit import AccessUnit, Codec, StreamItem
from streaming.errors import CameraDisconnectedError
from streaming.rtsp.connection import READ_BYTES, EachFrame, RtspConnection
from streaming.rtsp.message import interleaved_header
from streaming.rtsp.pacing import ReadPacer
from streaming.rtsp.transport import RtpChannel
from tests.support.clocks import FakeClock
from tests.support.rtp_feed import SMALL, START_NS, description, make_units

INTERVAL_S = 0.01


@functools.cache
def session(codec: Codec) -> tuple[tuple[AccessUnit, ...], tuple[tuple[int, bytes], ...]]:
    """Units of two seconds, and their packets by interleaved channel; small ones, so that pictures take many."""
    units = tuple(make_units(dataclasses.replace(SMALL, video=codec), 2))
    tracks = {unit.track.id: unit.track for unit in units}
    # Sequence numbers go past 65535 on the way.
    packetizers = {
        key: Packetizer(track, 96 + key, 1000 + key, mtu=200, sequence=65_400) for key, track in tracks.items()
    }
    packets = [(2 * unit.track.id - 2, p) for unit in units for p in packetizers[unit.track.id].packets(unit)]
    return units, tuple(packets)


def received(
    codec: Codec, packets: list[tuple[int, bytes]], step: int, *, follow: bool
) -> tuple[list[StreamItem], str]:
    """What comes out of reads of ``step`` bytes, and all counters."""
    units, _ = session(codec)
    tracks = {unit.track.id: unit.track for unit in units}
    offered = [dataclasses.replace(description(tracks[key]), payload_type=96 + key) for key in sorted(tracks)]
    clock = FakeClock(START_NS)
    receiver = StreamReceiver(offered, clock, origin_utc_ns=START_NS - 10**9)
    connection = RtspConnection(clock, "camera", 554, lambda *_: None)
    items: list[StreamItem] = []

    def one_by_one(index: int) -> EachFrame:
        return EachFrame(lambda packet, arrival_ns: items.extend(receiver.rtp(index, packet, arrival_ns)))

    for index in range(len(offered)):
        connection.sinks[2 * index] = RtpChannel(receiver, index, items.append) if follow else one_by_one(index)
    data = b"".join(interleaved_header(channel, len(packet)) + packet for channel, packet in packets)
    for at in range(0, len(data), step):
        piece = data[at : at + step]
        connection.data_received(piece)
        clock.advance(len(piece) * 20e-6)
    items.extend(receiver.flush())
    assert connection.failure is None
    return items, repr(receiver.counters)


@pytest.mark.parametrize("codec", [Codec.H264, Codec.H265])
async def test_all_units_come_by_following(codec: Codec) -> None:
    units, packets = session(codec)
    items, _ = received(codec, list(packets), 20_000, follow=True)
    for track in (1, 2):
        came = [item.data for item in items if isinstance(item, AccessUnit) and item.track.id == track]
        # Joined, since sound comes as it was packetized.
        assert b"".join(came) == b"".join(unit.data for unit in units if unit.track.id == track)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([Codec.H264, Codec.H265]),
    st.integers(100, 60_000),
    st.lists(st.tuples(st.sampled_from(["lose", "double", "swap", "stranger", "other time"]), st.integers(0, 10_000))),
)
async def test_following_gives_what_one_by_one_gives(codec: Codec, step: int, faults: list[tuple[str, int]]) -> None:
    packets = list(session(codec)[1])
    for fault, number in faults:
        at = number % (len(packets) - 1)
        channel, packet = packets[at]
        if fault == "lose":
            del packets[at]
        elif fault == "double":
            packets.insert(at, packets[at])
        elif fault == "swap":
            packets[at], packets[at + 1] = packets[at + 1], packets[at]
        else:
            first, second, sequence, timestamp, ssrc = HEADER.unpack_from(packet)
            if fault == "stranger":
                ssrc += 1
            else:
                timestamp = (timestamp + 1) & 0xFFFFFFFF
            packets[at] = channel, HEADER.pack(first, second, sequence, timestamp, ssrc) + packet[HEADER.size :]
    assert received(codec, packets, step, follow=True) == received(codec, packets, step, follow=False)


@asynccontextmanager
async def wired(
    pacer: ReadPacer, clock: Clock | None = None
) -> AsyncIterator[tuple[RtspConnection, asyncio.StreamWriter, list[bytes]]]:
    """A connection that is read by the pacer, the camera's end of it, and the frames taken so far."""
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_server(lambda _, writer: accepted.put_nowait(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: RtspConnection(clock or SystemClock(), "camera", port, lambda *_: None), "127.0.0.1", port
    )
    frames: list[bytes] = []
    connection.sinks[0] = EachFrame(lambda packet, _: frames.append(packet))
    writer = await accepted.get()
    connection.pace(pacer)
    try:
        yield connection, writer, frames
    finally:
        connection.close()
        writer.close()
        server.close()
        await server.wait_closed()


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not met():  # noqa: ASYNC110 - nothing tells of single frames
            await asyncio.sleep(INTERVAL_S)


async def test_each_connection_gets_its_own_frames() -> None:
    pacer = ReadPacer(INTERVAL_S)
    async with wired(pacer) as (_, one, first), wired(pacer) as (_, other, second):
        expected: dict[int, list[bytes]] = {1: [], 2: []}
        data = {1: b"", 2: b""}
        for number in range(400):
            for key in (1, 2):
                packet = bytes((key,)) * (1 + number * 37 % 3000)
                expected[key].append(packet)
                data[key] += interleaved_header(0, len(packet)) + packet
        # Cut at other places than between frames, so that a rest stays behind with each.
        for at in range(0, max(map(len, data.values())), 7_001):
            one.write(data[1][at : at + 7_001])
            other.write(data[2][at : at + 7_001])
            await asyncio.sleep(0)
        await until(lambda: len(first) == len(second) == 400)
        assert first == expected[1]
        assert second == expected[2]
    pacer.close()


async def test_more_than_one_read_holds_comes_all_the_same() -> None:
    pacer = ReadPacer(INTERVAL_S)
    async with wired(pacer) as (_, camera, frames):
        packet = bytes(60_000)
        count = 20 * READ_BYTES // len(packet)
        camera.write((interleaved_header(0, len(packet)) + packet) * count)
        await until(lambda: len(frames) == count)
        assert set(frames) == {packet}
    pacer.close()


async def test_a_camera_whose_bytes_take_long_does_not_hold_up_others() -> None:
    pacer = ReadPacer(INTERVAL_S)
    clock = FakeClock()
    order: list[str] = []
    async with wired(pacer, clock) as (slow, one, _), wired(pacer, clock) as (quick, other, _):
        packet = interleaved_header(0, 60_000) + bytes(60_000)

        def labour(data: bytes, arrival_ns: int) -> None:
            clock.advance(0.015)
            order.append("slow")

        slow.sinks[0] = EachFrame(labour)
        quick.sinks[0] = EachFrame(lambda *_: order.append("quick"))
        # As much as waits in a socket while this loop does something else.
        one.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        one.write(packet * 30)
        other.write(interleaved_header(0, 4) + b"mine")
        await until(lambda: len(order) == 31)
        assert order.index("quick") <= 6
    pacer.close()


async def test_a_camera_that_goes_is_noticed_and_read_no_more() -> None:
    pacer = ReadPacer(INTERVAL_S)
    async with wired(pacer) as (connection, camera, frames), wired(pacer) as (_, other, others):
        connection.spoke_rtsp = True
        camera.write(interleaved_header(0, 4) + b"last")
        camera.close()
        async with asyncio.timeout(10):
            await connection.closed
        assert frames == [b"last"]
        assert isinstance(connection.failure, CameraDisconnectedError)
        other.write(interleaved_header(0, 4) + b"next")
        await until(lambda: others == [b"next"])
    pacer.close()


async def test_a_paced_connection_read_at_once_and_paced_again_loses_nothing() -> None:
    # So slow that nothing comes by the pace.
    pacer = ReadPacer(3600)
    async with wired(pacer) as (connection, camera, frames):
        camera.write(interleaved_header(0, 4) + b"one!" + interleaved_header(0, 4) + b"tw")
        connection.unpace()
        await until(lambda: frames == [b"one!"])
        # In the middle of a frame.
        connection.pace(pacer)
        camera.write(b"o!")
        connection.unpace()
        await until(lambda: frames == [b"one!", b"two!"])
    pacer.close()


async def test_a_connection_that_changes_its_pace_loses_nothing() -> None:
    # So slow that nothing comes by the pace.
    slow, quick = ReadPacer(3600), ReadPacer(INTERVAL_S)
    async with wired(slow) as (connection, camera, frames):
        camera.write(interleaved_header(0, 4) + b"one!" + interleaved_header(0, 4) + b"tw")
        connection.pace(quick)
        await until(lambda: frames == [b"one!"])
        connection.pace(slow)
        camera.write(b"o!")
        connection.pace(quick)
        await until(lambda: frames == [b"one!", b"two!"])
    slow.close()
    quick.close()


async def test_all_are_read_each_round_in_turns() -> None:
    together: list[int] = []

    class Reader:
        reads = 0

        def read_now(self) -> None:
            self.reads += 1
            if not together or together[-1] < 0:
                together.append(0)
                asyncio.get_running_loop().call_soon(lambda: together.extend((-1,)))
            together[-1] += 1

    pacer = ReadPacer(0.04, at_once=3)
    readers = [Reader() for _ in range(10)]
    for reader in readers:
        pacer.add(reader)
    await until(lambda: all(reader.reads >= 3 for reader in readers))
    pacer.remove(readers[0])
    before = readers[0].reads
    await until(lambda: all(reader.reads >= before + 3 for reader in readers[1:]))
    assert readers[0].reads == before
    # Each once a round, and never all of them in one go.
    counts = [reader.reads for reader in readers[1:]]
    assert max(counts) - min(counts) <= 1
    assert 2 <= max(together) <= 3
    pacer.close()


async def test_a_fault_while_one_is_read_stops_nobody() -> None:
    class Reader:
        reads = 0

        def read_now(self) -> None:
            self.reads += 1
            if self.reads == 2:
                raise MemoryError

    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    pacer = ReadPacer(INTERVAL_S)
    reader = Reader()
    pacer.add(reader)
    await until(lambda: reader.reads >= 4)
    assert [type(error) for error in told] == [MemoryError]
    pacer.close()

"""RTP cut out of reads of any size: the same packets come out, and messages between them."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.errors import CameraDisconnectedError, MessageBrokenError, MessageTooLargeError, NotRtspError
from streaming.rtsp.connection import MAX_GARBAGE_BYTES, EachFrame, RtspConnection
from streaming.rtsp.message import Response, interleaved_header
from tests.support.clocks import FakeClock

PACKETS = st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.binary(max_size=3000)), max_size=30)


def framed(channel: int, packet: bytes) -> bytes:
    return interleaved_header(channel, len(packet)) + packet


class Wire:
    """A connection without a socket: what it is fed, it reads."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, bytes]] = []
        self.strays: list[tuple[int, bytes]] = []
        self.connection = RtspConnection(
            FakeClock(), "camera", 554, lambda channel, packet, _: self.strays.append((channel, packet))
        )
        for channel in (0, 1, 2):
            self.connection.sinks[channel] = self._sink(channel)

    def _sink(self, channel: int) -> EachFrame:
        return EachFrame(lambda packet, arrival_ns: self.taken.append((channel, packet)))

    def feed(self, data: bytes, step: int = 1 << 20) -> None:
        for position in range(0, len(data), step):
            self.connection.data_received(data[position : position + step])


@settings(max_examples=50, deadline=None)
@given(PACKETS, st.integers(1, 5000), st.integers(0, 30))
async def test_any_cut_gives_the_same_packets(packets: list[tuple[int, bytes]], step: int, answer_at: int) -> None:
    wire = Wire()
    pieces = [framed(channel, packet) for channel, packet in packets]
    pieces.insert(min(answer_at, len(pieces)), Response(200).encode())
    wire.feed(b"".join(pieces), step)
    assert wire.taken == packets
    assert wire.connection.spoke_rtsp
    assert wire.connection.failure is None


async def test_the_largest_frame_fits_whatever_came_before() -> None:
    wire = Wire()
    packets = [(0, bytes(65_535)), (2, b"x" * 65_535), (0, b"y")]
    wire.feed(b"".join(framed(*packet) for packet in packets), 7_000)
    assert wire.taken == packets


async def test_frames_nobody_agreed_on_are_handed_over() -> None:
    wire = Wire()
    wire.feed(framed(9, b"abc") + framed(0, b"d"))
    assert wire.strays == [(9, b"abc")]
    assert wire.taken == [(0, b"d")]


async def test_garbage_between_frames_is_skipped_and_bounded() -> None:
    wire = Wire()
    wire.connection.tolerant = True
    wire.feed((b"\x01\x02\x03" + framed(0, b"a")) * 50, 5)
    assert wire.taken == [(0, b"a")] * 50
    assert wire.connection.garbage_bytes == 150
    wire.feed(b"\0" * (MAX_GARBAGE_BYTES + 10))
    assert isinstance(wire.connection.failure, MessageBrokenError)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=5000), st.integers(1, 500), st.booleans())
async def test_any_bytes_end_in_a_typed_error_or_nothing(data: bytes, step: int, tolerant: bool) -> None:
    wire = Wire()
    wire.connection.tolerant = tolerant
    wire.feed(data, step)
    failure = wire.connection.failure
    assert failure is None or isinstance(failure, NotRtspError | MessageBrokenError | MessageTooLargeError)


async def test_a_fault_in_a_sink_ends_this_connection_with_it() -> None:
    wire = Wire()

    def broken(packet: bytes, arrival_ns: int) -> None:
        raise ZeroDivisionError

    wire.connection.sinks[0] = EachFrame(broken)
    wire.feed(framed(0, b"a") + framed(2, b"b"))
    assert isinstance(wire.connection.failure, ZeroDivisionError)
    assert wire.connection.closed.done()
    assert wire.taken == []


async def test_requests_end_when_the_connection_does() -> None:
    wire = Wire()
    wire.connection.spoke_rtsp = True
    request = asyncio.ensure_future(wire.connection.request("OPTIONS", "*", [], 5))
    await asyncio.sleep(0)
    wire.connection.connection_lost(None)
    with pytest.raises(CameraDisconnectedError):
        await request
    with pytest.raises(CameraDisconnectedError):
        await wire.connection.request("OPTIONS", "*", [], 5)

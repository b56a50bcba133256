"""One system call for many packets to many viewers: how they lie in memory, and what the kernel makes of it."""

import contextlib
import ctypes
import errno
import socket
import sys
from array import array

import pytest

from streaming.webrtc.port import PortSettings, WebRtcPort
from streaming.webrtc.udp import UdpPath
from streaming.webrtc.volley import Volley, packed_address
from streaming.webrtc.wire import Wire
from tests.support.whep_house import CLOCK

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sendmmsg and UDP_SEGMENT are Linux's")

SIZES = (
    [700],
    [1200] * 5 + [37],
    [1200, 1201],
    [30, 12, 1200, 1200, 1200, 5],
    [1199] * 3,
    [1200] * 48,
    [1200] * 49 + [1],
    [1201, 1201, 3, 3, 1201],
)


@pytest.mark.parametrize("tag_bytes", [10, 16])
@pytest.mark.parametrize("sizes", SIZES)
def test_packets_lie_as_the_kernel_cuts_them_and_libsrtp_wants_them(sizes: list[int], tag_bytes: int) -> None:
    packets = [bytes([n]) * size for n, size in enumerate(sizes)]
    wire = Wire(packets, tag_bytes)
    assert wire.count == len(sizes)
    assert array("i", wire.lengths).tolist() == sizes
    assert [wire.plain[at : at + size] for at, size in zip(wire.offsets, sizes, strict=True)] == packets
    assert all(at % 4 == 0 for at in wire.offsets)
    assert len(wire.plain) == wire.size <= wire.room
    cut = [(at, min(at + run.size, run.end)) for run in wire.runs for at in range(run.start, run.end, run.size)]
    assert cut == [(at, at + size + tag_bytes) for at, size in zip(wire.offsets, sizes, strict=True)]
    assert [run.count for run in wire.runs if run.count > 48 or run.end - run.start > 60_000] == []
    assert sum(run.count for run in wire.runs) == len(sizes)


def test_a_call_after_one_of_another_shape_sends_what_is_meant() -> None:
    """Tables are written anew only where they differ from those of the picture before."""
    shapes = ([100, 100, 40], [100, 100, 100], [60], [40, 100, 100, 20], [100, 40])
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(4)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
            one.settimeout(10)
        volley = Volley(sockets[0])
        names = [packed_address(socket.AF_INET, one.getsockname()).ljust(32, b"\0") for one in sockets]
        for turn in range(40):
            sizes, viewers, stride = shapes[turn % 5], 1 + turn % 4, (448, 512)[turn % 2]
            scratch = bytearray(stride * viewers)
            sent = [[bytes([turn, who, n]) + bytes(size - 3) for n, size in enumerate(sizes)] for who in range(viewers)]
            for who, packets in enumerate(sent):
                wire = Wire(packets, 0)
                scratch[who * stride : who * stride + wire.size] = wire.plain
            address = ctypes.addressof(ctypes.c_char.from_buffer(scratch))
            volley.lay(wire.runs, viewers, address, stride, 16)
            assert volley.fire(b"".join(names[:viewers]), viewers) == []
            for one, packets in zip(sockets, sent, strict=False):
                assert [one.recv(2000) for _ in packets] == packets


def test_a_refused_message_does_not_stop_those_behind_it() -> None:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
            one.settimeout(10)
        wire = Wire([bytes([n]) * 100 for n in (1, 2)] + [b"\3" * 40], 0)
        volley = Volley(sockets[0])
        scratch = bytearray(wire.plain)
        names = [packed_address(socket.AF_INET, one.getsockname()) for one in sockets]
        names[1] = packed_address(socket.AF_INET, ("255.255.255.255", 9))
        table = b"".join(name.ljust(32, b"\0") for name in names)
        address = ctypes.addressof(ctypes.c_char.from_buffer(scratch))
        volley.lay(wire.runs, 3, address, 0, len(names[0]))
        assert volley.fire(table, 3) == [(1, errno.EACCES)]
        for one in (sockets[0], sockets[2]):
            assert [one.recv(2000) for _ in range(3)] == [b"\1" * 100, b"\2" * 100, b"\3" * 40]


async def test_ipv6_addresses_are_packed_as_the_kernel_takes_them() -> None:
    async with WebRtcPort(PortSettings(host="::1"), CLOCK) as port:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as there:
            there.bind(("::1", 0))
            there.settimeout(10)
            path = UdpPath(port.outlets[0], there.getsockname())
            volley = port.outlets[0].volley
            assert volley is not None
            wire = Wire([b"\7" * 60], 0)
            held = ctypes.create_string_buffer(wire.plain, len(wire.plain))
            volley.lay(wire.runs, 1, ctypes.addressof(held), 0, len(path.name))
            assert volley.fire(path.name.ljust(32, b"\0"), 1) == []
            assert there.recv(2000) == b"\7" * 60

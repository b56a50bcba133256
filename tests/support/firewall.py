"""A firewall that lets no datagram of a camera in: the kernel drops all that comes to the sockets our client opens."""

import ctypes
import socket
import struct

import pytest

from streaming.rtsp import udp

_SO_ATTACH_FILTER = 26
_RETURN = 0x06


def no_datagrams(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, until the test is over. Sockets that are open already are left alone."""
    bind_pair = udp.bind_pair

    def bound(local: str) -> tuple[socket.socket, socket.socket]:
        pair = bind_pair(local)
        for one in pair:
            _take_nothing(one)
        return pair

    monkeypatch.setattr(udp, "bind_pair", bound)


def _take_nothing(one: socket.socket) -> None:
    # A classic BPF program of one instruction: keep 0 octets of each packet, which is to drop it (socket(7)).
    program = ctypes.create_string_buffer(struct.pack("=HBBI", _RETURN, 0, 0, 0))
    one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(program)))

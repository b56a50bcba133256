"""The packets of one picture to many addresses in one system call: sendmmsg(2), which Python has no call for.

Each message is one viewer's run of packets of one size, which the kernel cuts (UDP_SEGMENT). The table of messages is
the same for most pictures; where the packets lie is written into it once a picture, the addresses for each call.
"""

import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

from streaming.webrtc.wire import UDP_SEGMENT, Run

NAME_BYTES = 32
"""Room for an address: sockaddr_in has 16 octets, sockaddr_in6 28."""

MAX_MESSAGES = 256
MAX_VIEWERS = 16
"""Packets of so many wait side by side, and stay in a processor's second cache."""

# socket(7), recvmsg(2): struct mmsghdr, iovec and a cmsghdr with two octets of data, as the machine aligns them.
_MESSAGE = struct.Struct("@PIPNPNi0PI0P")
_VECTOR = struct.Struct("@PN")
_CONTROL = struct.Struct("@NiiH0N")
_CONTROL_HEAD = struct.calcsize("@Nii")
_CONTROL_LENGTH = _CONTROL_HEAD + 2
_NAME_V4 = struct.Struct("!H4s8x")
_NAME_V6 = struct.Struct("!HI16s")


def _find_sendmmsg() -> Callable[..., int] | None:
    """The C library's call; None where there is none."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        call = ctypes.CDLL(None, use_errno=True).sendmmsg
    except (AttributeError, OSError):
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
    call.restype = ctypes.c_int
    return call


def packed_address(family: int, address: Any) -> bytes:
    """A socket's address as the kernel takes it (ip(7), ipv6(7)). Raises OSError if it is none."""
    host = socket.inet_pton(family, str(address[0]).partition("%")[0])
    head = family.to_bytes(2, sys.byteorder)
    if family == socket.AF_INET:
        return head + _NAME_V4.pack(address[1], host)
    return head + _NAME_V6.pack(address[1], address[2], host) + int(address[3]).to_bytes(4, sys.byteorder)


class Volley:
    """One socket's table of messages. Raises OSError where the system has no sendmmsg."""

    def __init__(self, sock: socket.socket) -> None:
        call = _find_sendmmsg()
        if call is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._call = call
        self._file = sock.fileno()
        self._messages = ctypes.create_string_buffer(_MESSAGE.size * MAX_MESSAGES)
        self._vectors = ctypes.create_string_buffer(_VECTOR.size * MAX_MESSAGES)
        self._controls = ctypes.create_string_buffer(_CONTROL.size * MAX_MESSAGES)
        self._names = ctypes.create_string_buffer(NAME_BYTES * MAX_VIEWERS)
        self._names_view = memoryview(self._names).cast("B")
        self._at = ctypes.addressof(self._messages)
        self._each = 1
        # Runs, viewers, where their packets lie, how far apart.
        self._laid: tuple[Sequence[Run], int, int, int] = ((), 0, 0, 0)
        # What of the messages is the same for most pictures: which runs are cut, viewers, length of an address.
        self._shape: tuple[tuple[bool, ...], int, int] = ((), 0, 0)

    def lay(self, runs: Sequence[Run], viewers: int, data: int, stride: int, name_bytes: int) -> None:
        """Messages for ``viewers`` whose packets lie ``stride`` octets apart from the address ``data`` on, as ``runs``
        say; at most :data:`MAX_VIEWERS`, and :data:`MAX_MESSAGES` in all."""
        cut = tuple([run.count > 1 for run in runs])
        last, most, *rest = self._laid
        held, room, length = self._shape
        if cut != held or viewers > room or name_bytes != length:
            self._lay_messages(cut, viewers, name_bytes)
        elif last is runs and viewers <= most and rest == [data, stride]:
            return
        self._laid = (runs, viewers, data, stride)
        for number, run in enumerate(runs):
            if run.count > 1:
                at = number * _CONTROL.size
                _CONTROL.pack_into(self._controls, at, _CONTROL_LENGTH, socket.IPPROTO_UDP, UDP_SEGMENT, run.size)
        places = [(data + run.start, run.end - run.start) for run in runs]
        vectors = [word for n in range(viewers) for at, size in places for word in (at + n * stride, size)]
        struct.pack_into(f"@{len(vectors)}N", self._vectors, 0, *vectors)

    def _lay_messages(self, cut: tuple[bool, ...], viewers: int, name_bytes: int) -> None:
        """What tells where addresses, data and control are; the data itself lies otherwise for each picture."""
        self._shape = (cut, viewers, name_bytes)
        self._each = len(cut)
        names, vectors = ctypes.addressof(self._names), ctypes.addressof(self._vectors)
        controls = ctypes.addressof(self._controls)
        place = 0
        for viewer in range(viewers):
            for number, is_cut in enumerate(cut):
                _MESSAGE.pack_into(
                    self._messages,
                    place * _MESSAGE.size,
                    names + viewer * NAME_BYTES,
                    name_bytes,
                    vectors + place * _VECTOR.size,
                    1,
                    controls + number * _CONTROL.size if is_cut else 0,
                    _CONTROL.size if is_cut else 0,
                    0,
                    0,
                )
                place += 1

    def fire(self, names: bytes | memoryview, viewers: int) -> list[tuple[int, int]]:
        """Send to the first ``viewers``, whose addresses are ``names``; the messages that the system did not take, each
        with its error."""
        self._names_view[: len(names)] = names
        place, end = 0, viewers * self._each
        refused: list[tuple[int, int]] = []
        while place < end:
            sent = self._call(self._file, self._at + place * _MESSAGE.size, end - place, 0)
            if sent > 0:
                # Less than all: the next call begins with the message that was refused, and tells why.
                place += sent
            elif (error := ctypes.get_errno()) != errno.EINTR:
                refused.append((place, error))
                place += 1
        return refused

    def close(self) -> None:
        """The socket is closed: its number may be another's."""
        self._file = -1

"""Connections to an S3 server that may take its time, as long as it takes something."""

import fcntl
import select
import struct
import termios
import time
from threading import Event
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_PIECE_BYTES = 64 * 1024
_FIRST_LOOK_MS = 1
_LONGEST_LOOK_MS = 100


def patient_pools(patience_s: float, leaving: Event) -> dict[str, type[HTTPConnectionPool]]:
    """Pools for a ``urllib3.PoolManager``, by scheme: their connections send a body piece by piece, and wait
    ``patience_s`` for the server to take the next one. Once ``leaving`` is set no more of one is sent.

    A socket's timeout bounds the whole of one ``sendall`` (Python, ``socket.socket.sendall``), and urllib3 gives it a
    body in one, with the timeout that is meant for connecting: an object that is not through in that time, on a thin
    line or beside others, never would be. What the kernel has been given is not yet sent, either: it may be megabytes,
    and the time for an answer begins behind them.
    """

    class Patient(HTTPConnection):
        def send(self, data: Any) -> None:
            if self.sock is None or not isinstance(data, bytes) or len(data) <= _PIECE_BYTES:
                super().send(data)
                return
            self.sock.settimeout(patience_s)
            view = memoryview(data)
            for begin in range(0, len(view), _PIECE_BYTES):
                _stay(leaving)
                super().send(view[begin : begin + _PIECE_BYTES])
            _drain(self.sock.fileno(), patience_s, leaving)

    class PatientTls(Patient, HTTPSConnection):
        pass

    class Plain(HTTPConnectionPool):
        ConnectionCls = Patient

    class Secure(HTTPSConnectionPool):
        ConnectionCls = PatientTls

    return {"http": Plain, "https": Secure}


def _stay(leaving: Event) -> None:
    if leaving.is_set():
        raise ConnectionAbortedError("the store is being left")


def _drain(descriptor: int, patience_s: float, leaving: Event) -> None:
    """Wait for as long as the other side goes on taking what the kernel holds."""
    broken = select.poll()
    broken.register(descriptor, 0)
    left, moved, pause_ms = _unsent(descriptor), time.monotonic(), _FIRST_LOOK_MS
    while left and time.monotonic() - moved < patience_s and not broken.poll(pause_ms):
        _stay(leaving)
        pause_ms = min(2 * pause_ms, _LONGEST_LOOK_MS)
        before, left = left, _unsent(descriptor)
        if left < before:
            moved = time.monotonic()


def _unsent(descriptor: int) -> int:
    """Octets that the other side's kernel has not acknowledged (Linux, tcp(7): SIOCOUTQ is TIOCOUTQ)."""
    try:
        answer = fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4))
    except OSError:
        # A system that does not tell, or a connection that is gone, which the answer's reader finds out.
        return 0
    (octets,) = struct.unpack("i", answer)
    return int(octets)

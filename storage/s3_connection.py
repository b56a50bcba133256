"""Connections to an S3 server that may take its time, as long as it takes something."""

from threading import Event
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_PIECE_BYTES = 64 * 1024


def patient_pools(patience_s: float, leaving: Event) -> dict[str, type[HTTPConnectionPool]]:
    """Pools for a ``urllib3.PoolManager``, by scheme: their connections send a body piece by piece, and wait
    ``patience_s`` for the server to take the next one. Once ``leaving`` is set no more of one is sent.

    A socket's timeout bounds the whole of one ``sendall`` (Python, ``socket.socket.sendall``), and urllib3 gives it a
    body in one, with the timeout that is meant for connecting: an object that is not through in that time, on a thin
    line or beside others, never would be.
    """

    class Patient(HTTPConnection):
        def send(self, data: Any) -> None:
            if self.sock is None or not isinstance(data, bytes) or len(data) <= _PIECE_BYTES:
                super().send(data)
                return
            self.sock.settimeout(patience_s)
            view = memoryview(data)
            for begin in range(0, len(view), _PIECE_BYTES):
                if leaving.is_set():
                    raise ConnectionAbortedError("the store is being left")
                super().send(view[begin : begin + _PIECE_BYTES])

    class PatientTls(Patient, HTTPSConnection):
        pass

    class Plain(HTTPConnectionPool):
        ConnectionCls = Patient

    class Secure(HTTPSConnectionPool):
        ConnectionCls = PatientTls

    return {"http": Plain, "https": Secure}

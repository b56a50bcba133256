"""Ports for servers that must be told one before they start, and come back on it after a restart."""

import itertools
import os
import socket
from collections.abc import Iterator
from functools import cache

_FIRST, _LAST = 10_000, 32_000
"""Below what systems hand out by themselves (Linux from 32768 on): no connection of ours takes one meanwhile."""


@cache
def _numbers() -> Iterator[int]:
    """This process's numbers, over and over, begun where other processes hardly do."""
    first = os.getpid() * 97 % (_LAST - _FIRST)
    return (_FIRST + (first + step) % (_LAST - _FIRST) for step in itertools.count())


def free_port() -> int:
    """A TCP port on loopback that is free and that nothing takes by chance."""
    for number in _numbers():
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", number))
            except OSError:
                continue
            return number
    raise AssertionError("no port is free")

"""Crowds of TCP connections from many addresses of loopback."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def many_files(wanted: int) -> Iterator[int]:
    """Lets this process open up to ``wanted`` files, as far as the system does; gives how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    try:
        yield max(soft, most)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def crowd(port: int, count: int, stack: contextlib.ExitStack, says: bytes = b"") -> list[socket.socket]:
    """``count`` connections to a port of this machine, from 250 addresses; the stack closes them. Each says ``says``
    once it is let in, and no more."""
    connected = []
    for number in range(count):
        sock = stack.enter_context(socket.socket())
        sock.setblocking(False)
        sock.bind((f"127.0.{1 + number % 10}.{1 + number // 10 % 25}", 0))
        sock.connect_ex(("127.0.0.1", port))
        connected.append(sock)
        if number % 100 == 99:
            await asyncio.sleep(0)
            for late in connected[-100:]:
                with contextlib.suppress(OSError):
                    late.send(says)
    return connected

"""What every fuzz target has in common: how input is cut up, and what no input may do.

A target takes any bytes, gives them to one of our readers, and returns. Errors that the reader documents are caught by
the target itself; anything else that comes out is a finding, as is an input that takes longer than
:data:`LIMIT_S` of processor time or for which the process needs more than :data:`LIMIT_BYTES` of new memory.
"""

import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

LIMIT_S = 0.1
LIMIT_BYTES = 32 * 1024 * 1024
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Target:
    """One reader. ``run`` takes one input of at most ``max_len`` bytes; ``seeds`` makes the inputs to start from;
    ``words`` are what mutations may put in."""

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    max_len: int = 1024
    words: tuple[bytes, ...] = ()


class Input:
    """Cuts an input into what a target needs. Past the end everything is zero or empty."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        """The next bytes, as far as there are any."""
        piece = self._data[self._at : self._at + count]
        self._at += count
        return piece

    def number(self, octets: int = 1) -> int:
        """The next big-endian number."""
        return int.from_bytes(self.take(octets), "big")

    def piece(self) -> bytes:
        """Bytes behind a 16-bit length."""
        return self.take(self.number(2))

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data))

    def pieces(self, most: int = 64) -> Iterator[bytes]:
        """All that is left as pieces behind 16-bit lengths."""
        for _ in range(most):
            if not self:
                return
            yield self.piece()


def piece(data: bytes) -> bytes:
    """What :meth:`Input.piece` reads."""
    return len(data).to_bytes(2, "big") + data


def check(target: Target, data: bytes) -> None:
    """Run one input and hold it to the limits. Raises AssertionError, or whatever the reader should not have let out.

    A slow input is tried again, since the machine, too, may have been slow.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spent = LIMIT_S
    for _ in range(_ATTEMPTS):
        start = time.thread_time()
        target.run(data)
        spent = time.thread_time() - start
        if spent < LIMIT_S:
            break
    else:
        raise AssertionError(f"{target.name}: {len(data)} bytes took {spent * 1000:.0f} ms")
    # Linux counts in KiB.
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < LIMIT_BYTES, f"{target.name}: {len(data)} bytes needed {grown >> 20} MiB"

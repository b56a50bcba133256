"""Python's interpreter, set for a process whose event loop must not stand still, and whose memory stays small.

Garbage collector: by default the oldest generation is looked through again and again, and with it every module, route
and database model that was loaded at the start and will never be garbage: tens of milliseconds in which no camera is
read. So what is there when the service starts is taken out of the collector's sight, and it runs seldomer. Media itself
and viewers' sessions are freed by reference counts alone. It runs very seldom: it is started by what is made less what
is freed, but looks through all that was made since the time before and is still there, caches of every watched camera
among it. To start it more often only makes it look through them more often.

Threads: one that computes keeps the interpreter's lock for 5 ms by default before another gets its turn. The event loop
gives it up at every turn; with a handful of objects being hashed and stored it would wait for all of them each time.

Memory: glibc gives each thread an arena of its own, and each keeps what was freed in it. Two do for all. Parts and
large pictures live for seconds between small things that stay: in the heap they leave holes that nobody fills. So they
get pages of their own, which go back to the system when they are freed.

Files: a process may open 1,024 as a rule, for the sake of ``select(2)``, which nothing here uses. Viewers, cameras and
objects of a county are more; so it takes what it is allowed to take.
"""

import contextlib
import ctypes
import gc
import resource
import sys

_THRESHOLDS = (200_000, 10, 10)
"""Objects made and not freed until the youngest generation is looked through; how many times, until the next one is."""
_SWITCH_S = 0.0005
_ARENAS = 2
_FILES = 65_536
_LARGE_BYTES = 64 * 1024
_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3
"""``malloc.h`` of glibc, ``mallopt(3)``."""


def settle_interpreter() -> None:
    """To be called once, when everything is imported and before the event loop or any thread runs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    sys.setswitchinterval(_SWITCH_S)
    _allow_files()
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        # Another C library, with other arenas or none.
        return
    mallopt(_M_ARENA_MAX, _ARENAS)
    # Set by hand, glibc no longer raises it by itself.
    mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def _allow_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

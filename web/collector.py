"""Python's cyclic garbage collector, set for a process whose event loop must not stand still.

By default the oldest generation is looked through again and again, and with it every module, route and database model
that was loaded at the start and will never be garbage: tens of milliseconds in which no camera is read. So what is
there when the service starts is taken out of the collector's sight, and it runs seldomer. Media itself is freed by
reference counts alone.
"""

import gc

_THRESHOLDS = (20_000, 20, 20)
"""Objects made and not freed until the youngest generation is looked through; how many times, until the next one is."""


def settle_collector() -> None:
    """To be called once, when everything is imported and before the event loop runs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)

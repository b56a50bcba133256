"""Network interfaces that come and go beside a browser make it give up what it is loading (Chromium's
ERR_NETWORK_CHANGED). A plugin: beside a test marked ``interfaces`` no test has a browser, in whatever process of
whatever run they are.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

_GATE, _ROOM = (Path(tempfile.gettempdir(), f"sanhui-tests-interfaces-{name}") for name in ("gate", "room"))


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, how)
        yield
    finally:
        os.close(file)


@pytest.fixture(autouse=True)
def no_interface_comes_or_goes_beside_a_browser(request: pytest.FixtureRequest) -> Iterator[None]:
    """Browsers are in the room together, who makes interfaces is there alone; meanwhile the gate lets nobody in."""
    alone = request.node.get_closest_marker("interfaces") is not None
    if not alone and request.node.get_closest_marker("browser") is None:
        yield
        return
    with ExitStack() as room:
        with _locked(_GATE, fcntl.LOCK_EX):
            room.enter_context(_locked(_ROOM, fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        yield

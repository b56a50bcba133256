"""Every playlist and every transport stream segment that any test makes passes through the checkers, here.

A plugin: what :mod:`streaming.hls` and :mod:`recorder` write is judged as it is written, each playlist by itself and
against the ones told before it under the same address. A broken rule fails the test in which it was broken.
"""

import functools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import pytest

import recorder.playback
import streaming.hls.ts
from media.mpegts import mux_segment
from recorder.playback import Playback
from streaming.hls.window import LiveWindow
from tests.support import playlist_rules, transport
from tests.support.playlist_reloads import Reloads

broken: list[str] = []
_told: WeakKeyDictionary[object, dict[tuple[object, ...], Reloads]] = WeakKeyDictionary()

Writer = Callable[..., Awaitable[str]]


def _judged(method: Writer, name: str) -> Writer:
    """``method`` of a class, with what it answers judged. All but its directives of delivery make up its address."""

    @functools.wraps(method)
    async def judged(self: object, *args: Any, **options: Any) -> str:
        text = await method(self, *args, **options)
        if name == "master_playlist":
            broken.extend(playlist_rules.problems(text))
            return text
        live = isinstance(self, LiveWindow)
        address = (name, *args[:1]) if live else (name, *args, *sorted(options.items()))
        reloads = _told.setdefault(self, {}).setdefault(address, Reloads())
        broken.extend(reloads.problems(text))
        return text

    return judged


def _checked_segment(*args: Any) -> bytes:
    data = mux_segment(*args)
    broken.extend(transport.problems(data))
    return data


@pytest.fixture(autouse=True)
def every_playlist_keeps_the_rules() -> Iterator[None]:
    """Fails a test in which a rule was broken."""
    broken.clear()
    yield
    found, broken[:] = list(dict.fromkeys(broken)), []
    assert not found, "\n".join(found)


for _class in (LiveWindow, Playback):
    for _name in ("master_playlist", "media_playlist", "ts_playlist"):
        setattr(_class, _name, _judged(getattr(_class, _name), _name))
for _module in (recorder.playback, streaming.hls.ts):
    _module.mux_segment = _checked_segment  # type: ignore[attr-defined]

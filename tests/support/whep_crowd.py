"""Many viewers of one stream, all of them in a lane, and what goes out together."""

import contextlib
import errno
from collections.abc import AsyncIterator, Sequence

from media.unit import AccessUnit
from streaming.webrtc.volley import Volley
from streaming.webrtc.whep import WhepSession
from tests.support.webrtc_client import WebRtcClient
from tests.support.whep_house import House, arrived, pictures, publish, stuffed

JOINED, TOGETHER = 60, 62
"""Of the pictures, those before the viewers come, and those before all of them are in a lane."""


def large() -> list[AccessUnit]:
    """Pictures of several packets each."""
    return [stuffed(unit, 4_000) for unit in pictures(100)]


class Counting:
    """A volley that counts. The next ``full`` times the system has no room for anything."""

    def __init__(self, volley: Volley) -> None:
        self.lay, self.close = volley.lay, volley.close
        self._fire = volley.fire
        self.fired: list[int] = []
        self.refused: list[tuple[int, int]] = []
        self.full = 0

    def fire(self, names: memoryview, viewers: int) -> list[tuple[int, int]]:
        self.fired.append(viewers)
        if self.full:
            self.full -= 1
            return [(place, errno.ENOBUFS) for place in range(viewers)]
        refused = self._fire(names, viewers)
        self.refused += refused
        return refused


def counted(h: House) -> Counting:
    """From now on, what goes out together is counted. Before the viewers come."""
    outlet = h.port.outlets[0]
    assert outlet.volley is not None
    counting = Counting(outlet.volley)
    outlet.volley = counting  # type: ignore[assignment]
    return counting


@contextlib.asynccontextmanager
async def crowd(
    h: House, count: int, units: Sequence[AccessUnit], **offered: object
) -> AsyncIterator[tuple[list[WebRtcClient], list[WhepSession]]]:
    """So many viewers, who have all been sent the pictures up to ``TOGETHER``."""
    publish(h.stream(), units[:JOINED])
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(WebRtcClient()) for _ in range(count)]
        sessions = [await h.look(client, **offered) for client in clients]  # type: ignore[arg-type]
        for client, session in zip(clients, sessions, strict=True):
            await arrived(client, JOINED - 50)
            await client.until(lambda one=session: not one.viewer.behind)  # type: ignore[misc]
        for at in range(JOINED, TOGETHER):
            publish(h.stream(), units[at : at + 1])
            for client in clients:
                await arrived(client, at + 1 - 50)
        yield clients, sessions

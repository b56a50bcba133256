"""The one UDP socket: when the kernel is asked to cut packets, and when it is asked again."""

import contextlib
import errno
import socket
from collections.abc import Iterator, Sequence

from streaming.webrtc.udp import PortCounters, UdpOutlet, UdpPath
from streaming.webrtc.volley import Volley
from streaming.webrtc.wire import Run
from tests.support.whep_crowd import TOGETHER, crowd, large
from tests.support.whep_house import arrived, house, numbers, publish, video, whole


@contextlib.contextmanager
def outlet() -> Iterator[UdpOutlet]:
    found = UdpOutlet(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), PortCounters())
    try:
        yield found
    finally:
        found.close()


def rests(found: UdpOutlet) -> int:
    """After how many looks it is tried again."""
    for looks in range(1, 10_000):
        found.look()
        if found.segmentation:
            return looks
    raise AssertionError("never tried again")


def test_a_kernel_that_refused_to_cut_is_asked_again_and_ever_more_seldom() -> None:
    with outlet() as found:
        waited = []
        for _ in range(9):
            assert found.uncut(errno.EINVAL)
            # Every viewer's packets are refused, which says nothing more.
            assert found.uncut(errno.EINVAL)
            assert not found.segmentation
            waited.append(rests(found))
        assert waited == [12, 24, 48, 96, 192, 384, 720, 720, 720]
        found.cut()
        assert found.uncut(errno.EMSGSIZE)
        assert found.segmentation, "one narrow way"
        found.look()
        assert not found.uncut(errno.ENETUNREACH)


class OneRefuses:
    """Stands in for a volley whose first viewer cannot be reached by packets that the kernel cuts."""

    def __init__(self, volley: Volley) -> None:
        self._volley = volley
        self._cut = 0

    def lay(self, runs: Sequence[Run], viewers: int, data: int, stride: int, name_bytes: int) -> None:
        self._cut = next(number for number, run in enumerate(runs) if run.count > 1)
        self._volley.lay(runs, viewers, data, stride, name_bytes)

    def fire(self, names: bytes, viewers: int) -> list[tuple[int, int]]:
        return [*self._volley.fire(names, viewers), (self._cut, errno.EMSGSIZE)]


async def test_one_narrow_way_does_not_turn_it_off_for_the_others() -> None:
    units = large()
    async with house() as h, crowd(h, 4, units) as (clients, sessions):
        found = h.port.outlets[0]
        found._proven = False  # noqa: SLF001 as if nothing had been cut before
        lane = sessions[0].viewer.video
        assert lane is not None
        assert lane.lane is not None
        lane.lane._volley = OneRefuses(lane.lane._volley)  # type: ignore[assignment]  # noqa: SLF001
        publish(h.stream(), units[TOGETHER : TOGETHER + 1])
        for client in clients:
            await arrived(client, TOGETHER + 1 - 50)
        assert found.segmentation
        narrow = [session.peer._ice.path for session in sessions]  # noqa: SLF001
        assert sorted(isinstance(path, UdpPath) and path.segments for path in narrow) == [False, True, True, True]
        publish(h.stream(), units[TOGETHER + 1 : 80])
        for client in clients:
            await arrived(client, 30)
            assert whole(client)
            assert numbers(video(client)) == list(range(50, 80))

"""A line between this machine and a network namespace: it loses, delays, lets no UDP through, and says how much it did.

    with BadLine(loss=0.05, delay_s=0.1) as line:
        … a server of this process on line.outside …
        await line.run_inside(client)       # the coroutine's sockets are in the namespace

Two TUN interfaces, one in the namespace, and a thread that carries IP packets from one to the other. ``tc netem`` would
do the same where the kernel has it; many have not, and here the losses are those of a seed.
"""

import asyncio
import ctypes
import fcntl
import heapq
import itertools
import os
import random
import select
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.support.servers import cannot_run

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x0001 | 0x1000
_UDP = 17
_MAX_PACKET = 65_535
_HELP = (
    "network namespaces need root or CAP_NET_ADMIN and CAP_SYS_ADMIN, /dev/net/tun, and the command ip "
    "(apt-get install iproute2); in a container: --cap-add NET_ADMIN --cap-add SYS_ADMIN --device /dev/net/tun"
)


class BadLine:
    """The line, open while inside the block. ``loss`` is the share of packets lost each way, ``delay_s`` the time that
    each takes; both may be changed meanwhile, and ``udp`` set to false."""

    def __init__(self, *, loss: float = 0.0, delay_s: float = 0.0, udp: bool = True, seed: int = 1) -> None:
        self.loss = loss
        self.delay_s = delay_s
        self.udp = udp
        self.carried = 0
        self.lost = 0
        self.blocked = 0
        number = os.getpid() % 250
        # 198.18.0.0/15 is for tests of networks (RFC 2544).
        self._network = f"198.18.{number}"
        self.outside = f"{self._network}.1"
        self.inside = f"{self._network}.2"
        self.inside_other = f"{self._network}.3"
        self._names = (f"sanhui-o{number}", f"sanhui-i{number}")
        self._namespace = f"sanhui-{os.getpid()}"
        self._random = random.Random(seed)
        self._stack = ExitStack()
        self._ends: tuple[int, int] = (-1, -1)
        self._over = threading.Event()
        self._laid = False

    def __enter__(self) -> Self:
        if shutil.which("ip") is None or not os.access("/dev/net/tun", os.W_OK):
            cannot_run(_HELP)
        with ExitStack() as stack:
            try:
                self._lay(stack)
            except (OSError, subprocess.CalledProcessError) as error:
                detail = getattr(error, "stderr", None) or str(error)
                cannot_run(f"{_HELP} ({detail.strip()})")
            carrier = threading.Thread(target=self._carry, name="bad line", daemon=True)
            carrier.start()
            stack.callback(carrier.join)
            stack.callback(self._over.set)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _lay(self, stack: ExitStack) -> None:
        outer, inner = self._names
        _ip("netns", "add", self._namespace)
        stack.callback(_ip, "netns", "del", self._namespace)
        ends = []
        for name in self._names:
            end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            stack.callback(os.close, end)
            fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN_NO_PI))
            ends.append(end)
        self._ends = (ends[0], ends[1])
        _ip("link", "set", inner, "netns", self._namespace)
        _ip("address", "add", f"{self.outside}/24", "dev", outer)
        _ip("link", "set", outer, "up")
        # One by one, for Linux takes a network's other addresses away with the first.
        for address in (self.inside, self.inside_other):
            self.give_address(address)
        self.inside_ip("link", "set", "lo", "up")
        self.inside_ip("link", "set", inner, "up")
        self.inside_ip("route", "add", f"{self._network}.0/24", "dev", inner)
        self._laid = True

    def inside_ip(self, *arguments: str) -> None:
        """Run ``ip`` in the namespace. Raises subprocess.CalledProcessError."""
        _ip("-n", self._namespace, *arguments)

    def take_address(self, address: str) -> None:
        """The namespace loses an address: what was bound to it gets nothing any more."""
        self.inside_ip("address", "del", f"{address}/32", "dev", self._names[1])

    def give_address(self, address: str) -> None:
        """The namespace has an address (again)."""
        self.inside_ip("address", "add", f"{address}/32", "dev", self._names[1])
        if self._laid:
            # With an interface's last address go its routes.
            self.inside_ip("route", "replace", f"{self._network}.0/24", "dev", self._names[1])

    async def run_inside(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on an event loop of its own, in a thread that is in the namespace."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            if done.cancelled():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)  # type: ignore[arg-type]

        def run() -> None:
            try:
                self._enter_namespace()
                result = asyncio.run(work())
            except BaseException as error:  # noqa: BLE001 - told to whoever waits
                loop.call_soon_threadsafe(settle, None, error)
            else:
                loop.call_soon_threadsafe(settle, result, None)

        thread = threading.Thread(target=run, name="inside", daemon=True)
        thread.start()
        try:
            return await done
        finally:
            await asyncio.to_thread(thread.join, 20)

    def _enter_namespace(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        end = os.open(f"/run/netns/{self._namespace}", os.O_RDONLY)
        try:
            if libc.setns(end, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(end)

    def _carry(self) -> None:
        """Packets from one end to the other, until the line is closed."""
        waiting: list[tuple[float, int, int, bytes]] = []
        count = itertools.count()
        other = {self._ends[0]: self._ends[1], self._ends[1]: self._ends[0]}
        while not self._over.is_set():
            pause = 0.05 if not waiting else min(0.05, max(0.0, waiting[0][0] - time.monotonic()))
            ready, _, _ = select.select(self._ends, (), (), pause)
            for end in ready:
                packet = _packet(end)
                if packet and self._passes(packet):
                    heapq.heappush(waiting, (time.monotonic() + self.delay_s, next(count), other[end], packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, end, packet = heapq.heappop(waiting)
                try:
                    os.write(end, packet)
                    self.carried += 1
                except OSError:
                    self.lost += 1

    def _passes(self, packet: bytes) -> bool:
        if packet[0] >> 4 != 4:
            return False
        if not self.udp and packet[9] == _UDP:
            self.blocked += 1
            return False
        if self._random.random() < self.loss:
            self.lost += 1
            return False
        return True


def _packet(end: int) -> bytes:
    try:
        return os.read(end, _MAX_PACKET)
    except OSError:
        return b""


def _ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True, capture_output=True, text=True, timeout=20)

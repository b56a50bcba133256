"""Village cameras that are not there: real RTSP servers with real encoded media, for demonstrations and tests.

    python -m streaming.simulator --count 3                  clocks, flashes and beeps, made in real time
    python -m streaming.simulator --loop FILE --count 100    one 1080p25 2 Mb/s loop under many addresses, for benches

Prints one JSON line for each camera when it can be reached, and serves until it is terminated.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import uvloop

from media.clock import Clock, SystemClock
from media.stream import LiveStream, StreamId
from media.testloop import TestLoop, cached_loop
from media.testsource import TestSource, TestSourceSettings
from media.unit import NS_PER_S, AccessUnit, Codec
from streaming.door import DoorLimits
from streaming.rtsp.auth import ServerAuthenticator
from streaming.rtsp.server import RtspServer
from streaming.secret import Secret

KINDS: tuple[TestSourceSettings, ...] = (
    TestSourceSettings(Codec.H264, Codec.PCMA, 1280, 720, 25, 1_000_000, label="CAMERA 1"),
    TestSourceSettings(Codec.H265, Codec.AAC, 640, 360, 20, 400_000, label="CAMERA 2"),
    TestSourceSettings(Codec.H264, None, 640, 360, 20, 400_000, label="CAMERA 3"),
)
"""The three kinds of the demonstration: H.264 with G.711, H.265 with AAC, H.264 without sound."""

SUB = TestSourceSettings(Codec.H264, None, 640, 360, 15, 250_000)
"""What a camera's sub stream is: small H.264, whatever the main stream, with the main stream's sound."""

LOOP = TestSourceSettings(Codec.H264, Codec.PCMA, 1920, 1080, 25, 2_000_000, noise=12, label="LOOP")
SMALL_LOOP = TestSourceSettings(Codec.H264, Codec.PCMA, 640, 360, 25, 500_000, noise=12, label="LOOP")
LOOP_S = 20
_LOOP_PHASES = 10
_LOOP_GOP_NS = 2 * NS_PER_S
_PARENT_POLL_S = 1.0


def loop_settings(bitrate_bps: int) -> TestSourceSettings:
    """What a loop of that bit rate shows: from 1 Mb/s on a main stream, below it a sub stream."""
    return dataclasses.replace(LOOP if bitrate_bps >= 1_000_000 else SMALL_LOOP, bitrate=bitrate_bps)


class SimulatedCamera:
    """A camera whose media a thread makes in real time; :attr:`stream` is what it shows.

    An async context manager: it runs from entering to leaving. Tracks are known once :meth:`ready` returns.
    """

    def __init__(self, name: str, settings: TestSourceSettings, clock: Clock) -> None:
        self.name = name
        self.settings = settings
        self.stream = LiveStream(StreamId(name), clock)
        self._clock = clock
        self._stop = threading.Event()
        self._ready = asyncio.Event()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, args=(loop,), name=f"camera-{self.name}", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        self.stream.end()

    async def ready(self) -> None:
        """Wait until all its tracks have brought media. Raises RuntimeError if the encoder failed."""
        await self._ready.wait()
        if self._failure is not None:
            raise RuntimeError(f"camera {self.name} has failed") from self._failure

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._generate(loop)
        except Exception as error:  # noqa: BLE001 a thread has nobody else to tell: ready() raises it
            self._failure = error
            self._tell(loop, self._ready.set)

    def _generate(self, loop: asyncio.AbstractEventLoop) -> None:
        source = TestSource(self.settings)
        wanted = {track.id for track in source.tracks}
        start_ns = self._clock.utc_ns()
        for unit in source.units(start_ns, origin_utc_ns=start_ns, now=self._clock.utc_ns):
            # Sound is there when its last sample is, a picture when it is taken.
            due_ns = unit.utc_ns + unit.duration * NS_PER_S // unit.track.clock_rate
            wait_ns = due_ns - self._clock.utc_ns()
            if wait_ns > 0 and self._stop.wait(wait_ns / NS_PER_S):
                return
            if self._stop.is_set() or not self._tell(loop, self.stream.publish, unit):
                return
            if wanted:
                wanted.discard(unit.track.id)
                if not wanted:
                    self._tell(loop, self._ready.set)

    @staticmethod
    def _tell(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *args: AccessUnit) -> bool:
        try:
            loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            # The loop is closed: there is nobody left to see this camera.
            return False
        return True


@contextlib.asynccontextmanager
async def looped_streams(loop: TestLoop, count: int, clock: Clock) -> AsyncIterator[tuple[LiveStream, ...]]:
    """``count`` streams that play ``loop`` in real time, their keyframes spread evenly over a GOP."""
    start_ns = clock.utc_ns()
    streams = tuple(LiveStream(StreamId(f"loop-{number}"), clock) for number in range(count))
    complete = [asyncio.Event() for _ in streams]
    tasks = []
    for number, stream in enumerate(streams):
        units = loop.play(start_ns - number * _LOOP_GOP_NS // count, start_ns - 2 * _LOOP_GOP_NS)
        tasks.append(asyncio.create_task(_play(stream, units, clock, len(loop.tracks), complete[number])))
    try:
        for event in complete:
            await event.wait()
        yield streams
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _play(
    stream: LiveStream, units: Iterator[AccessUnit], clock: Clock, tracks: int, complete: asyncio.Event
) -> None:
    """Publish ``units`` when they are due; ``complete`` is set once that many tracks have brought media."""
    for unit in units:
        wait_ns = unit.utc_ns - clock.utc_ns()
        if wait_ns > 0:
            await asyncio.sleep(wait_ns / NS_PER_S)
        stream.publish(unit)
        if not complete.is_set() and len(stream.tracks) >= tracks:
            complete.set()


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    host: str
    port: int
    count: int
    user: str
    password: Secret
    loop: Path | None
    bitrate_bps: int
    subs: bool
    with_parent: bool


def _options(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--count", type=int, default=3, help="how many cameras")
    parser.add_argument("--user", default="", help="user name to ask for; without it everybody is let in")
    parser.add_argument("--password", default=os.environ.get("SIMULATOR_PASSWORD", ""), help="or $SIMULATOR_PASSWORD")
    parser.add_argument("--loop", type=Path, default=None, help="serve one loop, kept in this file, under all names")
    parser.add_argument("--bitrate", type=int, default=2_000_000, help="of the loop, bits per second")
    parser.add_argument("--subs", action="store_true", help="serve a sub stream of each camera, too")
    parser.add_argument("--with-parent", action="store_true", help="end when the process that started this one does")
    given = parser.parse_args(arguments)
    return Options(
        given.host,
        given.port,
        given.count,
        given.user,
        Secret(given.password),
        given.loop,
        given.bitrate,
        given.subs,
        given.with_parent,
    )


def _authenticator(options: Options, clock: Clock) -> ServerAuthenticator | None:
    if not options.user:
        return None
    return ServerAuthenticator(
        "camera", lambda user: options.password if user == options.user else None, clock, algorithms=("MD5", "SHA-256")
    )


@contextlib.asynccontextmanager
async def _cameras(options: Options, clock: Clock) -> AsyncIterator[dict[str, LiveStream]]:
    """The stream under each path; looped cameras share a few."""
    async with contextlib.AsyncExitStack() as stack:
        if options.loop is not None:
            loop = await asyncio.to_thread(cached_loop, options.loop, loop_settings(options.bitrate_bps), LOOP_S)
            phases = min(_LOOP_PHASES, options.count)
            streams = await stack.enter_async_context(looped_streams(loop, phases, clock))
            yield {f"/camera/{number + 1}": streams[number % phases] for number in range(options.count)}
            return
        wanted: dict[str, TestSourceSettings] = {}
        for number in range(options.count):
            kind = KINDS[number % len(KINDS)]
            wanted[f"/camera/{number + 1}"] = kind
            if options.subs:
                wanted[f"/camera/{number + 1}/sub"] = dataclasses.replace(SUB, audio=kind.audio, label=kind.label)
        cameras = {
            path: await stack.enter_async_context(SimulatedCamera(path.removeprefix("/camera/"), kind, clock))
            for path, kind in wanted.items()
        }
        for camera in cameras.values():
            await camera.ready()
        yield {path: camera.stream for path, camera in cameras.items()}


async def serve(options: Options, clock: Clock) -> None:
    """Serve until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with _cameras(options, clock) as paths:
        authenticator = _authenticator(options, clock)
        server = RtspServer(options.host, options.port, paths.get, authenticator, clock, limits=DoorLimits(4000, 4000))
        async with server:
            for path, stream in paths.items():
                if path.endswith("/sub"):
                    continue
                tracks = [track.codec.value for track in stream.tracks]
                url = f"rtsp://{options.host}:{server.port}{path}"
                line = {"url": url, "codecs": tracks, "pid": os.getpid()}
                if f"{path}/sub" in paths:
                    line["sub_url"] = f"{url}/sub"
                print(json.dumps(line), flush=True)
            parent = os.getppid()
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), _PARENT_POLL_S)
                if options.with_parent and os.getppid() != parent:
                    return


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    options = _options(arguments)
    uvloop.run(serve(options, SystemClock()))


if __name__ == "__main__":
    main()

"""The sending half of bench/whep_fanout.py, in a process of its own: one 1 Mb/s stream to all who offer.

``ours`` relays as the service does; ``aiortc`` is one RTCPeerConnection a viewer with a track of encoded packets, each
with a queue of its own, as aiortc's own examples pass a stream through. Lines of JSON in and out: an offer gets an
answer, ``usage`` the processor time so far, or the memory.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import psutil
import uvloop
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from media.clock import SystemClock
from media.packetizer import nal_units
from media.stream import LiveStream, Quality, StreamId
from media.testloop import TestLoop, cached_loop
from media.testsource import TestSourceSettings
from media.unit import NS_PER_S, AccessUnit, VideoTrack
from streaming.webrtc.port import PortSettings, WebRtcPort
from streaming.webrtc.relay import Relays
from streaming.webrtc.whep import WhepSessions, WhepSettings
from web.interpreter import settle_interpreter

Answerer = Callable[[str], Awaitable[str]]
SETTINGS = TestSourceSettings(audio=None, width=1280, height=720, bitrate=1_000_000, gop_s=2.0, noise=40)
LOOP_S = 20


async def play(loop: TestLoop, publish: Callable[[AccessUnit], None]) -> None:
    """Publish the loop's units when their time has come."""
    clock = SystemClock()
    start_ns = clock.utc_ns()
    for unit in loop.play(start_ns, start_ns - 3600 * NS_PER_S):
        wait_s = (unit.utc_ns - clock.utc_ns()) / NS_PER_S
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        publish(unit)


@asynccontextmanager
async def ours(loop: TestLoop) -> AsyncIterator[Answerer]:
    """Sanhui's relay."""
    clock = SystemClock()
    stream = LiveStream(StreamId("bench"), clock)
    feeding = asyncio.create_task(play(loop, stream.publish))
    limits = WhepSettings(max_sessions=5_000, offers_per_s=1_000, offers_burst=1_000)

    def find(stream_id: StreamId) -> LiveStream | None:
        return stream if stream_id.quality is Quality.MAIN else None

    async with (
        WebRtcPort(PortSettings(host="127.0.0.1"), clock) as port,
        Relays(clock) as relays,
        WhepSessions(port, relays, find, clock, limits) as whep,
    ):

        async def answer(offer: str) -> str:
            return (await whep.offer("bench", Quality.MAIN, offer)).answer

        yield answer
    feeding.cancel()


class PacketTrack(MediaStreamTrack):
    """Encoded pictures from a queue."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self.queue: asyncio.Queue[av.Packet[Any]] = asyncio.Queue()

    async def recv(self) -> "av.Packet[Any]":
        """The next packet."""
        return await self.queue.get()


@asynccontextmanager
async def aiortc(loop: TestLoop) -> AsyncIterator[Answerer]:
    """aiortc as it comes."""
    tracks: list[PacketTrack] = []
    connections: list[RTCPeerConnection] = []
    start = b"\0\0\0\1"

    def publish(unit: AccessUnit) -> None:
        assert isinstance(unit.track, VideoTrack)
        sets = unit.track.parameter_sets if unit.keyframe else ()
        packet = av.Packet(b"".join(start + nal for nal in (*sets, *nal_units(unit.data))))
        packet.pts, packet.time_base = unit.pts, Fraction(1, 90_000)
        for track in tracks:
            track.queue.put_nowait(packet)

    feeding = asyncio.create_task(play(loop, publish))

    async def answer(offer: str) -> str:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connections.append(connection)
        track = PacketTrack()
        await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        connection.addTrack(track)
        await connection.setLocalDescription(await connection.createAnswer())
        tracks.append(track)
        return connection.localDescription.sdp

    yield answer
    feeding.cancel()
    for connection in connections:
        await connection.close()


async def serve(kind: str) -> None:
    """Answer lines until there are no more."""
    path = Path(sys.argv[2])
    loop = cached_loop(path, SETTINGS, LOOP_S)
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with (ours if kind == "ours" else aiortc)(loop) as answer:
        print(json.dumps({"ready": True}), flush=True)
        while line := await reader.readline():
            asked = json.loads(line)
            if "offer" in asked:
                print(json.dumps({"answer": await answer(asked["offer"])}), flush=True)
            else:
                print(json.dumps(_usage(memory=asked["usage"] == "memory")), flush=True)


def _usage(*, memory: bool) -> dict[str, float]:
    """Memory is asked for apart: looking through all pages takes as long as some pictures to all viewers."""
    process = psutil.Process()
    if memory:
        return {"memory": process.memory_full_info().uss}
    times = process.cpu_times()
    return {"cpu_s": times.user + times.system, "system_s": times.system}


if __name__ == "__main__":
    # As the service does; so for both.
    settle_interpreter()
    uvloop.run(serve(sys.argv[1]))

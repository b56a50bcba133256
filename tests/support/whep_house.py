"""Streams fed by hand with numbered pictures, sessions that look at them, and what the viewers see."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

import av

from media.clock import SystemClock
from media.opus_live import OpusTranscoders
from media.stream import LiveStream, Quality, StreamId
from media.unit import AccessUnit
from streaming.webrtc.port import PortSettings, WebRtcPort
from streaming.webrtc.relay import Relays, RelaySettings
from streaming.webrtc.whep import WhepSession, WhepSessions, WhepSettings
from tests.support.encoded import picture_number, video_units
from tests.support.webrtc_client import Received, WebRtcClient

CLOCK = SystemClock()
LIMIT_S = 40
FPS = 25


@dataclass
class House:
    """Streams fed by hand, and the sessions that look at them."""

    port: WebRtcPort
    relays: Relays
    whep: WhepSessions
    streams: dict[Quality, LiveStream]

    def stream(self, quality: Quality = Quality.MAIN) -> LiveStream:
        return self.streams.setdefault(quality, LiveStream(StreamId("hall", quality), CLOCK))

    async def look(
        self, client: WebRtcClient, quality: Quality = Quality.MAIN, *, over: str = "udp", **offered: object
    ) -> WhepSession:
        session = await self.whep.offer("hall", quality, client.offer(**offered))
        await client.connect(session.answer, over=over)
        return session


@contextlib.asynccontextmanager
async def house(*, transcoders: OpusTranscoders | None = None, **limits: object) -> AsyncIterator[House]:
    streams: dict[Quality, LiveStream] = {}
    async with (
        asyncio.timeout(LIMIT_S),
        WebRtcPort(PortSettings(host="127.0.0.1"), CLOCK) as port,
        Relays(CLOCK, transcoders, RelaySettings(idle_s=0.05, first_keyframe_s=0.3)) as relays,
        WhepSessions(
            port,
            relays,
            lambda stream_id: streams.get(stream_id.quality),
            CLOCK,
            WhepSettings(**limits),  # type: ignore[arg-type]
        ) as whep,
    ):
        yield House(port, relays, whep, streams)


def pictures(count: int = 100, *, gop: int = 50, **more: object) -> list[AccessUnit]:
    """Numbered pictures whose last was taken just now."""
    units = video_units(frames=count, gop=gop, fps=FPS, **more)  # type: ignore[arg-type]
    late = CLOCK.utc_ns() - units[-1].utc_ns
    return [replace(unit, utc_ns=unit.utc_ns + late) for unit in units]


def publish(stream: LiveStream, units: Sequence[AccessUnit]) -> None:
    for unit in units:
        stream.publish(unit)


def video(client: WebRtcClient) -> list[Received]:
    return [item for item in client.packets if item.header.payload_type >= 100]


def numbers(packets: Sequence[Received]) -> list[int]:
    """What the packets show: the numbers in the decoded pictures, in order. AssertionError if any is damaged."""
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    shown: list[int] = []
    data = bytearray()
    # The first that came need not be the first that was sent.
    base = packets[0].header.sequence - 0x8000
    ordered = sorted(packets, key=lambda item: (item.header.sequence - base) & 0xFFFF)
    for item in ordered:
        payload = item.payload
        kind = payload[0] & 31
        if kind == 28:
            if payload[1] & 0x80:
                data += b"\0\0\0\1" + bytes(((payload[0] & 0xE0) | (payload[1] & 31),))
            data += payload[2:]
        else:
            data += b"\0\0\0\1" + payload
        if item.header.marker:
            for frame in decoder.decode(av.Packet(bytes(data))):
                assert not frame.is_corrupt
                shown.append(picture_number(frame))
            data.clear()
    shown += [picture_number(frame) for frame in decoder.decode(None)]
    return shown


def whole(client: WebRtcClient) -> bool:
    """Whether no number is missing between the first and the last."""
    found = {item.header.sequence for item in video(client)}
    return bool(found) and len(found) == (max(found) - min(found)) + 1


async def arrived(client: WebRtcClient, count: int) -> None:
    """Wait until so many whole pictures have come."""
    await client.until(lambda: sum(item.header.marker for item in video(client)) >= count)


def stuffed(unit: AccessUnit, size: int) -> AccessUnit:
    """The unit with filler data (NAL type 12), which decoders throw away."""
    filler = bytes((12,)) + b"\xff" * size + b"\x80"
    return replace(unit, data=unit.data + len(filler).to_bytes(4, "big") + filler)

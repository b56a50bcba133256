"""live555's RTSP client as a player: runs tests/support/live555_player.cpp and decodes what it got."""

import asyncio
import base64
import json
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from media.unit import Codec
from tests.support.content import DECODERS, Content, content_of
from tests.support.live555 import live555_program

CODECS = {"H264": Codec.H264, "H265": Codec.H265, "PCMA": Codec.PCMA, "MPEG4-GENERIC": Codec.AAC, "OPUS": Codec.OPUS}
_START = b"\0\0\0\1"


@dataclass(frozen=True, slots=True)
class Medium:
    """One medium as live555 read it from the description."""

    kind: str
    codec: Codec
    rate: int
    channels: int
    parameter_sets: bytes
    config: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """What live555's depacketizer gave. ``time`` in Unix seconds, by the sender's clock once ``synced``; ``npt`` in
    seconds of the stream, negative where live555 cannot tell. ``era`` counts the answers to PLAY, from 0."""

    medium: int
    era: int
    packet: int
    last: bool
    time: float
    npt: float
    synced: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture, with its access unit's place in the stream."""

    frame: av.VideoFrame
    era: int
    time: float
    npt: float
    synced: bool


@dataclass(frozen=True, slots=True)
class Played:
    """What a run of the player brought: each step with its code (0 for success), the ranges that PLAY answered."""

    code: int
    steps: list[tuple[str, int]]
    ranges: list[tuple[float, float]]
    media: list[Medium]
    frames: list[Frame]
    byes: list[int]
    log: str

    def pictures(self) -> list[Picture]:
        """All that was sent, decoded. Raises av's errors for what cannot be."""
        number = next(n for n, medium in enumerate(self.media) if medium.kind == "video")
        medium = self.media[number]
        decoder: Any = av.CodecContext.create(DECODERS[medium.codec], "r")
        decoder.options = {"err_detect": "explode"}
        mine = [frame for frame in self.frames if frame.medium == number]
        units = _units(mine)
        pictures: list[Picture] = []
        for at, unit in enumerate(units):
            sets = medium.parameter_sets if at == 0 else b""
            packet = av.Packet(sets + b"".join(_START + frame.data for frame in unit))
            packet.pts = at
            pictures += [_picture(frame, units) for frame in decoder.decode(packet)]
        return pictures + [_picture(frame, units) for frame in decoder.decode(None)]

    def sound(self) -> list[tuple[Frame, NDArray[np.int16]]]:
        """All that was sent, decoded, one channel of it."""
        number = next((n for n, medium in enumerate(self.media) if medium.kind == "audio"), None)
        if number is None:
            return []
        medium = self.media[number]
        decoder: Any = av.CodecContext.create(DECODERS[medium.codec], "r")
        decoder.sample_rate = medium.rate
        decoder.layout = "mono" if medium.channels == 1 else "stereo"
        if medium.config:
            decoder.extradata = medium.config
        resampler = av.AudioResampler("s16", "mono", medium.rate)
        sound = []
        for frame in self.frames:
            if frame.medium == number:
                decoded = [out for raw in decoder.decode(av.Packet(frame.data)) for out in resampler.resample(raw)]
                sound += [(frame, out.to_ndarray()[0]) for out in decoded]
        return sound

    def content(self) -> Content:
        """Clocks, flashes and beeps on the sender's clock: of what came once each medium had its sender report."""
        pictures = [(shown.time, shown.frame.to_ndarray(format="gray")) for shown in self.pictures() if shown.synced]
        sound = [(frame.time, samples) for frame, samples in self.sound() if frame.synced]
        rate = next((medium.rate for medium in self.media if medium.kind == "audio"), 8000)
        return content_of(pictures, sound, rate)


def _units(frames: list[Frame]) -> list[list[Frame]]:
    """Access units: a marker ends one, with all that is in its packet."""
    units: list[list[Frame]] = [[]]
    for frame in frames:
        before = units[-1][-1] if units[-1] else None
        if before is not None and before.last and before.packet != frame.packet:
            units.append([])
        units[-1].append(frame)
    return units


def _picture(frame: av.VideoFrame, units: list[list[Frame]]) -> Picture:
    assert frame.pts is not None
    last = units[frame.pts][-1]
    return Picture(frame, last.era, last.time, last.npt, last.synced)


async def play(url: str, *options: str, limit_s: float = 90.0) -> Played:
    """Let live555 play ``url``; the options are those of the program. AssertionError if it takes over ``limit_s``."""
    program = await asyncio.to_thread(live555_program, "player")
    process = await asyncio.create_subprocess_exec(
        program, url, *options, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(limit_s):
            out, log = await process.communicate()
    except TimeoutError:
        process.kill()
        out, log = await process.communicate()
        raise AssertionError(f"live555 does not end: {out.decode()[-1000:]} {log.decode()}") from None
    assert process.returncode is not None
    return await asyncio.to_thread(_read, process.returncode, out, log.decode(errors="replace"))


def _read(code: int, out: bytes, log: str) -> Played:
    played = Played(code, [], [], [], [], [], log)
    for line in out.splitlines():
        told = json.loads(line)
        if "frame" in told:
            data = base64.b64decode(told["data"])
            frame = Frame(
                told["frame"],
                told["era"],
                told["packet"],
                told["last"],
                told["time"],
                told["npt"],
                told["synced"],
                data,
            )
            played.frames.append(frame)
        elif "step" in told:
            played.steps.append((told["step"], told["code"]))
            if told["step"] == "PLAY":
                played.ranges.append((told["start"], told["end"]))
        elif "medium" in told:
            sets = b"".join(_START + base64.b64decode(each) for each in told["sets"].split(",") if each)
            config = bytes.fromhex(told["config"])
            played.media.append(
                Medium(told["kind"], CODECS[told["codec"]], told["rate"], told["channels"], sets, config)
            )
        elif "bye" in told:
            played.byes.append(told["bye"])
    return played

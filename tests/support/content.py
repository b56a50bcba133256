"""What media shows and sounds like: clocks, flashes and beeps of the test source, read back from decoded media."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Any

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from media.codecs import annexb
from media.packetizer import nal_units
from media.testsource import beep_starts, flash_visible, read_clock
from media.unit import NS_PER_S, AccessUnit, AudioTrack, Codec, VideoTrack

DECODERS = {
    Codec.H264: "h264",
    Codec.H265: "hevc",
    Codec.AAC: "aac",
    Codec.PCMA: "pcm_alaw",
    Codec.PCMU: "pcm_mulaw",
    Codec.OPUS: "libopus",
}


@dataclass(frozen=True, slots=True)
class Content:
    """Of a file or stream, times in seconds on its own timeline: what the picture's clock shows when (UTC
    milliseconds), where flashes and beeps begin, how many pictures had no readable clock."""

    clocks: tuple[tuple[float, int], ...]
    flashes: tuple[float, ...]
    beeps: tuple[float, ...]
    unreadable: int

    def sync_errors(self) -> list[float]:
        """For each flash that has a beep within half a second: beep minus flash, seconds."""
        errors = []
        for flash in self.flashes:
            nearest = min(self.beeps, key=lambda beep: abs(beep - flash), default=None)
            if nearest is not None and abs(nearest - flash) < 0.5:
                errors.append(nearest - flash)
        return errors


def examine(source: str | IO[bytes], *, options: dict[str, str] | None = None, max_s: float | None = None) -> Content:
    """Decode a file, a stream's URL or bytes to the end, or for ``max_s`` seconds of its own time. Blocks."""
    pictures: list[tuple[float, NDArray[Any]]] = []
    sound: list[tuple[float, NDArray[np.int16]]] = []
    with av.open(source, "r", options=options or {}) as container:
        streams = [stream for stream in container.streams if stream.type in ("video", "audio")]
        resampler = av.AudioResampler("s16", "mono", 16_000)
        first: float | None = None
        for packet in container.demux(streams):
            for frame in packet.decode():
                if not isinstance(frame, av.VideoFrame | av.AudioFrame) or frame.time is None:
                    continue
                first = frame.time if first is None else first
                if isinstance(frame, av.VideoFrame):
                    pictures.append((frame.time, frame.to_ndarray(format="gray")))
                else:
                    sound += [(out.time or 0.0, out.to_ndarray()[0]) for out in resampler.resample(frame)]
            if max_s is not None and pictures and first is not None and pictures[-1][0] - first > max_s:
                break
    return content_of(pictures, sound, 16_000)


def content_of(
    pictures: list[tuple[float, NDArray[Any]]], sound: list[tuple[float, NDArray[np.int16]]], rate: int
) -> Content:
    """Of decoded media: luma and mono sound, each with its time in seconds."""
    clocks: list[tuple[float, int]] = []
    flashes: list[float] = []
    unreadable = 0
    lit = True
    for time, picture in pictures:
        shown = read_clock(picture)
        if shown is None:
            unreadable += 1
        else:
            clocks.append((time, shown))
        visible = flash_visible(picture)
        if visible and not lit:
            flashes.append(time)
        lit = visible
    return Content(tuple(clocks), tuple(flashes), tuple(_beeps(sound, rate)), unreadable)


def _beeps(sound: list[tuple[float, NDArray[np.int16]]], rate: int) -> list[float]:
    """Beeps on the timeline; sound is laid out by its times, holes are silence."""
    if not sound:
        return []
    start = sound[0][0]
    length = max(round((time - start) * rate) + len(samples) for time, samples in sound)
    line = np.zeros(length, np.int16)
    for time, samples in sound:
        at = max(0, round((time - start) * rate))
        line[at : at + len(samples)] = samples[: length - at]
    return [start + beep for beep in beep_starts(line, rate)]


def decode_pictures(units: Iterable[AccessUnit]) -> list[NDArray[Any]]:
    """The pictures of a run of video units in output order, height x width luma. Decoding errors are raised."""
    decoder: VideoCodecContext | None = None
    track: VideoTrack | None = None
    pictures = []
    for unit in units:
        if not isinstance(unit.track, VideoTrack):
            continue
        nals = list(nal_units(unit.data))
        if unit.track is not track:
            if decoder is not None:
                pictures += [frame.to_ndarray(format="gray") for frame in decoder.decode(None)]
            track = unit.track
            made = av.CodecContext.create(DECODERS[track.codec], "r")
            assert isinstance(made, VideoCodecContext)
            decoder = made
            decoder.options = {"err_detect": "explode"}
        assert decoder is not None
        if unit.keyframe:
            nals = [*unit.track.parameter_sets, *nals]
        frames = decoder.decode(av.Packet(annexb.join(nals)))
        pictures += [frame.to_ndarray(format="gray") for frame in frames]
    if decoder is not None:
        pictures += [frame.to_ndarray(format="gray") for frame in decoder.decode(None)]
    return pictures


def clocks_of(units: Iterable[AccessUnit]) -> list[int | None]:
    """What the clocks of the pictures show, UTC milliseconds, in output order."""
    return [read_clock(picture) for picture in decode_pictures(units)]


def beeps_of(units: Iterable[AccessUnit]) -> list[float]:
    """When beeps begin in a run of sound units, Unix seconds by the units' own ``utc_ns``."""
    sound: list[tuple[float, NDArray[np.int16]]] = []
    rate = 0
    decoder: Any = None
    for unit in units:
        if not isinstance(unit.track, AudioTrack):
            continue
        if decoder is None:
            rate = unit.track.clock_rate
            decoder = av.CodecContext.create(DECODERS[unit.track.codec], "r")
            decoder.sample_rate = rate
            decoder.layout = "mono" if unit.track.channels == 1 else "stereo"
            if unit.track.config:
                decoder.extradata = unit.track.config
        for frame in decoder.decode(av.Packet(unit.data)):
            samples = frame.to_ndarray()
            plane = samples[0] if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels)[:, 0]
            if plane.dtype != np.int16:
                plane = (plane * 32767).astype(np.int16)
            sound.append((unit.utc_ns / NS_PER_S, plane))
    return _beeps(sound, rate)

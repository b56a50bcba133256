"""Real encoded media for tests, made by PyAV, in the shapes the packet path has: access units on one timeline."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from media.unit import NS_PER_S, AccessUnit, AudioTrack, Codec, VideoTrack

ORIGIN_NS = 1_800_000_000 * NS_PER_S
_ENCODERS = {Codec.H264: "libx264", Codec.H265: "libx265"}
_BAR = 16


def numbered_picture(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """A grey picture whose 16 vertical bars spell ``number`` in binary, most significant bit first."""
    bits = [(number >> (_BAR - 1 - index)) & 1 for index in range(_BAR)]
    luma = np.repeat(np.array([208 if bit else 48 for bit in bits], np.uint8), width // _BAR)
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[:, : len(luma)] = luma[None, :, None]
    return picture


def picture_number(frame: av.VideoFrame) -> int:
    """The number that :func:`numbered_picture` wrote, read from a decoded frame."""
    luma = frame.to_ndarray(format="gray")
    bar = frame.width // _BAR
    middle = luma[luma.shape[0] // 2]
    return sum(int(middle[bar * index + bar // 2] > 128) << (_BAR - 1 - index) for index in range(_BAR))


def split_annexb(data: bytes) -> list[bytes]:
    """NAL units of a byte stream with start codes."""
    nals = []
    for piece in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]:
        nals.append(piece.rstrip(b"\0") if not piece.endswith(b"\0") else piece)
    return nals


def _is_parameter_set(codec: Codec, nal: bytes) -> bool:
    return nal[0] & 31 in (7, 8) if codec is Codec.H264 else (nal[0] >> 1) & 63 in (32, 33, 34)


def _is_extra(codec: Codec, nal: bytes) -> bool:
    return nal[0] & 31 in (6, 9) if codec is Codec.H264 else (nal[0] >> 1) & 63 in (35, 39, 40)


def video_units(
    codec: Codec = Codec.H264,
    *,
    frames: int = 100,
    fps: int = 25,
    gop: int = 50,
    b_frames: int = 0,
    size: tuple[int, int] = (320, 180),
    start_s: float = 100.0,
    bitrate: int = 200_000,
    first_number: int = 0,
    epoch: int = 0,
) -> list[AccessUnit]:
    """Encoded pictures that carry their number, as access units from ``start_s`` of the timeline on."""
    encoder = av.CodecContext.create(_ENCODERS[codec], "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height = size
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = Fraction(1, fps)
    encoder.framerate = Fraction(fps)
    encoder.bit_rate = bitrate
    encoder.gop_size = gop
    encoder.max_b_frames = b_frames
    encoder.options = {
        "preset": "ultrafast",
        "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes={b_frames}:log-level=none",
        "x265-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes={b_frames}:open-gop=0:log-level=none:pools=1",
    }
    packets = []
    for number in range(frames):
        frame = av.VideoFrame.from_ndarray(numbered_picture(first_number + number, *size), format="rgb24")
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    parameter_sets: list[bytes] = []
    pictures = []
    for packet in packets:
        nals = split_annexb(bytes(packet))
        for nal in nals:
            if _is_parameter_set(codec, nal) and nal not in parameter_sets:
                parameter_sets.append(nal)
        kept = [nal for nal in nals if not _is_parameter_set(codec, nal) and not _is_extra(codec, nal)]
        pictures.append((packet, b"".join(len(nal).to_bytes(4, "big") + nal for nal in kept)))
    track = VideoTrack(codec, tuple(parameter_sets), *size)
    start = round(start_s * track.clock_rate)
    tick = track.clock_rate // fps
    first_dts = pictures[0][0].dts or 0
    units = []
    for packet, data in pictures:
        assert packet.pts is not None
        assert packet.dts is not None
        pts, dts = start + packet.pts * tick, start + packet.dts * tick
        if first_dts < 0 and b_frames == 0:
            dts = pts
        utc_ns = ORIGIN_NS + pts * NS_PER_S // track.clock_rate
        units.append(AccessUnit(track, pts, dts, utc_ns, data, packet.is_keyframe, 0, epoch))
    return units


def tone(rate: int, seconds: float, frequency: float = 440.0, start_s: float = 0.0) -> NDArray[np.int16]:
    """A sine at half scale that is in phase with the timeline."""
    times = round(start_s * rate) + np.arange(round(rate * seconds))
    return np.round(np.sin(2 * np.pi * frequency * times / rate) * 16_000).astype(np.int16)


def encode_g711(codec: Codec, samples: NDArray[np.int16]) -> bytes:
    """G.711 octets of 16-bit samples, by FFmpeg's encoder."""
    encoder = av.CodecContext.create("pcm_alaw" if codec is Codec.PCMA else "pcm_mulaw", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = 8_000, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = 8_000
    frame.pts = 0
    return b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))


def g711_units(
    codec: Codec = Codec.PCMA,
    *,
    seconds: float = 4.0,
    start_s: float = 100.0,
    packet_s: float = 0.04,
    epoch: int = 0,
    samples: NDArray[np.int16] | None = None,
) -> list[AccessUnit]:
    """A tone (or ``samples``) in G.711, cut into packets."""
    track = AudioTrack(codec, 8_000, 1)
    octets = encode_g711(codec, tone(8_000, seconds, start_s=start_s) if samples is None else samples)
    step, start = round(packet_s * 8_000), round(start_s * 8_000)
    return [
        AccessUnit(
            track, start + at, start + at, ORIGIN_NS + (start + at) * 125_000, octets[at : at + step],
            duration=len(octets[at : at + step]), epoch=epoch,
        )
        for at in range(0, len(octets), step)
    ]  # fmt: skip


def sound_units(
    codec: Codec,
    *,
    rate: int = 48_000,
    channels: int = 1,
    seconds: float = 4.0,
    start_s: float = 100.0,
    epoch: int = 0,
    frequency: float = 440.0,
) -> list[AccessUnit]:
    """A tone in AAC or Opus."""
    encoder = av.CodecContext.create("aac" if codec is Codec.AAC else "libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    layout = "mono" if channels == 1 else "stereo"
    encoder.sample_rate, encoder.layout = rate, layout
    encoder.format = "fltp" if codec is Codec.AAC else "s16"
    encoder.bit_rate = 64_000
    encoder.open()
    size = encoder.frame_size
    wave = tone(rate, seconds, frequency, start_s)
    packets = []
    for at in range(0, len(wave), size):
        piece = np.zeros(size, np.int16)
        piece[: len(wave[at : at + size])] = wave[at : at + size]
        if codec is Codec.AAC:
            planes: NDArray[Any] = np.repeat((piece.astype(np.float32) / 32_768)[None, :], channels, 0)
        else:
            planes = np.repeat(piece, channels)[None, :]
        frame = av.AudioFrame.from_ndarray(planes, format=encoder.format.name, layout=layout)
        frame.sample_rate, frame.pts = rate, at
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    config = bytes(encoder.extradata or b"") if codec is Codec.AAC else b""
    track = AudioTrack(codec, rate, channels, config)
    start = round(start_s * rate)
    units = []
    for packet in packets:
        assert packet.pts is not None
        dts = start + packet.pts
        utc_ns = ORIGIN_NS + dts * NS_PER_S // rate
        units.append(AccessUnit(track, dts, dts, utc_ns, bytes(packet), duration=size, epoch=epoch))
    return units


def interleave(*tracks: list[AccessUnit]) -> Iterator[AccessUnit]:
    """Units of all tracks in the order of their decode times, as a camera sends them."""
    return iter(sorted((unit for units in tracks for unit in units), key=lambda unit: unit.dts / unit.track.clock_rate))

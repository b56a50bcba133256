"""Any pictures to H.264 that every WebRTC viewer takes: constrained baseline, no B-frames, keyframes seconds apart.

For viewers that take neither the main nor the sub stream as it is (H.265, B-frames, a profile they have not). Decodes
and encodes: run it in a process of its own, see :mod:`media.transcode_worker`.
"""

from dataclasses import dataclass
from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.reformatter import Interpolation

from media.codecs import annexb
from media.packetizer import nal_units
from media.plain_wire import Picture, Plain, prefixed
from media.unit import Codec

_RATE = 90_000
_DECODERS = {Codec.H264: "h264", Codec.H265: "hevc"}
_MAX_INSIDE = 300
_KEY_SLICE, _SPS, _PPS = 5, 7, 8


@dataclass(frozen=True, slots=True)
class PlainSettings:
    """``max_height`` of the picture in lines (the shorter side), ``bitrate`` in bits a second, ``max_fps`` pictures a
    second, ``gop_s`` seconds from keyframe to keyframe."""

    max_height: int = 720
    bitrate: int = 1_500_000
    max_fps: int = 30
    gop_s: float = 2.0


class PlainEncoder:
    """Decodes and encodes one stream's pictures. ``broken`` counts those that could not be decoded."""

    def __init__(self, settings: PlainSettings | None = None) -> None:
        self.settings = settings or PlainSettings()
        self.broken = 0
        self._codec: Codec | None = None
        self._decoder: VideoCodecContext | None = None
        self._encoder: VideoCodecContext | None = None
        self._inside: dict[int, Picture] = {}
        self._epoch = -1
        self._last = -1
        self._last_key: int | None = None

    def push(self, picture: Picture) -> list[Plain]:
        """Take the next picture, in decoding order; what is ready now, in the order of being shown."""
        if self._decoder is None or picture.anew or picture.codec is not self._codec:
            self._codec = picture.codec
            self._decoder = _decoder(picture.codec)
            self._inside.clear()
        self._inside[picture.pts] = picture
        if len(self._inside) > _MAX_INSIDE:
            del self._inside[next(iter(self._inside))]
        data = annexb.join(nal_units(picture.data))
        if not data:
            # To the decoder this would be the end.
            self.broken += 1
            return []
        packet = av.Packet(data)
        packet.pts, packet.dts, packet.time_base = picture.pts, picture.dts, Fraction(1, _RATE)
        try:
            frames = self._decoder.decode(packet)
        except av.FFmpegError:
            self.broken += 1
            return []
        return [plain for frame in frames for plain in self._show(frame)]

    def _show(self, frame: av.VideoFrame) -> list[Plain]:
        source = self._inside.pop(frame.pts, None) if frame.pts is not None else None
        if source is None or source.silent:
            return []
        if source.epoch != self._epoch:
            self._epoch = source.epoch
            self._encoder = None
            self._last = -1
        # Three quarters of a picture's time: cameras' clocks are not even.
        if self._last >= 0 and source.pts - self._last < _RATE * 3 // (4 * self.settings.max_fps):
            return []
        width, height = self._size(frame)
        encoder = self._encoder
        if encoder is None or (encoder.width, encoder.height) != (width, height):
            encoder = self._encoder = _encoder(self.settings, width, height)
            self._last_key = None
        scaled = frame.reformat(width, height, "yuv420p", interpolation=Interpolation.FAST_BILINEAR)
        scaled.pts, scaled.time_base = source.pts, Fraction(1, _RATE)
        is_due = self._last_key is None or source.pts - self._last_key >= self.settings.gop_s * _RATE
        scaled.pict_type = PictureType.I if is_due else PictureType.NONE
        self._last = source.pts
        return [_plain(bytes(packet), source, width, height, self) for packet in encoder.encode(scaled)]

    def _size(self, frame: av.VideoFrame) -> tuple[int, int]:
        """The picture's size: even, not larger than it was."""
        shorter = min(frame.width, frame.height)
        wanted = min(self.settings.max_height, shorter)
        return tuple(max(2, round(side * wanted / shorter / 2) * 2) for side in (frame.width, frame.height))  # type: ignore[return-value]

    def keyframe_made(self, pts: int) -> None:
        """The next keyframe is due ``gop_s`` after this one."""
        self._last_key = pts


def _plain(packet: bytes, source: Picture, width: int, height: int, encoder: PlainEncoder) -> Plain:
    nals = annexb.split(packet)
    kinds = [nal[0] & 0x1F for nal in nals]
    keyframe = _KEY_SLICE in kinds
    if keyframe:
        encoder.keyframe_made(source.pts)
    sets = tuple(nal for nal, kind in zip(nals, kinds, strict=True) if kind in (_SPS, _PPS))
    data = b"".join(prefixed(nal) for nal, kind in zip(nals, kinds, strict=True) if 1 <= kind <= _KEY_SLICE)
    return Plain(source.pts, source.utc_ns, source.epoch, keyframe, width, height, sets if keyframe else (), data)


def _decoder(codec: Codec) -> VideoCodecContext:
    decoder = av.CodecContext.create(_DECODERS[codec], "r")
    assert isinstance(decoder, VideoCodecContext)
    # Threads would hold a picture back for each of them.
    decoder.thread_count = 1
    return decoder


def _encoder(settings: PlainSettings, width: int, height: int) -> VideoCodecContext:
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height = width, height
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = Fraction(1, _RATE)
    encoder.framerate = Fraction(min(25, settings.max_fps))
    encoder.bit_rate = settings.bitrate
    encoder.gop_size = 1000
    encoder.thread_count = 1
    encoder.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "profile": "baseline",
        "bf": "0",
        "sc_threshold": "0",
        "forced-idr": "1",
        "maxrate": str(settings.bitrate),
        "bufsize": str(settings.bitrate),
        "x264-params": "log-level=none",
    }
    encoder.open()
    return encoder

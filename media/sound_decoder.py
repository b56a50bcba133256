"""Encoded sound to PCM, for everything that makes other sound of it."""

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from media.codecs.aac import core_config
from media.errors import BitstreamError, UnsupportedCodecError
from media.sound import Pcm, decode_alaw, decode_mulaw
from media.unit import AudioTrack, Codec

LAYOUTS = {1: "mono", 2: "stereo"}


class SoundDecoder:
    """Encoded sound of ``source`` to PCM of ``channels`` channels (1 or 2), each piece with its position.

    Not shared between threads. Raises UnsupportedCodecError for a track that is no sound.
    """

    def __init__(self, source: AudioTrack, channels: int) -> None:
        self._source = source
        self._channels = channels
        self._context: av.AudioCodecContext | None = None
        if source.codec in (Codec.AAC, Codec.OPUS):
            context = av.CodecContext.create("aac" if source.codec is Codec.AAC else "opus", "r")
            assert isinstance(context, av.AudioCodecContext)
            context.sample_rate = source.clock_rate
            context.layout = LAYOUTS.get(source.channels, "mono")
            if source.config:
                # The core of HE-AAC is enough for speech, and at the track's rate; all of it comes at twice that.
                context.extradata = core_config(source.config) if source.codec is Codec.AAC else source.config
            self._context = context
        elif source.codec not in (Codec.PCMA, Codec.PCMU):
            raise UnsupportedCodecError("not a sound codec", codec=str(source.codec))

    def decode(self, at: int, data: bytes | memoryview) -> Iterator[tuple[int, Pcm]]:
        """The sound of one access unit that begins at tick ``at``: pieces of shape (channels, n) and their positions.

        Raises BitstreamError for data that is not what its codec says.
        """
        if self._context is None:
            table = decode_alaw if self._source.codec is Codec.PCMA else decode_mulaw
            flat = table(data)
            whole = len(flat) // self._source.channels * self._source.channels
            yield at, self._mix(flat[:whole].reshape(-1, self._source.channels).T)
            return
        packet = av.Packet(bytes(data))
        packet.pts = packet.dts = at
        packet.time_base = Fraction(1, self._source.clock_rate)
        try:
            frames = self._context.decode(packet)
        except (av.FFmpegError, ValueError) as error:
            raise BitstreamError("sound cannot be decoded", codec=str(self._source.codec)) from error
        for frame in frames:
            if frame.sample_rate != self._source.clock_rate:
                raise BitstreamError("sound has another sampling rate than its track", rate=frame.sample_rate)
            yield at if frame.pts is None else frame.pts, self._mix(_planes(frame))

    def _mix(self, planes: Pcm) -> Pcm:
        if planes.shape[0] == self._channels:
            return planes
        mono = planes.mean(axis=0, dtype=np.float32, keepdims=True)
        return np.repeat(mono, self._channels, axis=0)


def _planes(frame: av.AudioFrame) -> Pcm:
    """A frame as float samples, shape (channels, n)."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    if values.dtype == np.int16:
        return (values / np.float32(32_768)).astype(np.float32)
    return values.astype(np.float32, copy=False)

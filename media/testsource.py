"""A test picture and sound whose time can be read back: for demonstrations and tests."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from media.codecs import annexb
from media.codecs.h264 import H264Depacketizer
from media.codecs.h265 import H265Depacketizer
from media.codecs.nal import DROP, SET, NalDepacketizer
from media.codecs.opus import OPUS_CLOCK_RATE
from media.testpicture import FLASH_NS, TestPicture, flash_visible, read_clock
from media.unit import NS_PER_S, AccessUnit, AudioTrack, Codec, Track, VideoTrack

__all__ = ["TestSource", "TestSourceSettings", "beep_starts", "flash_visible", "read_clock"]

BEEP_HZ = 1000
_VIDEO_RATE = 90_000
_AAC_RATE = 16_000
_G711_PACKET_MS = 40
_BEEP_AMPLITUDE = 12_000
_MAX_LATE_S = 2
"""What is left out then is more than a recorder lets pass for a slow camera."""


@dataclass(frozen=True, slots=True)
class TestSourceSettings:
    """What to generate. ``video`` or ``audio`` may be ``None``; ``bitrate`` is the picture's, in bits a second;
    ``gop_s`` seconds from keyframe to keyframe; ``noise`` (0-100) moving grain that gives the encoder work."""

    __test__ = False

    video: Codec | None = Codec.H264
    audio: Codec | None = Codec.PCMA
    width: int = 1280
    height: int = 720
    fps: int = 25
    bitrate: int = 1_000_000
    gop_s: float = 2.0
    label: str = ""
    b_frames: int = 0
    noise: int = 0


class TestSource:
    """Real encoded media whose picture shows its own capture time, with a flash and a beep at each UTC second.

    Blocks while it encodes: run it in a thread.
    """

    __test__ = False

    def __init__(self, settings: TestSourceSettings) -> None:
        if settings.video is None and settings.audio is None:
            raise ValueError("a test source needs a picture or sound")
        self.settings = settings
        self._video = _video_encoder(settings) if settings.video is not None else None
        self._audio = _audio_encoder(settings.audio) if settings.audio is not None else None
        tracks: list[Track] = []
        self._depacketizer: NalDepacketizer | None = None
        if self._video is not None:
            self._depacketizer = _depacketizer(settings.video, self._video.extradata or b"")
            video_track = self._depacketizer.current_track()
            if video_track is None:
                raise RuntimeError("the encoder gave no parameter sets")
            tracks.append(video_track)
        if self._audio is not None and settings.audio is not None:
            tracks.append(_audio_track(settings.audio, self._audio))
        self._tracks = tuple(tracks)

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks, video first."""
        return self._tracks

    def units(
        self,
        start_utc_ns: int,
        *,
        origin_utc_ns: int = 0,
        epoch: int = 0,
        now: Callable[[], int] | None = None,
    ) -> Iterator[AccessUnit]:
        """Access units without end, sound and picture in the order of their times, as fast as they can be made.

        ``start_utc_ns`` is moved to the next whole frame of a clock whose frame 0 began at Unix time 0, so that a
        frame begins with each second. Call it once: encoders do not go back. ``now`` (Unix nanoseconds) is for real
        time: what is more than two seconds late is left out, so that a slow machine shows gaps and not an old clock.
        """
        fps = self.settings.fps
        first_frame = -(-start_utc_ns * fps // NS_PER_S)
        start_ns = first_frame * NS_PER_S // fps
        video = self._pictures(first_frame, origin_utc_ns, epoch, now)
        audio = self._sounds(start_ns, origin_utc_ns, epoch, now)
        next_video, next_audio = next(video, None), next(audio, None)
        while next_video is not None or next_audio is not None:
            if next_audio is None or (next_video is not None and next_video.utc_ns <= next_audio.utc_ns):
                assert next_video is not None
                yield next_video
                next_video = next(video, None)
            else:
                yield next_audio
                next_audio = next(audio, None)

    def _pictures(self, number: int, origin_ns: int, epoch: int, now: Callable[[], int] | None) -> Iterator[AccessUnit]:
        encoder, settings, depacketizer = self._video, self.settings, self._depacketizer
        if encoder is None or depacketizer is None:
            return
        track = self._tracks[0]
        picture = TestPicture(settings.width, settings.height, settings.label, settings.noise)
        base = number * _VIDEO_RATE // settings.fps - origin_ns * _VIDEO_RATE // NS_PER_S
        first = number
        while True:
            if now is not None and (in_time := now() * settings.fps // NS_PER_S) > number + _MAX_LATE_S * settings.fps:
                number = in_time
            frame = av.VideoFrame.from_ndarray(picture.draw(number * NS_PER_S // settings.fps, number), "yuv420p")
            frame.pts = number - first
            frame.time_base = Fraction(1, settings.fps)
            for packet in encoder.encode(frame):
                if packet.pts is None or packet.dts is None:
                    continue
                pts = base + packet.pts * _VIDEO_RATE // settings.fps
                dts = base + packet.dts * _VIDEO_RATE // settings.fps
                utc_ns = (first + packet.pts) * NS_PER_S // settings.fps
                yield AccessUnit(
                    track, pts, dts, utc_ns, _length_prefixed(bytes(packet), depacketizer), packet.is_keyframe, 0, epoch
                )
            number += 1

    def _sounds(self, start_ns: int, origin_ns: int, epoch: int, now: Callable[[], int] | None) -> Iterator[AccessUnit]:
        encoder = self._audio
        if encoder is None:
            return
        track = self._tracks[-1]
        rate = track.clock_rate
        step = encoder.frame_size or rate * _G711_PACKET_MS // 1000
        first = start_ns * rate // NS_PER_S
        base = first - origin_ns * rate // NS_PER_S
        sample = 0
        while True:
            if now is not None and (in_time := now() * rate // NS_PER_S - first) > sample + _MAX_LATE_S * rate:
                sample = in_time
            pcm = _beeps(first + sample, step, rate)
            frame = av.AudioFrame.from_ndarray(_in_format(pcm, encoder.format.name), encoder.format.name, "mono")
            frame.sample_rate = rate
            frame.pts = sample
            frame.time_base = Fraction(1, rate)
            sample += step
            for packet in encoder.encode(frame):
                if packet.pts is None:
                    continue
                utc_ns = (first + packet.pts) * NS_PER_S // rate
                pts = base + packet.pts
                yield AccessUnit(track, pts, pts, utc_ns, bytes(packet), True, step, epoch)


def _video_encoder(settings: TestSourceSettings) -> VideoCodecContext:
    gop = max(1, round(settings.gop_s * settings.fps))
    if settings.video is Codec.H264:
        name = "libx264"
        options = {"preset": "ultrafast", "tune": "zerolatency", "sc_threshold": "0", "keyint_min": str(gop)}
        if settings.b_frames:
            options |= {
                "preset": "veryfast",
                "tune": "",
                "bf": str(settings.b_frames),
                "x264-params": "sync-lookahead=0",
            }
            options.pop("tune")
    else:
        name = "libx265"
        params = f"keyint={gop}:min-keyint={gop}:scenecut=0:log-level=none:pools=none:frame-threads=1:info=0"
        kbps = settings.bitrate // 1000
        params += f":bframes={settings.b_frames}:vbv-maxrate={kbps}:vbv-bufsize={kbps}"
        options = {"preset": "ultrafast", "x265-params": params}
        if not settings.b_frames:
            options["tune"] = "zerolatency"
    encoder = av.CodecContext.create(name, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height = settings.width, settings.height
    encoder.pix_fmt = "yuv420p"
    encoder.framerate = Fraction(settings.fps)
    encoder.time_base = Fraction(1, settings.fps)
    encoder.bit_rate = settings.bitrate
    encoder.gop_size = gop
    encoder.thread_count = 1
    if settings.video is Codec.H264:
        options |= {"maxrate": str(settings.bitrate), "bufsize": str(settings.bitrate)}
    encoder.options = options
    encoder.flags |= av.codec.context.Flags.global_header
    encoder.open()
    return encoder


def _audio_encoder(codec: Codec) -> AudioCodecContext:
    name, rate, sample_format = {
        Codec.PCMA: ("pcm_alaw", 8000, "s16"),
        Codec.PCMU: ("pcm_mulaw", 8000, "s16"),
        Codec.AAC: ("aac", _AAC_RATE, "fltp"),
        Codec.OPUS: ("libopus", OPUS_CLOCK_RATE, "s16"),
    }[codec]
    encoder = av.CodecContext.create(name, "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate = rate
    encoder.format = av.AudioFormat(sample_format)
    encoder.layout = av.AudioLayout("mono")
    encoder.time_base = Fraction(1, rate)
    if codec in (Codec.AAC, Codec.OPUS):
        encoder.bit_rate = 32_000
        encoder.flags |= av.codec.context.Flags.global_header
    encoder.open()
    return encoder


def _audio_track(codec: Codec, encoder: AudioCodecContext) -> AudioTrack:
    config = bytes(encoder.extradata or b"") if codec is Codec.AAC else b""
    return AudioTrack(codec, encoder.sample_rate, 1, config)


def _depacketizer(codec: Codec | None, extradata: bytes) -> NalDepacketizer:
    sets = annexb.split(extradata)
    return H264Depacketizer(sets) if codec is Codec.H264 else H265Depacketizer(sets)


def _length_prefixed(data: bytes, syntax: NalDepacketizer) -> bytes:
    """Annex B to the form of AccessUnit.data."""
    out = bytearray()
    for nal in annexb.split(data):
        kind = syntax.kinds[(nal[0] >> syntax.type_shift) & syntax.type_mask]
        if kind not in (SET, DROP):
            out += len(nal).to_bytes(4, "big") + nal
    return bytes(out)


def _beeps(first_sample: int, count: int, rate: int) -> NDArray[np.int16]:
    """Samples counted from Unix time 0: a tone in the first 100 ms of each second, silence otherwise."""
    position = (first_sample + np.arange(count, dtype=np.int64)) % rate
    tone = np.sin(position * (2 * np.pi * BEEP_HZ / rate)) * _BEEP_AMPLITUDE
    return np.where(position < rate * FLASH_NS // NS_PER_S, tone, 0).astype(np.int16)


def _in_format(pcm: NDArray[np.int16], sample_format: str) -> NDArray[np.int16] | NDArray[np.float32]:
    plane = pcm.reshape(1, -1)
    return (plane / np.float32(32768)).astype(np.float32) if sample_format == "fltp" else plane


def beep_starts(samples: NDArray[np.int16], rate: int) -> list[float]:
    """When beeps begin in mono PCM, in seconds from the first sample.

    A beep begins where 5 ms of sound follow at least 100 ms without.
    """
    window = max(1, rate // 200)
    usable = len(samples) - len(samples) % window
    levels = np.abs(samples[:usable].astype(np.int32)).reshape(-1, window).max(axis=1)
    loud = levels > _BEEP_AMPLITUDE // 6
    starts: list[float] = []
    quiet_windows = 0
    for index, is_loud in enumerate(loud):
        if not is_loud:
            quiet_windows += 1
            continue
        if quiet_windows >= 20:
            offset = int(np.argmax(np.abs(samples[index * window : (index + 1) * window]) > _BEEP_AMPLITUDE // 6))
            starts.append((index * window + offset) / rate)
        quiet_windows = 0
    return starts


def video_track(source: TestSource) -> VideoTrack:
    """The source's video track. Raises :class:`LookupError` if it has none."""
    for track in source.tracks:
        if isinstance(track, VideoTrack):
            return track
    raise LookupError("the source has no picture")

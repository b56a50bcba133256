"""Sound for players that take AAC only: a derivative on one global grid, so that stretches made apart join seamlessly.

AAC frame n covers output samples [1024 n, 1024 (n + 1)), counted from the zero of the stream's timeline. All of this
runs for milliseconds and longer: call it off the event loop, one encoder from one thread at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from media.fmp4 import Sample
from media.unit import AudioTrack

AAC_FRAME = 1024
MARGIN_FRAMES = 4


@dataclass(frozen=True, slots=True)
class AacSettings:
    """What is made: sampling rate in Hz, channels, bits per second."""

    rate: int = 16_000
    channels: int = 1
    bitrate: int = 32_000


def aac_track(settings: AacSettings | None = None) -> AudioTrack:
    """The track that the encoders below produce; known without encoding anything."""
    raise NotImplementedError


def frame_range(rate: int, source_rate: int, start_pts: int, end_pts: int) -> range:
    """The numbers of the grid's frames at ``rate`` Hz that start in [start_pts, end_pts), ticks of ``source_rate``."""
    raise NotImplementedError


def margin_ticks(source: AudioTrack, settings: AacSettings | None = None) -> int:
    """How much source, in its ticks, a stretch wants before its start and after its end."""
    raise NotImplementedError


def encode_stretch(
    source: AudioTrack, samples: Sequence[Sample], start_pts: int, end_pts: int, settings: AacSettings | None = None
) -> tuple[AudioTrack, list[Sample]]:
    """AAC frames that start in [start_pts, end_pts), ticks of ``source``.

    ``samples`` should reach :func:`margin_ticks` beyond both ends, where there is any; what is missing is silence.
    Raises MediaError members for sound that cannot be decoded.
    """
    raise NotImplementedError


class AacGridEncoder:
    """The running form of :func:`encode_stretch`, for live parts. A context manager; not shared between threads."""

    def __init__(self, source: AudioTrack, settings: AacSettings | None = None) -> None:
        self._source = source
        self._settings = settings or AacSettings()

    @property
    def track(self) -> AudioTrack:
        """The AAC track of what comes out."""
        return aac_track(self._settings)

    def push(self, samples: Sequence[Sample]) -> list[Sample]:
        """Take the next source samples; the AAC frames that are whole now (about two frames late)."""
        raise NotImplementedError

    def flush(self) -> list[Sample]:
        """What is still inside. The encoder may be used on; time then starts anew with the next sample."""
        raise NotImplementedError

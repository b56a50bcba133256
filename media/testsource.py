"""A test picture and sound whose time can be read back: for demonstrations and tests."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from media.unit import AccessUnit, Codec, Track


@dataclass(frozen=True, slots=True)
class TestSourceSettings:
    """What to generate. ``audio`` may be ``None``; ``bitrate`` is the picture's, in bits a second; ``gop_s`` seconds
    from keyframe to keyframe."""

    video: Codec | None = Codec.H264
    audio: Codec | None = Codec.PCMA
    width: int = 1280
    height: int = 720
    fps: int = 25
    bitrate: int = 1_000_000
    gop_s: float = 2.0
    label: str = ""


class TestSource:
    """Real encoded media whose picture shows its own capture time, with a flash and a beep at each UTC second.

    Blocks while it encodes: run it in a thread.
    """

    __test__ = False

    def __init__(self, settings: TestSourceSettings) -> None:
        self.settings = settings

    def units(self, start_utc_ns: int, *, origin_utc_ns: int = 0, epoch: int = 0) -> Iterator[AccessUnit]:
        """Access units in decoding order, without end, as fast as they can be made. Pacing is the caller's."""
        raise NotImplementedError

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks; complete before the first unit."""
        raise NotImplementedError


def read_clock(frame: NDArray[Any]) -> int | None:
    """The UTC time in milliseconds that a decoded picture (H x W luma, or H x W x 3 RGB/BGR) carries, if readable."""
    raise NotImplementedError


def flash_visible(frame: NDArray[Any]) -> bool:
    """Whether the corner flash, which lasts the first 100 ms of each UTC second, is on in a decoded picture."""
    raise NotImplementedError


def beep_starts(samples: NDArray[np.int16], rate: int) -> list[float]:
    """When beeps begin in mono PCM, in seconds from the first sample."""
    raise NotImplementedError

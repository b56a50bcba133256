"""The back-channel against an ONVIF camera that is not ours: GStreamer's RTSP server hears what is said."""

import asyncio
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from media.clock import SystemClock
from media.unit import Codec
from streaming.loudspeaker import Loudspeakers
from tests.streaming.watching import GUARD, playing, source, until
from tests.support.encoded import sound_units
from tests.support.gstreamer import gst_camera, require_gstreamer
from tests.support.live_feed import live_stream

pytestmark = pytest.mark.gstreamer


async def test_gstreamer_hears_what_is_said(tmp_path: Path) -> None:
    require_gstreamer()
    heard = tmp_path / "heard.wav"
    with ThreadPoolExecutor(1) as threads:
        async with gst_camera(heard=heard) as camera:
            hall = source(camera.url("h264-pcma"))
            speakers = Loudspeakers(SystemClock(), GUARD, threads)
            async with (
                playing(hall) as (_, seen, running),
                live_stream(sound_units(Codec.OPUS, seconds=60), camera="talk") as stream,
            ):
                await until(lambda: len(seen.pictures) > 5, "pictures", 30)
                task = asyncio.create_task(speakers.speak(hall, stream))
                # Two seconds of 16-bit samples at 8 kHz.
                await until(lambda: heard.exists() and heard.stat().st_size > 32_000, "sound is heard", 40)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert not running.done()
                assert not seen.gaps
    data = np.frombuffer(heard.read_bytes()[44:], np.int16).astype(float) / 32_768
    assert wave.open(str(heard)).getframerate() == 8_000
    inner = data[4_000:16_000]
    spectrum = np.abs(np.fft.rfft(inner * np.hanning(len(inner)))) ** 2
    near = np.abs(np.fft.rfftfreq(len(inner), 1 / 8_000) - 440) < 20
    assert spectrum[~near].sum() / spectrum.sum() < 0.02
    assert np.sqrt(np.mean(inner**2)) == pytest.approx(0.345, rel=0.1)

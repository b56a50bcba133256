"""A camera and a microphone for Chromium that can be told again: the test picture with clock and flashes, and beeps."""

import wave
from pathlib import Path

import numpy as np

from media.testpicture import TestPicture
from media.unit import NS_PER_S
from tests.support.browser import FAKE_DEVICES

WIDTH, HEIGHT, FPS = 640, 360, 25
LOOP_S = 4
BEEP_S = 0.1
_RATE = 48_000


def telling_devices(folder: Path) -> tuple[str, ...]:
    """Arguments for Chromium; the files are in ``folder``. Flash and beep come once a second each, not together."""
    picture, sound = folder / "camera.y4m", folder / "microphone.wav"
    drawn = TestPicture(WIDTH, HEIGHT)
    with picture.open("wb") as file:
        file.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{FPS}:1 Ip A1:1 C420jpeg\n".encode())
        for number in range(LOOP_S * FPS):
            file.write(b"FRAME\n")
            file.write(drawn.draw(number * NS_PER_S // FPS, number).tobytes())
    time = np.arange(LOOP_S * _RATE) / _RATE
    samples = np.where(time % 1 < BEEP_S, 12_000 * np.sin(2 * np.pi * 1000 * time), 0).astype("<i2")
    with wave.open(str(sound), "wb") as made:
        made.setnchannels(1)
        made.setsampwidth(2)
        made.setframerate(_RATE)
        made.writeframes(samples.tobytes())
    return (*FAKE_DEVICES, f"--use-file-for-fake-video-capture={picture}", f"--use-file-for-fake-audio-capture={sound}")

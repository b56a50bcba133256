"""The ffmpeg program as a player: what it decodes from an address, with the clock, flash and beep read back."""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg

from tests.support.content import Content, examine

# Small enough to be quick, large enough for the picture's machine-readable clock.
_PICTURE = "scale=480:270:flags=area,format=gray"


@dataclass(frozen=True, slots=True)
class Played:
    """What was played. ``complaints`` are its log lines of level error; ``took_s`` from start to end."""

    content: Content
    frames: int
    complaints: tuple[str, ...]
    log: str
    took_s: float


async def play(
    url: str,
    folder: Path,
    *,
    options: Sequence[str] = (),
    cookie: str = "",
    max_s: float | None = None,
    limit_s: float = 60.0,
) -> Played:
    """Let ffmpeg play ``url`` to its end or for ``max_s`` seconds of its time; ``options`` go before the input.

    AssertionError if ffmpeg fails or takes longer than ``limit_s``.
    """  # fmt: skip
    target = folder / f"played-{abs(hash((url, time.monotonic_ns()))):x}.nut"
    headers = ["-headers", f"Cookie: {cookie}\r\n"] if cookie else []
    bound = ["-t", f"{max_s:g}"] if max_s is not None else []
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-loglevel", "level+info", "-threads", "1",
        *headers, *options, "-i", url, *bound, "-map", "0:v:0?", "-map", "0:a:0?",
        "-fps_mode", "passthrough", "-enc_time_base:v", "1/90000", "-vf", _PICTURE, "-c:v", "rawvideo",
        "-c:a", "pcm_s16le", "-ar", "16000", "-ac", "1", "-f", "nut", str(target),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(limit_s):
            _, output = await process.communicate()
    except TimeoutError:
        process.kill()
        _, output = await process.communicate()
        raise AssertionError(f"ffmpeg does not end with {url}:\n{_tail(output)}") from None
    log = output.decode(errors="replace")
    assert process.returncode == 0, f"ffmpeg ended with {process.returncode} from {url}:\n{_tail(output)}"
    took_s = time.monotonic() - started
    content = await asyncio.to_thread(examine, str(target))
    await asyncio.to_thread(target.unlink)
    frames = re.findall(r"frame=\s*(\d+)", log)
    complaints = tuple(line for line in log.splitlines() if re.search(r"\[(error|fatal|panic)\]", line))
    return Played(content, int(frames[-1]) if frames else 0, complaints, log, took_s)


def _tail(output: bytes) -> str:
    return output.decode(errors="replace")[-3000:]

"""Other people's WebRTC, over HTTP with tokens: GStreamer's webrtcbin looks, it and ffmpeg's WHIP muxer send."""

import asyncio
import io
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import pytest

from tests.support.encoded import numbered_picture, picture_number, tone
from tests.support.fake_camera import LOOP_S, Behaviour, fake_camera
from tests.support.servers import cannot_run
from tests.support.webrtc_peers import ffmpeg_sends_whip, gst_peer
from tests.web.conftest import Api, Service, fill, run, settings
from tests.web.live_county import running_meeting
from tests.web.test_flow import add_camera, state_of, until
from web.access.identity import COOKIE

LIMIT_S = 100
LOOP = 25 * LOOP_S
TONE_HZ = 440
# What is recorded is drawn to the wall clock, by as much as 1/32 (media/timeline.py): a publisher's queue and its
# reports do not agree on when its first packet was made.
DRAWN_HZ = TONE_HZ / 32 + 1


@pytest.fixture
async def county(tmp_path: Path) -> AsyncIterator[Service]:
    chosen = settings(tmp_path, reconcile_s=0.2, part_ms=200, segment_s=1, object_s=4)
    async with run(chosen) as service, asyncio.timeout(LIMIT_S):
        await fill(service.services)
        yield service


def token_of(api: Api) -> str:
    """The session's token, as a program without cookies sends it."""
    return next(cookie.value for cookie in api.client.session.cookie_jar if cookie.key == COOKIE)


async def recorded(api: Api, meeting: str, seconds: float) -> None:
    async def enough() -> Any:
        shown = await api.json("GET", f"/meetings/{meeting}")
        return shown["playback"] and shown["recording"]["recorded_s"] > seconds

    await until(enough, LIMIT_S)


async def taken_away(api: Api, meeting: str) -> tuple[Any, list[int], float]:
    """The ended meeting, the numbers in its recording's pictures, and the pitch of its sound, Hz."""
    ended = await api.json("POST", f"/meetings/{meeting}/end")
    data = await (await api.client.get(ended["playback"]["download_url"])).read()
    with av.open(io.BytesIO(data), "r") as file:
        numbers = [picture_number(frame) for frame in file.decode(video=0)]
    with av.open(io.BytesIO(data), "r") as file:
        wave = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)]).astype(float)
        rate = file.streams.audio[0].rate
    middle = wave[len(wave) // 3 : len(wave) // 3 + rate]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    return ended, numbers, float(np.argmax(spectrum) * rate / len(middle))


@pytest.mark.gstreamer
async def test_webrtcbin_looks_at_a_camera(county: Service) -> None:
    async with fake_camera(Behaviour()) as camera:
        system, official = await county.logged_in("system"), await county.logged_in("east")
        added = await add_camera(system, camera.url)
        await state_of(system, added["id"], "online")
        issued = await official.json("POST", f"/cameras/{added['id']}/view-token", 201)
        async with gst_peer("view", issued["whep_url"], issued["token"], "--pictures=120") as peer:
            told = await peer.end()
    assert (told["created"], told["deleted"]) == (201, 200)
    assert told["etag"].startswith('"')
    assert told["location"].startswith(f"/live/{added['id']}/whep/")
    seen = told["seen"]
    assert len(seen) >= 120
    # Nothing is left out or repeated, over the camera's loop too.
    assert [(number - seen[0]) % LOOP for number in seen] == [n % LOOP for n in range(len(seen))]
    assert told["tone"] == pytest.approx(TONE_HZ, abs=5)


@pytest.mark.gstreamer
async def test_webrtcbin_sends_a_meeting(county: Service) -> None:
    system, official = await county.logged_in("system"), await county.logged_in("east")
    hall = await add_camera(system, "whip:")
    meeting = await running_meeting(official)
    address = str(official.client.make_url(f"/live/{hall['id']}/whip"))
    async with gst_peer("publish", address, token_of(official)) as peer:
        await recorded(official, meeting, 5)
        told = await peer.end()
    assert (told["created"], told["deleted"]) == (201, 200)
    ended, numbers, pitch = await taken_away(official, meeting)
    assert len(numbers) > 4 * 25
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert numbers[-1] < told["sent"]
    assert ended["recording"]["gap_count"] == 0
    assert pitch == pytest.approx(TONE_HZ, abs=DRAWN_HZ)


def clip(path: Path, frames: int) -> None:
    """Numbered pictures and a tone as an encoder without B-frames leaves them in a file."""
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", 25, options={"profile": "baseline", "g": "25", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt, video.bit_rate = 320, 180, "yuv420p", 300_000
        sound = file.add_stream("libopus", 48_000, layout="stereo")
        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(numbered_picture(number, 320, 180), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            file.mux(video.encode(picture))
        wave = np.repeat(tone(48_000, frames / 25), 2)
        frame = av.AudioFrame.from_ndarray(wave[None, :], format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        file.mux(sound.encode(frame))
        for stream in (video, sound):
            file.mux(stream.encode(None))


async def test_ffmpeg_sends_a_meeting(county: Service, tmp_path: Path) -> None:
    if not ffmpeg_sends_whip():
        cannot_run("this ffmpeg has no WHIP muxer")
    system, official = await county.logged_in("system"), await county.logged_in("east")
    hall = await add_camera(system, "whip:")
    meeting = await running_meeting(official)
    frames = 8 * 25
    await asyncio.to_thread(clip, tmp_path / "clip.mkv", frames)
    process = await asyncio.create_subprocess_exec(
        imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-loglevel", "level+info", "-re",
        "-i", str(tmp_path / "clip.mkv"), "-c", "copy", "-f", "whip", "-authorization", token_of(official),
        str(official.client.make_url(f"/live/{hall['id']}/whip")),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        _, log = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, log.decode()
    await state_of(system, hall["id"], "offline")
    _, numbers, pitch = await taken_away(official, meeting)
    # ffmpeg does not wait for the keyframe that it is asked for: its file has one each second.
    assert numbers == list(range(numbers[0], frames))
    assert numbers[0] <= 25
    assert pitch == pytest.approx(TONE_HZ, abs=DRAWN_HZ)

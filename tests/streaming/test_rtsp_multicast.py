"""Multicast from our RTSP server: one packet stream for all who ask for it, and none when nobody does."""

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from media.clock import SystemClock
from media.rtcp import SenderReport, parse_compound
from media.rtp import RtpHeader, parse_header
from media.testsource import TestSourceSettings, read_clock
from media.unit import NS_PER_S, Codec
from streaming.rtsp.server import RtspServer
from streaming.rtsp.server_multicast import MulticastSettings
from streaming.simulator import SimulatedCamera
from tests.streaming.test_rtsp_server import run_until
from tests.streaming.watching import until
from tests.support import live555_player
from tests.support.gstreamer import require_gstreamer
from tests.support.rtsp_talk import RtspTalk, rtsp_talk

WIDTH, HEIGHT = 480, 272
CAMERA = TestSourceSettings(Codec.H264, Codec.PCMA, WIDTH, HEIGHT, 25, 300_000, gop_s=0.5)
WANTED = "RTP/AVP;multicast"
ANY_SOURCE, ONE_SOURCE = "239.255.77.0/30", "232.77.77.0/30"


@contextlib.asynccontextmanager
async def serving(network: str) -> AsyncIterator[tuple[str, RtspServer, SimulatedCamera]]:
    clock = SystemClock()
    # Groups are the machine's, not the test's: each test has ports of its own.
    multicast = MulticastSettings(network, port=random.randrange(20_000, 60_000, 4), ttl=0, interface="127.0.0.1")
    async with SimulatedCamera("hall", CAMERA, clock) as camera:
        await camera.ready()
        provider = {"/live/hall": camera.stream}.get
        async with RtspServer("127.0.0.1", 0, provider, None, clock, multicast=multicast) as server:
            yield f"rtsp://127.0.0.1:{server.port}/live/hall", server, camera


@contextlib.contextmanager
def listener(group: str, port: int, source: str = "") -> Iterator[socket.socket]:
    """A socket in a group, on the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((group, port))
        here = socket.inet_aton("127.0.0.1")
        if source:
            membership = struct.pack("4s4s4s", socket.inet_aton(group), here, socket.inet_aton(source))
            made.setsockopt(socket.IPPROTO_IP, 39, membership)  # IP_ADD_SOURCE_MEMBERSHIP, which Python does not name
        else:
            made.setsockopt(
                socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4s", socket.inet_aton(group), here)
            )
        yield made


async def set_up(talk: RtspTalk, track: int) -> dict[str, str]:
    answer = await talk.ask("SETUP", f"{talk.url}/track{track}", Transport=WANTED)
    assert answer.status == 200
    parts = [item.partition("=") for item in (answer.headers.get("Transport") or "").split(";")]
    return {name: value for name, _, value in parts}


@pytest.mark.parametrize("network", [ANY_SOURCE, ONE_SOURCE])
async def test_all_who_ask_share_one_packet_stream_with_the_right_time(network: str) -> None:
    async with serving(network) as (url, server, _), rtsp_talk(url) as first, rtsp_talk(url) as second:
        where = await set_up(first, 1)
        sound = await set_up(first, 2)
        assert await set_up(second, 1) == where
        assert ("source" in where) == (network == ONE_SOURCE)
        assert where["ttl"] == "0"
        low, high = (int(port) for port in where["port"].split("-"))
        assert [int(port) for port in sound["port"].split("-")] == [low + 2, high + 2]
        group, source = where["destination"], where.get("source", "")
        loop = asyncio.get_running_loop()
        with listener(group, low, source) as rtp, listener(group, high, source) as rtcp:
            assert (await first.ask("PLAY")).status == 200
            assert (await second.ask("PLAY")).status == 200
            await until(lambda: server.viewers == 2)
            headers: list[RtpHeader] = []
            async with asyncio.timeout(20):
                while len(headers) < 60:
                    header = parse_header(await loop.sock_recv(rtp, 2048))
                    assert header is not None
                    headers.append(header)
                report = next(
                    item for item in parse_compound(await loop.sock_recv(rtcp, 2048)) if isinstance(item, SenderReport)
                )
            assert len({header.ssrc for header in headers}) == 1
            assert all((b.sequence - a.sequence) & 0xFFFF == 1 for a, b in pairwise(headers))
            assert report.ssrc == headers[0].ssrc
            assert abs(report.utc_ns - SystemClock().utc_ns()) < 30 * NS_PER_S
            # One of two leaves: it goes on. The other leaves too: nothing is sent any more.
            assert (await second.ask("TEARDOWN")).status == 200
            async with asyncio.timeout(20):
                for _ in range(30):
                    await loop.sock_recv(rtp, 2048)
            assert (await first.ask("PAUSE")).status == 200
            await until(lambda: server.viewers == 0)
            while True:
                try:
                    rtp.recv(2048)
                except BlockingIOError:
                    break
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(loop.sock_recv(rtp, 2048), 0.3)


async def test_off_unless_set_and_bounded_by_its_addresses() -> None:
    clock = SystemClock()
    async with SimulatedCamera("hall", CAMERA, clock) as camera:
        await camera.ready()
        paths = {f"/live/{number}": camera.stream for number in range(2)}
        async with RtspServer("127.0.0.1", 0, paths.get, None, clock) as server:
            async with rtsp_talk(f"rtsp://127.0.0.1:{server.port}/live/0") as talk:
                answer = await talk.ask("SETUP", f"{talk.url}/track1", Transport=WANTED)
                assert answer.status == 461
                answer = await talk.ask(
                    "SETUP", f"{talk.url}/track1", Transport=f"{WANTED},RTP/AVP/TCP;interleaved=0-1"
                )
                assert answer.status == 200
    async with SimulatedCamera("other", CAMERA, clock) as other, serving("239.255.77.0/32") as (url, server, camera):
        await other.ready()
        async with rtsp_talk(url) as talk, rtsp_talk(url) as late:
            await set_up(talk, 1)
            assert server.multicast_group(other.stream) is None
            assert await set_up(late, 1)
            for each in (talk, late):
                assert (await each.ask("TEARDOWN")).status == 200
        # The address is free again.
        await until(lambda: server.viewers == 0)
        async with asyncio.timeout(10):
            while (group := server.multicast_group(other.stream)) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        group.release()


@pytest.mark.gstreamer
async def test_gstreamer_sees_it(tmp_path: Path) -> None:
    require_gstreamer()
    raw = tmp_path / "pictures"
    async with serving(ANY_SOURCE) as (url, _, _):
        command = ["gst-launch-1.0", "-q", "rtspsrc", f"location={url}", "protocols=udp-mcast", "multicast-iface=lo"]
        command += "latency=100 name=camera camera. ! rtph264depay ! h264parse ! avdec_h264 ! queue".split()
        command += "! videoconvert ! video/x-raw,format=GRAY8 ! filesink buffer-mode=unbuffered sync=false".split()
        command.append(f"location={raw}")
        command += "camera. ! rtppcmadepay ! queue ! fakesink sync=false async=false".split()
        await run_until(lambda: raw.exists() and raw.stat().st_size > 40 * WIDTH * HEIGHT, *command)
    pictures = np.frombuffer(raw.read_bytes(), np.uint8)[: 40 * WIDTH * HEIGHT].reshape(-1, HEIGHT, WIDTH)
    shown = [read_clock(picture) for picture in pictures]
    assert None not in shown
    assert {(b or 0) - (a or 0) for a, b in pairwise(shown)} == {40}


@pytest.mark.parametrize("network", [ANY_SOURCE, ONE_SOURCE])
async def test_live555_sees_and_hears_it(network: str) -> None:
    async with serving(network) as (url, _, _):
        played = await live555_player.play(url, "--multicast", "127.0.0.1", "--pictures", "60")
    assert played.code == 0, (played.steps, played.log)
    content = await asyncio.to_thread(played.content)
    assert content.unreadable == 0
    assert len(content.clocks) >= 40
    assert {later - earlier for (_, earlier), (_, later) in pairwise(content.clocks)} == {40}
    assert max(abs(error) for error in content.sync_errors()) < 0.1


async def test_ffmpeg_sees_it(tmp_path: Path) -> None:
    raw, description = tmp_path / "pictures", tmp_path / "hall.sdp"
    # ffmpeg's RTSP client joins where the default route leads, and takes no other address; from a description it does.
    async with serving(ANY_SOURCE) as (url, _, _), rtsp_talk(url) as talk:
        text = (await talk.ask("DESCRIBE")).body.decode()
        where = await set_up(talk, 1)
        lines = text.split("m=audio")[0].splitlines()
        lines = [f"c=IN IP4 {where['destination']}/1" if line.startswith("c=") else line for line in lines]
        port = where["port"].partition("-")[0]
        description.write_text("\n".join(lines).replace("m=video 0 ", f"m=video {port} ") + "\n")
        assert (await talk.ask("PLAY")).status == 200
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error"]
        command += ["-protocol_whitelist", "file,udp,rtp", "-localaddr", "127.0.0.1", "-i", str(description)]
        command += ["-fps_mode", "passthrough", "-pix_fmt", "gray", "-f", "rawvideo", "-flush_packets", "1", str(raw)]
        await run_until(lambda: raw.exists() and raw.stat().st_size > 40 * WIDTH * HEIGHT, *command)
    pictures = np.frombuffer(raw.read_bytes(), np.uint8)[: 40 * WIDTH * HEIGHT].reshape(-1, HEIGHT, WIDTH)
    shown = [read_clock(picture) for picture in pictures]
    assert None not in shown
    assert {(b or 0) - (a or 0) for a, b in pairwise(shown)} == {40}

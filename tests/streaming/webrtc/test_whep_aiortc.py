"""aiortc as an independent viewer: its own ICE, DTLS, jitter buffer and decoders show what the room has just now."""

import asyncio

import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from av import AudioFrame, VideoFrame

from bench.live_source import CAMERA, live_source, whep_site
from media.stream import Quality
from media.testsource import TestSourceSettings, read_clock


async def test_another_implementation_decodes_picture_and_sound() -> None:
    settings = TestSourceSettings(width=640, height=360, gop_s=10.0)
    async with asyncio.timeout(60), live_source(settings) as stream, whep_site(stream) as (_, whep):
        await asyncio.sleep(1.0)
        viewer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        try:
            viewer.addTransceiver("audio", direction="recvonly")
            viewer.addTransceiver("video", direction="recvonly")
            await viewer.setLocalDescription(await viewer.createOffer())
            session = await whep.offer(CAMERA, Quality.MAIN, viewer.localDescription.sdp)
            await viewer.setRemoteDescription(RTCSessionDescription(session.answer, "answer"))
            tracks = {item.receiver.track.kind: item.receiver.track for item in viewer.getTransceivers()}
            clocks: list[int] = []
            while len(clocks) < 20:
                frame = await tracks["video"].recv()
                assert isinstance(frame, VideoFrame)
                clock = read_clock(frame.to_ndarray(format="gray"))
                if clock is not None:
                    clocks.append(clock)
            assert clocks == sorted(clocks)
            loudest = 0
            while loudest < 5_000:
                sound = await tracks["audio"].recv()
                assert isinstance(sound, AudioFrame)
                loudest = max(loudest, int(np.abs(sound.to_ndarray()).max()))
        finally:
            await viewer.close()

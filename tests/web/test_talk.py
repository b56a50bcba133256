"""Talking into a room, over HTTP and WebRTC: one at a time, heard by who watches and by the camera's loudspeaker."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from aiohttp import ClientResponse

from media.packetizer import Packetizer
from media.sound import decode_alaw
from media.unit import NS_PER_S, Codec
from tests.support.encoded import sound_units
from tests.support.fake_camera import Behaviour, FakeCamera, fake_camera
from tests.support.live_feed import until
from tests.support.webrtc_client import OPUS, PCMA, WebRtcClient
from tests.web.conftest import Api, Service, fill, run, settings
from tests.web.live_county import running_meeting
from tests.web.test_flow import add_camera, state_of
from web.live import rights

SDP = {"Content-Type": "application/sdp"}
LIMIT_S = 90


@pytest.fixture
async def camera() -> AsyncIterator[FakeCamera]:
    async with fake_camera(Behaviour(loudspeaker=("m=audio 0 RTP/AVP 8", "a=rtpmap:8 PCMA/8000"))) as camera:
        yield camera


class Hall:
    """A running meeting whose camera has a loudspeaker."""

    def __init__(self, service: Service, meeting: str) -> None:
        self.service = service
        self.meeting = meeting
        self.talk, self.voice = (f"/live/meetings/{meeting}/{name}" for name in ("talk", "voice"))

    async def ask(self, api: Api, offer: str) -> ClientResponse:
        return await api.client.post(self.talk, data=offer, headers={"X-CSRF-Token": api.csrf, **SDP})

    async def listen(self, api: Api, offer: str) -> ClientResponse:
        return await api.client.post(self.voice, data=offer, headers={"X-CSRF-Token": api.csrf, **SDP})


@pytest.fixture
async def hall(tmp_path: Path, camera: FakeCamera) -> AsyncIterator[Hall]:
    async with run(settings(tmp_path, webrtc_host="127.0.0.1")) as service, asyncio.timeout(115):
        await fill(service.services)
        system = await service.logged_in("system")
        added = await add_camera(system, camera.url)
        await state_of(system, added["id"], "online")
        yield Hall(service, await running_meeting(await service.logged_in("east")))


def a_voice(client: WebRtcClient) -> str:
    """The offer of somebody who wants to speak."""
    return client.offer(direction="sendonly", video=(), audio=(OPUS, PCMA))


@contextlib.asynccontextmanager
async def saying(client: WebRtcClient, frequency: float = 440.0) -> AsyncIterator[list[int]]:
    """A tone goes out in real time, as RTP of Opus; the lengths of the packets sent so far."""
    sent: list[int] = []

    async def send() -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        for unit in sound_units(Codec.OPUS, seconds=60, start_s=1.0, frequency=frequency):
            for packet in packetizer.packets(unit):
                client.send_rtp(packet)
                sent.append(len(packet))
            due += 0.02
            await asyncio.sleep(max(0.0, due - loop.time()))

    packetizer = Packetizer(sound_units(Codec.OPUS, seconds=0.1)[0].track, 100, 77)
    task = asyncio.create_task(send())
    try:
        yield sent
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def loudest(wave: "np.ndarray[Any, Any]", rate: int) -> float:
    """The strongest frequency, in Hz."""
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return float(np.argmax(spectrum) * rate / len(wave))


async def test_what_an_official_says_is_heard_in_the_room_and_by_the_camera(hall: Hall, camera: FakeCamera) -> None:
    official, watcher = await hall.service.logged_in("east"), await hall.service.logged_in("official")
    async with WebRtcClient() as ear, WebRtcClient() as mouth, asyncio.timeout(LIMIT_S):
        # The room listens before anybody speaks, so that the first word is not missed.
        listening = await hall.listen(watcher, ear.offer(video=(), audio=(OPUS,)))
        assert listening.status == 201, await listening.text()
        await ear.connect(await listening.text())
        asked = await hall.ask(official, a_voice(mouth))
        assert asked.status == 201, await asked.text()
        state = (await official.json("GET", f"/meetings/{hall.meeting}"))["state"]
        assert state == "running"
        await mouth.connect(await asked.text())
        async with saying(mouth):
            await ear.until(lambda: len(ear.packets) > 60, 60)
            await ear.until(lambda: len(camera.heard) > 60, 60)
        decoder = av.CodecContext.create("libopus", "r")
        assert isinstance(decoder, av.AudioCodecContext)
        decoder.sample_rate, decoder.layout = 48_000, "mono"
        frames = [frame for item in ear.packets[10:60] for frame in decoder.decode(av.Packet(item.payload))]
        assert loudest(np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(float), 48_000) == (
            pytest.approx(440, abs=5)
        )
        octets = b"".join(packet[12:] for _, packet in camera.heard[10:60] if packet[1] & 0x7F == 8)
        assert loudest(decode_alaw(octets), 8_000) == pytest.approx(440, abs=5)
        token = {"X-CSRF-Token": official.csrf}
        assert (
            await watcher.client.delete(asked.headers["Location"], headers={"X-CSRF-Token": watcher.csrf})
        ).status == 404
        assert (await official.client.delete(asked.headers["Location"], headers=token)).status == 200
        await mouth.said_goodbye.wait()
    # What was said is on record with the meeting, and heard on replay, in step with the picture.
    await official.json("POST", f"/meetings/{hall.meeting}/end")
    talks = await official.json("GET", f"/meetings/{hall.meeting}/talks")
    (turn,) = talks["items"]
    assert (turn["office"], turn["reason"]) == ("东镇党委", "released")
    assert turn["ends_at"] > turn["starts_at"]
    replayed = await official.client.get(talks["track_url"])
    assert replayed.status == 200, await replayed.text()
    text = await replayed.text()
    base = talks["track_url"].rpartition("/")[0]
    init = await (await official.client.get(f"{base}/guidance/init.mp4")).read()
    names = [line for line in text.splitlines() if line.startswith("guidance/")]
    pieces = [await (await official.client.get(f"{base}/{name}")).read() for name in names]
    with av.open(io.BytesIO(init + b"".join(pieces)), "r") as container:
        wave = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    spoken = wave[np.abs(wave) > 0.05]
    assert len(spoken) > 8_000
    loud = np.flatnonzero(np.abs(wave) > 0.2)
    assert loudest(wave[loud[0] : loud[0] + 8_000], 16_000) == pytest.approx(440, abs=10)
    auditor = await hall.service.logged_in("auditor")
    entries = (await auditor.json("GET", "/audit", params={"action": "guidance.talk"}))["items"]
    assert [entry["username"] for entry in entries] == ["east"]


async def test_the_last_words_before_the_end_are_on_record(hall: Hall) -> None:
    official = await hall.service.logged_in("east")
    async with WebRtcClient() as mouth, asyncio.timeout(LIMIT_S):
        asked = await hall.ask(official, a_voice(mouth))
        await mouth.connect(await asked.text())
        async with saying(mouth) as sent:
            await until(lambda: len(sent) >= 75, LIMIT_S)
            before = len(sent)
            await official.json("POST", f"/meetings/{hall.meeting}/end")
            await mouth.said_goodbye.wait()
    async with hall.service.services.database.read() as repos:
        guidance = await repos.recordings.guidance(hall.meeting)
        assert guidance is not None
        objects = await repos.objects.of_recording(guidance.id)
    recorded_s = sum(segment.duration_ns for item in objects for segment in item.segments) / NS_PER_S
    assert recorded_s >= before * 0.02 - 0.001
    (turn,) = (await official.json("GET", f"/meetings/{hall.meeting}/talks"))["items"]
    assert turn["reason"] == "closed"


async def test_one_at_a_time_and_county_before_town(hall: Hall) -> None:
    town, county = await hall.service.logged_in("east"), await hall.service.logged_in("official")
    async with WebRtcClient() as first, WebRtcClient() as second, asyncio.timeout(LIMIT_S):
        asked = await hall.ask(town, a_voice(first))
        await first.connect(await asked.text())
        async with saying(first):
            taken = await hall.ask(county, a_voice(second))
            assert taken.status == 201, await taken.text()
            # The town's line is closed: the county has the floor.
            await first.said_goodbye.wait()
            await second.connect(await taken.text())
            async with saying(second, 700.0):
                refused = await hall.ask(town, a_voice(WebRtcClient()))
                assert refused.status == 409
                problem = await refused.json()
                assert problem["code"] == "talk-busy"
                assert "清河县委组织部" in problem["detail"]
        left = await county.client.delete(taken.headers["Location"], headers={"X-CSRF-Token": county.csrf})
        assert left.status == 200
        # The town was first in the queue.
        again = await hall.ask(town, a_voice(first))
        assert again.status == 201
        gone = await town.client.delete(hall.talk, headers={"X-CSRF-Token": town.csrf})
        assert gone.status == 204
        nothing = await town.client.delete(hall.talk, headers={"X-CSRF-Token": town.csrf})
        assert nothing.status == 404


async def test_who_may_not_speak_and_when(hall: Hall) -> None:
    offer = a_voice(WebRtcClient())
    official, viewer = await hall.service.logged_in("east"), await hall.service.logged_in("viewer")
    assert (await hall.ask(hall.service.browser(), offer)).status == 401
    assert (await hall.ask(viewer, offer)).status == 403
    assert (await hall.ask(Api(official.client), offer)).status == 403
    silent = WebRtcClient().offer(direction="sendonly", audio=(PCMA,), video=())
    assert (await hall.ask(official, silent)).status == 406
    assert (await hall.ask(official, "nonsense")).status == 400
    # A refused offer leaves no floor behind.
    async with WebRtcClient() as mouth, asyncio.timeout(LIMIT_S):
        asked = await hall.ask(official, a_voice(mouth))
        assert asked.status == 201
        await mouth.connect(await asked.text())
        await official.json("POST", f"/meetings/{hall.meeting}/end")
        await mouth.said_goodbye.wait()
    closed = await hall.ask(official, offer)
    assert closed.status == 409
    assert (await closed.json())["code"] == "talk-closed"


async def test_the_voice_ends_with_the_right_to_speak(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "CHECK_S", 0.1)
    official, security = await hall.service.logged_in("east"), await hall.service.logged_in("security")
    async with WebRtcClient() as mouth, asyncio.timeout(LIMIT_S):
        asked = await hall.ask(official, a_voice(mouth))
        await mouth.connect(await asked.text())
        async with saying(mouth) as sent:
            await until(lambda: len(sent) >= 25, LIMIT_S)
            person = {"display_name": "East", "role": "archivist", "organization_id": "town-east"}
            await security.json("PUT", "/users/u-east", json=person)
            async with asyncio.timeout(20):
                await mouth.said_goodbye.wait()

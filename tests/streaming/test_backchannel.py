"""Talking through a camera's loudspeaker: heard as it was said, at the pace of speech, apart from the picture."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from media.clock import SystemClock
from media.description import MediaDescription
from media.receiver import StreamReceiver
from media.sound import decode_alaw, decode_mulaw
from media.speaker_encode import SpeakerEncoder, encode_g711, speaker_track
from media.stream import LiveStream, StreamId
from media.unit import NS_PER_S, AccessUnit, AudioTrack, Codec
from streaming.loudspeaker import Loudspeakers, LoudspeakerSettings, PacedSender
from streaming.rtsp.auth import ServerAuthenticator
from streaming.rtsp.backchannel import Backchannel, find_loudspeaker
from streaming.rtsp.sdp import parse_sdp
from streaming.secret import Secret
from streaming.source import Transport
from streaming.talk_errors import BackchannelMissingError
from tests.streaming.watching import GUARD, QUICK, playing, source, until
from tests.support.encoded import sound_units
from tests.support.fake_camera import Behaviour, FakeCamera, fake_camera
from tests.support.live_feed import live_stream

PCMA = ("m=audio 0 RTP/AVP 8", "a=rtpmap:8 PCMA/8000")
PCMU = ("m=audio 0 RTP/AVP 0",)
AAC = (
    "m=audio 0 RTP/AVP 104",
    "a=rtpmap:104 MPEG4-GENERIC/16000/1",
    "a=fmtp:104 mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1408",
)
SETTINGS = LoudspeakerSettings(retry_s=0.05, rtsp=QUICK)
CLOCK = SystemClock()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def talk(seconds: float = 3.0) -> list[AccessUnit]:
    """Somebody's voice: a tone of 440 Hz, Opus."""
    return sound_units(Codec.OPUS, seconds=seconds)


@contextlib.asynccontextmanager
async def speaking(
    camera: FakeCamera, threads: ThreadPoolExecutor, seconds: float = 30.0, transport: Transport = Transport.TCP
) -> AsyncIterator[Loudspeakers]:
    """Somebody talks into the camera's room."""
    speakers = Loudspeakers(CLOCK, GUARD, threads, SETTINGS)
    async with live_stream(talk(seconds), camera="talk") as stream:
        task = asyncio.create_task(speakers.speak(source(camera.url, transport=transport), stream))
        try:
            yield speakers
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def rtp_of(camera: FakeCamera) -> list[bytes]:
    return [packet for _, packet in camera.heard if len(packet) > 12 and packet[1] & 0x7F not in range(72, 77)]


def heard(camera: FakeCamera, description: MediaDescription) -> tuple[NDArray[np.float64], int]:
    """What the loudspeaker would play, and its rate: the packets through a receiver and FFmpeg's decoder."""
    receiver = StreamReceiver([description], CLOCK, reorder=False)
    items = [item for packet in rtp_of(camera) for item in receiver.rtp(0, packet, CLOCK.utc_ns())]
    items += receiver.flush()
    units = [item for item in items if isinstance(item, AccessUnit)]
    track = units[0].track
    assert isinstance(track, AudioTrack)
    names = {Codec.PCMA: "pcm_alaw", Codec.PCMU: "pcm_mulaw", Codec.AAC: "aac"}
    decoder = av.CodecContext.create(names[track.codec], "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = track.clock_rate, "mono"
    if track.config:
        decoder.extradata = track.config
    planes = [frame.to_ndarray().reshape(-1) for unit in units for frame in decoder.decode(av.Packet(unit.data))]
    wave = np.concatenate(planes).astype(np.float64)
    return wave / (1 if track.codec is Codec.AAC else 32_768), track.clock_rate


def is_the_tone(wave: NDArray[np.float64], rate: int) -> None:
    """440 Hz at half scale, nearly nothing beside."""
    inner = wave[rate // 4 : -rate // 8]
    spectrum = np.abs(np.fft.rfft(inner * np.hanning(len(inner)))) ** 2
    near = np.abs(np.fft.rfftfreq(len(inner), 1 / rate) - 440) < 20
    assert spectrum[~near].sum() / spectrum.sum() < 0.01
    assert np.sqrt(np.mean(inner**2)) == pytest.approx(0.49 / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("codec", [Codec.PCMA, Codec.PCMU])
def test_g711_is_coded_as_ffmpeg_does(codec: Codec) -> None:
    every = np.arange(-32_768, 32_768, 7)
    ours = (decode_alaw if codec is Codec.PCMA else decode_mulaw)(
        encode_g711(codec, (every / 32_768).astype(np.float32))
    )
    encoder = av.CodecContext.create("pcm_alaw" if codec is Codec.PCMA else "pcm_mulaw", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = 8_000, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(every.astype(np.int16)[None, :], format="s16", layout="mono")
    frame.sample_rate = 8_000
    theirs = b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))
    expected = (decode_alaw if codec is Codec.PCMA else decode_mulaw)(theirs)
    # Nearest codes: never further off than FFmpeg's table.
    assert np.mean(np.abs(ours * 32_768 - every)) <= np.mean(np.abs(expected * 32_768 - every)) + 1e-3


@pytest.mark.parametrize(("codec", "rate"), [(Codec.PCMA, 8_000), (Codec.PCMU, 16_000), (Codec.AAC, 16_000)])
def test_a_talk_is_coded_for_the_loudspeaker_on_its_own_timeline(codec: Codec, rate: int) -> None:
    target = speaker_track(codec, rate)
    encoder = SpeakerEncoder(target)
    made = [unit for piece in talk() for unit in encoder.push([piece])]
    assert {after.pts - before.pts for before, after in pairwise(made)} == {1024 if codec is Codec.AAC else rate // 50}
    assert made[0].pts / rate == pytest.approx(100, abs=0.07)
    assert made[-1].pts / rate == pytest.approx(102.9, abs=0.15)
    assert all(unit.track is target for unit in made)


@pytest.mark.parametrize("lines", [PCMA, PCMU, AAC], ids=["pcma", "pcmu", "aac"])
@pytest.mark.parametrize("transport", list(Transport))
async def test_what_is_said_is_heard_at_the_pace_of_speech(
    lines: tuple[str, ...], transport: Transport, threads: ThreadPoolExecutor
) -> None:
    async with fake_camera(Behaviour(loudspeaker=lines)) as camera:
        async with speaking(camera, threads, transport=transport):
            await until(lambda: len(rtp_of(camera)) >= (30 if lines is AAC else 75), "sound is heard")
        described = parse_sdp(("v=0\r\n" + "\r\n".join(lines)).encode(), "rtsp://camera/").media[0].description
        assert described is not None
        is_the_tone(*heard(camera, described))
        times = [at for at, packet in camera.heard if packet[1] & 0x7F == described.payload_type]
        timestamps = [int.from_bytes(packet[4:8], "big") for packet in rtp_of(camera)]
        spoken_s = ((timestamps[-1] - timestamps[0]) % 2**32) / described.clock_rate
        assert times[-1] - times[0] == pytest.approx(spoken_s, abs=0.35)
        assert {request.headers.get("Require") for request in camera.requests if request.method != "OPTIONS"} - {
            None
        } == {"www.onvif.org/ver20/backchannel"}
        assert [request.url[-1] for request in camera.asked("SETUP")] == ["9", "1", "2"]
        await until(lambda: bool(camera.asked("TEARDOWN")), "the session is closed")


async def test_the_pictures_session_does_not_notice(threads: ThreadPoolExecutor) -> None:
    async with fake_camera(Behaviour(loudspeaker=PCMA)) as camera, playing(source(camera.url)) as (_, seen, running):
        await until(lambda: len(seen.pictures) > 10, "pictures")
        async with speaking(camera, threads):
            await until(lambda: len(rtp_of(camera)) > 50, "sound is heard")
        before = len(seen.pictures)
        await until(lambda: len(seen.pictures) > before + 10, "pictures after the talk")
        assert not running.done()
        assert not seen.gaps
        plain = [request for request in camera.requests if request.headers.get("Require") is None]
        assert len([request for request in plain if request.method == "DESCRIBE"]) == 1


@pytest.mark.parametrize("deaf", [False, True])
async def test_a_camera_without_loudspeaker_is_asked_once(threads: ThreadPoolExecutor, deaf: bool) -> None:
    async with fake_camera(Behaviour(deaf_to_require=deaf)) as camera:
        speakers = Loudspeakers(CLOCK, GUARD, threads, SETTINGS)
        stream = LiveStream(StreamId("talk"), CLOCK)
        hall = source(camera.url)
        with pytest.raises(BackchannelMissingError) as caught:
            await speakers.speak(hall, stream)
        assert caught.value.params == {"reason": "not-offered" if deaf else "refused"}
        assert speakers.is_missing(hall)
        asked = len(camera.requests)
        with pytest.raises(BackchannelMissingError):
            await speakers.speak(hall, stream)
        assert len(camera.requests) == asked
        # Another address is another camera.
        assert not speakers.is_missing(source(camera.url + "2"))


@pytest.mark.parametrize("alone", [False, True])
async def test_cameras_that_want_their_picture_taken_too_and_such_that_do_not(
    threads: ThreadPoolExecutor, alone: bool
) -> None:
    async with fake_camera(Behaviour(loudspeaker=PCMU, speaker_alone=alone, speaker_needs_media=not alone)) as camera:
        speakers = Loudspeakers(CLOCK, GUARD, threads, SETTINGS)
        async with live_stream(talk(60), camera="talk") as stream:
            for tries in (2 if alone else 1, 1):
                camera.heard.clear()
                before = camera.connections
                task = asyncio.create_task(speakers.speak(source(camera.url), stream))
                await until(lambda: len(rtp_of(camera)) > 25, "sound is heard")
                assert speakers.is_open("hall")
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                # What has worked is remembered: the next talk needs no second try.
                assert camera.connections == before + tries


async def test_log_in_and_a_broken_session(threads: ThreadPoolExecutor) -> None:
    authenticator = ServerAuthenticator(
        "hall", lambda user: Secret("p@ss") if user == "admin" else None, CLOCK, algorithms=("MD5",)
    )
    async with fake_camera(Behaviour(loudspeaker=PCMA, authenticator=authenticator)) as camera:
        speakers = Loudspeakers(CLOCK, GUARD, threads, SETTINGS)
        async with live_stream(talk(60), camera="talk") as stream:
            hall = source(camera.url, user="admin", password="p@ss")
            task = asyncio.create_task(speakers.speak(hall, stream))
            await until(lambda: len(rtp_of(camera)) > 20, "sound is heard")
            await camera.stop()
            camera.heard.clear()
            await camera.start()
            await until(lambda: len(rtp_of(camera)) > 20, "sound is heard again")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_tcp_refused_is_udp() -> None:
    async with fake_camera(Behaviour(loudspeaker=PCMA, refuse=frozenset({"tcp"}))) as camera:
        async with Backchannel(source(camera.url), CLOCK, GUARD, QUICK) as channel:
            track = await channel.open()
            for number in range(5):
                channel.send(AccessUnit(track, 160 * number, 160 * number, NS_PER_S, bytes(160), duration=160))
            await until(lambda: len(rtp_of(camera)) == 5, "datagrams")


def test_which_medium_is_the_loudspeaker() -> None:
    def found(*lines: str) -> tuple[str, int, int] | None:
        sdp = "\r\n".join(("v=0", "m=video 0 RTP/AVP 96", "a=rtpmap:96 H264/90000", "a=recvonly", *lines))
        speaker = find_loudspeaker(parse_sdp(sdp.encode(), "rtsp://camera/"))
        return None if speaker is None else (speaker.track.codec.value, speaker.payload_type, speaker.track.clock_rate)

    assert found() is None
    assert found("m=audio 0 RTP/AVP 8", "a=recvonly") is None
    assert found("m=audio 0 RTP/AVP 9", "a=sendonly") is None
    assert found("m=audio 0 RTP/AVP 8", "a=recvonly", "m=audio 0 RTP/AVP 0", "a=sendonly") == ("pcmu", 0, 8_000)
    mixed = ("m=audio 0 RTP/AVP 97 104 8", "a=rtpmap:97 L16/8000", "a=rtpmap:104 MPEG4-GENERIC/16000", "a=sendonly")
    assert found(*mixed) == ("pcma", 8, 8_000)
    assert found(*AAC, "a=sendonly") == ("aac", 104, 16_000)
    # A camera that speaks of itself: its microphone is no loudspeaker.
    itself = (
        "v=0",
        "m=video 0 RTP/AVP 96",
        "a=rtpmap:96 H264/90000",
        "a=sendonly",
        "m=audio 0 RTP/AVP 8",
        "a=sendonly",
    )
    microphone = parse_sdp("\r\n".join(itself).encode(), "rtsp://camera/")
    assert find_loudspeaker(microphone) is None
    both = parse_sdp("\r\n".join((*itself, "m=audio 0 RTP/AVP 0", "a=recvonly")).encode(), "rtsp://camera/")
    assert (speaker := find_loudspeaker(both)) is not None
    assert speaker.payload_type == 0
    assert found("m=audio 0 RTP/AVP 99", "a=rtpmap:99 MPEG4-GENERIC/12345/1", "a=sendonly") is None


async def test_the_sender_keeps_pace_and_drops_what_is_late() -> None:
    sent: list[int] = []
    sender = PacedSender(lambda unit: sent.append(unit.pts), LoudspeakerSettings(behind_s=0.2))
    track = speaker_track(Codec.PCMA, 8_000)
    for number in range(100):
        sender.push(AccessUnit(track, number, number, 0, bytes(160), duration=160))
    assert sender.dropped == 90
    task = asyncio.create_task(sender.run())
    await until(lambda: len(sent) == 10, "all is sent")
    task.cancel()
    assert sent == list(range(90, 100))

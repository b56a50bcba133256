"""The very offers of Firefox 153 (``firefox/*.sdp``), with H.264 and before its OpenH264 plugin is there."""

from pathlib import Path

import pytest
from aiortc.sdp import SessionDescription

from media.stream import Quality
from streaming.webrtc.dtls import Certificates
from streaming.webrtc.errors import CodecMismatchError, PictureUnsendableError
from streaming.webrtc.whip import IngestSettings, Publisher, choose
from tests.streaming.webrtc.test_whip import room
from tests.support.whep_house import CLOCK, FPS, house, pictures, publish

OFFERS = Path(__file__).parent / "firefox"


def offer(name: str) -> str:
    # As it came: with the line ends of RFC 8866, 5.
    return (OFFERS / f"{name}.sdp").read_bytes().decode()


def agreed(answer: str) -> dict[str, tuple[str | None, list[int | None]]]:
    """Direction and payload types of each medium of an answer."""
    media = SessionDescription.parse(answer).media
    return {item.kind: (item.direction, [codec.payloadType for codec in item.rtp.codecs]) for item in media}


async def test_it_watches_with_h264() -> None:
    async with house() as h:
        publish(h.stream(), pictures(FPS))
        session = await h.whep.offer("hall", Quality.MAIN, offer("watches"))
        assert agreed(session.answer)["video"] == ("sendonly", [126])


async def test_without_h264_it_is_told_so_that_its_page_takes_the_playlist() -> None:
    async with house() as h:
        publish(h.stream(), pictures(FPS))
        with pytest.raises(CodecMismatchError) as refused:
            await h.whep.offer("hall", Quality.MAIN, offer("watches-no-h264"))
        assert refused.value.params["codec"] == "H.264"


async def test_it_sends_h264_in_fragments_and_opus() -> None:
    async with room() as (_, session, port):
        publisher = Publisher(offer("sends"), session, port, Certificates(CLOCK), CLOCK)
        assert agreed(publisher.answer()) == {"audio": ("recvonly", [109]), "video": ("recvonly", [126])}
        assert [item.encoding for item in publisher.media] == ["H264", "OPUS"]


async def test_its_sound_is_not_taken_for_a_meeting_when_its_picture_cannot_be() -> None:
    async with room() as (_, session, port):
        with pytest.raises(PictureUnsendableError) as refused:
            Publisher(offer("sends-no-h264"), session, port, Certificates(CLOCK), CLOCK)
        assert refused.value.params["offered"] == "AV1, VP8, VP9"
        assert not session.publishing


async def test_a_voice_needs_no_h264() -> None:
    async with room() as (_, session, port):
        settings = IngestSettings(sound_only=True)
        publisher = Publisher(offer("sends-no-h264"), session, port, Certificates(CLOCK), CLOCK, settings)
        choices, _ = choose(publisher.offer, settings)
        assert [choice.codecs[0].name for choice in choices.values()] == ["OPUS"]

"""What a publisher is asked for: numbers that go round among them."""

import pytest
from aiortc.rtp import RtcpPacket, RtcpRtpfbPacket

from streaming.webrtc.feedback import TrackFeedback, nack
from streaming.webrtc.reports import read_report
from tests.streaming.webrtc.test_peer import rtp

MS = 1_000_000


@pytest.mark.parametrize(
    "missing",
    [
        [7],
        [7, 8, 23, 24, 25],
        [65_535, 0],
        [65_520, 65_530, 65_535, 0, 1, 30],
        [*range(65_400, 65_536), *range(100)],
    ],
)
def test_what_is_asked_for_is_understood(missing: list[int]) -> None:
    packet = nack(1, 2, missing)
    (item,) = RtcpPacket.parse(packet)
    assert isinstance(item, RtcpRtpfbPacket)
    assert (item.ssrc, item.media_ssrc) == (1, 2)
    assert [number & 0xFFFF for number in item.lost] == missing
    assert read_report(packet).lost == {2: missing}


def test_numbers_that_go_round_are_missed_in_their_order() -> None:
    feedback = TrackFeedback()
    feedback.packet(rtp(65_533), 1_000 * MS)
    feedback.packet(rtp(3), 1_000 * MS)
    assert feedback.due(1_020 * MS) == [65_534, 65_535, 0, 1, 2]

"""Where packets come from: another source, one that begins anew, strangers, and garbage."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.clock import SystemClock
from media.receiver import StreamReceiver
from media.rtp import HEADER
from media.unit import AccessUnit, AudioTrack, Codec, StreamItem, VideoTrack
from tests.support.rtp_feed import (
    NOISY,
    START_NS,
    Arrival,
    Camera,
    both,
    description,
    gaps_of,
    is_video,
    make_units,
    of_track,
    receive,
    receiver_for,
)


def test_another_source_takes_over(units: list[AccessUnit]) -> None:
    pictures = of_track(units, 1)
    camera = Camera([pictures[0].track])
    first = camera.arrivals(pictures[:50])
    second = []
    for arrival in camera.arrivals(pictures[50:]):
        if arrival.is_report:
            continue
        _, second_octet, sequence, timestamp, _ = HEADER.unpack_from(arrival.packet)
        head = HEADER.pack(0x80, second_octet, (sequence + 999) & 0xFFFF, (timestamp + 77_777_777) & 0xFFFFFFFF, 4242)
        second.append(replace(arrival, packet=head + arrival.packet[12:]))
    items = receive(receiver_for([pictures[0].track]), [*first, *second])
    got = of_track(items, 1)
    assert len(got) >= 98
    assert all(abs(unit.utc_ns - START_NS - n * 40_000_000) < 100_000_000 for n, unit in enumerate(got[:50]))
    assert abs(got[-1].utc_ns - pictures[-1].utc_ns) < 60_000_000


@pytest.mark.parametrize("reorder", [False, True])
@pytest.mark.parametrize("ssrc", [4242, None], ids=["another source", "other numbers"])
def test_what_begins_anew_is_taken_from_its_first_packet(
    units: list[AccessUnit], reorder: bool, ssrc: int | None
) -> None:
    """In it are the parameter sets of all that follows."""
    pictures = of_track(units, 1)[:50]
    large = of_track(make_units(replace(NOISY, width=640, height=360), 4.0), 1)[50:]
    second = []
    for arrival in Camera([large[0].track]).arrivals(large):
        if arrival.is_report:
            continue
        _, second_octet, sequence, timestamp, own = HEADER.unpack_from(arrival.packet)
        head = HEADER.pack(0x80, second_octet, (sequence + 20_000) & 0xFFFF, timestamp, ssrc or own)
        second.append(replace(arrival, packet=head + arrival.packet[12:]))
    receiver = receiver_for([pictures[0].track], reorder=reorder)
    items = receive(receiver, [*Camera([pictures[0].track]).arrivals(pictures), *second])
    got = of_track(items, 1)
    assert [unit.data for unit in got[-len(large) :]] == [unit.data for unit in large]
    assert len(got) >= 99
    tracks = [unit.track for unit in got[-len(large) :] if isinstance(unit.track, VideoTrack)]
    assert {(track.width, track.height) for track in tracks} == {(640, 360)}


def test_a_stranger_is_not_listened_to(units: list[AccessUnit], arrivals: list[Arrival]) -> None:
    mixed: list[Arrival] = []
    for n, arrival in enumerate(arrivals):
        mixed.append(arrival)
        if is_video(arrival) and n % 3 == 0:
            mixed.append(
                replace(arrival, packet=HEADER.pack(0x80, 96, n * 7 & 0xFFFF, n, 99_999 + n) + b"\x65\x88junk")
            )
    receiver = both(units)
    items = receive(receiver, mixed)
    assert [u.data for u in of_track(items, 1)] == [u.data for u in of_track(units, 1)]


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_garbage_is_counted_never_raised(units: list[AccessUnit], arrivals: list[Arrival], data: st.DataObject) -> None:
    chance = data.draw(st.randoms(use_true_random=False))

    def change(arrival: Arrival) -> Arrival | None:
        roll = chance.random()
        packet = bytearray(arrival.packet)
        if roll < 0.02:
            return None
        if roll < 0.06:
            packet[chance.randrange(len(packet))] ^= 1 << chance.randrange(8)
        elif roll < 0.08:
            del packet[chance.randrange(len(packet)) :]
        elif roll < 0.10:
            packet = bytearray(chance.randbytes(chance.randrange(80)))
        return replace(arrival, packet=bytes(packet))

    receiver = both(units, reorder=chance.random() < 0.5)
    items = receive(receiver, arrivals, change)
    for number in (1, 2):
        got = of_track(items, number)
        assert all(later.dts > earlier.dts for earlier, later in pairwise(got))
    assert all(gap.start_utc_ns <= gap.end_utc_ns for gap in gaps_of(items))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([Codec.H264, Codec.H265, Codec.AAC, Codec.OPUS, Codec.PCMA]),
    st.lists(st.tuples(st.binary(max_size=60), st.integers(0, 3), st.booleans()), max_size=60),
)
def test_any_payload_is_survived(codec: Codec, packets: list[tuple[bytes, int, bool]]) -> None:
    track: VideoTrack | AudioTrack
    if codec in (Codec.H264, Codec.H265):
        track = VideoTrack(codec, (), 0, 0)
    else:
        rate = {Codec.AAC: 16_000, Codec.OPUS: 48_000}.get(codec, 8000)
        track = AudioTrack(codec, rate, 1, bytes.fromhex("1408") if codec is Codec.AAC else b"")
    told = description(track)
    receiver = StreamReceiver([told], SystemClock(), origin_utc_ns=START_NS)
    items: list[StreamItem] = []
    timestamp = 0
    for number, (payload, step, marker) in enumerate(packets):
        timestamp += step * 900
        head = HEADER.pack(0x80, told.payload_type | (0x80 if marker else 0), number, timestamp, 1)
        items += receiver.rtp(0, head + payload, START_NS + number * 10_000_000)
    items += receiver.flush()
    got = of_track(items, track.id)
    assert all(later.dts > earlier.dts for earlier, later in pairwise(got))

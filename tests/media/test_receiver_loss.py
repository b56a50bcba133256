"""What networks do to a stream: loss, repeats and disorder of packets, and what a receiver reports of it."""

import random
from dataclasses import replace

from media.rtcp import ReceptionReport, parse_compound
from media.rtp import HEADER
from media.unit import NS_PER_S, AccessUnit, GapCause
from streaming.rtsp.sdp import payload_type_of
from tests.support.rtp_feed import (
    START_NS,
    Arrival,
    both,
    gaps_of,
    is_video,
    of_track,
    receive,
    receiver_for,
)


def test_lost_packets_cost_their_picture_and_are_on_record(units: list[AccessUnit], arrivals: list[Arrival]) -> None:
    video = [n for n, arrival in enumerate(arrivals) if is_video(arrival)]
    lost = {video[60], video[61], video[150]}
    receiver = both(units)
    items = receive(receiver, [a for n, a in enumerate(arrivals) if n not in lost])
    counters = receiver.counters[0]
    assert counters is not None
    assert counters.lost == 3
    assert 2 <= counters.damaged_units <= 4
    sent, got = of_track(units, 1), of_track(items, 1)
    assert len(got) == len(sent) - counters.damaged_units
    assert {unit.data for unit in got} < {unit.data for unit in sent}
    gaps = gaps_of(items)
    assert [gap.cause for gap in gaps] == [GapCause.PACKETS_LOST] * 2
    assert sum(gap.packets for gap in gaps) == 3
    for gap in gaps:
        assert gap.start_utc_ns < gap.end_utc_ns < gap.start_utc_ns + NS_PER_S
        assert any(unit.utc_ns == gap.end_utc_ns for unit in got)
    assert [unit.data for unit in of_track(items, 2)] == [unit.data for unit in of_track(units, 2)]


def test_lost_sound_is_on_record(units: list[AccessUnit], arrivals: list[Arrival]) -> None:
    sound = [n for n, arrival in enumerate(arrivals) if arrival.index == 1 and not arrival.is_report]
    items = receive(both(units), [a for n, a in enumerate(arrivals) if n not in sound[50:55]])
    (gap,) = gaps_of(items)
    assert (gap.cause, gap.packets, gap.detail) == (GapCause.PACKETS_LOST, 5, "audio")
    assert gap.end_utc_ns - gap.start_utc_ns == 5 * 40_000_000


def test_a_frame_too_short_for_a_fragment_is_not_taken_for_one(units: list[AccessUnit]) -> None:
    track = units[0].track
    payload_type = payload_type_of(track)
    source = HEADER.pack(0x80, payload_type, 7, 9000, 1001)
    receiver = receiver_for([track])
    receiver.rtp(0, source + b"\x7c\x85\x88begun", START_NS)
    # What was cut off in the middle of its header comes twice, with what looks like a fragment's end right behind.
    head = b"$\x00\x00\x05" + source[:2]
    short = head + b"\x00\x08" + source[4:5]
    read = short + short + source[5:] + b"\x7c\x05" + bytes(64)
    assert receiver.follow(0, read, 4, len(short), len(read)) == len(short)
    (counters,) = receiver.counters
    assert counters is not None
    assert counters.packets == 1


def test_duplicates_are_counted_and_change_nothing(units: list[AccessUnit], arrivals: list[Arrival]) -> None:
    twice = [again for arrival in arrivals for again in (arrival, arrival)]
    for reorder in (False, True):
        receiver = both(units, reorder=reorder)
        items = receive(receiver, twice)
        assert [u.data for u in of_track(items, 1)] == [u.data for u in of_track(units, 1)]
        counters = receiver.counters[0]
        assert counters is not None
        assert counters.duplicated == counters.packets
        assert not gaps_of(items)


def test_packets_out_of_order_are_put_in_order(units: list[AccessUnit], arrivals: list[Arrival]) -> None:
    chance = random.Random(3)
    video = [a for a in arrivals if is_video(a)]
    shuffled: list[Arrival] = []
    for start in range(0, len(video), 5):
        block = video[start : start + 5]
        chance.shuffle(block)
        shuffled += [replace(a, at_ns=video[start].at_ns) for a in block]
    # The very first packet says where numbers begin.
    shuffled.sort(key=lambda a: a is not video[0])
    receiver = both(units, reorder=True)
    items = receive(receiver, shuffled)
    assert [u.data for u in of_track(items, 1)] == [u.data for u in of_track(units, 1)]
    counters = receiver.counters[0]
    assert counters is not None
    assert counters.lost == 0
    assert counters.reordered > 50
    assert not gaps_of(items)


def test_a_packet_that_never_comes_is_not_waited_for_long(units: list[AccessUnit], arrivals: list[Arrival]) -> None:
    video = [a for a in arrivals if is_video(a)]
    receiver = both(units, reorder=True)
    worst = 0
    for n, arrival in enumerate(video):
        if n == 100:
            continue
        for item in receiver.rtp(0, arrival.packet, arrival.at_ns):
            if isinstance(item, AccessUnit) and n > 100:
                worst = max(worst, arrival.at_ns - item.utc_ns)
    counters = receiver.counters[0]
    assert counters is not None
    assert counters.lost == 1
    assert worst < NS_PER_S // 2


def test_receiver_reports_tell_what_was_lost(units: list[AccessUnit], arrivals: list[Arrival]) -> None:
    receiver = both(units)
    before = parse_compound(receiver.receiver_report(0))
    assert not any(isinstance(item, ReceptionReport) for item in before)
    video = [n for n, arrival in enumerate(arrivals) if is_video(arrival)]
    receive(receiver, [a for n, a in enumerate(arrivals) if n not in video[10:20]])
    report = next(i for i in parse_compound(receiver.receiver_report(0)) if isinstance(i, ReceptionReport))
    assert (report.ssrc, report.lost) == (1001, 10)
    assert report.fraction_lost == (10 << 8) // len(video)
    assert report.highest_sequence == 65_500 + len(video) - 1
    assert report.last_sr != 0
    again = next(i for i in parse_compound(receiver.receiver_report(0)) if isinstance(i, ReceptionReport))
    assert (again.lost, again.fraction_lost) == (10, 0)

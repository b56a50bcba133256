"""Time without media: clocks that jump, holes, a picture or a sound that goes away, comes late or comes back."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from media.receiver import StreamReceiver
from media.rtp import parse_header
from media.unit import NS_PER_S, AccessUnit, GapCause, StreamItem
from tests.support.rtp_feed import (
    NOISY,
    START_NS,
    Arrival,
    Camera,
    both,
    gaps_of,
    make_units,
    of_track,
    receive,
    receiver_for,
)


@pytest.mark.parametrize("jump_s", [5 * 3600, -5 * 3600, 2**31 // 90_000])
def test_a_clock_jump_is_on_record_and_time_goes_on(
    units: list[AccessUnit], arrivals: list[Arrival], jump_s: int
) -> None:
    half = START_NS + 2 * NS_PER_S

    def change(arrival: Arrival) -> Arrival:
        if arrival.is_report or arrival.at_ns < half:
            return arrival
        header = parse_header(arrival.packet)
        assert header is not None
        rate = 90_000 if arrival.index == 0 else 8000
        packet = bytearray(arrival.packet)
        packet[4:8] = ((header.timestamp + jump_s * rate) & 0xFFFFFFFF).to_bytes(4, "big")
        return replace(arrival, packet=bytes(packet))

    receiver = both(units)
    items = receive(receiver, arrivals, change)
    assert {gap.cause for gap in gaps_of(items)} == {GapCause.CLOCK_JUMP}
    assert sorted(gap.detail for gap in gaps_of(items)) == ["audio", "video"]
    for number in (1, 2):
        pairs = zip(of_track(items, number), of_track(units, number), strict=True)
        assert all(abs(got.utc_ns - sent.utc_ns) < 60_000_000 for got, sent in pairs)
        counters = receiver.counters[number - 1]
        assert counters is not None
        assert counters.clock_jumps == 1


def test_a_hole_without_loss_is_on_record(units: list[AccessUnit]) -> None:
    pictures = [u for u in of_track(units, 1) if not START_NS + NS_PER_S < u.utc_ns < START_NS + 7 * NS_PER_S // 2]
    items = receive(receiver_for([pictures[0].track]), Camera([pictures[0].track]).arrivals(pictures))
    (gap,) = gaps_of(items)
    assert gap.cause is GapCause.SILENT
    assert (gap.start_utc_ns, gap.end_utc_ns) == (START_NS + NS_PER_S, START_NS + 3_520_000_000)


def asked_each_second(receiver: StreamReceiver, arrivals: Sequence[Arrival]) -> list[StreamItem]:
    """What comes out where somebody asks once a second what is missing."""
    items: list[StreamItem] = []
    asked_ns = arrivals[0].at_ns
    for arrival in arrivals:
        if arrival.at_ns - asked_ns >= NS_PER_S:
            asked_ns = arrival.at_ns
            items += receiver.silences()
        items += receive_one(receiver, arrival)
    return items


def without(arrivals: Sequence[Arrival], index: int, from_ns: int, to_ns: int) -> list[Arrival]:
    return [a for a in arrivals if a.is_report or a.index != index or not from_ns <= a.at_ns < to_ns]


@pytest.mark.parametrize(("index", "kind"), [(0, "video"), (1, "audio")])
def test_what_goes_away_for_good_is_on_record_while_it_lasts(index: int, kind: str) -> None:
    long = make_units(NOISY, 13.0)
    arrivals = Camera([long[0].track, next(u.track for u in long if u.track.id == 2)]).arrivals(long)
    gone_ns = START_NS + 2 * NS_PER_S
    receiver = both(long)
    items = asked_each_second(receiver, without(arrivals, index, gone_ns, 1 << 63))
    told = gaps_of(items)
    assert len(told) == 2
    gaps = [*told, *gaps_of(receiver.flush())]
    assert {(gap.cause, gap.detail) for gap in gaps} == {(GapCause.SILENT, kind)}
    assert abs(gaps[0].start_utc_ns - gone_ns) < 90_000_000
    assert all(later.start_utc_ns == earlier.end_utc_ns for earlier, later in pairwise(gaps))
    assert gaps[-1].end_utc_ns > START_NS + 12_800_000_000


def test_what_comes_back_is_missing_to_its_first_unit() -> None:
    long = make_units(NOISY, 8.0)
    arrivals = Camera([long[0].track, next(u.track for u in long if u.track.id == 2)]).arrivals(long)
    gone_ns, back_ns = START_NS + 2 * NS_PER_S, START_NS + 6_500_000_000
    receiver = both(long)
    items = asked_each_second(receiver, without(arrivals, 1, gone_ns, back_ns))
    first, second = gaps_of(items)
    back = next(unit.utc_ns for unit in of_track(items, 2) if unit.utc_ns >= back_ns - 40_000_000)
    assert abs(first.start_utc_ns - gone_ns) < 90_000_000
    assert (first.end_utc_ns, second.end_utc_ns) == (second.start_utc_ns, back)
    assert {gap.cause for gap in (first, second)} == {GapCause.SILENT}
    assert not gaps_of(receiver.flush())


def test_a_picture_that_lags_behind_its_sound_is_not_missing() -> None:
    """A thin line, or an encoder that takes its time: the picture's time by the camera's clock is long past."""
    long = make_units(NOISY, 12.0)
    arrivals = Camera([long[0].track, next(u.track for u in long if u.track.id == 2)]).arrivals(long)
    lagging = [a if a.index or a.is_report else replace(a, at_ns=a.at_ns + 3 * NS_PER_S) for a in arrivals]
    receiver = both(long)
    items = asked_each_second(receiver, sorted(lagging, key=lambda arrival: arrival.at_ns))
    pictures = of_track(items, 1)
    assert len(pictures) > 200
    assert [gap for gap in gaps_of(items) if gap.start_utc_ns > pictures[0].utc_ns] == []


def test_a_picture_that_begins_long_after_the_sound_is_missing_until_then(
    units: list[AccessUnit], arrivals: list[Arrival]
) -> None:
    """A session that begins in the middle of a GOP of many seconds."""
    begins_ns = START_NS + 3 * NS_PER_S
    late = [arrival for arrival in arrivals if arrival.is_report or arrival.index == 1 or arrival.at_ns >= begins_ns]
    items = receive(both(units), late)
    (gap,) = gaps_of(items)
    pictures, sounds = of_track(items, 1), of_track(items, 2)
    assert (gap.cause, gap.detail) == (GapCause.SILENT, "video")
    assert (gap.start_utc_ns, gap.end_utc_ns) == (sounds[0].utc_ns, pictures[0].utc_ns)
    # And where it never begins.
    receiver = both(units)
    (gap,) = gaps_of(receive(receiver, [a for a in arrivals if a.is_report or a.index == 1]))
    assert (gap.start_utc_ns, gap.detail) == (sounds[0].utc_ns, "video")


def receive_one(receiver: StreamReceiver, arrival: Arrival) -> Sequence[StreamItem]:
    if arrival.is_report:
        receiver.rtcp(arrival.index, arrival.packet, arrival.at_ns)
        return ()
    return receiver.rtp(arrival.index, arrival.packet, arrival.at_ns)

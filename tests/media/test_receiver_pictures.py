"""What cameras do to pictures: markers and timestamps that are wrong, slices, SEI alone, parameter sets that change."""

from dataclasses import replace
from itertools import pairwise

import pytest

from media.unit import NS_PER_S, AccessUnit, Codec, VideoTrack
from tests.support.content import decode_pictures
from tests.support.rtp_feed import (
    NOISY,
    START_NS,
    Arrival,
    Camera,
    make_units,
    of_track,
    receive,
    receiver_for,
    sliced_units,
)


def marked(arrival: Arrival, marker: bool) -> Arrival:
    packet = bytearray(arrival.packet)
    packet[1] = (packet[1] & 0x7F) | (0x80 if marker else 0)
    return replace(arrival, packet=bytes(packet))


@pytest.mark.parametrize("codec", [Codec.H264, Codec.H265])
@pytest.mark.parametrize("marker", [True, False], ids=["on-every-packet", "never"])
def test_markers_that_are_wrong(codec: Codec, marker: bool) -> None:
    units = make_units(replace(NOISY, video=codec, audio=None), 2.0)
    camera = Camera([units[0].track])
    receiver = receiver_for([units[0].track])
    items = receive(receiver, camera.arrivals(units), lambda a: a if a.is_report else marked(a, marker))
    assert [u.data for u in of_track(items, 1)] == [u.data for u in units]


@pytest.mark.parametrize("marker", ["every-slice", "never", "right"])
def test_several_slices_a_picture_whatever_the_marker_says(marker: str) -> None:
    units = sliced_units()

    def change(arrival: Arrival) -> Arrival:
        if arrival.is_report or marker == "right":
            return arrival
        return marked(arrival, marker == "every-slice")

    receiver = receiver_for([units[0].track])
    items = receive(receiver, Camera([units[0].track]).arrivals(units), change)
    assert [u.data for u in of_track(items, 1)] == [u.data for u in units]
    assert len(decode_pictures(of_track(items, 1))) == 50


def test_a_marker_that_becomes_wrong_costs_one_picture(units: list[AccessUnit]) -> None:
    sliced = sliced_units()
    arrivals = Camera([sliced[0].track]).arrivals(sliced)
    from_here = START_NS + NS_PER_S

    receiver = receiver_for([sliced[0].track])
    items = receive(receiver, arrivals, lambda a: marked(a, True) if not a.is_report and a.at_ns > from_here else a)
    got = of_track(items, 1)
    whole = [unit for unit in got if unit.data in {u.data for u in sliced}]
    assert len(whole) == 49
    assert len(got) <= 50
    counters = receiver.counters[0]
    assert counters is not None
    assert counters.damaged_units == 1


def test_timestamps_repeated_for_the_next_picture(units: list[AccessUnit]) -> None:
    pictures = of_track(units, 1)
    for number in range(1, len(pictures), 2):
        pictures[number] = replace(pictures[number], pts=pictures[number - 1].pts)
    items = receive(receiver_for([pictures[0].track]), Camera([pictures[0].track]).arrivals(pictures))
    got = of_track(items, 1)
    assert [unit.data for unit in got] == [unit.data for unit in pictures]
    assert all(later.dts > earlier.dts for earlier, later in pairwise(got))


def insert_nals(unit: AccessUnit, *nals: bytes) -> AccessUnit:
    return replace(unit, data=b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals) + unit.data)


def test_delimiters_and_filler_are_dropped_and_sei_stays(units: list[AccessUnit]) -> None:
    pictures = of_track(units, 1)
    sei = bytes((6, 5, 17)) + bytes(range(1, 18)) + b"\x80"
    noisy = [insert_nals(unit, b"\x09\xf0", sei, b"\x0c\xff\xff\x80") for unit in pictures]
    items = receive(receiver_for([pictures[0].track]), Camera([pictures[0].track]).arrivals(noisy))
    assert [u.data for u in of_track(items, 1)] == [insert_nals(unit, sei).data for unit in pictures]


def test_units_of_sei_alone_do_not_become_pictures(units: list[AccessUnit]) -> None:
    pictures = of_track(units, 1)
    sei = bytes((6, 5, 17)) + bytes(range(1, 18)) + b"\x80"
    mixed: list[AccessUnit] = []
    for unit in pictures:
        data = len(sei).to_bytes(4, "big") + sei
        mixed += [replace(unit, pts=unit.pts - 100, utc_ns=unit.utc_ns - 1_000_000, data=data, keyframe=False), unit]
    items = receive(receiver_for([pictures[0].track]), Camera([pictures[0].track]).arrivals(mixed))
    got = of_track(items, 1)
    assert [u.data for u in got] == [insert_nals(unit, sei).data for unit in pictures]
    assert {later.pts - earlier.pts for earlier, later in pairwise(got)} == {3600}


def test_parameter_sets_that_change_make_a_new_track(units: list[AccessUnit]) -> None:
    pictures = of_track(units, 1)[:50]
    others = make_units(replace(NOISY, audio=None, width=640, height=360), 4.0)[50:]
    items = receive(receiver_for([pictures[0].track]), Camera([pictures[0].track]).arrivals([*pictures, *others]))
    got = of_track(items, 1)
    assert [u.data for u in got] == [u.data for u in (*pictures, *others)]
    tracks = list({id(unit.track): unit.track for unit in got}.values())
    assert [(t.width, t.height) for t in tracks if isinstance(t, VideoTrack)] == [(320, 180), (640, 360)]
    assert got[50].track is tracks[1]
    assert got[50].keyframe

"""Cameras whose clocks are wrong: RTP time, the wall clock in sender reports, or both."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest

from media.unit import NS_PER_S, AccessUnit, GapCause
from tests.support.camera_simulator import HALL, SLOW, BadCamera, described, drifting, keep, looped_hall
from tests.support.invariants import all_is_kept, holds, in_place, in_sync, losses_are_on_record, time_never_goes_back
from tests.support.misbehaviour import (
    RATES,
    Change,
    jitter,
    jump,
    no_reports,
    read_every,
    report,
    retime,
    stall,
    stand_still,
)
from tests.support.rtp_feed import START_NS, Arrival

HOUR_S = 3600.0
YEAR_NS = 365 * 86_400 * NS_PER_S
DRIFT_PPM = {1: 180.0, 2: -150.0}
"""Crystals of cheap cameras: a second and more apart after an hour."""


def own_clocks() -> Change:
    """The wall clock in each medium's reports goes as wrongly as the medium's own RTP clock."""
    return report(lambda since_s, index, true_ns: true_ns + round((true_ns - START_NS) * DRIFT_PPM[index + 1] * 1e-6))


@pytest.mark.parametrize(
    "reports",
    [(), (no_reports(),), (own_clocks(),)],
    ids=["one wall clock in the reports", "no reports", "a wall clock for each medium"],
)
async def test_sound_and_picture_on_clocks_that_drift_apart_for_an_hour(reports: tuple[Change, ...]) -> None:
    units = drifting(looped_hall(SLOW, HOUR_S, sounds=4), DRIFT_PPM)
    kept = await keep(BadCamera(units, (*reports, jitter(0.03), read_every(0.073))))
    holds(kept, lasted_s=HOUR_S, decode=False)
    all_is_kept(kept)
    in_sync(kept, after_s=10)
    in_place(kept, within_ns=NS_PER_S, after_s=10)


async def test_an_hour_of_a_good_camera_on_a_line_with_stalls() -> None:
    changes = (jitter(0.05), read_every(0.073), stall(600, 1.5), stall(1800, 1.5), stall(1810, 1.0))
    kept = await keep(BadCamera(looped_hall(SLOW, HOUR_S, sounds=4), changes))
    holds(kept, lasted_s=HOUR_S, decode=False)
    all_is_kept(kept)
    in_sync(kept, within_ns=20_000_000)
    in_place(kept, within_ns=100_000_000)


async def test_rtp_time_that_wraps_in_both_media() -> None:
    # Sound wraps after 10 s, the picture after 20.
    offsets = {2: (1 << 32) - 10 * RATES[1], 1: (1 << 32) - 20 * RATES[0]}
    offsets = {1: offsets[1], 2: offsets[2]}
    kept = await keep(BadCamera(looped_hall(SLOW, 40.0), timestamp_offsets=offsets))
    holds(kept, lasted_s=40)
    all_is_kept(kept)
    in_place(kept, within_ns=60_000_000)
    in_sync(kept)


@pytest.mark.parametrize("index", [None, 0, 1], ids=["both", "the picture's", "the sound's"])
@pytest.mark.parametrize("by_s", [5 * HOUR_S, 13.4 * HOUR_S, 149 * HOUR_S, -2 * HOUR_S, -1.5])
async def test_rtp_time_that_jumps(by_s: float, index: int | None) -> None:
    kept = await keep(BadCamera(looped_hall(SLOW, 40.0), (jump(15.0, by_s, index),)))
    holds(kept, lasted_s=40)
    losses_are_on_record(kept, GapCause.CLOCK_JUMP)
    assert {gap.detail for gap in kept.gaps} == {"video", "audio"} - ({"audio"} if index == 0 else set()) - (
        {"video"} if index == 1 else set()
    )
    for track, sent in kept.sent.items():
        assert [sample.true_ns for sample in kept.shown(track)] == sent
    in_place(kept, within_ns=100_000_000)
    in_sync(kept)
    time_never_goes_back(kept)


async def test_rtp_time_that_jumps_every_few_seconds() -> None:
    jumps = [jump(5.0 + 3 * n, by_s, n % 2) for n, by_s in enumerate((7000.0, -90.0, 44_000.0, -5.0, 11.0) * 2)]
    kept = await keep(BadCamera(looped_hall(SLOW, 60.0), jumps))
    holds(kept, lasted_s=60)
    losses_are_on_record(kept, GapCause.CLOCK_JUMP)
    in_sync(kept)
    in_place(kept, within_ns=150_000_000)


@pytest.mark.parametrize("for_s", [0.8, 5.0, 20.0])
@pytest.mark.parametrize("index", [None, 0, 1], ids=["both", "the picture's", "the sound's"])
async def test_rtp_time_that_stands_still(index: int | None, for_s: float) -> None:
    kept = await keep(BadCamera(looped_hall(HALL, 40.0), (stand_still(10.0, 10.0 + for_s, index),)))
    holds(kept, lasted_s=40)
    assert {gap.cause for gap in kept.gaps} == {GapCause.CLOCK_JUMP}
    for track, sent in kept.sent.items():
        assert [sample.true_ns for sample in kept.shown(track)] == sent
    # While the clock stands it takes half a second until that is sure.
    in_place(kept, within_ns=700_000_000)
    in_sync(kept, after_s=10 + for_s + 2)


@pytest.mark.parametrize("clock_error_s", [365 * 86_400, -365 * 86_400, 86_400, 3])
async def test_a_wall_clock_that_is_off(clock_error_s: int) -> None:
    camera = BadCamera(looped_hall(SLOW, 120.0), (jitter(0.03),), clock_error_ns=clock_error_s * NS_PER_S)
    kept = await keep(camera)
    holds(kept, lasted_s=120)
    all_is_kept(kept)
    in_place(kept, within_ns=100_000_000)
    in_sync(kept, within_ns=20_000_000, after_s=10)
    assert kept.receiver is not None
    counters = kept.receiver.counters[0]
    assert counters is not None
    assert counters.clock_offset_ns == pytest.approx(clock_error_s * NS_PER_S, abs=NS_PER_S // 10)


@pytest.mark.parametrize(
    "clock",
    [
        lambda since_s, index, true_ns: true_ns + (YEAR_NS if since_s > 60 else 0),
        lambda since_s, index, true_ns: true_ns + (700_000_000 if since_s > 60 else 0),
        lambda since_s, index, true_ns: true_ns + (int(since_s) // 20 % 2) * 30 * NS_PER_S,
        lambda since_s, index, true_ns: true_ns + index * 40 * NS_PER_S,
        lambda since_s, index, true_ns: index * YEAR_NS + 1,
        lambda since_s, index, true_ns: true_ns if index else None,
        lambda since_s, index, true_ns: true_ns if int(since_s) % 20 < 2 else None,
    ],
    ids=[
        "jump by a year",
        "jump by less than a second",
        "jump back and forth",
        "differ between sound and picture",
        "always show the same",
        "come for the sound alone",
        "come rarely",
    ],
)
async def test_sender_reports_that(clock: Callable[[float, int, int], int | None]) -> None:
    kept = await keep(BadCamera(looped_hall(SLOW, 180.0), (report(clock), jitter(0.03))))
    holds(kept, lasted_s=180, decode=False)
    all_is_kept(kept)
    in_sync(kept, after_s=5)
    in_place(kept, within_ns=NS_PER_S)


@pytest.mark.parametrize(("ntp", "after_s"), [(0, 0), (0xE000_0000_0000_0000, 60)], ids=["none", "one that stands"])
async def test_a_camera_without_a_wall_clock_whose_reports_of_sound_and_picture_come_apart(
    ntp: int, after_s: float
) -> None:
    """Zero says that there is no such clock (RFC 3550, 6.4.1)."""

    def without(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        for arrival in arrivals:
            if arrival.is_report:
                packet = bytearray(arrival.packet)
                ticks = int.from_bytes(packet[16:20], "big") + (7 * RATES[1] // 10 if arrival.index else 0)
                packet[8:20] = ntp.to_bytes(8, "big") + (ticks & 0xFFFFFFFF).to_bytes(4, "big")
                arrival = replace(arrival, packet=bytes(packet))
            yield arrival

    kept = await keep(BadCamera(looped_hall(SLOW, 180.0), (without, jitter(0.03))))
    holds(kept, lasted_s=180, decode=False)
    all_is_kept(kept)
    in_sync(kept, after_s=after_s)


async def test_a_camera_that_begins_with_a_burst_of_old_media() -> None:
    units = list(looped_hall(SLOW, 30.0))
    begun = START_NS + 4 * NS_PER_S

    def late(arrivals):  # type: ignore[no-untyped-def]
        for arrival in arrivals:
            yield type(arrival)(arrival.index, arrival.packet, max(arrival.at_ns, begun), arrival.is_report)

    kept = await keep(BadCamera(units, (late, no_reports())))
    holds(kept, lasted_s=30)
    all_is_kept(kept)
    in_sync(kept, after_s=5)


async def test_pictures_at_an_uneven_pace() -> None:
    def uneven(units: list[AccessUnit]) -> list[AccessUnit]:
        return [unit for n, unit in enumerate(units) if unit.track.id == 2 or unit.keyframe or n % 7]

    units = uneven(list(looped_hall(HALL, 20.0)))
    kept = await keep(BadCamera(units))
    holds(kept, lasted_s=20, damaged=True)
    all_is_kept(kept)
    pictures = kept.shown(1)
    assert max(b.shown_ns - a.shown_ns for a, b in pairwise(pictures)) > 60_000_000


@pytest.mark.parametrize("rate", [1_000, 50_000, 1_000_000])
async def test_a_picture_whose_rtp_clock_is_described_with_another_rate(rate: int) -> None:
    units = list(looped_hall(HALL, 6.0))
    tracks = sorted({unit.track.id: unit.track for unit in units}.values(), key=lambda track: track.id)
    picture, sound = described(tracks)
    changes = (retime(lambda since_s, now, of: now * rate // of, 0),)
    kept = await keep(BadCamera(units, changes, descriptions=[replace(picture, clock_rate=rate), sound]))
    holds(kept, lasted_s=6)
    all_is_kept(kept)
    in_place(kept, within_ns=60_000_000)
    in_sync(kept)


@pytest.mark.parametrize("paced", [(), (read_every(0.197),)], ids=["as it comes", "at a calm pace"])
@pytest.mark.parametrize(
    "goes", [0.0, 0.5, 2.0, 11.25], ids=["not at all", "half as fast", "twice", "in picture ticks"]
)
async def test_sound_whose_rtp_time_goes_otherwise_than_it_lasts(goes: float, paced: tuple[Change, ...]) -> None:
    changes = (retime(lambda since_s, now, rate: 5000 + round(now * goes), 1), *paced)
    kept = await keep(BadCamera(looped_hall(SLOW, 600.0), changes))
    # A few seconds of the beginning may stand as far apart as they say.
    holds(kept, lasted_s=603)
    assert {gap.cause for gap in kept.gaps} == {GapCause.CLOCK_JUMP}
    assert [sample.true_ns for sample in kept.shown(2)] == kept.sent[2]
    # What was too far ahead when it was noticed is slewed, by a thirty-second of the time.
    in_sync(kept, after_s=120)
    shown = [
        sample.shown_ns for sample in kept.shown(2) if sample.true_ns and sample.true_ns > START_NS + 130 * NS_PER_S
    ]
    lasts_ns = kept.sent[2][1] - kept.sent[2][0]
    assert all(abs(later - earlier - lasts_ns) < lasts_ns // 4 for earlier, later in pairwise(shown))


async def test_sound_that_is_not_sent_all_the_time_keeps_its_times() -> None:
    """A camera that leaves every other packet out, without a number missing: its timestamps are right."""

    def half(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        number = 0
        for arrival in arrivals:
            if arrival.index == 1 and not arrival.is_report:
                number += 1
                if number % 2:
                    continue
                packet = bytearray(arrival.packet)
                packet[2:4] = (number // 2).to_bytes(2, "big")
                arrival = replace(arrival, packet=bytes(packet))
            yield arrival

    kept = await keep(BadCamera(looped_hall(SLOW, 60.0), (half, jitter(0.1), read_every(0.197))))
    holds(kept, lasted_s=60)
    assert kept.gaps == []
    in_sync(kept, after_s=10)

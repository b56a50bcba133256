"""What the way from the camera does to packets: loss, repeats, disorder, and pauses."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest

from media.unit import NS_PER_S, AccessUnit, Codec, GapCause
from tests.support.camera_simulator import HALL, BadCamera, keep, looped_hall
from tests.support.invariants import all_is_kept, holds, in_place, in_sync, losses_are_on_record
from tests.support.misbehaviour import Change, be_away, double, jitter, lose, shuffle
from tests.support.rtp_feed import START_NS

BOTH = pytest.mark.parametrize("codec", [Codec.H264, Codec.H265])
OVER = pytest.mark.parametrize("udp", [False, True], ids=["in order", "by datagrams"])


def hall(codec: Codec = Codec.H264, seconds: float = 20.0) -> Iterator[AccessUnit]:
    return looped_hall(replace(HALL, video=codec), seconds)


@OVER
@BOTH
async def test_lost_packets(codec: Codec, udp: bool) -> None:
    chosen = {60, 61, 200, 201, 202, 203, *range(400, 460)}
    changes = (lose(0, chosen), lose(1, {100, 101, 250}))
    kept = await keep(BadCamera(hall(codec), changes, udp=udp))
    holds(kept, lasted_s=20, damaged=True)
    losses_are_on_record(kept, GapCause.PACKETS_LOST)
    assert sum(gap.packets for gap in kept.gaps if gap.detail == "video") == len(chosen)
    assert sum(gap.packets for gap in kept.gaps if gap.detail == "audio") == 3
    assert all(gap.end_utc_ns - gap.start_utc_ns < 4 * NS_PER_S for gap in kept.gaps)
    in_place(kept, within_ns=60_000_000)
    in_sync(kept)


@OVER
async def test_every_fiftieth_packet_lost(udp: bool) -> None:
    changes = (lose(0, range(25, 1 << 20, 50)), lose(1, range(25, 1 << 20, 50)), jitter(0.02))
    kept = await keep(BadCamera(hall(seconds=30.0), changes, udp=udp))
    holds(kept, lasted_s=30, damaged=True)
    losses_are_on_record(kept, GapCause.PACKETS_LOST)
    in_sync(kept)


@OVER
async def test_the_packets_of_a_keyframe_lost(udp: bool) -> None:
    units = list(hall())
    lost = {unit.utc_ns for unit in units if unit.keyframe and unit.track.id == 1}
    gone = sorted(lost)[5]

    def drop(arrivals):  # type: ignore[no-untyped-def]
        for arrival in arrivals:
            if arrival.index == 0 and not arrival.is_report and arrival.at_ns == gone + 20_000_000:
                continue
            yield arrival

    kept = await keep(BadCamera(units, (drop,), udp=udp))
    holds(kept, lasted_s=20, damaged=True)
    losses_are_on_record(kept, GapCause.PACKETS_LOST)
    assert [sample.true_ns for sample in kept.shown(1)] == [true_ns for true_ns in kept.sent[1] if true_ns != gone]


@OVER
@BOTH
async def test_doubled_packets(codec: Codec, udp: bool) -> None:
    kept = await keep(BadCamera(hall(codec), (double(),), udp=udp))
    holds(kept, lasted_s=20)
    all_is_kept(kept)
    in_sync(kept)


@BOTH
async def test_reordered_datagrams(codec: Codec) -> None:
    kept = await keep(BadCamera(hall(codec), (shuffle(8),), udp=True))
    holds(kept, lasted_s=20)
    all_is_kept(kept)
    in_sync(kept)
    assert kept.receiver is not None
    assert all(counters is not None and counters.reordered for counters in kept.receiver.counters)


async def test_datagrams_lost_doubled_and_reordered_at_once() -> None:
    changes: tuple[Change, ...] = (lose(0, range(70, 1 << 20, 90)), double(7), shuffle(6), jitter(0.03))
    kept = await keep(BadCamera(hall(seconds=30.0), changes, udp=True))
    holds(kept, lasted_s=30, damaged=True)
    losses_are_on_record(kept, GapCause.PACKETS_LOST)
    in_sync(kept)


@pytest.mark.parametrize(("index", "media"), [(None, {"video", "audio"}), (0, {"video"}), (1, {"audio"})])
@pytest.mark.parametrize("for_s", [3.0, 300.0])
async def test_a_pause_in_which_nothing_is_sent_and_no_number_is_missing(
    index: int | None, media: set[str], for_s: float
) -> None:
    units = [
        unit
        for unit in hall(seconds=20 + for_s)
        if unit.utc_ns < START_NS + 12 * NS_PER_S or unit.utc_ns > START_NS + (8 + for_s) * NS_PER_S or for_s < 10
        or index is not None
    ]  # fmt: skip
    kept = await keep(BadCamera(units, (be_away(10.0, 10.0 + for_s, index),)))
    holds(kept, lasted_s=20 + for_s, damaged=True, decode=for_s < 10)
    losses_are_on_record(kept, GapCause.SILENT)
    assert {gap.detail for gap in kept.gaps} == media
    for gap in kept.gaps:
        assert gap.end_utc_ns - gap.start_utc_ns == pytest.approx(for_s * NS_PER_S, abs=200_000_000)
    in_place(kept, within_ns=60_000_000)
    in_sync(kept)


async def test_more_packets_lost_than_a_number_can_count() -> None:
    """65,536 packets: the numbers look as if none were missing."""
    units = list(hall(seconds=30.0))
    before = [unit for unit in units if unit.utc_ns < START_NS + 10 * NS_PER_S]
    after = [unit for unit in units if unit.utc_ns >= START_NS + 20 * NS_PER_S]

    kept = await keep(BadCamera([*before, *after]))
    holds(kept, lasted_s=30, damaged=True)
    assert [gap.cause for gap in kept.gaps] == [GapCause.SILENT, GapCause.SILENT]
    shown = [sample.shown_ns for sample in kept.shown(1)]
    assert max(later - earlier for earlier, later in pairwise(shown)) > 9 * NS_PER_S
    in_place(kept, within_ns=60_000_000)

"""Sound beside pictures and alone: late or early, joining or changing, cut with the picture or by time."""

import pytest

from media.segmenter import Segmenter
from media.segments import Part, SegmentEvent, SegmentStart
from media.unit import NS_PER_S, AudioTrack, Codec
from tests.support.encoded import ORIGIN_NS, g711_units, interleave, video_units
from tests.support.segmented import (
    SETTINGS,
    SOUND,
    VIDEO,
    check_order,
    durations,
    parts,
    pictures,
    run,
    samples_of,
    sounds,
    starts,
)


@pytest.mark.parametrize("lag_s", [-0.95, -0.4, 0.3, 0.95])
def test_sound_late_or_early_by_a_second_keeps_its_time(lag_s: float) -> None:
    video, sound = pictures(12), sounds(12)
    arrival = sorted(
        [*((unit.dts / 90_000, unit) for unit in video), *((unit.dts / 8_000 + lag_s, unit) for unit in sound)],
        key=lambda pair: pair[0],
    )
    events = run(unit for _, unit in arrival)
    check_order(events)
    assert [sample.dts for sample in samples_of(events, 2)] == [unit.dts for unit in sound]
    assert [bytes(sample.data) for sample in samples_of(events, 2)] == [unit.data for unit in sound]
    for part in parts(events):
        if 2 in part.chunks:
            assert part.chunks[2].dts == samples_of([part], 2)[0].dts
    assert max(part.chunks[1].duration for part in parts(events) if 1 in part.chunks) <= 45_900
    if lag_s < 0:
        # Sound that is early waits, so that it is cut exactly where video is.
        edges = [start.start_utc_ns for start in starts(events)][1:]
        begins = [part.start_utc_ns for part in parts(events) if part.index == 0][1:]
        assert begins == edges


def test_sound_goes_on_while_video_stands_still() -> None:
    video, sound = pictures(20), sounds(20)
    still = [unit for unit in video if not 103 <= unit.dts / 90_000 < 111]
    segmenter = Segmenter(SETTINGS, 1)
    made: list[tuple[float, Part]] = []
    for unit in interleave(still, sound):
        now = unit.dts / unit.track.clock_rate
        made += [(now, event) for event in segmenter.push(unit) if isinstance(event, Part)]
    during = [part for now, part in made if 104.6 < now < 110.9]
    assert len(during) >= 12
    assert all(set(part.chunks) == {2} for part in during[1:])
    # What is heard is never more than the lead and a part late.
    for now, part in made:
        if 104.6 < now < 110.9:
            assert now - (part.chunks[2].dts + part.chunks[2].duration) / 8_000 < 1.1
    events: list[SegmentEvent] = [part for _, part in made]
    events += segmenter.flush()
    assert [sample.dts for sample in samples_of(events, 1)] == [unit.dts for unit in still]
    frozen = next(sample for sample in samples_of(events, 1) if sample.duration > 90_000)
    assert frozen.dts + frozen.duration == 111 * 90_000
    assert [sample.dts for sample in samples_of(events, 2)] == [unit.dts for unit in sound]


def test_video_goes_on_while_sound_is_away() -> None:
    video = pictures(12)
    sound = [unit for unit in sounds(12) if not 103 <= unit.dts / 8_000 < 108]
    events = run(interleave(video, sound))
    check_order(events)
    assert durations(events) == pytest.approx([4, 4, 4])
    assert [sample.dts for sample in samples_of(events, 2)] == [unit.dts for unit in sound]
    assert sum(2 not in part.chunks for part in parts(events)) >= 9


def test_video_alone_begins_after_the_wait() -> None:
    segmenter = Segmenter(SETTINGS, 1)
    first_at = None
    for unit in pictures(5):
        if segmenter.push(unit) and first_at is None:
            first_at = unit.dts / 90_000 - 100
    assert first_at == pytest.approx(SETTINGS.track_wait_s)
    (start,) = [event for event in segmenter.open_segment() if isinstance(event, SegmentStart)]
    assert start.period.tracks == (VIDEO,)


def test_sound_alone_is_cut_by_time() -> None:
    sound = sounds(13)
    events = run(sound)
    check_order(events)
    assert durations(events) == pytest.approx([3.84, 3.84, 3.84, 1.48])
    assert all(part.independent and part.duration_ns <= 0.5 * NS_PER_S for part in parts(events))
    assert min(part.duration_ns for part in parts(events)[:-1]) > 0.4 * NS_PER_S
    assert [sample.dts for sample in samples_of(events, 2)] == [unit.dts for unit in sound]


def test_sound_alone_with_a_hole() -> None:
    sound = [unit for unit in sounds(20) if not 103 <= unit.dts / 8_000 < 110]
    events = run(sound)
    check_order(events)
    assert [sample.dts for sample in samples_of(events, 2)] == [unit.dts for unit in sound]
    assert max(part.duration_ns for part in parts(events)) <= 0.5 * NS_PER_S


def test_pictures_before_the_first_keyframe_are_left_out_but_not_the_sound() -> None:
    video = [unit for unit in pictures(10, gop=100) if unit.dts / 90_000 >= 101]
    sound = sounds(9, start_s=101)
    events = run(interleave(video, sound))
    check_order(events)
    assert [sample.dts for sample in samples_of(events, 2)] == [unit.dts for unit in sound]
    kept = samples_of(events, 1)
    assert kept[0].keyframe
    assert [sample.dts for sample in kept] == [unit.dts for unit in video if unit.dts / 90_000 >= 104]
    assert starts(events)[0].period.tracks == (VIDEO, SOUND)
    assert starts(events)[1].start_utc_ns == ORIGIN_NS + 104 * NS_PER_S


def test_sound_that_joins_late_is_kept_and_begins_a_period_at_the_next_keyframe() -> None:
    video, sound = pictures(12), sounds(9, start_s=103)
    events = run(interleave(video, sound))
    check_order(events)
    assert [start.period.tracks for start in starts(events)[:2]] == [(VIDEO,), (VIDEO, SOUND)]
    assert starts(events)[1].discontinuity
    assert [sample.dts for sample in samples_of(events, 2)] == [unit.dts for unit in sound]
    assert [sample.dts for sample in samples_of(events, 1)] == [unit.dts for unit in video]


def test_sound_that_changes_begins_a_period_at_the_next_keyframe() -> None:
    other = AudioTrack(Codec.PCMU, 8_000, 1)
    first, second = sounds(5), sounds(7, start_s=105, track=other)
    events = run(interleave(pictures(12), first, second))
    check_order(events)
    assert [start.period.tracks for start in starts(events)] == [(VIDEO, SOUND)] * 2 + [(VIDEO, other)] * 2
    assert [sample.dts for sample in samples_of(events, 2)] == [unit.dts for unit in first + second]


def test_g711_parts_carry_octets_unchanged() -> None:
    sound = g711_units(seconds=3)
    events = run(interleave(video_units(frames=75, gop=50), sound))
    assert b"".join(bytes(sample.data) for sample in samples_of(events, 2)) == b"".join(unit.data for unit in sound)

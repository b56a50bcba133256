"""The segmenter: what goes in comes out, cut where it should be, and the joined bytes play."""

import dataclasses
import io
from collections import Counter
from itertools import pairwise

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.errors import BitstreamError
from media.fmp4_read import read_init
from media.segmenter import Segmenter, SegmenterSettings
from media.segments import SegmentEvent, SegmentStart
from media.unit import NS_PER_S, AccessUnit, AudioTrack, Codec, Gap, GapCause, StreamItem, VideoTrack
from tests.support.encoded import ORIGIN_NS, interleave, picture_number, sound_units, video_units
from tests.support.segmented import (
    OTHER_SOUND,
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


@pytest.mark.parametrize(("codec", "b_frames"), [(Codec.H264, 0), (Codec.H264, 2), (Codec.H265, 0)])
def test_joined_parts_play_frame_by_frame_with_sound(codec: Codec, b_frames: int) -> None:
    video = video_units(codec, frames=230, gop=50, b_frames=b_frames)
    sound = sound_units(Codec.AAC, rate=16_000, seconds=9)
    events = run(interleave(video, sound))
    check_order(events)
    period = starts(events)[0].period
    for track_id, units in ((1, video), (2, sound)):
        data = period.init[track_id] + b"".join(
            part.chunks[track_id].data for part in parts(events) if track_id in part.chunks
        )
        assert read_init(data) == (units[0].track,)
        with av.open(io.BytesIO(data), "r") as container:
            frames = list(container.decode(container.streams[0]))
        if track_id == 1:
            assert [picture_number(frame) for frame in frames if isinstance(frame, av.VideoFrame)] == list(range(230))
            assert [frame.pts for frame in frames] == sorted(unit.pts for unit in units)
        else:
            assert [frame.pts for frame in frames] == [unit.pts for unit in units]
    assert [start.sequence for start in starts(events)] == [1_000, 1_001, 1_002]
    assert durations(events) == pytest.approx([4, 4, 1.2])


def test_every_byte_comes_out_once_in_order() -> None:
    video, sound = pictures(20.2), sounds(20.2)
    events = run(interleave(video, sound))
    check_order(events)
    assert [bytes(sample.data) for sample in samples_of(events, 1)] == [unit.data for unit in video]
    assert [sample.dts for sample in samples_of(events, 1)] == [unit.dts for unit in video]
    assert [bytes(sample.data) for sample in samples_of(events, 2)] == [unit.data for unit in sound]
    assert [sample.dts for sample in samples_of(events, 2)] == [unit.dts for unit in sound]


def test_segments_run_from_keyframe_to_keyframe_and_sound_is_cut_with_them() -> None:
    events = run(interleave(pictures(13, gop=60), sounds(13)))
    # A GOP is 2.4 s, so the second keyframe past 4 s ends a segment.
    assert durations(events) == pytest.approx([4.8, 4.8, 3.4])
    for start in starts(events):
        own = [part for part in parts(events) if part.sequence == start.sequence]
        first, last = own[0], own[-1]
        assert first.independent
        assert samples_of([first], 1)[0].keyframe
        begin = first.chunks[1].dts / 90_000
        assert first.start_utc_ns == start.start_utc_ns == ORIGIN_NS + round(begin * NS_PER_S)
        end = (last.chunks[1].dts + last.chunks[1].duration) / 90_000
        for part in own:
            for sample in samples_of([part], 2):
                assert begin <= sample.dts / 8_000 < end
    # A part of 0.48 s begins with each of the keyframes, the ones inside a segment included.
    assert [part.independent for part in parts(events)].count(True) == 6


@pytest.mark.parametrize("fps", [8, 10, 12.5, 15, 24, 25, 29.97, 30, 50])
def test_parts_are_even_whatever_the_frame_rate(fps: float) -> None:
    events = run(interleave(pictures(12, fps=fps, gop=round(fps * 2)), sounds(12)), flush=False)
    lengths = [part.chunks[1].duration / 90_000 for part in parts(events)]
    assert max(lengths) <= SETTINGS.part_target_s
    last = {part.sequence: part.index for part in parts(events)}
    inner = [
        part.chunks[1].duration / 90_000 for part in parts(events) if part.index != last[part.sequence]
    ]  # fmt: skip
    assert min(inner) >= 0.85 * SETTINGS.part_target_s


def test_timestamps_rounded_to_milliseconds_make_even_parts_and_segments() -> None:
    video = pictures(21, fps=30, gop=60)
    for unit in video:
        unit.dts = unit.pts = round(unit.dts / 90) * 90
    events = run(video)
    assert durations(events)[:-1] == pytest.approx([4] * 5, abs=0.002)
    assert Counter(part.chunks[1].samples for part in parts(events) if part.index < 7) == {15: 37}


def test_new_epoch_closes_the_segment_and_is_discontinuous() -> None:
    before, after = pictures(6.2), pictures(5, start_s=111.5, epoch=1)
    gap = Gap(ORIGIN_NS, ORIGIN_NS + 5, GapCause.DISCONNECTED)
    events = run(
        [
            *interleave(before, sounds(6.2)),
            gap,
            *interleave(after, sounds(5, start_s=111.5, epoch=1)),
        ]
    )
    check_order([event for event in events if not isinstance(event, Gap)])
    assert [start.discontinuity for start in starts(events)] == [False, False, True, False]
    assert len({start.period.number for start in starts(events)}) == 1
    # The last picture's length is that of the one before it.
    assert durations(events) == pytest.approx([4, 2.2, 4, 1])
    assert events.count(gap) == 1
    assert [sample.dts for sample in samples_of(events, 1)] == [unit.dts for unit in before + after]
    assert starts(events)[2].start_utc_ns == ORIGIN_NS + round(111.5 * NS_PER_S)


def test_changed_parameter_sets_begin_a_new_period() -> None:
    other = dataclasses.replace(VIDEO, parameter_sets=(b"\x67\x4d\x00\x28", b"\x68\xce"))
    first, second = pictures(6), pictures(5, start_s=106, track=other)
    events = run(interleave(first, second, sounds(11)))
    check_order(events)
    assert [start.period.number for start in starts(events)] == [0, 0, 1, 1]
    assert [start.discontinuity for start in starts(events)] == [False, False, True, False]
    assert starts(events)[2].period.tracks == (other, SOUND)
    assert durations(events) == pytest.approx([4, 2, 4, 1])
    assert [sample.dts for sample in samples_of(events, 2)] == [unit.dts for unit in sounds(11)]
    assert len(samples_of(events, 1)) == 275


def test_equal_parameter_sets_in_a_new_object_change_nothing() -> None:
    video = pictures(9)
    for unit in video[100:]:
        unit.track = dataclasses.replace(VIDEO)
    events = run(video)
    assert [start.period.number for start in starts(events)] == [0, 0, 0]
    assert not any(start.discontinuity for start in starts(events))


def test_long_gop_is_cut_at_the_cap_and_marked() -> None:
    events = run(
        interleave(pictures(30, gop=100_000), sounds(30)),
        SegmenterSettings(max_segment_s=10, max_segment_bytes=1 << 30),
    )
    check_order(events)
    assert durations(events) == pytest.approx([10, 10, 10], abs=0.5)
    assert [part.independent for part in parts(events) if part.index == 0] == [True, False, False]
    assert not any(start.discontinuity for start in starts(events))
    assert len(samples_of(events, 1)) == 750


def test_the_next_keyframe_ends_a_segment_that_began_without_one() -> None:
    video = pictures(21, gop=350)
    events = run(video, SegmenterSettings(max_segment_s=10))
    assert [part.independent for part in parts(events) if part.index == 0] == [True, False, True]
    assert durations(events) == pytest.approx([10, 4, 7], abs=0.5)


def test_cap_by_bytes() -> None:
    video = pictures(10, gop=100_000)
    for unit in video:
        unit.data = bytes(10_000)
    events = run(video, SegmenterSettings(max_segment_bytes=1_000_000))
    assert len(starts(events)) == 3
    for start in starts(events):
        assert sum(part.size for part in parts(events) if part.sequence == start.sequence) < 1_200_000


def test_a_standing_clock_does_not_collect_without_bound() -> None:
    video = pictures(200, gop=100_000)
    for unit in video[30:]:
        unit.dts = unit.pts = video[29].dts
    sound = sounds(200)
    for unit in sound[30:]:
        unit.dts = unit.pts = sound[29].dts
    items: list[StreamItem] = [unit for pair in zip(video, sound, strict=True) for unit in pair]
    events = run(items)
    check_order(events)
    assert max(part.chunks[1].samples for part in parts(events) if 1 in part.chunks) <= 1_000
    assert len(samples_of(events, 1)) == 5_000
    assert sorted(bytes(sample.data) for sample in samples_of(events, 2)) == [unit.data for unit in sound]


@pytest.mark.parametrize("leap_s", [-50.0, 3_600.0, 40 * 86_400.0])
def test_a_leap_in_time_begins_a_discontinuous_segment_and_drops_nothing(leap_s: float) -> None:
    video, sound = pictures(10, gop=1_000), sounds(10)
    for unit in (*video[110:], *sound[110:]):
        unit.dts = unit.pts = unit.dts + round(leap_s * unit.track.clock_rate)
    items: list[StreamItem] = [unit for pair in zip(video, sound, strict=True) for unit in pair]
    events = run(items)
    check_order(events)
    assert [start.discontinuity for start in starts(events)] == [False, True]
    assert [sample.dts for sample in samples_of(events, 1)] == [unit.dts for unit in video]
    assert sorted(sample.dts for sample in samples_of(events, 2)) == sorted(unit.dts for unit in sound)
    assert max(durations(events)) < 8


def test_small_steps_back_of_pictures_stay_in_order() -> None:
    video = pictures(6)
    video[60].dts = video[60].pts = video[58].dts
    events = run(video)
    times = [sample.dts for sample in samples_of(events, 1)]
    assert times == sorted(set(times))
    assert len(times) == 150
    assert samples_of(events, 1)[60].pts == video[60].pts


def test_a_late_reader_gets_the_open_segment_with_its_gaps() -> None:
    segmenter = Segmenter(SETTINGS, 1)
    gap = Gap(ORIGIN_NS, ORIGIN_NS + 1, GapCause.PACKETS_LOST, packets=3)
    published: list[SegmentEvent] = []
    for index, unit in enumerate(interleave(pictures(6), sounds(6))):
        if index == 270:
            assert segmenter.push(gap) == [gap]
            published.append(gap)
        published += segmenter.push(unit)
    last_start = max(index for index, event in enumerate(published) if isinstance(event, SegmentStart))
    assert segmenter.open_segment() == published[last_start:]
    assert gap in published[last_start:]
    segmenter.flush()
    assert segmenter.open_segment() == []


def test_flush_gives_out_everything_and_the_next_unit_starts_anew() -> None:
    segmenter = Segmenter(SETTINGS, 1)
    first, second = pictures(0.4), pictures(5, start_s=110)
    events = [event for unit in first for event in segmenter.push(unit)]
    assert events == []
    events = segmenter.flush()
    assert len(samples_of(events, 1)) == 10
    assert segmenter.flush() == []
    events += [event for unit in second for event in segmenter.push(unit)] + segmenter.flush()
    check_order(events)
    assert [start.discontinuity for start in starts(events)] == [False, True, False]
    assert len(samples_of(events, 1)) == 135


def test_a_track_without_parameter_sets_is_refused() -> None:
    with pytest.raises(BitstreamError):
        run(pictures(2, track=VideoTrack(Codec.H264, (), 320, 180)))


def test_broken_parameter_sets_on_the_way_do_not_cost_what_was_there() -> None:
    segmenter = Segmenter(SETTINGS, 1)
    events = [event for unit in interleave(pictures(5), sounds(5)) for event in segmenter.push(unit)]
    broken = pictures(2, start_s=105, track=VideoTrack(Codec.H264, (), 320, 180))
    for unit in broken[:2]:
        with pytest.raises(BitstreamError):
            segmenter.push(unit)
    events += [event for unit in pictures(5, start_s=108, epoch=1) for event in segmenter.push(unit)]
    events += segmenter.flush()
    check_order(events)
    assert len(samples_of(events, 1)) == 250
    assert len(samples_of(events, 2)) == len(sounds(5))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["video", "sound", "other sound", "gap", "epoch", "flush"]),
            st.integers(-2_000, 20_000),
            st.booleans(),
        ),
        max_size=120,
    )
)
def test_whatever_comes_nothing_is_lost_once_a_keyframe_was_there(script: list[tuple[str, int, bool]]) -> None:
    segmenter = Segmenter(SegmenterSettings(max_segment_s=15), 1)
    epoch, clock = 0, {1: 1_000_000_000, 2: 1_000_000_000}
    fed: Counter[bytes] = Counter()
    has_keyframe = False
    events: list[SegmentEvent] = []
    for number, (kind, step_ms, key) in enumerate(script):
        if kind == "gap":
            events += segmenter.push(Gap(0, 1, GapCause.SILENT))
        elif kind == "flush":
            events += segmenter.flush()
            has_keyframe = False
        elif kind == "epoch":
            epoch += 1
            has_keyframe = False
        else:
            kinds: dict[str, VideoTrack | AudioTrack] = {"video": VIDEO, "sound": SOUND, "other sound": OTHER_SOUND}
            track = kinds[kind]
            clock[track.id] = max(0, clock[track.id] + step_ms * (1 if number % 7 else 3))
            dts = clock[track.id] * track.clock_rate // 1_000
            data = number.to_bytes(4, "big")
            if kind == "video":
                has_keyframe = has_keyframe or key
            if kind != "video" or has_keyframe:
                fed[data] += 1
            keyframe = key if kind == "video" else True
            events += segmenter.push(
                AccessUnit(track, dts, dts, dts, data, keyframe, 0 if kind == "video" else 160, epoch)
            )
    events += segmenter.flush()
    check_order([event for event in events if not isinstance(event, Gap)])
    out = Counter(bytes(sample.data) for track_id in (1, 2) for sample in samples_of(events, track_id))
    assert out == fed
    for before, after in pairwise(starts(events)):
        if before.period is not after.period:
            assert after.discontinuity

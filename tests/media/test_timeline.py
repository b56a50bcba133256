"""RTP ticks to the stream's timeline."""

import random
from itertools import pairwise

import pytest

from media.decode_times import DecodeTimes
from media.timeline import SessionClock, TickCounter, TrackTimeline
from media.unit import NS_PER_S

MS = 1_000_000
START = 1_790_000_000 * NS_PER_S


def advance(counter: TickCounter, timestamps: list[int], step_ns: int = 40 * MS) -> list[tuple[int, bool]]:
    ticks = (counter.advance(ts & 0xFFFFFFFF, START + index * step_ns) for index, ts in enumerate(timestamps))
    return [(value, jumped) for value, jumped in ticks]


def test_timestamps_wrap_without_a_jump() -> None:
    first = 2**32 - 5 * 3600
    ticks = advance(TickCounter(90_000, decoding_order=True), [first + n * 3600 for n in range(10)])
    assert ticks == [(n * 3600, False) for n in range(10)]


@pytest.mark.parametrize("jump_s", [3600 * 5, 3600 * 13, 10, -10, -3600 * 3])
def test_a_jump_is_bridged_by_the_time_that_passed(jump_s: int) -> None:
    stamps = [n * 3600 for n in range(10)] + [n * 3600 + jump_s * 90_000 for n in range(10, 20)]
    ticks = advance(TickCounter(90_000, decoding_order=True), stamps)
    assert [jumped for _, jumped in ticks] == [n == 10 for n in range(20)]
    assert [value for value, _ in ticks] == [n * 3600 for n in range(20)]


def test_a_small_step_back_in_sound_is_bridged() -> None:
    stamps = [n * 320 for n in range(5)] + [n * 320 - 1600 for n in range(5, 10)]
    ticks = advance(TickCounter(8000, decoding_order=False), stamps)
    assert [value for value, _ in ticks] == [n * 320 for n in range(10)]
    assert sum(jumped for _, jumped in ticks) == 1


def test_pictures_in_decoding_order_are_no_jump() -> None:
    order = [0, 3, 1, 2, 6, 4, 5, 9, 7, 8]
    ticks = advance(TickCounter(90_000, decoding_order=True), [n * 3600 for n in order])
    assert ticks == [(n * 3600, False) for n in order]


def test_a_small_step_back_in_pictures_is_bridged_when_it_lasts() -> None:
    stamps = [n * 3600 for n in range(30)] + [n * 3600 - 81_000 for n in range(30, 80)]
    ticks = advance(TickCounter(90_000, decoding_order=True), stamps)
    assert sum(jumped for _, jumped in ticks) == 1
    values = [value for value, _ in ticks]
    assert values[-1] - values[29] == pytest.approx(50 * 3600, abs=18 * 3600)


def test_a_clock_that_stands_still_is_replaced_by_arrival() -> None:
    ticks = advance(TickCounter(90_000, decoding_order=True), [n * 3600 for n in range(5)] + [4 * 3600] * 50)
    values = [value for value, _ in ticks]
    assert sum(jumped for _, jumped in ticks) == 1
    assert values[-1] == 54 * 3600
    assert values == sorted(values)


def test_a_stall_and_a_burst_are_no_jump() -> None:
    counter = TickCounter(90_000, decoding_order=True)
    for n in range(25):
        assert not counter.advance(n * 3600, START + n * 40 * MS)[1]
    # Ten seconds of nothing, then all that was held up, then media that was dropped meanwhile.
    resumed = START + 11 * NS_PER_S
    for n in range(25, 50):
        assert not counter.advance(n * 3600, resumed)[1]
    assert counter.advance(290 * 3600, resumed + 600 * MS) == (290 * 3600, False)


class Track:
    """One track of a session: ticks of 90 kHz, media at ``START + ticks``, arrival a little later."""

    def __init__(self, session: SessionClock, number: int = 0) -> None:
        self.timeline = TrackTimeline(number, 90_000, session, START)
        self.ticks = 0

    def run(self, seconds: float, *, delay_ns: int = 20 * MS, jitter_ns: int = 0, speed: float = 1.0) -> list[float]:
        """Media for ``seconds``; how far pts is from the time it was taken, milliseconds, for each unit."""
        errors = []
        chance = random.Random(1)
        for _ in range(round(seconds * 25)):
            self.ticks += 3600
            taken = START + round(self.ticks * NS_PER_S / 90_000 * speed)
            self.timeline.observe(self.ticks, taken + delay_ns + chance.randrange(jitter_ns + 1))
            if not self.timeline.anchored:
                self.timeline.anchor()
            self.timeline.step()
            pts_ns = self.timeline.pts(self.ticks) * NS_PER_S // 90_000 + START
            errors.append((pts_ns - taken) / MS)
        return errors


def test_arrival_is_the_fallback_and_jitter_does_not_shake_time() -> None:
    track = Track(SessionClock())
    errors = track.run(120, jitter_ns=200 * MS)
    assert max(errors) - min(errors) < 220
    steady = errors[-750:]
    assert max(steady) - min(steady) < 1
    assert all(0 <= error <= 60 for error in steady)


def test_a_drifting_camera_is_followed_without_steps() -> None:
    # 0.3 % fast is twenty seconds in 104 minutes.
    track = Track(SessionClock())
    track.run(10)
    errors = track.run(600, speed=1.003)
    assert all(-150 < error < 250 for error in errors)
    assert max(abs(b - a) for a, b in pairwise(errors)) < 1


def test_reports_of_a_good_clock_are_believed() -> None:
    session = SessionClock()
    track = Track(session)
    track.timeline.observe(0, START + 300 * MS)
    track.timeline.sender_report(START, 0)
    assert track.timeline.synchronized
    assert max(abs(error) for error in track.run(60, delay_ns=300 * MS)) < 1
    assert track.timeline.camera_offset_ns == -300 * MS


def test_reports_that_come_late_align_within_seconds() -> None:
    track = Track(SessionClock())
    assert track.run(3, delay_ns=300 * MS)[-1] == pytest.approx(300, abs=1)
    track.timeline.sender_report(START, 0)
    errors = track.run(12, delay_ns=300 * MS)
    assert abs(errors[-1]) < 62
    assert max(abs(later - earlier) for earlier, later in pairwise(errors)) < 1.3


@pytest.mark.parametrize("error_s", [365 * 86_400, -8 * 3600, 10])
def test_a_clock_that_is_wrong_aligns_but_does_not_date(error_s: int) -> None:
    session = SessionClock()
    video, audio = Track(session, 0), Track(session, 1)
    # Sound takes 250 ms longer to come: only the camera's own clock knows that both were taken together.
    video.timeline.observe(0, START + 30 * MS)
    audio.timeline.observe(0, START + 280 * MS)
    for track in (video, audio):
        track.timeline.sender_report(START + error_s * NS_PER_S, 0)
    assert not video.timeline.synchronized
    seen, heard = video.run(60, delay_ns=30 * MS), audio.run(60, delay_ns=280 * MS)
    assert abs(seen[-1] - heard[-1]) < 20
    assert abs(seen[-1] - 30) < 20
    offset = video.timeline.camera_offset_ns
    assert offset is not None
    assert abs(offset - error_s * NS_PER_S) < 100 * MS


def test_separate_clocks_for_sound_and_picture_fall_back_to_arrival() -> None:
    session = SessionClock()
    video, audio = Track(session, 0), Track(session, 1)
    for track, error_s in ((video, 100), (audio, -4000)):
        track.timeline.observe(0, START + 30 * MS)
        track.timeline.sender_report(START + error_s * NS_PER_S, 0)
    assert abs(video.run(30)[-1] - audio.run(30)[-1]) < 20


def test_one_odd_report_is_not_used_two_are() -> None:
    session = SessionClock()
    track = Track(session)
    track.timeline.observe(0, START)
    track.timeline.sender_report(START, 0)
    track.timeline.sender_report(START + 86_400 * NS_PER_S, 0)
    assert track.timeline.camera_offset_ns == 0
    track.timeline.sender_report(START + 86_400 * NS_PER_S, 0)
    assert track.timeline.camera_offset_ns == 86_400 * NS_PER_S


def test_media_that_stays_late_is_moved_at_once() -> None:
    track = Track(SessionClock())
    track.run(60)
    errors = track.run(90, delay_ns=8 * NS_PER_S)
    assert 7_900 < errors[-1] < 8_100


@pytest.mark.parametrize(("depth", "told"), [(1, 1), (2, 2), (1, 0), (0, 0)])
def test_decoding_times_grow_and_never_pass_presentation(depth: int, told: int) -> None:
    orders = {0: [0, 1, 2, 3], 1: [0, 2, 1, 4, 3], 2: [0, 4, 2, 1, 3]}
    pattern = orders[depth]
    times = DecodeTimes(told)
    pts = [0, *((cycle * (len(pattern) - 1) + n) * 3600 for cycle in range(20) for n in pattern[1:])]
    dts = [times.dts(value, 3600) for value in pts]
    assert all(later > earlier for earlier, later in pairwise(dts))
    settled = 0 if told == depth else 4
    assert all(d <= p for d, p in list(zip(dts, pts, strict=True))[settled:])
    assert dts[-1] >= pts[-1] - (depth + 2) * 3600

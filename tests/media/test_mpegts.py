"""Transport stream segments: packets as the standard wants them, pictures and sound as FFmpeg reads them."""

import io
from itertools import pairwise

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.errors import ContainerError, UnsupportedCodecError
from media.fmp4 import Sample
from media.mpegts import AUDIO_PID, PMT_PID, VIDEO_PID, mux_segment
from media.unit import AccessUnit, AudioTrack, Codec, VideoTrack
from tests.media.test_fmp4 import to_samples
from tests.support.encoded import g711_units, picture_number, sound_units, video_units
from tests.support.transport import examine, problems

H264 = VideoTrack(Codec.H264, (b"\x67\x42\x00\x1f", b"\x68\xce"), 320, 180)


def tracks_of(units: list[AccessUnit]) -> VideoTrack:
    track = units[0].track
    assert isinstance(track, VideoTrack)
    return track


def aac_of(units: list[AccessUnit]) -> AudioTrack:
    track = units[0].track
    assert isinstance(track, AudioTrack)
    return track


def numbers_and_times(data: bytes) -> list[tuple[int, int | None]]:
    with av.open(io.BytesIO(data), "r") as container:
        return [(picture_number(frame), frame.pts) for frame in container.decode(container.streams.video[0])]


@pytest.mark.parametrize("codec", [Codec.H264, Codec.H265])
@pytest.mark.parametrize("b_frames", [0, 2])
def test_segments_made_apart_play_as_one(codec: Codec, b_frames: int) -> None:
    video = video_units(codec, frames=100, gop=25, b_frames=b_frames)
    sound = sound_units(Codec.AAC, rate=16_000, seconds=4)
    samples, frames = to_samples(video), to_samples(sound)
    segments, inside = [], []
    for first in range(0, 100, 25):
        start, end = samples[first].dts, samples[first].dts + 25 * 3_600
        heard = [frame for frame in frames if start <= frame.dts * 90 // 16 < end]
        inside += heard
        segments.append(mux_segment(tracks_of(video), samples[first : first + 25], aac_of(sound), heard))
    whole = b"".join(segments)
    seen = examine(whole)
    assert seen.problems == []
    assert seen.pids == {0, PMT_PID, VIDEO_PID, AUDIO_PID}
    assert numbers_and_times(whole) == [(number, 9_000_000 + 3_600 * number) for number in range(100)]
    for segment in segments:
        assert len(numbers_and_times(segment)) == 25
        assert set(examine(segment).counters.values()) == {15}
    with av.open(io.BytesIO(whole), "r") as container:
        stream = container.streams.audio[0]
        assert stream.rate == 16_000
        decoded = [(frame.pts, frame.samples) for frame in container.decode(stream)]
    # The first frame's time comes from its PES packet, which is the sample's own time in 90 kHz.
    assert len(decoded) == len(inside)
    assert [pts for pts, _ in decoded] == pytest.approx([frame.dts * 90 / 16 for frame in inside], abs=1)


def test_sound_survives_bit_by_bit() -> None:
    sound = sound_units(Codec.AAC, rate=48_000, channels=2, seconds=2)
    data = mux_segment(None, [], aac_of(sound), to_samples(sound))
    assert examine(data).problems == []
    with av.open(io.BytesIO(data), "r") as container:
        packets = [bytes(packet)[7:] for packet in container.demux(container.streams.audio[0]) if packet.size]
    assert packets == [unit.data for unit in sound]


def test_clock_references_and_tables_come_often_enough() -> None:
    # Two pictures a second: clock references have to come between them.
    samples = [Sample(90_000 + number * 45_000, 45_000, 0, number % 4 == 0, b"\0\0\0\3abc") for number in range(20)]
    seen = examine(mux_segment(H264, samples, None, []))
    assert seen.problems == []
    assert max(after - before for before, after in pairwise(seen.clock_references)) <= 9_000
    assert seen.clock_references == sorted(seen.clock_references)
    video = to_samples(video_units(frames=250, gop=250))
    seen = examine(mux_segment(H264, video, None, []))
    assert seen.tables_at[0] == -1
    for seconds in (0.04, 0.5, 1.0, 5.0):
        ticks = round(seconds * 90_000)
        slow = [
            Sample(90_000 + n * ticks, ticks, 0, n == 0, b"\0\0\0\3abc") for n in range(max(3, round(10 / seconds)))
        ]
        assert problems(mux_segment(H264, slow, None, [])) == []


def test_times_wrap_at_33_bits() -> None:
    wrap = 1 << 33
    video = video_units(frames=50, gop=25, start_s=0)
    shifted = to_samples(video)
    for sample in shifted:
        sample.dts += wrap - 25 * 3_600
    halves = [mux_segment(tracks_of(video), shifted[at : at + 25], None, []) for at in (0, 25)]
    assert numbers_and_times(halves[1]) == [(25 + number, number * 3_600) for number in range(25)]
    with av.open(io.BytesIO(b"".join(halves)), "r") as container:
        times = [frame.pts for frame in container.decode(container.streams.video[0])]
    # FFmpeg puts the times before the wrap below zero.
    assert times == [3_600 * (number - 25) for number in range(50)]


def test_sound_keeps_the_clock_where_pictures_stand_still() -> None:
    """A segment without pictures, between two that have some."""
    video, sound = video_units(frames=100, gop=25), sound_units(Codec.AAC, rate=16_000, seconds=4)
    samples, frames = to_samples(video), to_samples(sound)
    pieces = []
    for second in range(4):
        seen = samples[25 * second : 25 * second + 25] if second != 1 else []
        heard = [frame for frame in frames if 100 + second <= frame.dts / 16_000 < 101 + second]
        pieces.append(mux_segment(tracks_of(video), seen, aac_of(sound), heard))
    assert examine(pieces[1]).pids == {0, PMT_PID, AUDIO_PID}
    for piece in pieces:
        assert len(examine(piece).clock_references) >= 4
        assert problems(piece) == []
    assert examine(b"".join(pieces)).problems == []
    with av.open(io.BytesIO(b"".join(pieces)), "r") as container:
        assert len(list(container.decode(container.streams.video[0]))) == 75


def test_same_input_same_output() -> None:
    video = video_units(frames=30, gop=10)
    samples = to_samples(video)
    views = [Sample(s.dts, s.duration, s.cts_offset, s.keyframe, memoryview(s.data)) for s in samples]
    assert mux_segment(tracks_of(video), samples, None, []) == mux_segment(tracks_of(video), views, None, [])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 6_000), min_size=1, max_size=12), st.lists(st.integers(1, 600), max_size=30))
def test_any_sizes_keep_the_counters_whole(pictures: list[int], sounds: list[int]) -> None:
    track = AudioTrack(Codec.AAC, 16_000, 1, bytes.fromhex("1408"))
    video = [
        Sample(index * 3_600, 3_600, 0, index == 0, (size + 16).to_bytes(4, "big") + bytes(size + 16))
        for index, size in enumerate(pictures)
    ]
    audio = [Sample(index * 1_024, 1_024, 0, True, bytes(size + 16)) for index, size in enumerate(sounds)]
    data = mux_segment(H264, video, track if audio else None, audio)
    twice = examine(data + data)
    assert twice.problems == []
    assert VIDEO_PID in twice.pids


def test_what_does_not_fit_is_refused() -> None:
    g711 = g711_units(seconds=0.2)
    with pytest.raises(UnsupportedCodecError):
        mux_segment(None, [], aac_of(g711), to_samples(g711))
    with pytest.raises(ContainerError):
        mux_segment(H264, [Sample(0, 1, 0, True, b"\0\0\0\x09abc")], None, [])
    with pytest.raises(ContainerError):
        mux_segment(None, [], AudioTrack(Codec.AAC, 16_000, 1, b"\x14\x08"), [Sample(0, 1_024, 0, True, bytes(9_000))])


def test_sound_with_a_hole_keeps_its_times() -> None:
    sound = sound_units(Codec.AAC, rate=16_000, seconds=3)
    samples = [sample for sample in to_samples(sound) if not 16 <= sample.dts / 16_000 - 100 + 15 < 17]
    data = mux_segment(None, [], aac_of(sound), samples)
    with av.open(io.BytesIO(data), "r") as container:
        times = [packet.pts for packet in container.demux(container.streams.audio[0]) if packet.size]
    assert np.allclose(np.array(times, dtype=np.float64), [sample.dts * 90 / 16 for sample in samples], atol=1)

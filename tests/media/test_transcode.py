"""The AAC derivative: on the grid, without a seam between stretches made apart, and true to the source's times."""

import io
import itertools
from itertools import pairwise

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from media.errors import BitstreamError, UnsupportedCodecError
from media.fmp4 import Sample, fragment, init_segment
from media.sound import Resampler, SoundLine, decode_alaw, decode_mulaw
from media.transcode import (
    AAC_FRAME,
    AacGridEncoder,
    AacSettings,
    aac_track,
    encode_stretch,
    frame_range,
    margin_ticks,
)
from media.unit import AccessUnit, AudioTrack, Codec
from tests.support.encoded import encode_g711, g711_units, sound_units

RATE = 16_000
Wave = NDArray[np.float64]


def to_samples(units: list[AccessUnit]) -> list[Sample]:
    return [Sample(unit.dts, unit.duration, 0, True, unit.data) for unit in units]


def speech_like(seconds: float) -> Wave:
    """Tones and noise that start and stop, at 8 kHz: onsets make an encoder switch its windows."""
    times = np.arange(round(8_000 * seconds)) / 8_000
    loud = np.where(np.sin(2 * np.pi * 1.7 * times) > 0, 0.5, 0.02)
    noise = np.random.default_rng(7).standard_normal(len(times))
    return loud * (np.sin(2 * np.pi * 220 * times) + 0.5 * np.sin(2 * np.pi * 1_330 * times) + 0.1 * noise) * 0.5


def decode(track: AudioTrack, samples: list[Sample]) -> Wave:
    data = init_segment([track]) + fragment(1, 2, samples)
    with av.open(io.BytesIO(data), "r") as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(container.streams.audio[0])]
    return np.concatenate(frames).astype(np.float64)


def around(samples: list[Sample], source: AudioTrack, start: int, end: int) -> list[Sample]:
    margin = margin_ticks(source)
    return [s for s in samples if s.dts + s.duration > start - margin and s.dts < end + margin]


def test_log_callback_of_pyav_is_off() -> None:
    assert av.logging.get_level() is None


@pytest.mark.parametrize("codec", [Codec.PCMA, Codec.PCMU])
def test_g711_tables_are_those_of_ffmpeg(codec: Codec) -> None:
    octets = bytes(range(256))
    decoder = av.CodecContext.create("pcm_alaw" if codec is Codec.PCMA else "pcm_mulaw", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = 8_000, "mono"
    expected = np.concatenate([frame.to_ndarray().reshape(-1) for frame in decoder.decode(av.Packet(octets))])
    ours = (decode_alaw if codec is Codec.PCMA else decode_mulaw)(octets)
    assert np.array_equal(np.round(ours * 32_768).astype(np.int16), expected)


@pytest.mark.parametrize(
    ("rate_in", "rate_out"), [(8_000, 16_000), (48_000, 16_000), (44_100, 48_000), (16_000, 16_000)]
)
def test_resampler_is_on_the_global_grid_and_does_not_mind_how_it_is_fed(rate_in: int, rate_out: int) -> None:
    start = 5 * rate_in + 441
    times = (start + np.arange(rate_in)) / rate_in
    source = np.sin(2 * np.pi * 700 * times).astype(np.float32)[None, :]
    whole = Resampler(1, rate_in, rate_out, start)
    first = whole.position
    expected = whole.push(source)
    pieces = Resampler(1, rate_in, rate_out, start)
    # The first pieces are shorter than the filter: a first packet may be trimmed to a few samples.
    cuts = [0, 1, 4, *range(333, rate_in, 333), rate_in]
    got = np.concatenate([pieces.push(source[:, at:to]) for at, to in itertools.pairwise(cuts)], axis=1)
    assert np.allclose(got, expected, atol=1e-6)
    want = np.sin(2 * np.pi * 700 * (first + np.arange(expected.shape[1])) / rate_out)
    edge = 200
    assert np.max(np.abs(expected[0, edge:-edge] - want[edge:-edge])) < 1e-3


def test_sound_line_bridges_small_holes_and_keeps_silence_in_large_ones() -> None:
    line = SoundLine(1, 100, bridge=4)
    assert line.place(100, np.full((1, 3), 0.5, np.float32)).tolist() == [[0.5, 0.5, 0.5]]
    assert line.place(104, np.full((1, 2), 0.7, np.float32))[0] == pytest.approx([0.6, 0.7, 0.7])
    assert line.place(112, np.ones((1, 1), np.float32)).tolist() == [[0, 0, 0, 0, 0, 0, 1]]
    # Overlap: what was there first stays.
    assert line.place(110, np.full((1, 4), 0.3, np.float32))[0] == pytest.approx([0.3])
    assert line.place(90, np.ones((1, 4), np.float32)).shape == (1, 0)
    assert line.position == 114


def test_frames_lie_on_the_grid_and_each_belongs_to_one_stretch() -> None:
    source = AudioTrack(Codec.PCMA, 8_000, 1)
    edges = [800_000 + 4_000 * 8 * k + 37 * k for k in range(20)]
    numbers = [n for a, b in pairwise(edges) for n in frame_range(RATE, source.clock_rate, a, b)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert all(edges[0] <= n * AAC_FRAME / 2 < edges[-1] for n in numbers)


def test_track_is_what_the_encoder_makes() -> None:
    track = aac_track(AacSettings(rate=48_000, channels=2))
    encoder = av.CodecContext.create("aac", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "stereo", "fltp"
    encoder.open()
    assert bytes(encoder.extradata or b"").startswith(track.config)


def test_stretches_made_apart_join_without_a_click() -> None:
    wave = speech_like(30)
    units = g711_units(samples=np.round(wave * 32_767).astype(np.int16), start_s=1_000)
    source = units[0].track
    assert isinstance(source, AudioTrack)
    samples = to_samples(units)
    edges = [8_000 * 1_000 + round(8_000 * 3.37 * k) for k in range(9)]
    track, continuous = encode_stretch(source, samples, edges[0], edges[-1])
    joined: list[Sample] = []
    seams = []
    for start, end in pairwise(edges):
        made = encode_stretch(source, around(samples, source, start, end), start, end)[1]
        seams.append(made[0].dts)
        joined += made
    assert [s.dts for s in joined] == [s.dts for s in continuous]
    apart, whole = decode(track, joined), decode(track, continuous)
    begin = continuous[0].dts - 16_000 * 1_000
    source_wave = np.interp((np.arange(len(apart)) + begin) / 2, np.arange(len(wave)), wave)
    error_apart, error_whole = np.abs(apart - source_wave), np.abs(whole - source_wave)
    inner = slice(4_096, len(apart) - 4_096)

    def snr(error: Wave) -> float:
        return float(10 * np.log10(np.mean(source_wave[inner] ** 2) / np.mean(error[inner] ** 2)))

    # Joined is as true to the source as an encoding in one piece, and no worse at the seams than elsewhere.
    assert snr(error_apart) > snr(error_whole) - 1
    assert snr(error_apart) > 15
    worst = np.max(error_whole[inner])
    jumps = np.abs(np.diff(whole[inner])).max()
    for seam in seams[1:]:
        at = seam - 16_000 * 1_000 - begin
        assert np.max(error_apart[at - 2_048 : at + 2_048]) < worst * 1.2
        assert np.max(np.abs(np.diff(apart[at - 2_048 : at + 2_048]))) < jumps * 1.2


def test_without_margins_there_would_be_a_seam() -> None:
    """The test above can fail: encoded without sound from beyond its ends, a stretch does click."""
    times = np.arange(8_000 * 8) / 8_000
    wave = 0.4 * np.sin(2 * np.pi * 311 * times)
    samples = to_samples(g711_units(samples=np.round(wave * 32_767).astype(np.int16), start_s=1_000))
    source = AudioTrack(Codec.PCMA, 8_000, 1)
    start, middle, end = (8_000 * second for second in (1_000, 1_004, 1_008))
    joined: list[Sample] = []
    for a, b in ((start, middle), (middle, end)):
        joined += encode_stretch(source, [s for s in samples if a <= s.dts < b], a, b)[1]
    out = decode(aac_track(), joined)
    error = np.abs(out - np.interp(np.arange(len(out)) / 2, np.arange(len(wave)), wave))
    seam = 4 * RATE // AAC_FRAME * AAC_FRAME
    assert np.max(error[seam - 2_048 : seam + 2_048]) > 5 * np.max(error[seam - 20_000 : seam - 4_096])


def onsets(wave: Wave, first_dts: int) -> list[float]:
    """When sound begins after silence, in seconds of the timeline."""
    loud = np.abs(wave) > 0.1
    steps = np.flatnonzero(loud)
    first = [index for before, index in zip([-RATE, *steps], steps, strict=False) if index - before > RATE // 10]
    return [(first_dts + index) / RATE for index in first]


@pytest.mark.parametrize("running", [False, True])
def test_holes_become_silence_and_sound_stays_at_its_time(running: bool) -> None:
    # 200 ms beeps once a second; then packets are taken out, and later sound is shifted by parts of a packet.
    times = np.arange(8_000 * 12) / 8_000
    wave = np.where(times % 1 < 0.2, np.sin(2 * np.pi * 900 * times), 0) * 0.5
    octets = encode_g711(Codec.PCMA, np.round(wave * 32_767).astype(np.int16))
    samples = [
        Sample(800_000 + at, 160, 0, True, octets[at : at + 160])
        for at in range(0, len(octets), 160)
        if not 3.3 <= at / 8_000 < 4.9 and (at // 160) % 50 != 37
    ]
    source = AudioTrack(Codec.PCMA, 8_000, 1)
    if running:
        with AacGridEncoder(source) as encoder:
            track = encoder.track
            out = [s for at in range(0, len(samples), 12) for s in encoder.push(samples[at : at + 12])]
            out += encoder.flush()
    else:
        track, out = encode_stretch(source, samples, 99 * 8_000, 112 * 8_000)
    assert {after.dts - before.dts for before, after in pairwise(out)} == {AAC_FRAME}
    decoded = decode(track, out)
    assert onsets(decoded, out[0].dts) == pytest.approx([100, 101, 102, 103, 105, *range(106, 112)], abs=0.005)
    silent = slice(int(103.4 * RATE) - out[0].dts, int(104.8 * RATE) - out[0].dts)
    assert np.max(np.abs(decoded[silent])) < 0.01


def test_running_encoder_starts_anew_after_a_long_hole() -> None:
    source = AudioTrack(Codec.PCMA, 8_000, 1)
    first = to_samples(g711_units(seconds=2, start_s=100))
    second = to_samples(g711_units(seconds=2, start_s=3_700))
    with AacGridEncoder(source) as encoder:
        out = encoder.push(first) + encoder.push(second) + encoder.flush()
    assert all(sample.dts % AAC_FRAME == 0 for sample in out)
    assert out == sorted(out, key=lambda sample: sample.dts)
    assert len(out) < 80
    assert any(sample.dts > 3_699 * RATE for sample in out)
    later = [sample for sample in out if sample.dts > 3_000 * RATE]
    assert later[0].dts <= 3_700 * RATE < later[0].dts + AAC_FRAME


def test_running_and_stateless_have_the_same_frames() -> None:
    samples = to_samples(g711_units(seconds=5, start_s=100))
    source = AudioTrack(Codec.PCMA, 8_000, 1)
    with AacGridEncoder(source) as encoder:
        live = [s for at in range(0, len(samples), 13) for s in encoder.push(samples[at : at + 13])]
    _, recorded = encode_stretch(source, samples, 800_000, 840_000)
    common = {s.dts for s in live} & {s.dts for s in recorded}
    # All but the last two frames are out already.
    assert len(common) >= len(recorded) - 3
    a = decode(aac_track(), [s for s in live if s.dts in common])
    b = decode(aac_track(), [s for s in recorded if s.dts in common])
    assert np.max(np.abs(a - b)[2_048:-2_048]) < 0.05


@pytest.mark.parametrize(("codec", "rate"), [(Codec.OPUS, 48_000), (Codec.AAC, 48_000), (Codec.AAC, 44_100)])
def test_opus_and_aac_are_taken_too(codec: Codec, rate: int) -> None:
    units = sound_units(codec, rate=rate, channels=2, seconds=4, frequency=50)
    source = units[0].track
    assert isinstance(source, AudioTrack)
    start, end = 101 * rate, 103 * rate
    track, out = encode_stretch(source, to_samples(units), start, end)
    decoded = decode(track, out)[2_048:-2_048]
    assert np.sqrt(np.mean(decoded**2)) == pytest.approx(16_000 / 32_768 / np.sqrt(2), rel=0.05)
    times = (out[0].dts + 2_048 + np.arange(len(decoded))) / RATE
    want = np.sin(2 * np.pi * 50 * times) * 16_000 / 32_768
    lags = range(-160, 161)
    best = max(lags, key=lambda lag: float(np.dot(np.roll(decoded, lag)[200:-200], want[200:-200])))
    # Opus codes with a delay of 6.5 ms, of which RTP does not tell. A period of the tone is 320 samples.
    assert abs(best) <= (120 if codec is Codec.OPUS else 2)


def test_silence_where_there_is_no_source() -> None:
    source = AudioTrack(Codec.PCMA, 8_000, 1)
    track, out = encode_stretch(source, [], 800_000, 832_000)
    assert len(out) == len(frame_range(RATE, 8_000, 800_000, 832_000))
    assert np.max(np.abs(decode(track, out))) < 1e-3
    assert encode_stretch(source, [], 800_000, 800_000)[1] == []


def test_what_cannot_be_decoded() -> None:
    broken = [Sample(4_800_000, 1_024, 0, True, b"\xff\xff\xff")]
    source = AudioTrack(Codec.AAC, 48_000, 2, bytes.fromhex("1190"))
    _, out = encode_stretch(source, broken, 4_800_000, 4_848_000)
    assert len(out) == len(frame_range(RATE, 48_000, 4_800_000, 4_848_000))
    with AacGridEncoder(source) as encoder, pytest.raises(BitstreamError):
        encoder.push(broken)
    with pytest.raises(UnsupportedCodecError):
        encode_stretch(AudioTrack(Codec.H264, 8_000, 1), broken, 0, 8_000)
    with pytest.raises(ValueError, match="ten minutes"):
        encode_stretch(AudioTrack(Codec.PCMA, 8_000, 1), [], 0, 8_000 * 700)


def test_frames_stay_below_what_a_frame_may_hold() -> None:
    # 6,144 bits a channel (ISO/IEC 14496-3, 4.5.3.3): the download's layout is planned with it.
    noise = np.random.default_rng(3).uniform(-1, 1, 8_000 * 5) * 32_000
    samples = to_samples(g711_units(samples=noise.astype(np.int16)))
    _, out = encode_stretch(AudioTrack(Codec.PCMA, 8_000, 1), samples, 800_000, 840_000)
    assert max(len(sample.data) for sample in out) <= 768


@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_frames_of_constant_quality_are_never_longer_than_a_frame_may_be(rate: int) -> None:
    # White noise at full scale, and noise that begins in the middle of a frame: what takes the most bits there is.
    dice = np.random.default_rng(4)
    noise = dice.integers(0, 256, 8_000 * 6, dtype=np.uint8)
    noise[:9_000] = 0xD5
    source = AudioTrack(Codec.PCMA, 8_000, 1)
    samples = [Sample(at, 320, 0, True, noise[at : at + 320].tobytes()) for at in range(0, len(noise), 320)]
    _, frames = encode_stretch(source, samples, 8_000, 40_000, AacSettings(rate=rate, quality=1))
    assert len(frames) == len(frame_range(rate, 8_000, 8_000, 40_000))
    assert 300 < max(len(frame.data) for frame in frames) <= 768

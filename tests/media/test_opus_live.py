"""Opus made of live sound: beeps stay in place, nothing clicks, and one transcoder serves all who listen."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from media.fanout import Reader, ReaderLimits
from media.opus_encode import OPUS_FRAME, OpusEncoder, OpusSettings
from media.opus_live import OpusTranscoders
from media.stream import LiveStream, StreamId
from media.testsource import BEEP_HZ, TestSource, TestSourceSettings
from media.unit import NS_PER_S, AccessUnit, AudioTrack, Codec
from tests.support.clocks import FakeClock
from tests.support.encoded import g711_units, sound_units
from tests.support.he_aac import hidden, signalled
from tests.support.live_feed import until

RATE = 48_000
Wave = NDArray[np.float64]


def decoded(units: list[AccessUnit]) -> tuple[int, Wave]:
    """First sample's position on the 48 kHz timeline, and the samples, by FFmpeg's libopus."""
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = RATE, "mono"
    pieces = [frame.to_ndarray()[0] for unit in units for frame in decoder.decode(av.Packet(unit.data))]
    return units[0].pts, np.concatenate(pieces).astype(np.float64) / 32_768


def beeps(codec: Codec, seconds: float) -> list[AccessUnit]:
    """Sound of the test source: a tone in the first 100 ms of each second of its timeline."""
    source = TestSource(TestSourceSettings(None, codec))
    made: list[AccessUnit] = []
    for unit in source.units(1_800_000_000 * NS_PER_S, origin_utc_ns=1_799_999_900 * NS_PER_S):
        if unit.pts >= (100 + seconds) * unit.track.clock_rate:
            return made
        made.append(unit)
    return made


def onsets(first: int, wave: Wave) -> list[float]:
    """When beeps begin, in seconds of the timeline: where the tone's envelope passes half of its height."""
    carrier = np.exp(-2j * np.pi * BEEP_HZ * np.arange(len(wave)) / RATE)
    width = RATE // 200
    envelope = np.abs(np.convolve(wave * carrier, np.ones(width) / width, "same"))
    loud = envelope > envelope.max() / 2
    return [(first + index + 1) / RATE for index in np.flatnonzero(~loud[:-1] & loud[1:])]


@pytest.mark.parametrize("codec", [Codec.AAC, Codec.PCMA, Codec.PCMU, Codec.OPUS])
def test_beeps_stay_in_place(codec: Codec) -> None:
    units = beeps(codec, 6.5)
    encoder = OpusEncoder()
    made = [unit for piece in units for unit in encoder.push([piece])]
    assert {after.pts - before.pts for before, after in pairwise(made)} == {OPUS_FRAME}
    assert {unit.duration for unit in made} == {OPUS_FRAME}
    found = onsets(*decoded(made))
    assert [round(onset) for onset in found][-5:] == [102, 103, 104, 105, 106]
    assert [onset - round(onset) for onset in found][-5:] == pytest.approx([0] * 5, abs=0.004)
    zero = units[-1].utc_ns - units[-1].pts * NS_PER_S // units[-1].track.clock_rate
    assert max(abs(unit.utc_ns - zero - unit.pts * NS_PER_S // RATE) for unit in made) <= NS_PER_S // 8_000


@pytest.mark.parametrize(("codec", "rate", "channels"), [(Codec.AAC, 44_100, 2), (Codec.AAC, 16_000, 1)])
def test_it_is_seamless_and_adds_little_delay(codec: Codec, rate: int, channels: int) -> None:
    units = sound_units(codec, rate=rate, channels=channels, seconds=6)
    encoder = OpusEncoder(OpusSettings(channels=channels))
    made: list[AccessUnit] = []
    worst_s = 0.0
    for unit in units:
        made += encoder.push([unit])
        if made:
            heard = (unit.pts + unit.duration) / rate
            worst_s = max(worst_s, heard - (made[-1].pts + OPUS_FRAME) / RATE)
    # What has come in but not gone out, at any moment.
    assert worst_s < 0.035
    assert made[0].track == AudioTrack(Codec.OPUS, RATE, channels)
    first, wave = decoded(made)
    inner = wave[RATE : 5 * RATE]
    times = (first + RATE + np.arange(len(inner))) / RATE
    basis = np.stack([np.sin(2 * np.pi * 440 * times), np.cos(2 * np.pi * 440 * times)])
    weights = np.linalg.lstsq(basis.T, inner, rcond=None)[0]
    # In phase with the source, and nothing beside the tone: a click would stand out of the remainder.
    assert abs(np.arctan2(weights[1], weights[0])) / (2 * np.pi * 440) < 0.001
    remainder = inner - weights @ basis
    assert np.abs(remainder).max() < 0.08 * np.hypot(*weights)


def test_holes() -> None:
    units = g711_units(packet_s=0.02, seconds=6)
    rate, start = 8_000, 800_000
    # 20 ms and 60 ms are missing, then 700 ms, then an epoch begins; one unit is no sound of its codec (too short).
    kept = [u for u in units if not any(a <= (u.pts - start) / rate < b for a, b in [(1, 1.02), (2, 2.06), (3, 3.7)])]
    for unit in kept:
        unit.epoch = int(unit.pts - start >= 5 * rate)
    encoder = OpusEncoder()
    made = encoder.push(kept)
    steps = [(after.pts - before.pts) for before, after in pairwise(made) if after.pts - before.pts != OPUS_FRAME]
    long = [step for step in steps if step > OPUS_FRAME]
    assert len(long) == 1
    assert 0.66 <= (long[0] - OPUS_FRAME) / RATE <= 0.7
    assert {unit.epoch for unit in made} == {0, 1}
    assert next(unit.pts for unit in made if unit.epoch) / RATE == pytest.approx(105, abs=0.03)
    first, wave = decoded([unit for unit in made if unit.pts < 102.9 * RATE])
    short = wave[int((101.005 - first / RATE) * RATE) : int((101.015 - first / RATE) * RATE)]
    assert np.abs(short).max() < 0.55
    silent = wave[int((102.02 - first / RATE) * RATE) : int((102.05 - first / RATE) * RATE)]
    assert np.abs(silent).max() < 0.15


def test_what_cannot_be_decoded_is_missing() -> None:
    units = sound_units(Codec.AAC, rate=16_000, seconds=3)
    for number in (10, 11):
        units[number].data = b"\xff\xff\xff"
    encoder = OpusEncoder()
    made = encoder.push(units)
    assert encoder.broken
    assert made[-1].pts / RATE == pytest.approx(103, abs=0.1)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


async def take(reader: Reader[AccessUnit], count: int) -> list[AccessUnit]:
    got: list[AccessUnit] = []
    async with asyncio.timeout(20):
        while len(got) < count:
            got += await reader.take()
    return got


async def test_one_transcoder_for_all_and_none_for_nobody(threads: ThreadPoolExecutor) -> None:
    stream = LiveStream(StreamId("hall"), FakeClock())
    transcoders = OpusTranscoders(threads)
    first, second = (sound_units(Codec.AAC, rate=16_000, seconds=4, start_s=start) for start in (100, 104))
    async with transcoders.listen(stream, "a") as a:
        async with transcoders.listen(stream, "b") as b:
            assert transcoders.running == 1
            await asyncio.sleep(0)
            for unit in first:
                stream.publish(unit)
            heard_a, heard_b = await take(a, 150), await take(b, 150)
            shared = min(len(heard_a), len(heard_b))
            assert all(x is y for x, y in zip(heard_a[:shared], heard_b[:shared], strict=True))
        for unit in second:
            stream.publish(unit)
        await take(a, 100)
        assert transcoders.running == 1
    assert transcoders.running == 0
    # It can be had again, and ends with the stream.
    async with transcoders.listen(stream, "c") as c:
        await asyncio.sleep(0)
        for unit in sound_units(Codec.AAC, rate=16_000, seconds=1, start_s=108):
            stream.publish(unit)
        await take(c, 20)
        stream.end()
        while await c.take():
            pass
        await until(lambda: transcoders.running == 0)


async def test_opus_is_passed_through(threads: ThreadPoolExecutor) -> None:
    stream = LiveStream(StreamId("phone"), FakeClock())
    units = sound_units(Codec.OPUS, seconds=1)
    async with OpusTranscoders(threads).listen(stream, "a") as reader:
        await asyncio.sleep(0)
        for unit in units:
            stream.publish(unit)
        assert all(x is y for x, y in zip(await take(reader, len(units)), units, strict=True))


async def test_a_reader_of_sound_alone_goes_on_after_it_fell_behind() -> None:
    stream = LiveStream(StreamId("talk"), FakeClock())
    units = sound_units(Codec.OPUS, seconds=1)
    with stream.read_units("slow", ReaderLimits(max_items=10)) as reader:
        for unit in units[:25]:
            stream.publish(unit)
        assert reader.overflows == 2
        assert await reader.take() == units[20:25]


@pytest.mark.parametrize("made", [signalled, hidden])
def test_he_aac_is_heard_at_its_cores_rate(made: Callable[[Sequence[AccessUnit]], list[AccessUnit]]) -> None:
    """Decoders give it at twice the track's rate, announced or not."""
    encoder = OpusEncoder(OpusSettings())
    out = [*encoder.push(made(sound_units(Codec.AAC, rate=24_000, seconds=2.0))), *encoder.flush()]
    assert encoder.broken == 0
    assert sum(unit.duration for unit in out) == pytest.approx(2 * RATE, abs=6 * OPUS_FRAME)
    assert np.abs(decoded(out)[1][RATE // 2 :]).max() > 0.3

"""AAC, G.711 and Opus: configurations and payload formats."""

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.codecs.aac import (
    AacDepacketizer,
    AudioSpecificConfig,
    build_config,
    config_from_description,
    parse_config,
    strip_adts,
)
from media.codecs.g711 import G711Depacketizer
from media.codecs.opus import OpusDepacketizer, packet_samples
from media.codecs.sound import Frame
from media.errors import BitstreamError

HBR = {"mode": "AAC-hbr", "sizelength": "13", "indexlength": "3", "indexdeltalength": "3"}


def hbr(*frames: bytes, cut: int | None = None, indexes: tuple[int, ...] | None = None) -> bytes:
    """A payload of RFC 3640 AAC-hbr; ``cut`` keeps only so much of the data."""
    numbers = indexes or (0,) * len(frames)
    headers = b"".join(
        ((len(frame) << 3) | index).to_bytes(2, "big") for frame, index in zip(frames, numbers, strict=True)
    )
    body = b"".join(frames)
    return (len(headers) * 8).to_bytes(2, "big") + headers + (body if cut is None else body[:cut])


def push(depacketizer: AacDepacketizer, payload: bytes, timestamp: int = 0) -> tuple[Frame, ...] | None:
    return depacketizer.push(b"head" + payload + b"rest", 4, 4 + len(payload), timestamp)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("1190", AudioSpecificConfig(2, 48_000, 2)),
        ("1408", AudioSpecificConfig(2, 16_000, 1)),
        ("1588", AudioSpecificConfig(2, 8000, 1)),
        ("2b8a0800", AudioSpecificConfig(2, 22_050, 1, 1024, 44_100)),
        ("1194", AudioSpecificConfig(2, 48_000, 2, 960)),
    ],
)
def test_configurations(config: str, expected: AudioSpecificConfig) -> None:
    assert parse_config(bytes.fromhex(config)) == expected


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000, 11_111])
@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_built_configurations_say_what_was_asked(rate: int, channels: int) -> None:
    parsed = parse_config(build_config(rate, channels))
    assert (parsed.object_type, parsed.sample_rate, parsed.channels) == (2, rate, channels)


def test_our_configurations_are_what_an_encoder_writes() -> None:
    encoder = av.CodecContext.create("aac", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = 16_000, av.AudioLayout("mono"), av.AudioFormat("fltp")
    encoder.flags |= av.codec.context.Flags.global_header
    encoder.open()
    assert bytes(encoder.extradata or b"")[:2] == build_config(16_000, 1)


@pytest.mark.parametrize(
    ("config", "rate", "channels", "expected"),
    [
        ("1408", 16_000, 1, "1408"),
        ("", 16_000, 1, "1408"),
        ("zz", 8000, 1, "1588"),
        ("1190", 16_000, 1, "1410"),
        ("1408", 32_000, 1, "1408"),
        ("2b8a0800", 44_100, 1, "2b8a0800"),
        ("00", 48_000, 2, "1190"),
    ],
    ids=["right", "missing", "not-hex", "wrong-rate", "silent-sbr", "sbr", "broken"],
)
def test_a_configuration_is_believed_only_if_it_can_be(config: str, rate: int, channels: int, expected: str) -> None:
    assert config_from_description({"config": config}, rate, channels).hex() == expected


def test_one_and_several_frames_a_packet() -> None:
    depacketizer = AacDepacketizer(HBR, 1024)
    assert push(depacketizer, hbr(b"one")) == (Frame(0, b"one", 1024),)
    frames = push(depacketizer, hbr(b"one", b"second", b"3rd"))
    assert frames == (Frame(0, b"one", 1024), Frame(1024, b"second", 1024), Frame(2048, b"3rd", 1024))
    skipped = push(depacketizer, hbr(b"one", b"third", indexes=(0, 1)))
    assert skipped == (Frame(0, b"one", 1024), Frame(2048, b"third", 1024))


def test_one_frame_over_several_packets() -> None:
    depacketizer = AacDepacketizer(HBR, 1024)
    frame = bytes(range(200)) * 10
    head = hbr(frame)[:4]
    assert push(depacketizer, head + frame[:900], 5) == ()
    assert push(depacketizer, head + frame[900:1800], 5) == ()
    assert push(depacketizer, head + frame[1800:], 5) == (Frame(0, frame, 1024),)


def test_a_fragment_is_not_completed_with_another_frame_or_after_loss() -> None:
    depacketizer = AacDepacketizer(HBR, 1024)
    frame = bytes(2000)
    head = hbr(frame)[:4]
    assert push(depacketizer, head + frame[:1500], 5) == ()
    assert push(depacketizer, head + frame[1500:], 6) == ()
    depacketizer.lose()
    assert push(depacketizer, head + frame[1500:], 6) == ()


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\x00\x10", b"\x00\x08\x00\x00", b"\xff\xff\x00\x00", hbr(b"")])
def test_broken_payloads(payload: bytes) -> None:
    assert push(AacDepacketizer(HBR, 1024), payload) is None


def test_adts_headers_are_taken_off() -> None:
    raw = bytes(range(1, 50))
    length = len(raw) + 7
    adts = bytes((0xFF, 0xF1, 0x60, 0x40 | length >> 11, (length >> 3) & 0xFF, ((length & 7) << 5) | 0x1F, 0xFC)) + raw
    assert strip_adts(adts) == (raw, build_config(16_000, 1))
    depacketizer = AacDepacketizer(HBR, 1024)
    assert push(depacketizer, hbr(adts)) == (Frame(0, raw, 1024),)
    assert depacketizer.adts_config == build_config(16_000, 1)
    assert strip_adts(adts[:-1]) is None


@given(st.binary(max_size=80), st.integers(0, 20), st.integers(0, 20))
def test_aac_garbage_never_raises_and_stays_inside(payload: bytes, size_bits: int, index_bits: int) -> None:
    fmtp = {"sizelength": str(size_bits), "indexlength": str(index_bits), "indexdeltalength": str(index_bits)}
    for frame in push(AacDepacketizer(fmtp, 1024), payload) or ():
        assert 0 < len(frame.data) <= len(payload)


@given(st.binary(max_size=20))
def test_configuration_garbage_is_a_bitstream_error(data: bytes) -> None:
    try:
        assert parse_config(data).sample_rate > 0
    except BitstreamError:
        pass


def test_g711_is_octets_and_samples() -> None:
    assert G711Depacketizer(1).push(b"head" + bytes(160), 4, 164, 0) == (Frame(0, bytes(160), 160),)
    assert G711Depacketizer(2).push(bytes(160), 0, 160, 0) == (Frame(0, bytes(160), 80),)
    assert G711Depacketizer(1).push(b"head", 4, 4, 0) == ()


@pytest.mark.parametrize("frame_ms", ["2.5", "10", "20", "60"])
def test_opus_durations_are_what_the_encoder_made(frame_ms: str) -> None:
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, av.AudioLayout("mono"), av.AudioFormat("s16")
    encoder.options = {"frame_duration": frame_ms}
    encoder.open()
    samples = int(float(frame_ms) * 48)
    frame = av.AudioFrame.from_ndarray(np.zeros((1, samples), np.int16), "s16", "mono")
    frame.sample_rate, frame.pts = 48_000, 0
    packets = [bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None))]
    assert packet_samples(packets[0]) == samples
    assert OpusDepacketizer().push(packets[0], 0, len(packets[0]), 0) == (Frame(0, packets[0], samples),)


@given(st.binary(max_size=5))
def test_opus_garbage_never_raises(data: bytes) -> None:
    assert 0 <= packet_samples(data) <= 5760

"""fMP4 is right if others can read it, frame by frame, and if our reader gives back what the writer was given."""

import io
import struct

import av
import numpy as np
import pytest

from media.errors import BitstreamError, UnsupportedCodecError
from media.fmp4 import Sample, codec_string, fragment, init_segment
from media.fmp4_read import boxes, read_fragments, read_init
from media.unit import AccessUnit, AudioTrack, Codec, Track, VideoTrack
from tests.support.encoded import g711_units, picture_number, sound_units, tone, video_units


def to_samples(units: list[AccessUnit]) -> list[Sample]:
    ends = [unit.dts for unit in units[1:]]
    ends.append(units[-1].dts + (units[-1].duration or units[-1].dts - units[-2].dts))
    return [
        Sample(unit.dts, end - unit.dts, unit.pts - unit.dts, unit.keyframe, unit.data)
        for unit, end in zip(units, ends, strict=True)
    ]


def file_of(tracks: list[tuple[Track, list[Sample]]], per_fragment: int = 12) -> bytes:
    parts = [init_segment([track for track, _ in tracks])]
    for track, samples in tracks:
        for number, at in enumerate(range(0, len(samples), per_fragment)):
            parts.append(fragment(number + 1, track.id, samples[at : at + per_fragment]))
    return b"".join(parts)


VIDEO = [
    (Codec.H264, 0, "avc1.42"),
    (Codec.H264, 2, "avc1."),
    (Codec.H265, 0, "hvc1.1.6.L"),
    (Codec.H265, 2, "hvc1.1.6.L"),
]


@pytest.mark.parametrize(("codec", "b_frames", "name"), VIDEO)
def test_video_decodes_frame_by_frame_with_its_times(codec: Codec, b_frames: int, name: str) -> None:
    units = video_units(codec, frames=60, gop=25, b_frames=b_frames)
    track = units[0].track
    data = file_of([(track, to_samples(units))])
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (320, 180)
        assert stream.codec_context.codec_tag in ("avc1", "hvc1")
        frames = list(container.decode(stream))
    assert [picture_number(frame) for frame in frames] == list(range(60))
    assert [frame.pts for frame in frames] == sorted(unit.pts for unit in units)
    assert codec_string(track).startswith(name)


@pytest.mark.parametrize(("codec", "b_frames", "name"), VIDEO)
def test_reader_gives_back_video(codec: Codec, b_frames: int, name: str) -> None:
    units = video_units(codec, frames=30, gop=10, b_frames=b_frames)
    samples = to_samples(units)
    data = file_of([(units[0].track, samples)])
    assert read_init(data) == (units[0].track,)
    back = read_fragments(data)
    assert back == samples
    assert isinstance(back[0].data, memoryview)
    assert [sample.keyframe for sample in back] == [unit.keyframe for unit in units]


def decoded(data: bytes) -> tuple[int, np.ndarray]:
    with av.open(io.BytesIO(data), "r") as container:
        frames = list(container.decode(container.streams.audio[0]))
    start = frames[0].pts
    assert start is not None
    planes = [frame.to_ndarray() for frame in frames]
    joined = np.concatenate([plane.reshape(-1) if plane.shape[0] == 1 else plane[0] for plane in planes])
    return start, joined.astype(np.float64) / (32_768 if joined.dtype == np.int16 else 1)


@pytest.mark.parametrize("codec", [Codec.PCMA, Codec.PCMU])
def test_g711_decodes_sample_by_sample(codec: Codec) -> None:
    units = g711_units(codec, seconds=2)
    data = file_of([(units[0].track, to_samples(units))])
    start, wave = decoded(data)
    assert start == units[0].pts
    want = tone(8_000, 2, start_s=100).astype(np.float64) / 32_768
    assert len(wave) == len(want)
    assert np.max(np.abs(wave - want)) < 0.03
    assert codec_string(units[0].track) == ("alaw" if codec is Codec.PCMA else "ulaw")


@pytest.mark.parametrize(
    ("codec", "rate", "channels", "name"),
    [(Codec.AAC, 48_000, 2, "mp4a.40.2"), (Codec.AAC, 16_000, 1, "mp4a.40.2"), (Codec.OPUS, 48_000, 2, "opus")],
)
def test_compressed_sound_decodes(codec: Codec, rate: int, channels: int, name: str) -> None:
    units = sound_units(codec, rate=rate, channels=channels, seconds=2)
    samples = to_samples(units)
    data = file_of([(units[0].track, samples)])
    assert read_init(data) == (units[0].track,)
    assert read_fragments(data) == samples
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.audio[0]
        assert (stream.rate, stream.channels) == (rate, channels)
        packets = [packet for packet in container.demux(stream) if packet.size]
    assert [packet.pts for packet in packets] == [unit.pts for unit in units]
    assert [bytes(packet) for packet in packets] == [unit.data for unit in units]
    _, wave = decoded(data)
    assert np.sqrt(np.mean(wave[rate // 2 : rate] ** 2)) == pytest.approx(16_000 / 32_768 / np.sqrt(2), rel=0.05)
    assert codec_string(units[0].track) == name


def test_several_tracks_in_one_file_in_any_order_of_fragments() -> None:
    video, sound = video_units(frames=50), g711_units(seconds=2)
    tracks: list[tuple[Track, list[Sample]]] = [
        (video[0].track, to_samples(video)),
        (sound[0].track, to_samples(sound)),
    ]
    data = file_of(tracks)
    assert read_init(data) == (video[0].track, sound[0].track)
    assert read_fragments(data, 1) == tracks[0][1]
    assert read_fragments(data, 2) == tracks[1][1]
    with av.open(io.BytesIO(data), "r") as container:
        counts = {1: 0, 2: 0}
        for packet in container.demux():
            if packet.size:
                counts[packet.stream.index + 1] += 1
    assert counts == {1: 50, 2: 50}


def test_fragment_is_one_moof_and_one_mdat_as_cmaf_wants() -> None:
    units = video_units(frames=20, gop=10, b_frames=2)
    data = fragment(7, 1, to_samples(units))
    view = memoryview(data)
    assert [kind for kind, *_ in boxes(view)] == [b"moof", b"mdat"]
    moof = next(boxes(view))
    names = []
    for kind, _, body, end in boxes(view, moof[2], moof[3]):
        names.append(kind)
        if kind == b"mfhd":
            assert struct.unpack_from(">I", view, body + 4) == (7,)
        if kind == b"traf":
            for inner, _, inner_body, _ in boxes(view, body, end):
                names.append(inner)
                version_flags = struct.unpack_from(">I", view, inner_body)[0]
                if inner == b"tfhd":
                    assert version_flags & 0x020001 == 0x020000
                if inner == b"tfdt":
                    assert version_flags >> 24 == 1
                    assert struct.unpack_from(">Q", view, inner_body + 4) == (units[0].dts,)
                if inner == b"trun":
                    assert version_flags >> 24 == 1
    assert names == [b"mfhd", b"traf", b"tfhd", b"tfdt", b"trun"]


def test_times_past_32_bits_survive() -> None:
    samples = [Sample(dts, 3_600, -90, dts == 1 << 40, bytes(5)) for dts in ((1 << 40), (1 << 40) + 3_600)]
    back = read_fragments(fragment(1, 1, samples))
    assert back == samples
    assert back[0].pts == (1 << 40) - 90


def test_uneven_sound_keeps_sizes_and_durations() -> None:
    sizes = [(1024, 5), (1024, 6), (2048, 6), (1024, 0)]
    dts = 0
    samples = []
    for duration, size in sizes:
        samples.append(Sample(dts, duration, 0, True, bytes(size)))
        dts += duration
    assert read_fragments(fragment(1, 2, samples)) == samples
    assert read_fragments(fragment(1, 2, samples[1:3])) == samples[1:3]
    assert read_fragments(fragment(1, 2, samples[:2])) == samples[:2]


def test_tracks_that_cannot_be_written_are_refused() -> None:
    with pytest.raises(BitstreamError):
        init_segment([VideoTrack(Codec.H264, (), 320, 180)])
    with pytest.raises(BitstreamError):
        init_segment([VideoTrack(Codec.H265, (b"\x42\x01\x01",), 320, 180)])
    with pytest.raises(UnsupportedCodecError):
        init_segment([VideoTrack(Codec.OPUS, (), 320, 180)])
    with pytest.raises(UnsupportedCodecError):
        codec_string(AudioTrack(Codec.H264, 8_000, 1))


def test_codec_strings_of_known_streams() -> None:
    # The example of ISO/IEC 14496-15, E.3: Main profile, main tier, level 3.1, progressive, non-packed.
    sps = bytes.fromhex("42010101600000030090000003000003005da00280802d1659")
    assert codec_string(VideoTrack(Codec.H265, (sps,), 1280, 720)) == "hvc1.1.6.L93.90"
    assert codec_string(VideoTrack(Codec.H264, (bytes.fromhex("674d401f"),), 1280, 720)) == "avc1.4D401F"
    assert codec_string(AudioTrack(Codec.AAC, 48_000, 2, bytes.fromhex("1190"))) == "mp4a.40.2"

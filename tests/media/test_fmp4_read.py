"""The reader meets bytes it was not made for: it reads or raises ContainerError, and never grows past its input."""

import contextlib
import struct
import tracemalloc

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from media.errors import ContainerError
from media.fmp4 import Sample, fragment, init_segment
from media.fmp4_read import read_fragments, read_init
from media.unit import AudioTrack, Codec, Track, VideoTrack

H264 = VideoTrack(Codec.H264, (bytes.fromhex("6742001f"), bytes.fromhex("68ce")), 320, 180)
SPS_H265 = bytes.fromhex("42010101600000030090000003000003005da00280802d1659")
H265 = VideoTrack(Codec.H265, (bytes.fromhex("4001"), SPS_H265, bytes.fromhex("4401")), 1280, 720)
AAC = AudioTrack(Codec.AAC, 48_000, 2, bytes.fromhex("1190"))
OPUS = AudioTrack(Codec.OPUS, 48_000, 2)
INITS = [init_segment([H264, AAC]), init_segment([H265, OPUS]), init_segment([AudioTrack(Codec.PCMU, 8_000, 1)])]
SAMPLES = [Sample(1 << 33, 40, 0, True, b"abc"), Sample((1 << 33) + 40, 40, -3, False, b"defgh")]
FRAGMENTS = fragment(1, 1, SAMPLES) + fragment(1, 2, [Sample(7, 160, 0, True, bytes(160))] * 3)


@st.composite
def damaged(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """One of ``originals`` with bytes changed, cut out or put in."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 6))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.integers(0, 3)):
            case 0:
                data[at] = draw(st.integers(0, 255))
            case 1:
                del data[at : at + draw(st.integers(1, 40))]
            case 2:
                data[at:at] = draw(st.binary(max_size=12))
            case _:
                data[at : at + 4] = draw(st.sampled_from([0, 1, 7, 8, 0x7FFFFFFF, 0xFFFFFFFF])).to_bytes(4, "big")
    return bytes(data)


def made_up(data: bytes) -> list[Sample]:
    """Samples read from ``data`` that are not in it; it may be refused instead."""
    with contextlib.suppress(ContainerError):
        read_init(data)
    try:
        return [sample for sample in read_fragments(data) if sample.data not in data]
    except ContainerError:
        return []


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(damaged([*INITS, FRAGMENTS, INITS[0] + FRAGMENTS]))
def test_damaged_files_are_read_or_refused(data: bytes) -> None:
    assert made_up(data) == []


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
@example(b"\0\0\0\1moov" + bytes(8))
@example(b"\0\0\0\0moof\0\0\0\0traf")
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    assert made_up(data) == []


@pytest.mark.parametrize("tracks", [[H264], [H265], [AAC], [OPUS], [H264, OPUS], [H265, AAC]])
def test_init_is_read_back(tracks: list[Track]) -> None:
    assert read_init(init_segment(tracks)) == tuple(tracks)


@pytest.mark.parametrize("cut", range(1, len(FRAGMENTS), 7))
def test_a_file_that_is_cut_short_is_refused(cut: int) -> None:
    first = len(fragment(1, 1, SAMPLES))
    moof = first - 8 - sum(len(sample.data) for sample in SAMPLES)
    if cut == first or cut == moof:
        return
    with pytest.raises(ContainerError):
        read_fragments(FRAGMENTS[:cut])


def test_a_small_table_cannot_name_millions_of_samples() -> None:
    # A run of 2**32 - 1 samples of default size 0, in a few bytes.
    tfhd = struct.pack(">I4s5I", 28, b"tfhd", 0x020038, 1, 1, 0, 0)
    tfdt = struct.pack(">I4sIQ", 20, b"tfdt", 0x01000000, 0)
    trun = struct.pack(">I4sIII", 20, b"trun", 0x000001, 0xFFFFFFFF, 0)
    traf = struct.pack(">I4s", 8 + len(tfhd + tfdt + trun), b"traf") + tfhd + tfdt + trun
    data = struct.pack(">I4s", 8 + len(traf), b"moof") + traf
    tracemalloc.start()
    try:
        with pytest.raises(ContainerError):
            read_fragments(data)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_views_share_the_memory_of_what_was_read() -> None:
    data = bytearray(FRAGMENTS)
    sample = read_fragments(memoryview(data), 1)[0]
    assert bytes(sample.data) == b"abc"
    data[data.index(b"abc")] = ord("x")
    assert bytes(sample.data) == b"xbc"

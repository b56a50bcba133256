"""H.264 and H.265: parameter sets and payload formats."""

import base64
import tracemalloc
from fractions import Fraction

import av
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from media.codecs import annexb, h264, h265
from media.codecs.bits import BitReader, unescape
from media.codecs.h264 import H264Depacketizer
from media.codecs.h265 import H265Depacketizer
from media.codecs.nal import MAX_PIECES, MAX_SETS, NalDepacketizer
from media.decoder_config import write_avcc, write_hvcc
from media.errors import BitstreamError
from media.packetizer import nal_units


def parameter_sets(encoder_name: str, width: int, height: int, /, **options: str) -> list[bytes]:
    encoder = av.CodecContext.create(encoder_name, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, options.pop("pix_fmt", "yuv420p")
    encoder.framerate, encoder.time_base = Fraction(25), Fraction(1, 25)
    encoder.options = options
    encoder.flags |= av.codec.context.Flags.global_header
    encoder.open()
    return annexb.split(bytes(encoder.extradata or b""))


@pytest.mark.parametrize("size", [(1920, 1080), (1280, 720), (640, 360), (352, 288), (2560, 1440), (322, 182)])
@pytest.mark.parametrize("profile", ["baseline", "main", "high"])
def test_h264_size_and_profile(size: tuple[int, int], profile: str) -> None:
    sps = h264.parse_sps(parameter_sets("libx264", *size, profile=profile)[0])
    assert (sps.width, sps.height) == size
    assert sps.profile_idc == {"baseline": 66, "main": 77, "high": 100}[profile]
    assert (sps.chroma_format_idc, sps.bit_depth_luma, sps.fields) == (1, 8, False)


@pytest.mark.parametrize(("b_frames", "pyramid", "depth"), [("0", "none", 0), ("2", "none", 1), ("3", "normal", 2)])
def test_h264_reordering_depth(b_frames: str, pyramid: str, depth: int) -> None:
    sets = parameter_sets(
        "libx264", 640, 360, preset="veryfast", **{"x264-params": f"bframes={b_frames}:b-pyramid={pyramid}"}
    )
    assert h264.parse_sps(sets[0]).reorder_frames == depth


def test_h264_high_profile_chroma_depth_and_interlace() -> None:
    sps = h264.parse_sps(
        parameter_sets("libx264", 640, 360, pix_fmt="yuv422p10le", **{"x264-params": "interlaced=1"})[0]
    )
    assert (sps.width, sps.height, sps.chroma_format_idc, sps.bit_depth_luma) == (640, 360, 2, 10)
    assert sps.fields


@pytest.mark.parametrize("size", [(1920, 1080), (640, 360), (322, 182)])
@pytest.mark.parametrize("b_frames", [0, 3])
def test_h265_size_and_reordering_depth(size: tuple[int, int], b_frames: int) -> None:
    sets = parameter_sets(
        "libx265", size[0], size[1], **{"x265-params": f"bframes={b_frames}:log-level=none:b-pyramid=0"}
    )
    sps = h265.parse_sps(next(nal for nal in sets if nal[0] >> 1 == 33))
    assert (sps.width, sps.height, sps.chroma_format_idc, sps.bit_depth_luma) == (*size, 1, 8)
    assert sps.reorder_frames == (1 if b_frames else 0)
    assert len(sps.profile_tier_level) == 12
    assert sps.profile_tier_level[0] & 0x1F == 1


@given(st.binary(max_size=80))
@example(bytes.fromhex("8080809300000000ff0000000000006400000f0f0f0f0f0f0f0f0f80ff01e2001754"))
def test_h264_sps_garbage_is_a_bitstream_error_or_fit_for_a_file(data: bytes) -> None:
    nal = b"\x67" + data
    try:
        sps = h264.parse_sps(nal)
    except BitstreamError:
        return
    assert 0 < sps.width <= 16_384
    assert write_avcc((nal, b"\x68\xce\x3c\x80"))


@given(st.binary(min_size=10, max_size=80))
def test_h265_sps_garbage_is_a_bitstream_error_or_fit_for_a_file(data: bytes) -> None:
    nal = b"\x42\x01" + data
    try:
        sps = h265.parse_sps(nal)
    except BitstreamError:
        return
    assert 0 < sps.width <= 16_384
    assert write_hvcc((nal,))


@given(st.binary(max_size=100))
def test_emulation_prevention(data: bytes) -> None:
    escaped = bytearray()
    for octet in data:
        if escaped.endswith(b"\0\0") and octet <= 3:
            escaped.append(3)
        escaped.append(octet)
    assert unescape(bytes(escaped)) == data


def test_exp_golomb() -> None:
    reader = BitReader(bytes((0b10100110, 0b01000010, 0b10000000)))
    assert [reader.ue() for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(BitstreamError):
        BitReader(b"\0\0").ue()


def test_parameter_sets_from_a_description() -> None:
    sets = [b"\x67\x42\x00\x1f", b"\x68\xce"]
    text = ",".join(base64.b64encode(nal).decode().rstrip("=") for nal in sets)
    assert h264.parameter_sets_from_fmtp({"sprop-parameter-sets": text}) == sets
    assert h264.parameter_sets_from_fmtp({"sprop-parameter-sets": "!,a"}) == []
    assert h265.parameter_sets_from_fmtp({"sprop-vps": "QAE=", "sprop-sps": "QgE=", "sprop-pps": "RAE="}) == [
        b"\x40\x01",
        b"\x42\x01",
        b"\x44\x01",
    ]


IDR, SLICE, LATER_SLICE = b"\x65\x88first", b"\x41\x9amore", b"\x41\x00tail"


def push(depacketizer: NalDepacketizer, *payloads: bytes) -> list[bool]:
    return [depacketizer.push(b"head" + payload, 4, 4 + len(payload)) for payload in payloads]


def nals_of(depacketizer: NalDepacketizer) -> list[list[bytes]]:
    depacketizer.end_picture()
    return [list(nal_units(picture.data)) for picture in depacketizer.ready]


def test_stap_a() -> None:
    depacketizer = H264Depacketizer()
    sets = parameter_sets("libx264", 640, 360)[:2]
    aggregate = b"\x18" + b"".join(len(nal).to_bytes(2, "big") + nal for nal in (*sets, IDR, LATER_SLICE))
    assert push(depacketizer, aggregate) == [True]
    assert nals_of(depacketizer) == [[IDR, LATER_SLICE]]
    assert depacketizer.ready[0].keyframe
    assert depacketizer.ready[0].track is not None
    assert push(depacketizer, b"\x18\x00\xffshort") == [False]


def test_fu_a_without_an_end_bit_ends_with_the_next_unit() -> None:
    depacketizer = H264Depacketizer()
    assert push(depacketizer, b"\x7c\x85\x88fir", b"\x7c\x05st", LATER_SLICE) == [True, True, True]
    assert nals_of(depacketizer) == [[IDR, LATER_SLICE]]


def test_fu_a_without_a_beginning_is_damage() -> None:
    depacketizer = H264Depacketizer()
    assert push(depacketizer, b"\x7c\x05st", b"\x7c\x45end") == [False, False]
    depacketizer.end_picture()
    assert [picture.data for picture in depacketizer.ready] == [b""]


@pytest.mark.parametrize(
    "again",
    [b"\x7c\x05", b"\x7c\x05x", b"\x7c\x85xy", b"\x61\x00", b"\x18" + b"\x00\x02\x61\x00" * 8],
    ids=["empty-fragment", "short-fragment", "first-fragment", "slice", "aggregate"],
)
def test_a_picture_that_never_ends_does_not_fill_the_memory(again: bytes) -> None:
    h264 = H264Depacketizer()
    push(h264, b"\x7c\x85\x88begun")
    tracemalloc.start()
    try:
        for _ in range(6 * MAX_PIECES):
            h264.push(again, 0, len(again))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A picture's worth of pieces with their objects' heads; all that was sent would be several times as much.
    assert kept < 4 * 1024 * 1024
    h264.end_picture()
    assert [picture.data for picture in h264.ready] == [b""]
    # And the next one is taken.
    h264.ready.clear()
    push(h264, b"\x65\x88next")
    h264.end_picture()
    assert nals_of(h264) == [[b"\x65\x88next"]]


def test_units_joined_by_start_codes_inside_one_packet() -> None:
    depacketizer = H264Depacketizer()
    sps, pps = parameter_sets("libx264", 640, 360)[:2]
    assert push(depacketizer, sps + annexb.START_CODE + pps + annexb.START_CODE + IDR) == [True]
    assert nals_of(depacketizer) == [[IDR]]
    track = depacketizer.ready[0].track
    assert track is not None
    assert track.parameter_sets == (sps, pps)


@pytest.mark.parametrize("fragmented", [False, True])
def test_units_joined_by_a_great_many_start_codes(fragmented: bool) -> None:
    """As large as a picture, and nothing but start codes: each looked into from the one before it, it takes hours, and
    more of the stack than there is."""
    nal = b"\x67\x42" + b"\x00\x00\x01\x67\x42" * (3_000_000 if fragmented else 12_000)
    depacketizer = H264Depacketizer()
    if fragmented:
        first, middle = b"\x7c\x87" + nal[1:60_000], b"\x7c\x07"
        push(depacketizer, first, *(middle + nal[at : at + 60_000] for at in range(60_000, len(nal), 60_000)))
        push(depacketizer, b"\x7c\x47\x42")
    else:
        push(depacketizer, nal)
    push(depacketizer, *parameter_sets("libx264", 640, 360)[:2], IDR)
    assert nals_of(depacketizer) == [[IDR]]
    assert depacketizer.ready[0].track is not None


def test_filler_between_the_slices_of_a_picture() -> None:
    for depacketizer, first, filler, second in (
        (H264Depacketizer(), IDR, b"\x0c\xff\xff\x80", LATER_SLICE),
        (H265Depacketizer(), b"\x26\x01\xaffirst", b"\x4c\x01\xff\xff\x80", b"\x26\x01\x2fsecond"),
    ):
        assert push(depacketizer, first, filler, second) == [True, True, True]
        assert nals_of(depacketizer) == [[first, second]]


@pytest.mark.parametrize(
    ("messages", "key"),
    [
        # Buffering period with a byte that had to be escaped, timing, recovery point.
        (b"\x00\x05\x00\x00\x03\x01\x02\x03\x01\x02\xaa\xbb\x06\x01\xc4\x80", True),
        (b"\x05\xff\x01" + bytes(range(1, 129)) * 2 + b"\x06\x01\xc4\x80", True),
        (b"\x01\x02\xaa\xbb\x06\x01\x44\x80", False),
        (b"\x01\x02\x06\x01\xc4\x80", False),
        (b"\x01\xff\xff", False),
        (b"\xff" * 5000, False),
    ],
)
def test_a_recovery_point_among_other_messages(messages: bytes, key: bool) -> None:
    depacketizer = H264Depacketizer()
    push(depacketizer, b"\x06" + messages, bytes((0x41, 0b10001000, 0x80, 0x11)))
    nals_of(depacketizer)
    assert [picture.keyframe for picture in depacketizer.ready] == [key]


def test_a_recovery_point_begins_like_a_keyframe() -> None:
    depacketizer = H264Depacketizer()
    # first_mb 0, slice_type 7 (I): 1 0001000
    intra = bytes((0x41, 0b10001000, 0x80, 0x11))
    push(depacketizer, b"\x06\x06\x01\xc4\x80", intra)
    nals_of(depacketizer)
    assert [picture.keyframe for picture in depacketizer.ready] == [True]


def test_two_fields_of_a_picture_stay_together() -> None:
    sets = parameter_sets("libx264", 640, 352, **{"x264-params": "interlaced=1"})[:2]
    depacketizer = H264Depacketizer(sets)
    assert depacketizer.current_track() is not None
    push(depacketizer, IDR, SLICE)
    assert nals_of(depacketizer) == [[IDR, SLICE]]


def test_of_more_parameter_sets_than_there_can_be_the_newest_stay() -> None:
    depacketizer = H264Depacketizer()
    for number in range(200):
        # pic_parameter_set_id as ue(v).
        code = f"{number + 1:b}".zfill(2 * (number + 1).bit_length() - 1).ljust(24, "1")
        push(depacketizer, b"\x68" + int(code, 2).to_bytes(3, "big") + b"\x80")
    assert [key for _, key in depacketizer.parameter_sets] == list(range(200 - MAX_SETS, 200))


def test_h265_aggregate_and_fragments() -> None:
    depacketizer = H265Depacketizer()
    sets = [
        nal
        for nal in parameter_sets("libx265", 640, 360, **{"x265-params": "log-level=none"})
        if nal[0] >> 1 in (32, 33, 34)
    ]
    aggregate = b"\x60\x01" + b"".join(len(nal).to_bytes(2, "big") + nal for nal in sets)
    idr = b"\x26\x01\xaffirst"
    fragments = [b"\x62\x01\x93\xaffi", b"\x62\x01\x13r", b"\x62\x01\x53st"]
    assert push(depacketizer, aggregate, *fragments) == [True] * 4
    assert nals_of(depacketizer) == [[idr]]
    picture = depacketizer.ready[0]
    assert picture.keyframe
    assert picture.track is not None
    assert (picture.track.width, picture.track.height) == (640, 360)
    assert picture.track.parameter_sets == tuple(sets)


def test_h265_decoding_order_numbers_are_taken_off() -> None:
    depacketizer = H265Depacketizer(donl=True)
    idr = b"\x26\x01\xaffirst"
    assert push(depacketizer, idr[:2] + b"\x00\x07" + idr[2:]) == [True]
    more = b"\x02\x01\x2ftail"
    aggregate = (
        b"\x60\x01\x00\x08" + len(more).to_bytes(2, "big") + more + b"\x00" + len(more).to_bytes(2, "big") + more
    )
    assert push(depacketizer, aggregate) == [True]
    assert nals_of(depacketizer) == [[idr, more, more]]


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 5)), max_size=40), st.booleans())
def test_any_payloads_keep_the_depacketizer_sound(payloads: list[tuple[bytes, int]], high_efficiency: bool) -> None:
    depacketizer: NalDepacketizer = H265Depacketizer() if high_efficiency else H264Depacketizer()
    for payload, event in payloads:
        depacketizer.push(payload, 0, len(payload))
        if event == 0:
            depacketizer.marker()
        elif event == 1:
            depacketizer.end_picture()
        elif event == 2:
            depacketizer.lose()
    depacketizer.end_picture()
    for picture in depacketizer.ready:
        assert sum(len(nal) + 4 for nal in nal_units(picture.data)) == len(picture.data)

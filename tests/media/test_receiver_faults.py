"""What cameras and networks do to a stream: loss, disorder, repeats, garbage, markers and timestamps that are wrong."""

import random
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.clock import SystemClock
from media.codecs import annexb
from media.codecs.h264 import H264Depacketizer
from media.packetizer import nal_units
from media.receiver import StreamReceiver
from media.rtcp import ReceptionReport, parse_compound
from media.rtp import HEADER, parse_header
from media.testpicture import TestPicture
from media.testsource import TestSourceSettings
from media.unit import NS_PER_S, AccessUnit, AudioTrack, Codec, GapCause, StreamItem, VideoTrack
from streaming.rtsp.sdp import payload_type_of
from tests.support.content import decode_pictures
from tests.support.rtp_feed import (
    START_NS,
    Arrival,
    Camera,
    description,
    gaps_of,
    make_units,
    of_track,
    receive,
    receiver_for,
)

SETTINGS = TestSourceSettings(Codec.H264, Codec.PCMA, 320, 180, 25, 600_000, gop_s=1.0, noise=60)


@pytest.fixture(scope="module")
def units() -> list[AccessUnit]:
    return make_units(SETTINGS, 4.0)


@pytest.fixture(scope="module")
def arrivals(units: list[AccessUnit]) -> list[Arrival]:
    return Camera([units[0].track, next(u.track for u in units if u.track.id == 2)]).arrivals(units)


def both(units: list[AccessUnit], **options: bool) -> StreamReceiver:
    return receiver_for([units[0].track, next(u.track for u in units if u.track.id == 2)], **options)


def is_video(arrival: Arrival) -> bool:
    return arrival.index == 0 and not arrival.is_report


def test_lost_packets_cost_their_picture_and_are_on_record(units: list[AccessUnit], arrivals: list[Arrival]) -> None:
    video = [n for n, arrival in enumerate(arrivals) if is_video(arrival)]
    lost = {video[60], video[61], video[150]}
    receiver = both(units)
    items = receive(receiver, [a for n, a in enumerate(arrivals) if n not in lost])
    counters = receiver.counters[0]
    assert counters is not None
    assert counters.lost == 3
    assert 2 <= counters.damaged_units <= 4
    sent, got = of_track(units, 1), of_track(items, 1)
    assert len(got) == len(sent) - counters.damaged_units
    assert {unit.data for unit in got} < {unit.data for unit in sent}
    gaps = gaps_of(items)
    assert [gap.cause for gap in gaps] == [GapCause.PACKETS_LOST] * 2
    assert sum(gap.packets for gap in gaps) == 3
    for gap in gaps:
        assert gap.start_utc_ns < gap.end_utc_ns < gap.start_utc_ns + NS_PER_S
        assert any(unit.utc_ns == gap.end_utc_ns for unit in got)
    assert [unit.data for unit in of_track(items, 2)] == [unit.data for unit in of_track(units, 2)]


def test_lost_sound_is_on_record(units: list[AccessUnit], arrivals: list[Arrival]) -> None:
    sound = [n for n, arrival in enumerate(arrivals) if arrival.index == 1 and not arrival.is_report]
    items = receive(both(units), [a for n, a in enumerate(arrivals) if n not in sound[50:55]])
    (gap,) = gaps_of(items)
    assert (gap.cause, gap.packets, gap.detail) == (GapCause.PACKETS_LOST, 5, "audio")
    assert gap.end_utc_ns - gap.start_utc_ns == 5 * 40_000_000


def test_a_frame_too_short_for_a_fragment_is_not_taken_for_one(units: list[AccessUnit]) -> None:
    track = units[0].track
    payload_type = payload_type_of(track)
    source = HEADER.pack(0x80, payload_type, 7, 9000, 1001)
    receiver = receiver_for([track])
    receiver.rtp(0, source + b"\x7c\x85\x88begun", START_NS)
    # What was cut off in the middle of its header comes twice, with what looks like a fragment's end right behind.
    head = b"$\x00\x00\x05" + source[:2]
    short = head + b"\x00\x08" + source[4:5]
    read = short + short + source[5:] + b"\x7c\x05" + bytes(64)
    assert receiver.follow(0, read, 4, len(short), len(read)) == len(short)
    (counters,) = receiver.counters
    assert counters is not None
    assert counters.packets == 1


def test_duplicates_are_counted_and_change_nothing(units: list[AccessUnit], arrivals: list[Arrival]) -> None:
    twice = [again for arrival in arrivals for again in (arrival, arrival)]
    for reorder in (False, True):
        receiver = both(units, reorder=reorder)
        items = receive(receiver, twice)
        assert [u.data for u in of_track(items, 1)] == [u.data for u in of_track(units, 1)]
        counters = receiver.counters[0]
        assert counters is not None
        assert counters.duplicated == counters.packets
        assert not gaps_of(items)


def test_packets_out_of_order_are_put_in_order(units: list[AccessUnit], arrivals: list[Arrival]) -> None:
    chance = random.Random(3)
    video = [a for a in arrivals if is_video(a)]
    shuffled: list[Arrival] = []
    for start in range(0, len(video), 5):
        block = video[start : start + 5]
        chance.shuffle(block)
        shuffled += [replace(a, at_ns=video[start].at_ns) for a in block]
    # The very first packet says where numbers begin.
    shuffled.sort(key=lambda a: a is not video[0])
    receiver = both(units, reorder=True)
    items = receive(receiver, shuffled)
    assert [u.data for u in of_track(items, 1)] == [u.data for u in of_track(units, 1)]
    counters = receiver.counters[0]
    assert counters is not None
    assert counters.lost == 0
    assert counters.reordered > 50
    assert not gaps_of(items)


def test_a_packet_that_never_comes_is_not_waited_for_long(units: list[AccessUnit], arrivals: list[Arrival]) -> None:
    video = [a for a in arrivals if is_video(a)]
    receiver = both(units, reorder=True)
    worst = 0
    for n, arrival in enumerate(video):
        if n == 100:
            continue
        for item in receiver.rtp(0, arrival.packet, arrival.at_ns):
            if isinstance(item, AccessUnit) and n > 100:
                worst = max(worst, arrival.at_ns - item.utc_ns)
    counters = receiver.counters[0]
    assert counters is not None
    assert counters.lost == 1
    assert worst < NS_PER_S // 2


def marked(arrival: Arrival, marker: bool) -> Arrival:
    packet = bytearray(arrival.packet)
    packet[1] = (packet[1] & 0x7F) | (0x80 if marker else 0)
    return replace(arrival, packet=bytes(packet))


@pytest.mark.parametrize("codec", [Codec.H264, Codec.H265])
@pytest.mark.parametrize("marker", [True, False], ids=["on-every-packet", "never"])
def test_markers_that_are_wrong(codec: Codec, marker: bool) -> None:
    units = make_units(replace(SETTINGS, video=codec, audio=None), 2.0)
    camera = Camera([units[0].track])
    receiver = receiver_for([units[0].track])
    items = receive(receiver, camera.arrivals(units), lambda a: a if a.is_report else marked(a, marker))
    assert [u.data for u in of_track(items, 1)] == [u.data for u in units]


def sliced_units() -> list[AccessUnit]:
    """Pictures of four slices each."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 320, 192, "yuv420p"
    encoder.framerate, encoder.time_base = Fraction(25), Fraction(1, 25)
    encoder.gop_size = 25
    encoder.thread_count = 1
    encoder.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "slices": "4",
    }
    encoder.flags |= av.codec.context.Flags.global_header
    encoder.open()
    track = H264Depacketizer(annexb.split(bytes(encoder.extradata or b""))).current_track()
    assert track is not None
    picture = TestPicture(320, 192, noise=40)
    out = []
    for number in range(50):
        utc_ns = START_NS + number * 40_000_000
        frame = av.VideoFrame.from_ndarray(picture.draw(utc_ns, number), "yuv420p")
        frame.pts = number
        for packet in encoder.encode(frame):
            nals = [nal for nal in annexb.split(bytes(packet)) if nal[0] & 31 in (1, 5)]
            data = b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals)
            out.append(AccessUnit(track, number * 3600, number * 3600, utc_ns, data, packet.is_keyframe))
    assert all(len(list(nal_units(unit.data))) == 4 for unit in out)
    return out


@pytest.mark.parametrize("marker", ["every-slice", "never", "right"])
def test_several_slices_a_picture_whatever_the_marker_says(marker: str) -> None:
    units = sliced_units()

    def change(arrival: Arrival) -> Arrival:
        if arrival.is_report or marker == "right":
            return arrival
        return marked(arrival, marker == "every-slice")

    receiver = receiver_for([units[0].track])
    items = receive(receiver, Camera([units[0].track]).arrivals(units), change)
    assert [u.data for u in of_track(items, 1)] == [u.data for u in units]
    assert len(decode_pictures(of_track(items, 1))) == 50


def test_a_marker_that_becomes_wrong_costs_one_picture(units: list[AccessUnit]) -> None:
    sliced = sliced_units()
    arrivals = Camera([sliced[0].track]).arrivals(sliced)
    from_here = START_NS + NS_PER_S

    receiver = receiver_for([sliced[0].track])
    items = receive(receiver, arrivals, lambda a: marked(a, True) if not a.is_report and a.at_ns > from_here else a)
    got = of_track(items, 1)
    whole = [unit for unit in got if unit.data in {u.data for u in sliced}]
    assert len(whole) == 49
    assert len(got) <= 50
    counters = receiver.counters[0]
    assert counters is not None
    assert counters.damaged_units == 1


def test_timestamps_repeated_for_the_next_picture(units: list[AccessUnit]) -> None:
    pictures = of_track(units, 1)
    for number in range(1, len(pictures), 2):
        pictures[number] = replace(pictures[number], pts=pictures[number - 1].pts)
    items = receive(receiver_for([pictures[0].track]), Camera([pictures[0].track]).arrivals(pictures))
    got = of_track(items, 1)
    assert [unit.data for unit in got] == [unit.data for unit in pictures]
    assert all(later.dts > earlier.dts for earlier, later in pairwise(got))


def insert_nals(unit: AccessUnit, *nals: bytes) -> AccessUnit:
    return replace(unit, data=b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals) + unit.data)


def test_delimiters_and_filler_are_dropped_and_sei_stays(units: list[AccessUnit]) -> None:
    pictures = of_track(units, 1)
    sei = bytes((6, 5, 17)) + bytes(range(1, 18)) + b"\x80"
    noisy = [insert_nals(unit, b"\x09\xf0", sei, b"\x0c\xff\xff\x80") for unit in pictures]
    items = receive(receiver_for([pictures[0].track]), Camera([pictures[0].track]).arrivals(noisy))
    assert [u.data for u in of_track(items, 1)] == [insert_nals(unit, sei).data for unit in pictures]


def test_units_of_sei_alone_do_not_become_pictures(units: list[AccessUnit]) -> None:
    pictures = of_track(units, 1)
    sei = bytes((6, 5, 17)) + bytes(range(1, 18)) + b"\x80"
    mixed: list[AccessUnit] = []
    for unit in pictures:
        data = len(sei).to_bytes(4, "big") + sei
        mixed += [replace(unit, pts=unit.pts - 100, utc_ns=unit.utc_ns - 1_000_000, data=data, keyframe=False), unit]
    items = receive(receiver_for([pictures[0].track]), Camera([pictures[0].track]).arrivals(mixed))
    got = of_track(items, 1)
    assert [u.data for u in got] == [insert_nals(unit, sei).data for unit in pictures]
    assert {later.pts - earlier.pts for earlier, later in pairwise(got)} == {3600}


def test_parameter_sets_that_change_make_a_new_track(units: list[AccessUnit]) -> None:
    pictures = of_track(units, 1)[:50]
    others = make_units(replace(SETTINGS, audio=None, width=640, height=360), 4.0)[50:]
    items = receive(receiver_for([pictures[0].track]), Camera([pictures[0].track]).arrivals([*pictures, *others]))
    got = of_track(items, 1)
    assert [u.data for u in got] == [u.data for u in (*pictures, *others)]
    tracks = list({id(unit.track): unit.track for unit in got}.values())
    assert [(t.width, t.height) for t in tracks if isinstance(t, VideoTrack)] == [(320, 180), (640, 360)]
    assert got[50].track is tracks[1]
    assert got[50].keyframe


@pytest.mark.parametrize("jump_s", [5 * 3600, -5 * 3600, 2**31 // 90_000])
def test_a_clock_jump_is_on_record_and_time_goes_on(
    units: list[AccessUnit], arrivals: list[Arrival], jump_s: int
) -> None:
    half = START_NS + 2 * NS_PER_S

    def change(arrival: Arrival) -> Arrival:
        if arrival.is_report or arrival.at_ns < half:
            return arrival
        header = parse_header(arrival.packet)
        assert header is not None
        rate = 90_000 if arrival.index == 0 else 8000
        packet = bytearray(arrival.packet)
        packet[4:8] = ((header.timestamp + jump_s * rate) & 0xFFFFFFFF).to_bytes(4, "big")
        return replace(arrival, packet=bytes(packet))

    receiver = both(units)
    items = receive(receiver, arrivals, change)
    assert {gap.cause for gap in gaps_of(items)} == {GapCause.CLOCK_JUMP}
    assert sorted(gap.detail for gap in gaps_of(items)) == ["audio", "video"]
    for number in (1, 2):
        pairs = zip(of_track(items, number), of_track(units, number), strict=True)
        assert all(abs(got.utc_ns - sent.utc_ns) < 60_000_000 for got, sent in pairs)
        counters = receiver.counters[number - 1]
        assert counters is not None
        assert counters.clock_jumps == 1


def test_a_hole_without_loss_is_on_record(units: list[AccessUnit]) -> None:
    pictures = [u for u in of_track(units, 1) if not START_NS + NS_PER_S < u.utc_ns < START_NS + 7 * NS_PER_S // 2]
    items = receive(receiver_for([pictures[0].track]), Camera([pictures[0].track]).arrivals(pictures))
    (gap,) = gaps_of(items)
    assert gap.cause is GapCause.SILENT
    assert (gap.start_utc_ns, gap.end_utc_ns) == (START_NS + NS_PER_S, START_NS + 3_520_000_000)


def asked_each_second(receiver: StreamReceiver, arrivals: Sequence[Arrival]) -> list[StreamItem]:
    """What comes out where somebody asks once a second what is missing."""
    items: list[StreamItem] = []
    asked_ns = arrivals[0].at_ns
    for arrival in arrivals:
        if arrival.at_ns - asked_ns >= NS_PER_S:
            asked_ns = arrival.at_ns
            items += receiver.silences()
        items += receive_one(receiver, arrival)
    return items


def without(arrivals: Sequence[Arrival], index: int, from_ns: int, to_ns: int) -> list[Arrival]:
    return [a for a in arrivals if a.is_report or a.index != index or not from_ns <= a.at_ns < to_ns]


@pytest.mark.parametrize(("index", "kind"), [(0, "video"), (1, "audio")])
def test_what_goes_away_for_good_is_on_record_while_it_lasts(index: int, kind: str) -> None:
    long = make_units(SETTINGS, 13.0)
    arrivals = Camera([long[0].track, next(u.track for u in long if u.track.id == 2)]).arrivals(long)
    gone_ns = START_NS + 2 * NS_PER_S
    receiver = both(long)
    items = asked_each_second(receiver, without(arrivals, index, gone_ns, 1 << 63))
    told = gaps_of(items)
    assert len(told) == 2
    gaps = [*told, *gaps_of(receiver.flush())]
    assert {(gap.cause, gap.detail) for gap in gaps} == {(GapCause.SILENT, kind)}
    assert abs(gaps[0].start_utc_ns - gone_ns) < 90_000_000
    assert all(later.start_utc_ns == earlier.end_utc_ns for earlier, later in pairwise(gaps))
    assert gaps[-1].end_utc_ns > START_NS + 12_800_000_000


def test_what_comes_back_is_missing_to_its_first_unit() -> None:
    long = make_units(SETTINGS, 8.0)
    arrivals = Camera([long[0].track, next(u.track for u in long if u.track.id == 2)]).arrivals(long)
    gone_ns, back_ns = START_NS + 2 * NS_PER_S, START_NS + 6_500_000_000
    receiver = both(long)
    items = asked_each_second(receiver, without(arrivals, 1, gone_ns, back_ns))
    first, second = gaps_of(items)
    back = next(unit.utc_ns for unit in of_track(items, 2) if unit.utc_ns >= back_ns - 40_000_000)
    assert abs(first.start_utc_ns - gone_ns) < 90_000_000
    assert (first.end_utc_ns, second.end_utc_ns) == (second.start_utc_ns, back)
    assert {gap.cause for gap in (first, second)} == {GapCause.SILENT}
    assert not gaps_of(receiver.flush())


def test_a_picture_that_lags_behind_its_sound_is_not_missing() -> None:
    """A thin line, or an encoder that takes its time: the picture's time by the camera's clock is long past."""
    long = make_units(SETTINGS, 12.0)
    arrivals = Camera([long[0].track, next(u.track for u in long if u.track.id == 2)]).arrivals(long)
    lagging = [a if a.index or a.is_report else replace(a, at_ns=a.at_ns + 3 * NS_PER_S) for a in arrivals]
    receiver = both(long)
    items = asked_each_second(receiver, sorted(lagging, key=lambda arrival: arrival.at_ns))
    pictures = of_track(items, 1)
    assert len(pictures) > 200
    assert [gap for gap in gaps_of(items) if gap.start_utc_ns > pictures[0].utc_ns] == []


def test_a_picture_that_begins_long_after_the_sound_is_missing_until_then(
    units: list[AccessUnit], arrivals: list[Arrival]
) -> None:
    """A session that begins in the middle of a GOP of many seconds."""
    begins_ns = START_NS + 3 * NS_PER_S
    late = [arrival for arrival in arrivals if arrival.is_report or arrival.index == 1 or arrival.at_ns >= begins_ns]
    items = receive(both(units), late)
    (gap,) = gaps_of(items)
    pictures, sounds = of_track(items, 1), of_track(items, 2)
    assert (gap.cause, gap.detail) == (GapCause.SILENT, "video")
    assert (gap.start_utc_ns, gap.end_utc_ns) == (sounds[0].utc_ns, pictures[0].utc_ns)
    # And where it never begins.
    receiver = both(units)
    (gap,) = gaps_of(receive(receiver, [a for a in arrivals if a.is_report or a.index == 1]))
    assert (gap.start_utc_ns, gap.detail) == (sounds[0].utc_ns, "video")


def receive_one(receiver: StreamReceiver, arrival: Arrival) -> Sequence[StreamItem]:
    if arrival.is_report:
        receiver.rtcp(arrival.index, arrival.packet, arrival.at_ns)
        return ()
    return receiver.rtp(arrival.index, arrival.packet, arrival.at_ns)


def test_another_source_takes_over(units: list[AccessUnit]) -> None:
    pictures = of_track(units, 1)
    camera = Camera([pictures[0].track])
    first = camera.arrivals(pictures[:50])
    second = []
    for arrival in camera.arrivals(pictures[50:]):
        if arrival.is_report:
            continue
        _, second_octet, sequence, timestamp, _ = HEADER.unpack_from(arrival.packet)
        head = HEADER.pack(0x80, second_octet, (sequence + 999) & 0xFFFF, (timestamp + 77_777_777) & 0xFFFFFFFF, 4242)
        second.append(replace(arrival, packet=head + arrival.packet[12:]))
    items = receive(receiver_for([pictures[0].track]), [*first, *second])
    got = of_track(items, 1)
    assert len(got) >= 98
    assert all(abs(unit.utc_ns - START_NS - n * 40_000_000) < 100_000_000 for n, unit in enumerate(got[:50]))
    assert abs(got[-1].utc_ns - pictures[-1].utc_ns) < 60_000_000


@pytest.mark.parametrize("reorder", [False, True])
@pytest.mark.parametrize("ssrc", [4242, None], ids=["another source", "other numbers"])
def test_what_begins_anew_is_taken_from_its_first_packet(
    units: list[AccessUnit], reorder: bool, ssrc: int | None
) -> None:
    """In it are the parameter sets of all that follows."""
    pictures = of_track(units, 1)[:50]
    large = of_track(make_units(replace(SETTINGS, width=640, height=360), 4.0), 1)[50:]
    second = []
    for arrival in Camera([large[0].track]).arrivals(large):
        if arrival.is_report:
            continue
        _, second_octet, sequence, timestamp, own = HEADER.unpack_from(arrival.packet)
        head = HEADER.pack(0x80, second_octet, (sequence + 20_000) & 0xFFFF, timestamp, ssrc or own)
        second.append(replace(arrival, packet=head + arrival.packet[12:]))
    receiver = receiver_for([pictures[0].track], reorder=reorder)
    items = receive(receiver, [*Camera([pictures[0].track]).arrivals(pictures), *second])
    got = of_track(items, 1)
    assert [unit.data for unit in got[-len(large) :]] == [unit.data for unit in large]
    assert len(got) >= 99
    tracks = [unit.track for unit in got[-len(large) :] if isinstance(unit.track, VideoTrack)]
    assert {(track.width, track.height) for track in tracks} == {(640, 360)}


def test_a_stranger_is_not_listened_to(units: list[AccessUnit], arrivals: list[Arrival]) -> None:
    mixed: list[Arrival] = []
    for n, arrival in enumerate(arrivals):
        mixed.append(arrival)
        if is_video(arrival) and n % 3 == 0:
            mixed.append(
                replace(arrival, packet=HEADER.pack(0x80, 96, n * 7 & 0xFFFF, n, 99_999 + n) + b"\x65\x88junk")
            )
    receiver = both(units)
    items = receive(receiver, mixed)
    assert [u.data for u in of_track(items, 1)] == [u.data for u in of_track(units, 1)]


def test_receiver_reports_tell_what_was_lost(units: list[AccessUnit], arrivals: list[Arrival]) -> None:
    receiver = both(units)
    before = parse_compound(receiver.receiver_report(0))
    assert not any(isinstance(item, ReceptionReport) for item in before)
    video = [n for n, arrival in enumerate(arrivals) if is_video(arrival)]
    receive(receiver, [a for n, a in enumerate(arrivals) if n not in video[10:20]])
    report = next(i for i in parse_compound(receiver.receiver_report(0)) if isinstance(i, ReceptionReport))
    assert (report.ssrc, report.lost) == (1001, 10)
    assert report.fraction_lost == (10 << 8) // len(video)
    assert report.highest_sequence == 65_500 + len(video) - 1
    assert report.last_sr != 0
    again = next(i for i in parse_compound(receiver.receiver_report(0)) if isinstance(i, ReceptionReport))
    assert (again.lost, again.fraction_lost) == (10, 0)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_garbage_is_counted_never_raised(units: list[AccessUnit], arrivals: list[Arrival], data: st.DataObject) -> None:
    chance = data.draw(st.randoms(use_true_random=False))

    def change(arrival: Arrival) -> Arrival | None:
        roll = chance.random()
        packet = bytearray(arrival.packet)
        if roll < 0.02:
            return None
        if roll < 0.06:
            packet[chance.randrange(len(packet))] ^= 1 << chance.randrange(8)
        elif roll < 0.08:
            del packet[chance.randrange(len(packet)) :]
        elif roll < 0.10:
            packet = bytearray(chance.randbytes(chance.randrange(80)))
        return replace(arrival, packet=bytes(packet))

    receiver = both(units, reorder=chance.random() < 0.5)
    items = receive(receiver, arrivals, change)
    for number in (1, 2):
        got = of_track(items, number)
        assert all(later.dts > earlier.dts for earlier, later in pairwise(got))
    assert all(gap.start_utc_ns <= gap.end_utc_ns for gap in gaps_of(items))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([Codec.H264, Codec.H265, Codec.AAC, Codec.OPUS, Codec.PCMA]),
    st.lists(st.tuples(st.binary(max_size=60), st.integers(0, 3), st.booleans()), max_size=60),
)
def test_any_payload_is_survived(codec: Codec, packets: list[tuple[bytes, int, bool]]) -> None:
    track: VideoTrack | AudioTrack
    if codec in (Codec.H264, Codec.H265):
        track = VideoTrack(codec, (), 0, 0)
    else:
        rate = {Codec.AAC: 16_000, Codec.OPUS: 48_000}.get(codec, 8000)
        track = AudioTrack(codec, rate, 1, bytes.fromhex("1408") if codec is Codec.AAC else b"")
    told = description(track)
    receiver = StreamReceiver([told], SystemClock(), origin_utc_ns=START_NS)
    items: list[StreamItem] = []
    timestamp = 0
    for number, (payload, step, marker) in enumerate(packets):
        timestamp += step * 900
        head = HEADER.pack(0x80, told.payload_type | (0x80 if marker else 0), number, timestamp, 1)
        items += receiver.rtp(0, head + payload, START_NS + number * 10_000_000)
    items += receiver.flush()
    got = of_track(items, track.id)
    assert all(later.dts > earlier.dts for earlier, later in pairwise(got))

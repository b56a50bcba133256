"""Media through packetizer and receiver: what comes out is what went in."""

import base64
from itertools import pairwise

import pytest

from media.clock import SystemClock
from media.description import MediaDescription
from media.errors import UnsupportedCodecError
from media.receiver import StreamReceiver
from media.testsource import TestSourceSettings
from media.unit import NS_PER_S, AccessUnit, Codec, StreamItem, Track, VideoTrack
from tests.support.content import beeps_of, clocks_of
from tests.support.rtp_feed import (
    START_NS,
    Camera,
    audio_track,
    description,
    gaps_of,
    make_units,
    of_track,
    receive,
    receiver_for,
)


def source(video: Codec | None, audio: Codec | None, b_frames: int = 0) -> list[AccessUnit]:
    settings = TestSourceSettings(video, audio, 640, 360, 25, 500_000, gop_s=1.0, b_frames=b_frames)
    return make_units(settings, 3.0)


def tracks_of(units: list[AccessUnit]) -> list[Track]:
    found = {unit.track.id: unit.track for unit in units}
    return [found[number] for number in sorted(found)]


@pytest.mark.parametrize("reports", [True, False], ids=["reports", "arrival"])
@pytest.mark.parametrize(
    ("video", "audio", "b_frames"),
    [
        (Codec.H264, Codec.PCMA, 0),
        (Codec.H265, Codec.AAC, 0),
        (Codec.H264, Codec.OPUS, 2),
        (Codec.H265, Codec.PCMU, 2),
        (Codec.H264, None, 0),
        (None, Codec.AAC, 0),
    ],
)
def test_what_comes_out_is_what_went_in(video: Codec | None, audio: Codec | None, b_frames: int, reports: bool) -> None:
    units = source(video, audio, b_frames)
    tracks = tracks_of(units)
    receiver = receiver_for(tracks)
    # The RTP clock wraps in the middle.
    camera = Camera(tracks, reports=reports, timestamp_offsets={1: 2**32 - 90_000, 2: 2**32 - 8_000})
    items = receive(receiver, camera.arrivals(units))

    assert not gaps_of(items)
    late = 0 if reports else camera.delay_ns
    for track in tracks:
        sent, got = of_track(units, track.id), of_track(items, track.id)
        assert [unit.data for unit in got] == [unit.data for unit in sent]
        assert [unit.keyframe for unit in got] == [unit.keyframe for unit in sent]
        assert all(abs(g.utc_ns - s.utc_ns - late) < 1_000_000 for g, s in zip(got, sent, strict=True))
        assert all(g.pts * NS_PER_S // g.track.clock_rate == g.utc_ns - START_NS for g in got)
        assert all(later.dts > earlier.dts for earlier, later in pairwise(got))
        assert all(unit.dts <= unit.pts for unit in got)
        assert len({id(unit.track) for unit in got}) == 1
        counters = receiver.counters[tracks.index(track)]
        assert counters is not None
        assert (counters.lost, counters.malformed, counters.damaged_units) == (0, 0, 0)
    if video is not None:
        got = of_track(items, 1)
        assert sorted(unit.utc_ns // 1_000_000 - late // 1_000_000 for unit in got) == clocks_of(got)
    if audio is not None:
        beeps = beeps_of(of_track(items, 2))
        assert len(beeps) >= 2
        assert all(abs(beep - late / NS_PER_S - round(beep)) < 0.025 for beep in beeps)


def test_a_track_says_what_the_parameter_sets_say() -> None:
    units = source(Codec.H265, Codec.AAC)
    tracks = tracks_of(units)
    receiver = receiver_for(tracks)
    items = receive(receiver, Camera(tracks).arrivals(units))
    video, audio = receiver.tracks
    assert isinstance(video, VideoTrack)
    assert (video.width, video.height, video.codec) == (640, 360, Codec.H265)
    assert video == tracks[0]
    assert audio == audio_track(tracks)
    assert {id(unit.track) for unit in of_track(items, 1)} == {id(video)}


def test_sound_and_picture_stay_together_whatever_the_way_does() -> None:
    units = source(Codec.H264, Codec.PCMA)
    tracks = tracks_of(units)
    for error_s in (0, 86_400 * 400):
        camera = Camera(tracks, clock_error_ns=error_s * NS_PER_S)
        arrivals = camera.arrivals(units)
        late_sound = [
            type(a)(a.index, a.packet, a.at_ns + (300_000_000 if a.index == 1 else 0), a.is_report) for a in arrivals
        ]
        receiver = receiver_for(tracks)
        items = receive(receiver, sorted(late_sound, key=lambda a: a.at_ns))
        shifts = [
            {g.utc_ns - s.utc_ns for g, s in zip(of_track(items, number), of_track(units, number), strict=True)}
            for number in (1, 2)
        ]
        spread = max(shifts[0] | shifts[1]) - min(shifts[0] | shifts[1])
        assert spread < 25_000_000
        offset = receiver.counters[0]
        assert offset is not None
        assert offset.clock_offset_ns is not None
        assert abs(offset.clock_offset_ns - error_s * NS_PER_S) < 100_000_000


def test_a_burst_of_old_media_at_the_start_does_not_shift_time() -> None:
    units = source(Codec.H264, Codec.PCMA)
    tracks = tracks_of(units)
    joined = START_NS + 2 * NS_PER_S
    arrivals = [
        type(a)(a.index, a.packet, max(a.at_ns, joined), a.is_report)
        for a in Camera(tracks, reports=False).arrivals(units)
    ]
    items = receive(receiver_for(tracks), arrivals)
    for number in (1, 2):
        pairs = zip(of_track(items, number), of_track(units, number), strict=True)
        assert all(abs(got.utc_ns - sent.utc_ns) < 60_000_000 for got, sent in pairs)


def test_what_the_stream_already_has_is_left_out() -> None:
    units = source(Codec.H264, Codec.PCMA)
    tracks = tracks_of(units)
    known = START_NS + NS_PER_S // 2
    items = receive(receiver_for(tracks, after_utc_ns=known), Camera(tracks).arrivals(units))
    assert of_track(items, 1)[0].utc_ns == START_NS + NS_PER_S
    assert of_track(items, 1)[0].keyframe
    assert min(unit.utc_ns for unit in of_track(items, 2)) > known


def test_parameter_sets_only_in_the_description() -> None:
    units = source(Codec.H264, None)
    track = units[0].track
    assert isinstance(track, VideoTrack)
    sets = ",".join(base64.b64encode(nal).decode() for nal in track.parameter_sets)
    told = MediaDescription("video", "H264", 96, 90_000, fmtp={"sprop-parameter-sets": sets})
    receiver = StreamReceiver([told], SystemClock(), origin_utc_ns=START_NS)
    (known,) = receiver.tracks
    assert isinstance(known, VideoTrack)
    assert (known.width, known.height) == (640, 360)
    bare = [unit_without_sets(unit) for unit in units]
    items = receive(receiver, Camera([bare[0].track]).arrivals(bare))
    assert [unit.data for unit in of_track(items, 1)] == [unit.data for unit in units]
    assert of_track(items, 1)[0].track is known


def unit_without_sets(unit: AccessUnit) -> AccessUnit:
    track = VideoTrack(Codec.H264, (), 640, 360)
    return AccessUnit(track, unit.pts, unit.dts, unit.utc_ns, unit.data, unit.keyframe)


def test_nothing_comes_before_parameter_sets_and_a_keyframe() -> None:
    units = source(Codec.H264, None)
    camera = Camera([units[0].track])
    items = receive(receiver_for([units[0].track]), camera.arrivals(units[7:]))
    assert of_track(items, 1)[0].data == units[25].data


def test_packets_of_64_kilobytes() -> None:
    settings = TestSourceSettings(Codec.H264, None, 1280, 720, 10, 4_000_000, gop_s=1.0, noise=90)
    units = make_units(settings, 1.5)
    assert max(len(unit.data) for unit in units) > 20_000
    camera = Camera([units[0].track], mtu=65_000)
    items = receive(receiver_for([units[0].track]), camera.arrivals(units))
    assert [unit.data for unit in of_track(items, 1)] == [unit.data for unit in units]


def test_a_session_without_a_usable_medium_is_refused() -> None:
    offered = [MediaDescription("video", "JPEG", 26, 90_000), MediaDescription("audio", "G726-32", 2, 8000), None]
    with pytest.raises(UnsupportedCodecError) as caught:
        StreamReceiver(offered, SystemClock())
    assert caught.value.params == {"codec": "G726-32, JPEG"}


def test_one_usable_medium_is_enough_and_others_are_passed_over() -> None:
    units = source(Codec.H264, None)
    offered = [MediaDescription("audio", "G726-32", 2, 8000), description(units[0].track), description(units[0].track)]
    receiver = StreamReceiver(offered, SystemClock(), origin_utc_ns=START_NS)
    items: list[StreamItem] = []
    for arrival in Camera([units[0].track]).arrivals(units):
        assert receiver.rtp(0, arrival.packet, arrival.at_ns) == ()
        assert receiver.rtp(2, arrival.packet, arrival.at_ns) == ()
        if not arrival.is_report:
            items += receiver.rtp(1, arrival.packet, arrival.at_ns)
    assert len(of_track(items, 1)) > 60
    assert [counters is None for counters in receiver.counters] == [True, False, True]

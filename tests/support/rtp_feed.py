"""A camera's session without a network: test media, packetized, with arrival times that a test decides."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import av

from media.codecs import annexb
from media.codecs.h264 import H264Depacketizer
from media.description import MediaDescription
from media.packetizer import Packetizer, nal_units
from media.receiver import StreamReceiver
from media.rtcp import build_sender_report
from media.testpicture import TestPicture
from media.testsource import TestSource, TestSourceSettings
from media.unit import NS_PER_S, AccessUnit, AudioTrack, Codec, Gap, StreamItem, Track, VideoTrack
from streaming.rtsp.sdp import payload_type_of
from tests.support.clocks import FakeClock

START_NS = 1_790_000_000 * NS_PER_S

SMALL = TestSourceSettings(width=320, height=180, bitrate=400_000, gop_s=1.0)
NOISY = TestSourceSettings(Codec.H264, Codec.PCMA, 320, 180, 25, 600_000, gop_s=1.0, noise=60)
"""Pictures of many packets each, and sound."""


def make_units(settings: TestSourceSettings, seconds: float) -> list[AccessUnit]:
    """Units of ``seconds`` of test media that begins at START_NS, on a timeline whose zero is START_NS."""
    units: list[AccessUnit] = []
    for unit in TestSource(settings).units(START_NS, origin_utc_ns=START_NS):
        if unit.utc_ns >= START_NS + seconds * NS_PER_S:
            return units
        units.append(unit)
    raise AssertionError("a test source does not end")


def description(track: Track, *, with_sets: bool = False) -> MediaDescription:
    """What a camera's session description says about ``track``."""
    payload_type = payload_type_of(track)
    if isinstance(track, VideoTrack):
        return MediaDescription("video", track.codec.value.upper(), payload_type, track.clock_rate)
    if track.codec is Codec.AAC:
        fmtp = {"mode": "AAC-hbr", "sizelength": "13", "indexlength": "3", "indexdeltalength": "3"}
        fmtp["config"] = track.config.hex()
        return MediaDescription("audio", "MPEG4-GENERIC", payload_type, track.clock_rate, track.channels, fmtp)
    channels = 2 if track.codec is Codec.OPUS else track.channels
    return MediaDescription("audio", track.codec.value.upper(), payload_type, track.clock_rate, channels)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One RTP or RTCP packet that comes at ``at_ns`` for medium ``index``."""

    index: int
    packet: bytes
    at_ns: int
    is_report: bool = False


@dataclass(slots=True)
class Camera:
    """Turns units into packets as a camera would, faults included.

    ``delay_ns`` is the way to us; ``clock_error_ns`` what its wall clock is ahead; ``reports`` whether it sends SRs.
    """

    tracks: Sequence[Track]
    delay_ns: int = 20_000_000
    clock_error_ns: int = 0
    reports: bool = True
    timestamp_offsets: dict[int, int] = field(default_factory=dict)
    mtu: int = 1400

    def arrivals(self, units: Iterable[AccessUnit]) -> list[Arrival]:
        """The packets of ``units`` in order, a sender report before the first of each track and every 2 s."""
        return list(self.flow(units))

    def flow(self, units: Iterable[AccessUnit]) -> Iterator[Arrival]:
        """:meth:`arrivals`, made one after another."""
        packetizers = {
            track.id: Packetizer(
                track,
                payload_type_of(track),
                1000 + track.id,
                self.mtu,
                sequence=65_500,
                timestamp_offset=self.timestamp_offsets.get(track.id, 12_345),
            )
            for track in self.tracks
        }
        indexes = {track.id: index for index, track in enumerate(self.tracks)}
        reported: dict[int, int] = {}
        for unit in units:
            number, packetizer = unit.track.id, packetizers[unit.track.id]
            at_ns = unit.utc_ns + self.delay_ns
            if self.reports and unit.utc_ns - reported.get(number, 0) >= 2 * NS_PER_S:
                reported[number] = unit.utc_ns
                report = build_sender_report(
                    packetizer.ssrc, unit.utc_ns + self.clock_error_ns, packetizer.rtp_timestamp(unit.pts), 0, 0
                )
                yield Arrival(indexes[number], report, at_ns, is_report=True)
            for packet in packetizer.packets(unit):
                yield Arrival(indexes[number], packet, at_ns)


def receiver_for(tracks: Sequence[Track], *, reorder: bool = False, after_utc_ns: int = 0) -> StreamReceiver:
    """A receiver for a session with these tracks, its timeline's zero at START_NS."""
    descriptions = [description(track) for track in tracks]
    return StreamReceiver(
        descriptions, FakeClock(START_NS), reorder=reorder, origin_utc_ns=START_NS, after_utc_ns=after_utc_ns
    )


def receive(
    receiver: StreamReceiver, arrivals: Iterable[Arrival], change: Callable[[Arrival], Arrival | None] | None = None
) -> list[StreamItem]:
    """Feed a receiver and collect what comes out, to the end. ``change`` may alter or drop packets."""
    items: list[StreamItem] = []
    for arrival in arrivals:
        changed = change(arrival) if change is not None else arrival
        if changed is None:
            continue
        if changed.is_report:
            receiver.rtcp(changed.index, changed.packet, changed.at_ns)
        else:
            items += receiver.rtp(changed.index, changed.packet, changed.at_ns)
    items += receiver.flush()
    return items


def of_track(items: Iterable[StreamItem], number: int) -> list[AccessUnit]:
    """The access units of one track."""
    return [item for item in items if isinstance(item, AccessUnit) and item.track.id == number]


def gaps_of(items: Iterable[StreamItem]) -> list[Gap]:
    """The gaps."""
    return [item for item in items if isinstance(item, Gap)]


def audio_track(tracks: Iterable[Track]) -> AudioTrack:
    """The sound among the tracks."""
    return next(track for track in tracks if isinstance(track, AudioTrack))


def both(units: list[AccessUnit], **options: bool) -> StreamReceiver:
    """A receiver for the picture and the sound of these units."""
    return receiver_for([units[0].track, next(u.track for u in units if u.track.id == 2)], **options)


def is_video(arrival: Arrival) -> bool:
    """Whether it is a packet of the picture."""
    return arrival.index == 0 and not arrival.is_report


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

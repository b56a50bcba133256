"""A camera in simulated time that misbehaves on request, and all that its packets go through until they are kept.

``await keep(camera)`` runs real encoded media through the changes of :mod:`tests.support.misbehaviour`, StreamReceiver,
LiveStream and Segmenter; what comes out is a :class:`Kept`, on which :mod:`tests.support.invariants` holds. An hour of
such a camera takes seconds, because the clock is the packets' own.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from media.description import MediaDescription
from media.fanout import ReaderLimits
from media.fmp4 import init_segment
from media.fmp4_read import read_fragments
from media.receiver import StreamReceiver
from media.segmenter import SegmenterSettings
from media.segments import Part, Period, SegmentEnd, SegmentEvent, SegmentStart
from media.stream import LiveStream, StreamId
from media.testsource import TestSourceSettings
from media.unit import NS_PER_S, AccessUnit, AudioTrack, Codec, Gap, Track, VideoTrack
from streaming.rtsp.sdp import parse_sdp, write_sdp
from tests.support.clocks import FakeClock
from tests.support.live_feed import looped
from tests.support.misbehaviour import Change
from tests.support.rtp_feed import START_NS, Arrival, Camera, make_units

ORIGIN_NS = START_NS - 3600 * NS_PER_S
"""Zero of the timeline of everything that is kept."""

HALL = TestSourceSettings(Codec.H264, Codec.PCMA, 320, 180, 25, 500_000, gop_s=1.0, noise=30)
SLOW = TestSourceSettings(Codec.H264, Codec.PCMA, 160, 96, 5, 30_000, gop_s=2.0)
"""Few and small pictures, for an hour in seconds."""

_STAMP = b"sanhui-test-time"
_STAMP_DIGITS = 20
_SEI = {Codec.H264: b"\x06\x05", Codec.H265: b"\x4e\x01\x05"}
_READER = ReaderLimits(max_bytes=1 << 30, max_items=1_000_000)


def _again(unit: AccessUnit, pts: int, data: bytes) -> AccessUnit:
    # For each unit of an hour: dataclasses.replace() takes several times as long.
    dts = unit.dts + pts - unit.pts
    return AccessUnit(unit.track, pts, dts, unit.utc_ns, data, unit.keyframe, unit.duration, unit.epoch)


def stamped(units: Iterable[AccessUnit], *, pictures: bool = True) -> Iterator[AccessUnit]:
    """The units, each with its true time (``utc_ns``) in it: a picture in an SEI of user data (H.264 D.1.7, H.265
    D.2.7), G.711 in place of its first octets. Others are told apart by what they hold and go as they are, as do
    pictures without ``pictures``: an SEI also tells where a picture begins."""
    for unit in units:
        text = _STAMP + str(unit.utc_ns).zfill(_STAMP_DIGITS).encode()
        codec = unit.track.codec
        if codec in _SEI and pictures:
            sei = _SEI[codec] + bytes((len(text),)) + text + b"\x80"
            yield _again(unit, unit.pts, len(sei).to_bytes(4, "big") + sei + unit.data)
        elif codec in (Codec.PCMA, Codec.PCMU):
            yield _again(unit, unit.pts, text + unit.data[len(text) :])
        else:
            yield unit


def looped_hall(
    settings: TestSourceSettings, seconds: float, *, loop_s: float = 4.0, sounds: int = 1
) -> Iterator[AccessUnit]:
    """``seconds`` of media, of which only the first ``loop_s`` are encoded. Each unit has its true time in it.
    ``sounds``: so many units of G.711 in one."""
    end_ns = START_NS + round(seconds * NS_PER_S)
    for unit in stamped(looped(_fewer_sounds(make_units(settings, loop_s), sounds), loop_s)):
        if unit.utc_ns >= end_ns:
            return
        yield unit


def _fewer_sounds(units: list[AccessUnit], together: int) -> list[AccessUnit]:
    """So many units of G.711 in one, sent when the first was."""
    sounds = [unit for unit in units if isinstance(unit.track, AudioTrack)]
    joined = []
    for at in range(0, len(sounds), together):
        few = sounds[at : at + together]
        data = b"".join(unit.data for unit in few)
        joined.append(replace(few[0], data=data, duration=sum(unit.duration for unit in few)))
    pictures = [unit for unit in units if isinstance(unit.track, VideoTrack)]
    return sorted(pictures + joined, key=lambda unit: unit.utc_ns)


def drifting(units: Iterable[AccessUnit], ppm: dict[int, float]) -> Iterator[AccessUnit]:
    """RTP clocks, by track id, that go faster than they should by so many millionths."""
    for unit in units:
        rate = unit.track.clock_rate
        since = unit.utc_ns - START_NS
        more = round(since * ppm.get(unit.track.id, 0.0) * 1e-6 * rate / NS_PER_S)
        yield _again(unit, unit.pts + more, unit.data)


def described(tracks: Sequence[Track], change: Callable[[str], str] = lambda text: text) -> list[MediaDescription]:
    """What a camera's session description says of ``tracks``, once ``change`` has been at the text."""
    text = change(write_sdp(tracks)).encode()
    found = [media.description for media in parse_sdp(text, "rtsp://camera/live").media]
    return [description for description in found if description is not None]


@dataclass(slots=True)
class BadCamera:
    """``units`` in sending order, sent as ``tracks`` (by default those of the units, picture first), changed by
    ``changes`` from left to right. ``descriptions``: what it says of itself, by default the truth."""

    units: Iterable[AccessUnit]
    changes: Sequence[Change] = ()
    tracks: Sequence[Track] = ()
    descriptions: Sequence[MediaDescription | None] = ()
    udp: bool = False
    mtu: int = 1400
    timestamp_offsets: dict[int, int] = field(default_factory=dict)
    clock_error_ns: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """One sample as a player finds it, times in Unix nanoseconds: ``true_ns`` when the camera took it (``None`` if it
    is damaged beyond recognition), ``shown_ns`` where it stands on the timeline."""

    track: int
    true_ns: int | None
    shown_ns: int
    keyframe: bool

    @property
    def error_ns(self) -> int:
        """Shown minus true."""
        assert self.true_ns is not None
        return self.shown_ns - self.true_ns


@dataclass(slots=True)
class Kept:
    """What is left of a camera once it is kept: ``events`` as the recorder gets them; ``sent`` the true times of what
    was sent, by track id; ``data`` → true time for units that carry none."""

    events: list[SegmentEvent]
    sent: dict[int, list[int]] = field(default_factory=dict)
    times: dict[bytes, int] = field(default_factory=dict)
    receiver: StreamReceiver | None = None
    _shown: dict[int, list[Shown]] = field(default_factory=dict)

    @property
    def gaps(self) -> list[Gap]:
        """What is on record as missing."""
        return [event for event in self.events if isinstance(event, Gap)]

    @property
    def starts(self) -> list[SegmentStart]:
        """The segments."""
        return [event for event in self.events if isinstance(event, SegmentStart)]

    @property
    def ends(self) -> list[SegmentEnd]:
        """How the segments ended."""
        return [event for event in self.events if isinstance(event, SegmentEnd)]

    @property
    def periods(self) -> list[Period]:
        """The periods, in order."""
        return list({id(start.period): start.period for start in self.starts}.values())

    def tracks(self, kind: type[VideoTrack] | type[AudioTrack]) -> list[Track]:
        """The tracks of one kind, in order."""
        return [track for period in self.periods for track in period.tracks if isinstance(track, kind)]

    def parts(self) -> Iterator[tuple[Period, Part]]:
        """All parts with their period."""
        period: Period | None = None
        for event in self.events:
            if isinstance(event, SegmentStart):
                period = event.period
            elif isinstance(event, Part):
                assert period is not None
                yield period, event

    def file(self, period: Period) -> bytes:
        """A period as one fMP4 file."""
        chunks = [chunk.data for of, part in self.parts() if of is period for chunk in part.chunks.values()]
        return init_segment(period.tracks) + b"".join(chunks)

    def shown(self, track: int) -> list[Shown]:
        """One track's samples, in file order."""
        if track in self._shown:
            return self._shown[track]
        out = self._shown[track] = []
        for period, part in self.parts():
            chunk = part.chunks.get(track)
            if chunk is None:
                continue
            rate = next(each.clock_rate for each in period.tracks if each.id == track)
            for sample in read_fragments(chunk.data):
                shown_ns = ORIGIN_NS + sample.pts * NS_PER_S // rate
                out.append(Shown(track, self._true_ns(bytes(sample.data)), shown_ns, sample.keyframe))
        return out

    def _true_ns(self, data: bytes) -> int | None:
        at = data.find(_STAMP, 0, 64)
        if at >= 0:
            digits = data[at + len(_STAMP) :][:_STAMP_DIGITS]
            return int(digits) if digits.isdigit() else None
        return self.times.get(data)


async def keep(camera: BadCamera, settings: SegmenterSettings | None = None) -> Kept:
    """Run the whole chain from packets to segments, as fast as it goes."""
    kept = Kept([])
    units = iter(camera.units)
    # The first units tell which tracks there are.
    head: list[AccessUnit] = []
    tracks = list(camera.tracks)
    while not tracks or (not camera.tracks and len(head) < 8):
        unit = next(units, None)
        if unit is None:
            break
        head.append(unit)
        tracks = sorted({unit.track.id: unit.track for unit in head}.values(), key=lambda track: track.id)

    def noted() -> Iterator[AccessUnit]:
        for source in (head, units):
            for unit in source:
                kept.sent.setdefault(unit.track.id, []).append(unit.utc_ns)
                if unit.data[:64].find(_STAMP) < 0:
                    kept.times[unit.data] = unit.utc_ns
                yield unit

    sender = Camera(
        tracks, clock_error_ns=camera.clock_error_ns, timestamp_offsets=camera.timestamp_offsets, mtu=camera.mtu
    )
    arrivals: Iterable[Arrival] = sender.flow(noted())
    for change in camera.changes:
        arrivals = change(arrivals)
    clock = FakeClock(START_NS)
    stream = LiveStream(StreamId("hall"), clock, settings or SegmenterSettings(stagger=0))
    descriptions = camera.descriptions or described(tracks)
    receiver = StreamReceiver(descriptions, clock, reorder=camera.udp, origin_utc_ns=ORIGIN_NS)
    with stream.read_segments("test", _READER) as reader:
        for arrival in arrivals:
            if arrival.is_report:
                receiver.rtcp(arrival.index, arrival.packet, arrival.at_ns)
                continue
            for item in receiver.rtp(arrival.index, arrival.packet, arrival.at_ns):
                stream.publish(item)
            if reader.queued_bytes > 1 << 20:
                kept.events += await reader.take()
        for item in receiver.flush():
            stream.publish(item)
        stream.end()
        while events := await reader.take():
            kept.events += events
        assert not reader.overflows
    kept.receiver = receiver
    return kept

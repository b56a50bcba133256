"""RTP of one session in, access units out."""

import random
from collections.abc import Sequence
from typing import Final

from media.audio_receiver import AudioReceiver
from media.clock import Clock
from media.codecs.aac import AacDepacketizer, config_from_description, parse_config
from media.codecs.g711 import G711Depacketizer
from media.codecs.h264 import H264Depacketizer
from media.codecs.h264 import parameter_sets_from_fmtp as h264_sets
from media.codecs.h265 import H265Depacketizer
from media.codecs.h265 import parameter_sets_from_fmtp as h265_sets
from media.codecs.nal import NalDepacketizer
from media.codecs.opus import OPUS_CLOCK_RATE, OpusDepacketizer
from media.codecs.sound import SoundDepacketizer
from media.description import MediaDescription
from media.errors import BitstreamError, UnsupportedCodecError
from media.rtcp import SenderReport, build_receiver_report, parse_compound
from media.timeline import SessionClock, TrackTimeline
from media.track_receiver import TrackCounters, TrackReceiver, Unstamped
from media.unit import AUDIO_TRACK_ID, NS_PER_S, AudioTrack, Codec, Gap, StreamItem, Track
from media.video_receiver import VideoReceiver

__all__ = ["StreamReceiver", "TrackCounters"]

SETTLE_NS: Final = 3 * NS_PER_S // 10
"""How long the first units are held back to learn how time runs: some cameras begin with a burst of old media."""

SETTLE_BYTES: Final = 8 * 1024 * 1024

_NOTHING: tuple[StreamItem, ...] = ()
_MAX_RATE: Final = 1_000_000


class StreamReceiver:
    """RTP and RTCP of one session in, access units and gaps out. Used from one task.

    ``descriptions`` are the session's media in the order in which they were set up; ``None`` stands for a medium that
    was not taken. Of each kind the first that can be taken is. ``origin_utc_ns`` is the zero of the stream's timeline:
    keep it for all sessions of a stream. ``after_utc_ns`` is the newest time the stream already has; units not later
    than it are left out, so that the burst with which some cameras start does not repeat what the session before has
    brought. ``reorder`` is for UDP: packets out of order are put in order.

    Nothing comes out in the first 0.3 s: first the relation of RTP time to the wall clock is learnt.

    Raises :class:`media.errors.UnsupportedCodecError` if no medium can be taken.
    """

    def __init__(
        self,
        descriptions: Sequence[MediaDescription | None],
        clock: Clock,
        *,
        epoch: int = 0,
        reorder: bool = False,
        origin_utc_ns: int = 0,
        after_utc_ns: int = 0,
    ) -> None:
        self._clock = clock
        self._epoch = epoch
        self._origin_ns = origin_utc_ns
        self._after_ns = after_utc_ns
        self._ssrc = random.getrandbits(32)
        session = SessionClock()
        self._receivers: list[TrackReceiver | None] = []
        kinds: set[str] = set()
        for number, description in enumerate(descriptions):
            receiver = None
            if description is not None and description.kind not in kinds:
                receiver = _receiver(description, number, session, origin_utc_ns, reorder)
            if receiver is not None and description is not None:
                kinds.add(description.kind)
            self._receivers.append(receiver)
        self._taken = [receiver for receiver in self._receivers if receiver is not None]
        if not self._taken:
            offered = ", ".join(sorted({d.encoding[:32] for d in descriptions if d is not None})) or "-"
            raise UnsupportedCodecError(f"no medium of this session can be taken: {offered}", codec=offered)
        self._held: list[tuple[TrackReceiver, Unstamped]] | None = []
        self._held_bytes = 0
        self._first_arrival_ns: int | None = None

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks known so far, video first."""
        tracks = [track for receiver in self._taken if (track := receiver.track) is not None]
        return tuple(sorted(tracks, key=lambda track: track.id))

    @property
    def counters(self) -> tuple[TrackCounters | None, ...]:
        """Counters by the index of the description; ``None`` where the medium is not taken."""
        for receiver in self._taken:
            receiver.counters.clock_offset_ns = receiver.timeline.camera_offset_ns
        return tuple(receiver.counters if receiver is not None else None for receiver in self._receivers)

    def rtp(self, index: int, packet: bytes, arrival_ns: int) -> Sequence[StreamItem]:
        """Take one RTP packet of medium ``index`` that arrived at ``arrival_ns`` (Unix nanoseconds).

        Garbage is counted, never raised.
        """
        return self.rtp_within(index, packet, 0, len(packet), arrival_ns)

    def rtp_within(self, index: int, read: bytes, start: int, stop: int, arrival_ns: int) -> Sequence[StreamItem]:
        """The same for a packet that is ``read[start:stop]`` of a longer read."""
        receiver = self._receivers[index]
        if receiver is None:
            return _NOTHING
        receiver.rtp(read, start, stop, arrival_ns)
        if not receiver.out:
            return _NOTHING
        return self._take(receiver, arrival_ns)

    def follow(self, index: int, read: bytes, start: int, stop: int, end: int) -> int:
        """After a packet of medium ``index`` that was ``read[start:stop]`` of an RTSP connection: take what comes right
        behind it, many packets at once (:meth:`media.video_receiver.VideoReceiver.follow`). Nothing comes out; returns
        where the first frame is that was not taken."""
        receiver = self._receivers[index]
        return receiver.follow(read, start, stop, end) if isinstance(receiver, VideoReceiver) else stop

    def rtcp(self, index: int, packet: bytes, arrival_ns: int) -> None:
        """Take one compound RTCP packet. Garbage is counted, never raised."""
        receiver = self._receivers[index]
        if receiver is None:
            return
        items = parse_compound(packet)
        if not items:
            receiver.counters.malformed += 1
        for item in items:
            if isinstance(item, SenderReport):
                receiver.sender_report(item, arrival_ns)

    def receiver_report(self, index: int) -> bytes:
        """A compound RR + SDES for medium ``index`` (RFC 3550, 6.4.2)."""
        receiver = self._receivers[index]
        report = receiver.reception_report(self._clock.utc_ns()) if receiver is not None else None
        return build_receiver_report(self._ssrc, (report,) if report is not None else ())

    def silences(self, *, at_end: bool = False) -> Sequence[Gap]:
        """What is missing of a medium that brings nothing while another goes on. To be asked about once a second: who
        waits for it to come back never hears of what does not."""
        ends = [end for receiver in self._taken if (end := receiver.newest_utc_ns) is not None]
        if not ends:
            return ()
        newest = max(ends)
        return [gap for receiver in self._taken if (gap := receiver.silent_until(newest, at_end=at_end)) is not None]

    def flush(self) -> Sequence[StreamItem]:
        """What is still held back, at the end of the session."""
        items: list[StreamItem] = []
        for receiver in self._taken:
            receiver.release_all()
            receiver.finish()
            items += self._take(receiver, None)
        items += self.silences(at_end=True)
        return items

    def _take(self, receiver: TrackReceiver, arrival_ns: int | None) -> Sequence[StreamItem]:
        out, receiver.out = receiver.out, []
        if self._held is None:
            if len(out) == 1:
                return receiver.stamp(out[0], self._origin_ns, self._epoch, self._after_ns)
            return [item for unit in out for item in receiver.stamp(unit, self._origin_ns, self._epoch, self._after_ns)]
        self._held += [(receiver, unit) for unit in out]
        self._held_bytes += sum(len(unit.data) for unit in out)
        if arrival_ns is not None and not self._settled(arrival_ns):
            return _NOTHING
        held, self._held = self._held, None
        items: list[StreamItem] = []
        for holder, unit in held:
            items += holder.stamp(unit, self._origin_ns, self._epoch, self._after_ns)
        return items

    def _settled(self, arrival_ns: int) -> bool:
        if self._first_arrival_ns is None:
            self._first_arrival_ns = arrival_ns
        if not 0 <= arrival_ns - self._first_arrival_ns < SETTLE_NS or self._held_bytes > SETTLE_BYTES:
            return True
        return all(receiver.timeline.synchronized for receiver in self._taken)


def can_take(description: MediaDescription) -> bool:
    """Whether a medium is of a codec that is taken."""
    if not 0 < description.clock_rate <= _MAX_RATE:
        return False
    if description.kind == "video":
        return _video_depacketizer(description) is not None
    return _sound(description) is not None


def _receiver(
    description: MediaDescription, number: int, session: SessionClock, origin_utc_ns: int, reorder: bool
) -> TrackReceiver | None:
    """The receiver for a medium, or ``None`` if its codec is not taken."""
    rate = description.clock_rate
    if not 0 < rate <= _MAX_RATE:
        return None
    timeline = TrackTimeline(number, rate, session, origin_utc_ns)
    if description.kind == "video":
        depacketizer = _video_depacketizer(description)
        if depacketizer is None:
            return None
        return VideoReceiver(depacketizer, description.payload_type, rate, timeline, reorder=reorder)
    sound = _sound(description)
    if sound is None:
        return None
    return AudioReceiver(sound[0], sound[1], description.payload_type, rate, timeline, reorder=reorder)


def _video_depacketizer(description: MediaDescription) -> NalDepacketizer | None:
    fmtp = description.fmtp
    if description.encoding == "H264":
        return H264Depacketizer(h264_sets(fmtp))
    if description.encoding in ("H265", "HEVC"):
        return H265Depacketizer(h265_sets(fmtp), donl=fmtp.get("sprop-max-don-diff", "0").strip() not in ("", "0"))
    return None


def _sound(description: MediaDescription) -> tuple[SoundDepacketizer, AudioTrack] | None:
    rate, channels = description.clock_rate, max(1, min(8, description.channels))
    if description.encoding in ("PCMA", "PCMU"):
        codec = Codec.PCMA if description.encoding == "PCMA" else Codec.PCMU
        return G711Depacketizer(channels), AudioTrack(codec, rate, channels)
    if description.encoding == "OPUS" and rate == OPUS_CLOCK_RATE:
        return OpusDepacketizer(), AudioTrack(Codec.OPUS, rate, 2)
    if description.encoding == "MPEG4-GENERIC":
        try:
            config = config_from_description(description.fmtp, rate, channels)
            parsed = parse_config(config)
        except BitstreamError:
            return None
        frame_ticks = max(1, parsed.frame_samples * rate // parsed.sample_rate)
        depacketizer = AacDepacketizer(description.fmtp, frame_ticks)
        return depacketizer, AudioTrack(Codec.AAC, parsed.sample_rate, parsed.channels, config, AUDIO_TRACK_ID)
    return None

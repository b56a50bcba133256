"""What of an offer fits what a stream brings (RFC 6184, RFC 7798, RFC 7587, RFC 3551)."""

from dataclasses import dataclass

from media.unit import AudioTrack, Codec, VideoTrack
from streaming.webrtc.errors import CodecMismatchError, PictureUnplayableError
from streaming.webrtc.relay import Relay
from streaming.webrtc.sdp import Offer, OfferedCodec, OfferedMedia

# Baseline, Main, High, High 10, High 4:2:2, High 4:4:4 Predictive: each decodes those before it (H.264, A.2); other
# profiles have to be offered as they are.
_RANKS = {66: 0, 77: 1, 100: 2, 110: 3, 122: 4, 244: 5}


@dataclass(frozen=True, slots=True)
class Agreed:
    """One medium of the offer and the codec that is sent in it. ``opus`` where sound is transcoded for it."""

    media: OfferedMedia
    codec: OfferedCodec
    opus: bool = False


def choose_video(offer: Offer, relay: Relay) -> Agreed | None:
    """How the stream's pictures are sent; None if the viewer wants none.

    Raises CodecMismatchError, PictureUnplayableError.
    """
    media = offer.first("video", receives=True)
    if media is None or relay.video is None:
        return None
    track = relay.video.track
    assert isinstance(track, VideoTrack)
    name = track.codec.value.upper()
    offered = [codec for codec in media.codecs if codec.name == name]
    if not offered:
        names = ", ".join(sorted({codec.name[:20] for codec in media.codecs})[:8])
        raise CodecMismatchError(f"the viewer does not take {name}", codec=_SHOWN[track.codec], offered=names or "-")
    if relay.video.reordered:
        # RTP has one timestamp, and browsers show pictures in the order in which they come.
        raise PictureUnplayableError("pictures are not in the order of their times", reason="b-frames")
    if track.codec is Codec.H265:
        return Agreed(media, offered[0])
    # Fragments need mode 1 (RFC 6184, 6.3); where no mode is told, the viewer has not thought of it.
    offered = [codec for codec in offered if codec.parameters.get("packetization-mode", "1") == "1"]
    profile, constraints = _profile(track)
    fitting = [codec for codec in offered if _decodes(codec, profile)]
    if not fitting:
        raise PictureUnplayableError("no offered profile decodes the pictures", reason="profile")
    same = [codec for codec in fitting if _offered_profile(codec) == profile]
    exact = [codec for codec in same if _constraints(codec) == constraints]
    return Agreed(media, (exact or same or fitting)[0])


def choose_audio(offer: Offer, relay: Relay, *, makes_opus: bool) -> Agreed | None:
    """How the stream's sound is sent; None if there is none, or none that the viewer takes."""
    media = offer.first("audio", receives=True)
    if media is None or relay.audio is None:
        return None
    track = relay.audio.track
    assert isinstance(track, AudioTrack)
    name = track.codec.value.upper()
    for codec in media.codecs:
        if codec.name == name and _fits(codec, track):
            return Agreed(media, codec)
    opus = media.codec("OPUS")
    return Agreed(media, opus, opus=True) if opus is not None and makes_opus else None


_SHOWN = {Codec.H264: "H.264", Codec.H265: "H.265"}


def _fits(codec: OfferedCodec, track: AudioTrack) -> bool:
    if track.codec is Codec.OPUS:
        return codec.clock_rate == 48_000
    return codec.clock_rate == track.clock_rate and codec.channels == track.channels


def _profile(track: VideoTrack) -> tuple[int, int]:
    """profile_idc and the constraint flags of the sequence parameter set."""
    sps = next((item for item in track.parameter_sets if len(item) > 3 and item[0] & 0x1F == 7), b"\x67\x42\xc0\x1f")
    return sps[1], sps[2]


def _offered_profile(codec: OfferedCodec) -> int | None:
    """profile_idc of profile-level-id; None where it is not told, or nonsense."""
    text = codec.parameters.get("profile-level-id", "")
    try:
        return int(text[:2], 16) if len(text) == 6 else None
    except ValueError:
        return None


def _constraints(codec: OfferedCodec) -> int | None:
    text = codec.parameters.get("profile-level-id", "")
    try:
        return int(text[2:4], 16)
    except ValueError:
        return None


def _decodes(codec: OfferedCodec, profile: int) -> bool:
    offered = _offered_profile(codec)
    if offered is None or offered == profile:
        return True
    return offered in _RANKS and profile in _RANKS and _RANKS[offered] > _RANKS[profile]

"""Session descriptions (RFC 8866) as cameras write them, and as our server writes them.

Reading is tolerant where cameras are careless: missing rtpmap for static payload types (RFC 3551), lines of unknown
kinds, bare LF, attributes before any media. What cannot be used has ``description`` None and stays in its place, so
that the index of a medium is that of its m-line.
"""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from media.description import MediaDescription
from media.receiver import can_take
from media.unit import AudioTrack, Codec, Track, VideoTrack
from streaming.errors import SdpBrokenError

MAX_MEDIA = 16
MAX_BYTES = 64 * 1024
"""Real ones take some hundred, with large parameter sets a few thousand."""

VIDEO_PAYLOAD_TYPE = 96
AUDIO_PAYLOAD_TYPE = 97

# RFC 3551, table 4 and 5: payload type → encoding, clock rate, channels.
_STATIC: Mapping[int, tuple[str, int, int]] = {
    0: ("PCMU", 8000, 1),
    3: ("GSM", 8000, 1),
    8: ("PCMA", 8000, 1),
    9: ("G722", 8000, 1),
    10: ("L16", 44100, 2),
    11: ("L16", 44100, 1),
    14: ("MPA", 90000, 1),
    26: ("JPEG", 90000, 1),
    32: ("MPV", 90000, 1),
    33: ("MP2T", 90000, 1),
}
_RTPMAP = re.compile(r"([^/\s]+)\s*(?:/\s*(\d{1,9})\s*(?:/\s*(\d{1,2}))?)?")
_DIRECTIONS = frozenset({"sendrecv", "sendonly", "recvonly", "inactive"})


@dataclass(frozen=True, slots=True)
class SdpMedia:
    """One m-line. ``control`` is the absolute URL for SETUP. ``direction`` as written, empty if not.
    ``bandwidth_kbps`` is b=AS, 0 if not given. ``description`` is None for what is neither picture nor sound or cannot
    be understood. ``formats`` are all that can be, ``description`` is the first of them."""

    kind: str
    port: int
    control: str
    description: MediaDescription | None
    direction: str = ""
    bandwidth_kbps: int = 0
    formats: tuple[MediaDescription, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """A camera's answer to DESCRIBE. ``control`` is the aggregate URL for PLAY and TEARDOWN."""

    control: str
    media: tuple[SdpMedia, ...]
    name: str = ""

    def chosen(self) -> tuple[int, ...]:
        """Indexes of the media to set up: the first picture and the first sound that the camera sends, of a codec that
        is taken if there is one (MJPEG may stand before H.264).

        A back-channel (``a=sendonly``, ONVIF streaming specification 5.3) is passed over when another of its kind is
        there; alone, the direction is taken as the camera's own point of view.
        """
        chosen: list[int] = []
        for kind in ("video", "audio"):
            of_kind = [
                index
                for index, media in enumerate(self.media)
                if media.description is not None and media.kind == kind and media.direction != "inactive"
            ]
            forward = [index for index in of_kind if self.media[index].direction != "sendonly"]
            offered = forward or of_kind
            taken = [index for index in offered if self._can_take(index)]
            chosen.extend((taken or offered)[:1])
        return tuple(chosen)

    def _can_take(self, index: int) -> bool:
        description = self.media[index].description
        return description is not None and can_take(description)


@dataclass(slots=True)
class _Section:
    """The lines of one m-line, or of the session."""

    kind: str = ""
    port: int = 0
    protocol: str = ""
    formats: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str]] = field(default_factory=list)
    bandwidth_kbps: int = 0

    def first(self, name: str) -> str | None:
        return next((value for key, value in self.attributes if key == name), None)


def parse_sdp(data: bytes, base_url: str) -> SessionDescription:
    """Read the body of a DESCRIBE answer. ``base_url`` is Content-Base, Content-Location or the URL asked for.

    Raises SdpBrokenError for what is no session description at all. One without media is not an error here.
    """
    if len(data) > MAX_BYTES:
        raise SdpBrokenError("a session description that is too long", reason="too-long")
    text = data.decode("utf-8", "replace").lstrip("\ufeff\r\n \t")
    if not text.startswith("v="):
        raise SdpBrokenError("a session description begins with v=", reason="no-version")
    session = _Section()
    sections: list[_Section] = []
    name = ""
    for raw in text.replace("\r", "\n").split("\n"):
        key, equals, value = raw.strip().partition("=")
        if not equals:
            continue
        current = sections[-1] if sections else session
        if key == "m":
            if len(sections) >= MAX_MEDIA:
                raise SdpBrokenError("too many media", reason="too-many-media")
            sections.append(_media_line(value))
        elif key == "s" and not sections:
            name = value.strip()
        elif key == "b":
            kind, amount = (word.strip() for word in (*value.split(":", 1), "")[:2])
            if kind == "AS" and amount.isdecimal() and len(amount) < 10:
                current.bandwidth_kbps = int(amount)
        elif key == "a":
            attribute, _, rest = value.partition(":")
            current.attributes.append((attribute.strip().lower(), rest.strip()))
    control = join_control(base_url, session.first("control"))
    # RFC 2326, C.1.1: a control URL of the session is the base for those of the media when it is absolute.
    media_base = control if session.first("control") not in (None, "", "*") else base_url
    media = tuple(_media(section, session, media_base) for section in sections)
    return SessionDescription(control=control, media=media, name=name)


def join_control(base_url: str, control: str | None) -> str:
    """The URL that ``control`` means under ``base_url``.

    Not RFC 3986 resolution: cameras expect a relative control appended to the whole base, query included
    (``…?channel=1&subtype=0/trackID=0``). Raises SdpBrokenError if the base is no URL.
    """
    if control is None or control in ("", "*"):
        return base_url
    if re.match(r"rtspu?s?://", control, re.IGNORECASE):
        return control
    if control.startswith("/"):
        try:
            parts = urlsplit(base_url)
        except ValueError:
            raise SdpBrokenError("a control that is no address", reason="control") from None
        if control.startswith(parts.path.rstrip("/") + "/") and parts.path.strip("/"):
            return urlunsplit((parts.scheme, parts.netloc, control, "", ""))
    return f"{base_url.rstrip('/')}/{control.lstrip('/')}"


def _media_line(value: str) -> _Section:
    words = value.split()
    if len(words) < 3:
        return _Section(kind=words[0].lower() if words else "")
    port = words[1].partition("/")[0]
    return _Section(
        kind=words[0].lower(),
        port=int(port) if port.isdecimal() and len(port) < 6 else 0,
        protocol=words[2].upper(),
        formats=words[3:],
    )


def _media(section: _Section, session: _Section, base_url: str) -> SdpMedia:
    direction = next((key for key, _ in (*section.attributes, *session.attributes) if key in _DIRECTIONS), "")
    formats = tuple(_describe(section))
    return SdpMedia(
        kind=section.kind,
        port=section.port,
        control=join_control(base_url, section.first("control")),
        description=formats[0] if formats else None,
        direction=direction,
        bandwidth_kbps=section.bandwidth_kbps,
        formats=formats,
    )


def _describe(section: _Section) -> Iterator[MediaDescription]:
    if section.kind not in ("video", "audio") or not section.protocol.startswith("RTP/"):
        return
    for payload_type in _payload_types(section):
        mapping = _mapping(section, payload_type)
        if mapping is None:
            continue
        encoding, clock_rate, channels = mapping
        yield MediaDescription(
            kind="video" if section.kind == "video" else "audio",
            encoding=encoding,
            payload_type=payload_type,
            clock_rate=clock_rate,
            channels=channels,
            fmtp=_format_parameters(section, payload_type),
        )


def _payload_types(section: _Section) -> list[int]:
    return _numbers(section.formats) or _numbers(
        [(value.split() or [""])[0] for key, value in section.attributes if key == "rtpmap"]
    )


def _numbers(words: Sequence[str]) -> list[int]:
    """The payload types among the words, each once."""
    found = (int(word) for word in words if word.isdecimal() and len(word) <= 3)
    return list(dict.fromkeys(number for number in found if number < 128))


def _mapping(section: _Section, payload_type: int) -> tuple[str, int, int] | None:
    for key, value in section.attributes:
        if key != "rtpmap":
            continue
        number, _, rest = value.partition(" ")
        if number.strip() != str(payload_type) or (match := _RTPMAP.match(rest.strip())) is None:
            continue
        encoding = match[1].upper()
        static = _STATIC.get(payload_type)
        default_rate = 90_000 if section.kind == "video" else static[1] if static else 8000
        clock_rate = int(match[2] or 0) or default_rate
        channels = min(int(match[3] or 0) or 1, 8)
        return encoding, clock_rate, channels
    return _STATIC.get(payload_type)


def _format_parameters(section: _Section, payload_type: int) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for key, value in section.attributes:
        if key != "fmtp":
            continue
        number, _, rest = value.partition(" ")
        if number.strip() != str(payload_type):
            continue
        for item in rest.split(";"):
            name, _, content = item.partition("=")
            if name.strip():
                parameters.setdefault(name.strip().lower(), content.strip())
    return parameters


def payload_type_of(track: Track) -> int:
    """The payload type our server gives a track: static for G.711 at 8 kHz mono, else dynamic."""
    if isinstance(track, VideoTrack):
        return VIDEO_PAYLOAD_TYPE
    if track.clock_rate == 8000 and track.channels == 1:
        return {Codec.PCMU: 0, Codec.PCMA: 8}.get(track.codec, AUDIO_PAYLOAD_TYPE)
    return AUDIO_PAYLOAD_TYPE


def track_control(track: Track) -> str:
    """The relative control URL our server gives a track."""
    return f"track{track.id}"


def write_sdp(
    tracks: Sequence[Track],
    *,
    name: str = "Sanhui",
    address: str = "0.0.0.0",
    session_id: int = 0,
    version: int = 0,
    play_range: str = "npt=now-",
) -> str:
    """The session description of ``tracks`` for a DESCRIBE answer: video first as given, payload types from
    :func:`payload_type_of`, relative controls from :func:`track_control`. ``play_range`` is what can be played (RFC
    2326, C.1.5)."""
    family = "IP6" if ":" in address else "IP4"
    lines = [
        "v=0",
        f"o=- {session_id} {version} IN {family} {address}",
        f"s={' '.join(name.split()) or '-'}",
        f"c=IN {family} {'::' if family == 'IP6' else '0.0.0.0'}",
        "t=0 0",
        "a=control:*",
        f"a=range:{play_range}",
    ]
    for track in tracks:
        lines.extend(_track_lines(track))
    return "\r\n".join(lines) + "\r\n"


def _track_lines(track: Track) -> list[str]:
    payload_type = payload_type_of(track)
    kind = "video" if isinstance(track, VideoTrack) else "audio"
    lines = [f"m={kind} 0 RTP/AVP {payload_type}"]
    if isinstance(track, VideoTrack):
        encoding = "H264" if track.codec is Codec.H264 else "H265"
        lines.append(f"a=rtpmap:{payload_type} {encoding}/{track.clock_rate}")
        parameters = _h264_fmtp(track) if track.codec is Codec.H264 else _h265_fmtp(track)
        if parameters:
            lines.append(f"a=fmtp:{payload_type} {parameters}")
    else:
        lines.extend(_audio_lines(track, payload_type))
    lines += [f"a=control:{track_control(track)}", "a=sendonly"]
    return lines


def _audio_lines(track: AudioTrack, payload_type: int) -> list[str]:
    channels = f"/{track.channels}" if track.channels > 1 else ""
    if track.codec is Codec.AAC:
        return [
            f"a=rtpmap:{payload_type} MPEG4-GENERIC/{track.clock_rate}/{track.channels}",
            f"a=fmtp:{payload_type} streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;"
            f"indexdeltalength=3;config={track.config.hex()}",
        ]
    if track.codec is Codec.OPUS:
        # RFC 7587, 7: always 48000/2, whatever is coded.
        return [f"a=rtpmap:{payload_type} opus/48000/2"]
    return [f"a=rtpmap:{payload_type} {track.codec.value.upper()}/{track.clock_rate}{channels}"]


def _h264_fmtp(track: VideoTrack) -> str:
    sets = [unit for unit in track.parameter_sets if unit and unit[0] & 0x1F in (7, 8)]
    parameters = "packetization-mode=1"
    sps = next((unit for unit in sets if unit[0] & 0x1F == 7), b"")
    if len(sps) >= 4:
        parameters += f";profile-level-id={sps[1:4].hex().upper()}"
    if sets:
        parameters += f";sprop-parameter-sets={','.join(_base64(unit) for unit in sets)}"
    return parameters


def _h265_fmtp(track: VideoTrack) -> str:
    parts = []
    for name, unit_type in (("sprop-vps", 32), ("sprop-sps", 33), ("sprop-pps", 34)):
        units = [unit for unit in track.parameter_sets if unit and (unit[0] >> 1) & 0x3F == unit_type]
        if units:
            parts.append(f"{name}={','.join(_base64(unit) for unit in units)}")
    return ";".join(parts)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")

"""Session descriptions as cameras send them, and as our server writes them."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.description import MediaDescription
from media.unit import AudioTrack, Codec, VideoTrack
from streaming.errors import SdpBrokenError
from streaming.rtsp.sdp import (
    SdpMedia,
    SessionDescription,
    join_control,
    parse_sdp,
    payload_type_of,
    track_control,
    write_sdp,
)

HIKVISION = """v=0
o=- 1732186213478911 1732186213478911 IN IP4 192.168.1.64
s=Media Presentation
e=NONE
b=AS:5100
t=0 0
a=control:rtsp://192.168.1.64/Streaming/Channels/101/
m=video 0 RTP/AVP 96
c=IN IP4 0.0.0.0
b=AS:5000
a=recvonly
a=x-dimensions:1920,1080
a=control:rtsp://192.168.1.64/Streaming/Channels/101/trackID=1
a=rtpmap:96 H264/90000
a=fmtp:96 profile-level-id=420029; packetization-mode=1; sprop-parameter-sets=Z01AKZWgHgCJ+VA=,aO48gA==
m=audio 0 RTP/AVP 8
c=IN IP4 0.0.0.0
b=AS:50
a=recvonly
a=control:rtsp://192.168.1.64/Streaming/Channels/101/trackID=2
a=rtpmap:8 PCMA/8000
a=Media_header:MEDIAINFO=494D4B48010300000400000111710110401F000000FA000000000000000000000000000000000000;
a=appversion:1.0
"""

DAHUA = """v=0
o=- 2251938191 2251938191 IN IP4 0.0.0.0
s=Media Server
c=IN IP4 0.0.0.0
t=0 0
a=control:*
a=packetization-supported:DH
a=rtppayload-supported:DH
a=range:npt=now-
m=video 0 RTP/AVP 98
a=control:trackID=0
a=framerate:25.000000
a=rtpmap:98 H265/90000
a=fmtp:98 profile-id=1;sprop-sps=QgEBAWAAAAMAsAAAAwAAAwB4oAPA;sprop-pps=RAHA8vA8kAA=;sprop-vps=QAEMAf//AWAAAAMA
a=recvonly
m=audio 0 RTP/AVP 97
a=control:trackID=1
a=rtpmap:97 MPEG4-GENERIC/16000
a=fmtp:97 streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1408
a=recvonly
m=application 0 RTP/AVP 107
a=control:trackID=4
a=rtpmap:107 vnd.onvif.metadata/90000
a=recvonly
"""

UNIVIEW = """v=0
o=- 1001 1 IN IP4 192.168.1.13
s=VCP IPC Realtime stream
c=IN IP4 192.168.1.13
t=0 0
a=control:rtsp://192.168.1.13/media/video1
m=video 0 RTP/AVP 105
a=rtpmap:105 H264/90000
a=fmtp:105 profile-level-id=640028; packetization-mode=1; sprop-parameter-sets=Z2QAKKzoBQBbkA==,aO44gA==
a=control:rtsp://192.168.1.13/media/video1/video
a=recvonly
m=audio 0 RTP/AVP 0
a=fmtp:0 RTCP=0
a=control:rtsp://192.168.1.13/media/video1/audio1
a=recvonly
m=application 0 RTP/AVP 107
a=rtpmap:107 vnd.onvif.metadata/90000
a=control:rtsp://192.168.1.13/media/video1/metadata
"""

TP_LINK = """v=0
o=- 14665860 31787219 1 IN IP4 192.168.0.60
s=Session streamed by "TP-LINK RTSP Server"
t=0 0
m=video 0 RTP/AVP 96
c=IN IP4 0.0.0.0
b=AS:4096
a=range:npt=0-
a=control:track1
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=1; profile-level-id=4D0029; sprop-parameter-sets=Z00AKZpmA8ARPy4C1AQEBAg=,aO48gA==
m=audio 0 RTP/AVP 8
b=AS:64
a=control:track2
a=rtpmap:8 PCMA/8000
m=audio 0 RTP/AVP 8
a=rtpmap:8 PCMA/8000
a=control:track3
a=sendonly
"""

BASES = {
    "hikvision": "rtsp://192.168.1.64:554/Streaming/Channels/101/",
    "dahua": "rtsp://192.168.1.108:554/cam/realmonitor?channel=1&subtype=0/",
    "uniview": "rtsp://192.168.1.13:554/media/video1/",
    "tp-link": "rtsp://192.168.0.60:554/stream1",
}


def parsed(text: str, base: str) -> SessionDescription:
    return parse_sdp(text.replace("\n", "\r\n").encode(), base)


def described(media: SdpMedia) -> MediaDescription:
    assert media.description is not None
    return media.description


def test_hikvision() -> None:
    description = parsed(HIKVISION, BASES["hikvision"])
    video, audio = description.media
    assert description.control == "rtsp://192.168.1.64/Streaming/Channels/101/"
    assert video.control == "rtsp://192.168.1.64/Streaming/Channels/101/trackID=1"
    assert (described(video).encoding, described(video).payload_type, described(video).clock_rate) == (
        "H264",
        96,
        90000,
    )
    first = described(video).fmtp["sprop-parameter-sets"].split(",")[0]
    assert base64.b64decode(first + "=" * (-len(first) % 4))[0] & 31 == 7
    assert (described(audio).encoding, described(audio).clock_rate, described(audio).channels) == ("PCMA", 8000, 1)
    assert video.bandwidth_kbps == 5000
    assert description.chosen() == (0, 1)


def test_dahua() -> None:
    description = parsed(DAHUA, BASES["dahua"])
    video, audio, metadata = description.media
    assert description.control == BASES["dahua"]
    assert video.control == "rtsp://192.168.1.108:554/cam/realmonitor?channel=1&subtype=0/trackID=0"
    assert described(video).encoding == "H265"
    assert {"sprop-vps", "sprop-sps", "sprop-pps"} <= set(described(video).fmtp)
    assert (described(audio).encoding, described(audio).clock_rate) == ("MPEG4-GENERIC", 16000)
    assert described(audio).fmtp["config"] == "1408"
    assert metadata.description is None
    assert description.chosen() == (0, 1)


def test_uniview_leaves_the_static_rtpmap_out() -> None:
    description = parsed(UNIVIEW, BASES["uniview"])
    assert described(description.media[1]).encoding == "PCMU"
    assert described(description.media[1]).clock_rate == 8000
    assert description.media[1].control == "rtsp://192.168.1.13/media/video1/audio1"
    assert description.chosen() == (0, 1)


def test_tp_link_back_channel_is_passed_over() -> None:
    description = parsed(TP_LINK, BASES["tp-link"])
    assert [media.control for media in description.media] == [
        "rtsp://192.168.0.60:554/stream1/track1",
        "rtsp://192.168.0.60:554/stream1/track2",
        "rtsp://192.168.0.60:554/stream1/track3",
    ]
    assert description.chosen() == (0, 1)
    swapped = TP_LINK.replace("a=control:track2", "a=control:track2\na=sendonly").replace(
        "a=control:track3\na=sendonly", "a=control:track3"
    )
    assert parsed(swapped, BASES["tp-link"]).chosen() == (0, 2)


def test_sendonly_alone_is_the_cameras_own_view() -> None:
    text = "v=0\nm=video 0 RTP/AVP 96\na=sendonly\na=rtpmap:96 H264/90000\n"
    assert parse_sdp(text.encode(), "rtsp://h/a").chosen() == (0,)
    assert parse_sdp(text.replace("sendonly", "inactive").encode(), "rtsp://h/a").chosen() == ()


@pytest.mark.parametrize(
    ("base", "control", "expected"),
    [
        ("rtsp://h/a", None, "rtsp://h/a"),
        ("rtsp://h/a/", "*", "rtsp://h/a/"),
        ("rtsp://h/a", "t=1", "rtsp://h/a/t=1"),
        ("rtsp://h/a/", "t=1", "rtsp://h/a/t=1"),
        ("rtsp://h/a?x=1", "t=1", "rtsp://h/a?x=1/t=1"),
        ("rtsp://h/a", "rtsp://other/b", "rtsp://other/b"),
        ("rtsp://h/a", "/a/t=1", "rtsp://h/a/t=1"),
        ("rtsp://h/a", "/t=1", "rtsp://h/a/t=1"),
    ],
)
def test_control_urls(base: str, control: str | None, expected: str) -> None:
    assert join_control(base, control) == expected


@pytest.mark.parametrize("text", [b"", b"hello", b"\0\1\2", b"m=video 0 RTP/AVP 96\n"])
def test_what_is_no_session_description(text: bytes) -> None:
    with pytest.raises(SdpBrokenError):
        parse_sdp(text, "rtsp://h/a")


def test_a_description_without_media_has_none() -> None:
    assert parse_sdp(b"v=0\r\ns=-\r\n", "rtsp://h/a").media == ()


def test_too_many_media_are_refused() -> None:
    with pytest.raises(SdpBrokenError):
        parse_sdp(b"v=0\n" + b"m=video 0 RTP/AVP 96\n" * 100, "rtsp://h/a")


@settings(deadline=None)
@given(st.text(max_size=400), st.lists(st.sampled_from([*HIKVISION.split("\n"), *DAHUA.split("\n")]), max_size=30))
def test_any_text_is_read_or_refused(noise: str, lines: list[str]) -> None:
    try:
        description = parse_sdp(("v=0\n" + "\n".join(lines) + noise).encode("utf-8", "replace"), "rtsp://h/a")
    except SdpBrokenError:
        return
    assert all(0 <= index < len(description.media) for index in description.chosen())


SPS = bytes.fromhex("6764001facd9405005bb011000000300100000030320f1831960")
PPS = bytes.fromhex("68ebe3cb22c0")


@pytest.mark.parametrize(
    ("track", "encoding", "clock_rate", "channels", "payload_type"),
    [
        (VideoTrack(Codec.H264, (SPS, PPS), 1280, 720), "H264", 90000, 1, 96),
        (VideoTrack(Codec.H265, (b"\x40\x01v", b"\x42\x01s", b"\x44\x01p"), 1280, 720), "H265", 90000, 1, 96),
        (AudioTrack(Codec.PCMA, 8000, 1), "PCMA", 8000, 1, 8),
        (AudioTrack(Codec.PCMU, 8000, 1), "PCMU", 8000, 1, 0),
        (AudioTrack(Codec.PCMU, 16000, 1), "PCMU", 16000, 1, 97),
        (AudioTrack(Codec.AAC, 16000, 2, bytes.fromhex("1410")), "MPEG4-GENERIC", 16000, 2, 97),
        (AudioTrack(Codec.OPUS, 48000, 2), "OPUS", 48000, 2, 97),
    ],
)
def test_what_our_server_writes_our_client_reads(
    track: VideoTrack | AudioTrack, encoding: str, clock_rate: int, channels: int, payload_type: int
) -> None:
    text = write_sdp([track], name="hall\r\na=evil", address="127.0.0.1", session_id=7)
    (media,) = parse_sdp(text.encode(), "rtsp://h/live/hall").media
    assert "a=evil" not in text.splitlines()
    assert payload_type_of(track) == payload_type
    assert media.control == f"rtsp://h/live/hall/{track_control(track)}"
    read = described(media)
    assert (read.encoding, read.clock_rate, read.channels, read.payload_type) == (
        encoding,
        clock_rate,
        channels,
        payload_type,
    )
    if isinstance(track, VideoTrack):
        names = ("sprop-parameter-sets", "sprop-vps", "sprop-sps", "sprop-pps")
        values = ",".join(read.fmtp[name] for name in names if name in read.fmtp).split(",")
        assert tuple(base64.b64decode(value) for value in values) == track.parameter_sets
    elif track.codec is Codec.AAC:
        assert bytes.fromhex(read.fmtp["config"]) == track.config


def test_a_description_made_to_be_slow_is_read_at_once() -> None:
    """Each of so many formats looked up among so many attributes: hours, in which the event loop stands."""
    formats = " 9" * 15_000
    attributes = "a=rtpmap:1 x/1\n" * 1_500
    description = parse_sdp(f"v=0\nm=video 0 RTP/AVP{formats}\n{attributes}".encode(), "rtsp://camera/")
    assert [media.description for media in description.media] == [MediaDescription("video", "G722", 9, 8000)]
    with pytest.raises(SdpBrokenError) as caught:
        parse_sdp(f"v=0\nm=video 0 RTP/AVP{formats * 10}\n{attributes * 20}".encode(), "rtsp://camera/")
    assert caught.value.params["reason"] == "too-long"

"""Targets in ``streaming``: text and framing from cameras and from clients of our RTSP server."""

import asyncio
from typing import Any

from media.errors import UnsupportedCodecError
from media.receiver import StreamReceiver, can_take
from media.rtp import HEADER
from media.stream import LiveStream, StreamId
from media.unit import AccessUnit, AudioTrack, Codec, VideoTrack
from streaming.addresses import parse_rtsp_url, redacted, split_credentials
from streaming.errors import MessageBrokenError, MessageTooLargeError, NotRtspError, RtspError, UrlInvalidError
from streaming.rtsp.auth import ClientAuthenticator, ServerAuthenticator, parse_challenges
from streaming.rtsp.connection import EachFrame, RtspConnection
from streaming.rtsp.message import Message, MessageParser, StreamParser, interleaved_header
from streaming.rtsp.sdp import parse_sdp, write_sdp
from streaming.rtsp.server_connection import ServerConnection
from streaming.rtsp.server_feed import Output, StreamFeed
from streaming.rtsp.server_multicast import MulticastGroup
from streaming.rtsp.server_session import ConnectionSettings, Library
from streaming.rtsp.transport import RtpChannel
from streaming.secret import Secret
from tests.fuzz.harness import Input, Target
from tests.support.clocks import FakeClock
from tests.support.rtp_feed import START_NS, description

_URL = "rtsp://10.0.0.9/Streaming/Channels/101?transportmode=unicast"
_METHODS = (b"OPTIONS ", b"DESCRIBE ", b"SETUP ", b"PLAY ", b"TEARDOWN ", b"GET_PARAMETER ", b"ANNOUNCE ", b"REDIRECT ")
_FIELDS = (b"CSeq: ", b"Content-Length: ", b"Transport: ", b"Session: ", b"Require: ", b"Authorization: ", b"Range: ")
_LINES = (b" RTSP/1.0\r\n", b"RTSP/1.0 200 OK\r\n", b"\r\n\r\n", b"\n\n", b"$\0", b"$\1", b"\r\n ")
_TRACKS = (
    VideoTrack(
        Codec.H264, (bytes.fromhex("6742c00bda0c3fee1000000300100000030328f142aa"), bytes.fromhex("68ce3c80")), 192, 108
    ),
    AudioTrack(Codec.AAC, 16_000, 1, bytes.fromhex("1408")),
)


def _request(method: str, *fields: str, url: str = "rtsp://h/live/hall") -> bytes:
    return "\r\n".join([f"{method} {url} RTSP/1.0", "CSeq: 1", *fields, "", ""]).encode()


def _message(data: bytes) -> None:
    """One stream of messages and frames: whole, and in two other cuts, it must come to the same."""
    source = Input(data)
    step = 1 + source.number()
    wire = source.rest()

    def parsed(size: int) -> tuple[list[Any], str]:
        parser = StreamParser(4096, 4096)
        found: list[Any] = []
        try:
            for at in range(0, len(wire), size):
                found += parser.feed(wire[at : at + size])
        except RtspError as error:
            return [], type(error).__name__
        return found, ""

    whole, error = parsed(len(wire) or 1)
    pieces, pieces_error = parsed(step)
    if not error and not pieces_error:
        assert [_same(item) for item in pieces] == [_same(item) for item in whole]
    for item in whole:
        if isinstance(item, Message):
            item.cseq  # noqa: B018
            repr(item.headers)


def _same(item: object) -> object:
    return (type(item), getattr(item, "status", 0), getattr(item, "url", ""), getattr(item, "body", b""), repr(item))


def _message_seeds() -> list[bytes]:
    answer = b'RTSP/1.0 401 Unauthorized\r\nCSeq: 2\r\nWWW-Authenticate: Digest realm="a",\r\n nonce="b"\r\n\r\n'
    body = b"RTSP/1.0 200 OK\r\nCSeq: 3\r\nContent-Length: 5\r\n\r\nv=0\r\n"
    frame = interleaved_header(0, 3) + b"abc"
    return [b"\3" + _request("DESCRIBE") + frame + answer, b"\x40" + body + frame + frame, b"\0\r\n\r\n" + frame]


_LOOP = asyncio.new_event_loop()


def _interleaved(data: bytes) -> None:
    """A camera's connection: what it sends after PLAY, in reads of any size, down to access units."""
    _LOOP.run_until_complete(_read_interleaved(data))


async def _read_interleaved(data: bytes) -> None:
    source = Input(data)
    tolerant = bool(source.number() & 1)
    step = 1 + source.number(2) % 3000
    told = [description(VideoTrack(Codec.H264, (), 0, 0)), description(AudioTrack(Codec.PCMA, 8000, 1))]
    receiver = StreamReceiver(told, FakeClock(), origin_utc_ns=START_NS)
    connection = RtspConnection(FakeClock(), "camera", 554, lambda channel, packet, at_ns: None)
    connection.tolerant = tolerant
    connection.spoke_rtsp = True
    for index in (0, 1):
        _connect(connection, receiver, index)
    wire = source.rest()
    at = 0
    while at < len(wire) and connection.failure is None:
        connection.data_received(wire[at : at + step])
        at += step
    receiver.flush()
    failure = connection.failure
    assert failure is None or isinstance(failure, RtspError | NotRtspError) or _said_good_bye(failure), repr(failure)


def _connect(connection: RtspConnection, receiver: StreamReceiver, index: int) -> None:
    """Medium ``index`` on its two channels, as the client sets it up."""

    def rtcp(packet: bytes, arrival_ns: int) -> None:
        receiver.rtcp(index, packet, arrival_ns)

    connection.sinks[2 * index] = RtpChannel(receiver, index, lambda item: None)
    connection.sinks[2 * index + 1] = EachFrame(rtcp)


def _said_good_bye(failure: Exception) -> bool:
    return type(failure).__name__ == "CameraDisconnectedError"


def _interleaved_seeds() -> list[bytes]:
    frames = bytearray()
    for number in range(12):
        fragment = b"\x7c" + (b"\x85" if number % 4 == 0 else b"\x45" if number % 4 == 3 else b"\x05") + b"slice"
        packet = HEADER.pack(0x80, 96 | (0x80 if number % 4 == 3 else 0), number, number // 4 * 3600, 9) + fragment
        frames += interleaved_header(0, len(packet)) + packet
    sound = HEADER.pack(0x80, 8, 1, 160, 5) + bytes(20)
    frames += interleaved_header(2, len(sound)) + sound
    ok = b"RTSP/1.0 200 OK\r\nCSeq: 4\r\n\r\n"
    return [
        b"\1\x0b\xff" + bytes(frames),
        b"\0\0\x20" + ok + bytes(frames) + ok,
        b"\1\0\1" + bytes(frames[:200]) + b"xx" + bytes(frames[200:]),
    ]


class _Transport:
    """A client's connection that takes everything."""

    def __init__(self) -> None:
        self.written = 0
        self.closing = False

    def write(self, data: bytes) -> None:
        self.written += len(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closing

    def get_extra_info(self, name: str) -> tuple[str, int]:
        return ("127.0.0.1", 554)

    def close(self) -> None:
        self.closing = True

    abort = close


class _Keeper:
    """Sends to nobody."""

    def join(self, stream: LiveStream, output: Output) -> None:
        return

    def leave(self, stream: LiveStream, output: Output) -> None:
        return

    def feed(self, stream: LiveStream) -> StreamFeed | None:
        return None

    def multicast_group(self, stream: LiveStream) -> MulticastGroup | None:
        return None


def _stream() -> LiveStream:
    stream = LiveStream(StreamId("hall"), FakeClock())
    for track in _TRACKS:
        stream.publish(AccessUnit(track, 0, 0, START_NS, b"\0\0\0\2\x65\x88"))
    return stream


_STREAM = _stream()
_PASSWORD = Secret("right")


def _server(data: bytes) -> None:
    """What a client of our RTSP server sends. The first octet says whether a log-in is asked for, and the cut."""
    source = Input(data)
    flags = source.number()
    clock = FakeClock()
    gate = ServerAuthenticator("Sanhui", {"hall": _PASSWORD}.get, clock) if flags & 1 else None
    transport: Any = _Transport()
    connection = ServerConnection(
        Library(lambda path: _STREAM if path == "/live/hall" else None),
        gate,
        _Keeper(),
        clock,
        ConnectionSettings(allow_udp=False),
        lambda _: None,
    )
    connection.connection_made(transport)
    wire = source.rest()
    step = 1 + (flags >> 1) * 16
    for at in range(0, len(wire), step):
        if transport.closing:
            break
        connection.data_received(wire[at : at + step])
    connection.check_alive()
    connection.connection_lost(None)
    # However much is asked, an answer is of the size of a session description.
    assert transport.written <= 2000 * (1 + wire.count(b"\n"))


def _server_seeds() -> list[bytes]:
    tcp = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"
    udp = "Transport: RTP/AVP;unicast;client_port=5000-5001,RTP/AVP/TCP;unicast"
    talk = [_request("OPTIONS"), _request("DESCRIBE"), _request("SETUP", tcp, url="rtsp://h/live/hall/track1")]
    talk += [_request("SETUP", udp, url="rtsp://h/live/hall/track2"), _request("PLAY", "Session: 0", "Range: npt=0-")]
    talk += [interleaved_header(1, 3) + b"abc", _request("GET_PARAMETER"), _request("TEARDOWN")]
    login = 'Authorization: Digest username="hall", realm="Sanhui", nonce="1.2", uri="/live/hall", response="00"'
    basic = "Authorization: Basic aGFsbDpyaWdodA=="
    return [b"\xfe" + b"".join(talk), b"\xff" + _request("DESCRIBE", login), b"\xff" + _request("DESCRIBE", basic)]


def _sdp(data: bytes) -> None:
    try:
        session = parse_sdp(data, _URL)
    except RtspError:
        return
    for index in session.chosen():
        described = session.media[index].description
        assert described is not None
        can_take(described)
    try:
        receiver = StreamReceiver([media.description for media in session.media], FakeClock(), origin_utc_ns=START_NS)
    except UnsupportedCodecError:
        return
    write_sdp(receiver.tracks)


def _sdp_seeds() -> list[bytes]:
    camera = (
        "v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=Media\r\nb=AS:5100\r\nt=0 0\r\na=control:rtsp://10.0.0.9/x/\r\n"
        "m=video 0 RTP/AVP 96\r\na=control:trackID=1\r\na=rtpmap:96 H265/90000\r\n"
        "a=fmtp:96 sprop-vps=QAEMAf//;sprop-sps=QgEB;sprop-pps=RAHA;sprop-max-don-diff=0\r\n"
        "m=audio 0 RTP/AVP 8\r\na=sendonly\r\nm=application 0 RTP/AVP 107\r\n"
    )
    return [write_sdp(_TRACKS).encode(), camera.encode()]


_SDP_WORDS = (
    b"v=0\r\n", b"m=video ", b"m=audio ", b"RTP/AVP ", b"a=rtpmap:", b"a=fmtp:", b"a=control:", b"H264/90000",
    b"MPEG4-GENERIC/", b"opus/48000/2", b"PCMA/8000", b"sprop-parameter-sets=", b"config=", b"rtsp://[", b"://",
)  # fmt: skip


def _auth(data: bytes) -> None:
    source = Input(data)
    clock = FakeClock()
    text = source.piece().decode("utf-8", "surrogateescape")
    challenge = source.rest().decode("utf-8", "surrogateescape")
    server = ServerAuthenticator("Sanhui", {"hall": _PASSWORD}.get, clock)
    server.check("DESCRIBE", "rtsp://h/live/hall", text)
    parse_challenges([challenge, text])
    client = ClientAuthenticator("hall", _PASSWORD)
    client.challenged([challenge])
    answer = client.authorization("DESCRIBE", "rtsp://h/live/hall")
    assert answer is None or "right" not in answer.replace(challenge, "")


def _auth_seeds() -> list[bytes]:
    digest = b'Digest realm="IP Camera(12345)", nonce="abc", algorithm=MD5, qop="auth", opaque="x", stale=FALSE'
    both = b'Digest realm="a\\"b", nonce="n", algorithm=SHA-256-sess, Basic realm="c"'
    answer = b'Digest username="hall", realm="Sanhui", nonce="1.2", uri="/live/hall", response="00", nc=00000001'
    return [len(answer).to_bytes(2, "big") + answer + digest, b"\0\0" + both, b"\0\x0dBasic aGFsbDp4" + both]


def _url(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    clean, credentials = split_credentials(text)
    redacted(text)
    try:
        parsed = parse_rtsp_url(clean)
    except UrlInvalidError:
        return
    assert parsed.url.isascii()
    assert credentials is None or "\0" not in parsed.host
    assert parse_rtsp_url(parsed.url).host == parsed.host


def _url_seeds() -> list[bytes]:
    return [
        b"rtsp://admin:p@ss/w0rd@10.0.0.9:554/Streaming/Channels/101?a=b#c",
        "rtsp://摄像机.example/路径".encode(),
        b"rtsp://[fe80::1%25eth0]:8554/user=admin&password=x&channel=1",
    ]


def _camera_message(data: bytes) -> None:
    """The client's own parser: any bytes, octet by octet, end in messages or a typed error."""
    parser = MessageParser(2048, 2048)
    at = 0
    try:
        while at < len(data):
            _, used = parser.feed(memoryview(data)[at : at + 7])
            assert used > 0
            at += used
    except (MessageBrokenError, MessageTooLargeError):
        return


TARGETS = (
    Target("rtsp_stream", _message, _message_seeds, 1024, (*_METHODS, *_FIELDS, *_LINES)),
    Target("rtsp_message", _camera_message, lambda: [seed[1:] for seed in _message_seeds()], 1024, (*_FIELDS, *_LINES)),
    Target("rtsp_interleaved", _interleaved, _interleaved_seeds, 1500, _LINES),
    Target("rtsp_server", _server, _server_seeds, 1500, (*_METHODS, *_FIELDS, *_LINES, b"/live/hall", b"/track1")),
    Target("sdp", _sdp, _sdp_seeds, 1500, _SDP_WORDS),
    Target("rtsp_login", _auth, _auth_seeds, 600, (b"Digest ", b"Basic ", b"realm=", b'nonce="', b'\\"', b", ")),
    Target("rtsp_url", _url, _url_seeds, 300, (b"rtsp://", b"@", b"[::1]", b"%00", b"password=")),
)

"""RTSP messages: whatever the pieces, the same messages; bounds hold; nothing but typed errors."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.errors import MessageBrokenError, MessageTooLargeError, RtspError
from streaming.rtsp.message import (
    Headers,
    InterleavedFrame,
    Message,
    MessageParser,
    Request,
    Response,
    StreamParser,
    interleaved_header,
)

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-", min_size=1, max_size=20).filter(
    lambda name: name.lower() != "content-length"
)
VALUE = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=40)
HEADERS = st.lists(st.tuples(TOKEN, VALUE), max_size=8).map(Headers)
BODY = st.binary(max_size=300)
URL = st.text("abcxyz/:.?&=0123456789%", min_size=1, max_size=40)
REQUESTS = st.builds(Request, st.sampled_from(["OPTIONS", "SETUP", "GET_PARAMETER"]), URL, HEADERS, BODY)
RESPONSES = st.builds(Response, st.integers(100, 599), st.just("OK"), HEADERS, BODY)
FRAMES = st.builds(InterleavedFrame, st.integers(0, 255), st.binary(max_size=200))
ITEMS = st.lists(st.one_of(REQUESTS, RESPONSES, FRAMES), max_size=6)


def on_the_wire(item: Message | InterleavedFrame) -> bytes:
    if isinstance(item, InterleavedFrame):
        return interleaved_header(item.channel, len(item.payload)) + item.payload
    return item.encode()


def facts(item: Message | InterleavedFrame) -> tuple[object, ...]:
    if isinstance(item, InterleavedFrame):
        return (item.channel, item.payload)
    first = (item.method, item.url) if isinstance(item, Request) else (item.status, item.reason)
    headers = [(name, value.strip()) for name, value in item.headers if name.lower() != "content-length"]
    return (*first, headers, item.body)


@settings(deadline=None)
@given(ITEMS, st.lists(st.integers(1, 400), max_size=50))
def test_pieces_of_any_size_give_the_same_messages(items: list[Message | InterleavedFrame], cuts: list[int]) -> None:
    data = b"".join(on_the_wire(item) for item in items)
    parser = StreamParser()
    found = []
    position = 0
    for size in [*cuts, len(data)]:
        found += parser.feed(data[position : position + size])
        position += size
    assert [facts(item) for item in found] == [facts(item) for item in items]


def test_one_byte_writes() -> None:
    request = Request("DESCRIBE", "rtsp://h/p", Headers([("CSeq", "3"), ("X", "y")]), b"body")
    parser = StreamParser()
    found = [item for byte in request.encode() + b"$\x01\x00\x02ab" for item in parser.feed(bytes([byte]))]
    assert [facts(item) for item in found] == [facts(request), (1, b"ab")]


@settings(deadline=None)
@given(st.binary(max_size=2000), st.integers(1, 100))
def test_garbage_ends_in_a_typed_error_or_nothing(data: bytes, step: int) -> None:
    parser = StreamParser()
    try:
        for position in range(0, len(data), step):
            parser.feed(data[position : position + step])
    except RtspError as error:
        assert error.code in ("rtsp-message-broken", "rtsp-message-too-large")  # noqa: PT017


def test_a_header_of_ten_megabytes_is_refused_early() -> None:
    parser = MessageParser()
    parser.feed(b"RTSP/1.0 200 OK\r\nX: ")
    for _ in range(6):
        parser.feed(b"a" * 10_000)
    with pytest.raises(MessageTooLargeError) as caught:
        parser.feed(b"a" * 10_000)
    assert caught.value.params == {"what": "header", "limit": 65536}


def test_a_large_body_is_refused_before_it_is_read() -> None:
    with pytest.raises(MessageTooLargeError) as caught:
        MessageParser().feed(b"RTSP/1.0 200 OK\r\nContent-Length: 1048577\r\n\r\n")
    assert caught.value.params["what"] == "body"


def test_too_many_fields_are_refused() -> None:
    with pytest.raises(MessageTooLargeError):
        MessageParser().feed(b"RTSP/1.0 200 OK\r\n" + b"a: b\r\n" * 300 + b"\r\n")


@pytest.mark.parametrize("length", ["-1", "0x10", "1e3", "٣", "9" * 30, "1 2"])
def test_a_content_length_that_is_no_number_is_refused(length: str) -> None:
    with pytest.raises(MessageBrokenError):
        MessageParser().feed(f"RTSP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n".encode())


@pytest.mark.parametrize(
    ("banner", "looks_like"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "ssh"),
        (b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n", "http"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "tls"),
        (b"220 mail ready\r\n", "unknown"),
    ],
)
def test_what_else_answers_is_recognised(banner: bytes, looks_like: str) -> None:
    with pytest.raises(MessageBrokenError) as caught:
        MessageParser().feed(banner)
    assert caught.value.params["looks_like"] == looks_like


def test_careless_cameras_are_understood() -> None:
    text = b"\r\n\r\nRTSP/1.0  200 OK\nCSeq:7\nnoise without a meaning\nPublic: OPTIONS,\n  DESCRIBE\n\n"
    parser = MessageParser()
    assert parser.feed(text + b"$") == (None, 4)
    message, used = parser.feed(text[4:] + b"$")
    assert isinstance(message, Response)
    assert used == len(text) - 4
    assert (message.status, message.cseq) == (200, 7)
    assert message.headers.get("public") == "OPTIONS, DESCRIBE"


def test_bytes_that_are_no_utf8_survive() -> None:
    realm = "摄像机".encode("gbk")
    message, _ = MessageParser().feed(b"RTSP/1.0 401 No\r\nWWW-Authenticate: " + realm + b"\r\n\r\n")
    assert message is not None
    assert realm in message.encode()


def test_a_carriage_return_alone_is_a_space_so_that_what_was_asked_can_be_named_in_the_answer() -> None:
    (request,) = StreamParser().feed(b"DESCRIBE rtsp://h/ RTSP/1.0\r\nCSeq: 1\r\nRequire: a\rX: b\r\n\r\n")
    assert isinstance(request, Request)
    assert request.headers.get("Require") == "a X: b"
    assert b"Unsupported: a X: b\r\n" in Response(551, headers=Headers([("Unsupported", "a X: b")])).encode()


def test_a_line_break_cannot_be_smuggled_in() -> None:
    with pytest.raises(ValueError, match="line break"):
        Request("OPTIONS", "rtsp://h/\r\nX: y").encode()
    with pytest.raises(ValueError, match="line break"):
        Response(200, headers=Headers([("X", "a\nb")])).encode()


def test_an_authorization_is_not_shown() -> None:
    request = Request("OPTIONS", "*", Headers([("Authorization", "Basic c2VjcmV0")]))
    assert "c2VjcmV0" not in repr(request)

"""RTSP messages on the wire (RFC 2326), for both ends: parsed incrementally and bounded, written safely.

:class:`MessageParser` takes one text message at a time and says how much of the input it used, so that a caller with a
fast path of its own for interleaved data (the client) can use it for the rest. :class:`StreamParser` puts both
together for a caller to whom convenience matters more (the server).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from streaming.errors import MessageBrokenError, MessageTooLargeError

MAX_HEADER_BYTES = 64 * 1024
MAX_BODY_BYTES = 1024 * 1024
MAX_START_LINE_BYTES = 8 * 1024
MAX_HEADERS = 256
INTERLEAVED_MAGIC = 0x24
INTERLEAVED_HEADER_BYTES = 4

REASONS = {
    200: "OK",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    413: "Request Entity Too Large",
    451: "Parameter Not Understood",
    453: "Not Enough Bandwidth",
    454: "Session Not Found",
    455: "Method Not Valid In This State",
    457: "Invalid Range",
    459: "Aggregate Operation Not Allowed",
    461: "Unsupported Transport",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "RTSP Version Not Supported",
    551: "Option Not Supported",
}

_REQUEST_LINE = re.compile(r"([A-Z_]{1,32}) (\S+) RTSP/(\d)\.(\d)\s*")
_STATUS_LINE = re.compile(r"RTSP/(\d)\.(\d) +(\d{3})(?: (.*))?")
_FIRST_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ_")


class Headers:
    """Header fields in their order; names compared without case; a name may come several times."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields = list(fields)

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value under ``name``."""
        lowered = name.lower()
        for key, value in self._fields:
            if key.lower() == lowered:
                return value
        return default

    def get_all(self, name: str) -> list[str]:
        """All values under ``name``."""
        lowered = name.lower()
        return [value for key, value in self._fields if key.lower() == lowered]

    def add(self, name: str, value: str) -> None:
        """Append a field."""
        self._fields.append((name, value))

    def extend_last(self, more: str) -> None:
        """Continue the value of the last field (a folded line)."""
        if self._fields:
            name, value = self._fields[-1]
            self._fields[-1] = (name, f"{value} {more}")

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        shown = [(key, "***" if key.lower() == "authorization" else value) for key, value in self._fields]
        return f"Headers({shown!r})"


@dataclass(slots=True)
class Request:
    """A request. ``method`` is upper case; ``url`` as sent, ``*`` allowed."""

    method: str
    url: str
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""

    @property
    def cseq(self) -> int | None:
        """The CSeq number, if there is a readable one."""
        return _cseq(self.headers)

    def encode(self) -> bytes:
        """The bytes on the wire. Raises ValueError if a field would break the framing."""
        return _encode(f"{self.method} {self.url} RTSP/1.0", self.headers, self.body)


@dataclass(slots=True)
class Response:
    """A response."""

    status: int
    reason: str = ""
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""

    @property
    def cseq(self) -> int | None:
        """The CSeq number, if there is a readable one."""
        return _cseq(self.headers)

    def encode(self) -> bytes:
        """The bytes on the wire. Raises ValueError if a field would break the framing."""
        reason = self.reason or REASONS.get(self.status, "Unknown")
        return _encode(f"RTSP/1.0 {self.status} {reason}", self.headers, self.body)


@dataclass(frozen=True, slots=True)
class InterleavedFrame:
    """One binary frame in the RTSP connection (RFC 2326, 10.12)."""

    channel: int
    payload: bytes


Message = Request | Response


def interleaved_header(channel: int, length: int) -> bytes:
    """The four bytes before an interleaved packet of ``length`` bytes."""
    return bytes((INTERLEAVED_MAGIC, channel)) + length.to_bytes(2, "big")


class MessageParser:
    """Reads one text message after another from pieces of any size.

    Text is UTF-8 with undecodable bytes kept as surrogate escapes, so a realm in GBK goes into a digest as it came.
    """

    def __init__(self, max_header_bytes: int = MAX_HEADER_BYTES, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._max_header_bytes = max_header_bytes
        self._max_body_bytes = max_body_bytes
        self._head = bytearray()
        self._first_line_checked = False
        self._pending: Message | None = None
        self._body = bytearray()
        self._body_length = 0

    @property
    def busy(self) -> bool:
        """Whether a message has begun and is not yet whole."""
        return bool(self._head) or self._pending is not None

    def feed(self, data: bytes | bytearray | memoryview) -> tuple[Message | None, int]:
        """Take bytes; return the message they complete, if any, and how many bytes were used.

        Line breaks before a message are used up by a call of their own. Other bytes are all used unless a message is
        complete. Raises MessageBrokenError, MessageTooLargeError; after that
        the parser is of no more use.
        """
        if self._pending is not None:
            return self._feed_body(data, 0)
        if not self._head and (skipped := _leading_line_breaks(data)):
            # Ignored before a message, as in HTTP; some cameras end a body with one. What follows may be a frame.
            return None, skipped
        before = len(self._head)
        self._head += data[: self._max_header_bytes + 1 - before]
        end = self._find_end(before)
        self._check_first_line()
        if end > self._max_header_bytes or (end < 0 and len(self._head) > self._max_header_bytes):
            raise MessageTooLargeError("RTSP header too large", what="header", limit=self._max_header_bytes)
        if end < 0:
            return None, len(data)
        used = end - before
        text = self._head[:end].decode("utf-8", "surrogateescape")
        self._head.clear()
        self._first_line_checked = False
        self._pending = _parse_head(text)
        self._body_length = self._content_length(self._pending.headers)
        return self._feed_body(data, used)

    def _find_end(self, before: int) -> int:
        start = max(0, before - 2)
        ends = [
            position + len(mark) for mark in (b"\n\r\n", b"\n\n") if (position := self._head.find(mark, start)) >= 0
        ]
        return min(ends, default=-1)

    def _check_first_line(self) -> None:
        if self._first_line_checked:
            return
        end = self._head.find(b"\n")
        if end < 0 and len(self._head) <= MAX_START_LINE_BYTES and self._head[0] in _FIRST_LETTERS:
            return
        line = bytes(self._head[: end if end >= 0 else MAX_START_LINE_BYTES]).rstrip(b"\r")
        text = line.decode("utf-8", "surrogateescape")
        if (
            end < 0
            or len(line) > MAX_START_LINE_BYTES
            or not (_STATUS_LINE.match(text) or _REQUEST_LINE.fullmatch(text))
        ):
            raise MessageBrokenError("not an RTSP message", looks_like=_looks_like(line))
        self._first_line_checked = True

    def _content_length(self, headers: Headers) -> int:
        value = (headers.get("Content-Length") or "0").strip()
        if not (value.isascii() and value.isdigit()) or len(value) > 12:
            raise MessageBrokenError("Content-Length is not a number", looks_like="unknown")
        length = int(value)
        if length > self._max_body_bytes:
            raise MessageTooLargeError("RTSP body too large", what="body", limit=self._max_body_bytes)
        return length

    def _feed_body(self, data: bytes | bytearray | memoryview, used: int) -> tuple[Message | None, int]:
        piece = data[used : used + self._body_length - len(self._body)]
        self._body += piece
        used += len(piece)
        if len(self._body) < self._body_length:
            return None, used
        message = self._pending
        assert message is not None
        message.body = bytes(self._body)
        self._body.clear()
        self._pending = None
        return message, used


class StreamParser:
    """Splits a connection's bytes into text messages and interleaved frames."""

    def __init__(self, max_header_bytes: int = MAX_HEADER_BYTES, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._messages = MessageParser(max_header_bytes, max_body_bytes)
        self._frame = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> list[Message | InterleavedFrame]:
        """Take bytes; return what they complete, in order. Raises MessageBrokenError, MessageTooLargeError."""
        found: list[Message | InterleavedFrame] = []
        position = 0
        while position < len(data):
            if self._frame or (data[position] == INTERLEAVED_MAGIC and not self._messages.busy):
                position += self._take_frame(data, position, found)
                continue
            message, used = self._messages.feed(data[position:])
            position += used
            if message is not None:
                found.append(message)
        return found

    def _take_frame(
        self, data: bytes | bytearray | memoryview, position: int, found: list[Message | InterleavedFrame]
    ) -> int:
        taken = 0
        if len(self._frame) < INTERLEAVED_HEADER_BYTES:
            piece = data[position : position + INTERLEAVED_HEADER_BYTES - len(self._frame)]
            self._frame += piece
            taken = len(piece)
            if len(self._frame) < INTERLEAVED_HEADER_BYTES:
                return taken
        length = INTERLEAVED_HEADER_BYTES + int.from_bytes(self._frame[2:4], "big")
        piece = data[position + taken : position + taken + length - len(self._frame)]
        self._frame += piece
        taken += len(piece)
        if len(self._frame) == length:
            found.append(InterleavedFrame(self._frame[1], bytes(self._frame[INTERLEAVED_HEADER_BYTES:])))
            self._frame.clear()
        return taken


def _leading_line_breaks(data: bytes | bytearray | memoryview) -> int:
    count = 0
    while count < len(data) and data[count] in b"\r\n":
        count += 1
    return count


def _parse_head(text: str) -> Message:
    # A carriage return alone ends no line, and may not be handed on (RFC 9110, 5.5).
    lines = [raw.rstrip("\r").replace("\r", " ") for raw in text.split("\n")]
    first = lines[0]
    headers = Headers()
    for line in lines[1:]:
        if line[:1] in (" ", "\t"):
            headers.extend_last(line.strip())
            continue
        name, colon, value = line.partition(":")
        # A line without a colon is noise some cameras add; nothing in it could be meant for us.
        if colon and name.strip():
            headers.add(name.strip(), value.strip())
        if len(headers) > MAX_HEADERS:
            raise MessageTooLargeError("too many RTSP header fields", what="header", limit=MAX_HEADERS)
    if status := _STATUS_LINE.match(first):
        return Response(int(status[3]), (status[4] or "").strip(), headers)
    request = _REQUEST_LINE.fullmatch(first)
    if request is None:
        raise MessageBrokenError("not an RTSP message", looks_like="unknown")
    return Request(request[1], request[2], headers)


def _looks_like(line: bytes) -> str:
    if line.startswith(b"SSH-"):
        return "ssh"
    if line.startswith(b"HTTP/") or b" HTTP/" in line:
        return "http"
    # A TLS record: handshake or alert, version 3.x (RFC 8446, 5.1).
    if line[:1] in (b"\x15", b"\x16") and line[1:2] == b"\x03":
        return "tls"
    return "unknown"


def _cseq(headers: Headers) -> int | None:
    value = headers.get("CSeq") or ""
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 10 else None


def _encode(first: str, headers: Headers, body: bytes) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers)]
    if body and "Content-Length" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break inside an RTSP header")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body

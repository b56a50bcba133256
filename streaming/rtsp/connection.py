"""One TCP connection to a camera: requests and answers, and RTP cut straight out of bulk reads.

RTP packets are handed on as places in what a read brought: nothing is made for each. Text, garbage and anything else
unusual goes the slow way.
"""

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final, cast

from media.clock import Clock
from streaming.errors import CameraDisconnectedError, CameraTimeoutError, MessageBrokenError, NotRtspError
from streaming.rtsp.message import (
    INTERLEAVED_HEADER_BYTES,
    INTERLEAVED_MAGIC,
    Headers,
    Message,
    MessageParser,
    Request,
    Response,
    interleaved_header,
)
from streaming.rtsp.pacing import ReadPacer

# A tenth of a second of a camera; below what glibc gives pages of their own, which would have to be cleared each time.
READ_BYTES: Final = 60 * 1024
MAX_GARBAGE_BYTES: Final = 256 * 1024
MAX_UNSENT_BYTES: Final = 64 * 1024
MAX_PENDING: Final = 8
# A camera that sends faster than this many reads at each turn has to wait for the next one.
MAX_READS_AT_ONCE: Final = 32
# So does one whose bytes take long to be looked through: others' wait meanwhile.
MAX_READING_NS: Final = 20_000_000

# How an answer, and what cameras ask of clients, begins. Anything else between two frames is garbage.
_MESSAGE_STARTS: Final = (b"RTSP", b"OPTI", b"GET_", b"SET_", b"ANNO", b"REDI", b"TEAR", b"\r", b"\n")


class FrameSink(ABC):
    """Takes the RTP or RTCP packets of one interleaved channel."""

    @abstractmethod
    def take(self, read: bytes, start: int, stop: int, end: int, arrival_ns: int) -> int:
        """Take the packet ``read[start:stop]``, which arrived at ``arrival_ns`` (Unix nanoseconds).

        The read goes to ``end``. Whole frames right behind the packet that plainly go on from it may be taken too, many
        at once; returns where the first frame begins that was not taken: ``stop`` if none was.
        """


class EachFrame(FrameSink):
    """Gives every packet and its arrival to a function."""

    def __init__(self, call: Callable[[bytes, int], None]) -> None:
        self._call = call

    def take(self, read: bytes, start: int, stop: int, end: int, arrival_ns: int) -> int:
        self._call(read[start:stop], arrival_ns)
        return stop


class RtspConnection(asyncio.Protocol):
    """The protocol object of one connection. Owned by one RtspClient; lives on one event loop.

    ``sinks`` are by interleaved channel; ``stray`` gets frames on channels without one.
    ``closed`` is done when the connection is over; then ``failure`` says why. ``tolerant`` is set once media may come:
    from then on stray bytes between messages are skipped.
    """

    def __init__(self, clock: Clock, host: str, port: int, stray: Callable[[int, bytes, int], None]) -> None:
        self.sinks: list[FrameSink | None] = [None] * 256
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.failure: Exception | None = None
        self.spoke_rtsp = False
        self.tolerant = False
        self.frames = 0
        self.garbage_bytes = 0
        self._clock = clock
        self._host = host
        self._port = port
        self._stray = stray
        self._pacer: ReadPacer | None = None
        self._fd = -1
        self._rest = b""
        self._parser = MessageParser()
        self._garbage_since_frame = 0
        self._transport: asyncio.Transport | None = None
        self._pending: dict[int, asyncio.Future[Response]] = {}
        self._cseq = 0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._stop_pacing()
        self._transport = None
        if self.failure is None:
            if self.spoke_rtsp:
                self.failure = CameraDisconnectedError("the camera closed the connection")
            else:
                self.failure = self._not_rtsp("closed")
        self._finish()

    def eof_received(self) -> bool:
        """The camera sends no more: close."""
        return False

    def data_received(self, data: bytes) -> None:
        """Cut what has come into packets and messages."""
        if self.failure is not None:
            return
        try:
            self._cut(self._rest + data if self._rest else data)
        except Exception as error:  # noqa: BLE001 whatever one camera's bytes set off is that camera's failure alone
            self.fail(error)

    # What the pacer calls.

    def read_now(self) -> None:
        """Read and cut what has come since the last time; see :class:`streaming.rtsp.pacing.PacedReader`."""
        transport = self._transport
        if transport is None or transport.is_closing() or self.failure is not None:
            self._stop_pacing()
            return
        begun_ns = 0
        for _ in range(MAX_READS_AT_ONCE):
            try:
                data = os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                # As when the event loop reads: connection_lost says what that means.
                self._stop_pacing()
                if self._transport is not None:
                    self._transport.abort()
                return
            self.data_received(data)
            if len(data) < READ_BYTES or self.failure is not None:
                return
            now_ns = self._clock.monotonic_ns()
            if begun_ns == 0:
                begun_ns = now_ns
            elif now_ns - begun_ns > MAX_READING_NS:
                return

    def pace(self, pacer: ReadPacer) -> None:
        """From now on read when ``pacer`` says so, not whenever something comes. Not where TLS stands in between."""
        if self._transport is None or self._transport.is_closing() or self._pacer is pacer:
            return
        if self._pacer is not None:
            self._stop_pacing()
            self._pacer = pacer
            pacer.add(self)
            return
        if self._transport.get_extra_info("ssl_object") is not None:
            return
        self._transport.pause_reading()
        self._fd = self._transport.get_extra_info("socket").fileno()
        self._pacer = pacer
        pacer.add(self)

    def unpace(self) -> None:
        """Read whenever something comes again. Not from within :meth:`read_now`."""
        if self._pacer is None or self._transport is None:
            return
        self._stop_pacing()
        self._transport.resume_reading()

    def _stop_pacing(self) -> None:
        if self._pacer is not None:
            self._pacer.remove(self)
            self._pacer = None

    @property
    def peer_ip(self) -> str:
        """The camera's address."""
        return self._address("peername")

    @property
    def local_ip(self) -> str:
        """Our address, as the camera sees it."""
        return self._address("sockname")

    def _address(self, which: str) -> str:
        address = self._transport.get_extra_info(which) if self._transport is not None else None
        if address is None:
            raise self.failure or CameraDisconnectedError("not connected")
        return str(address[0])

    def _cut(self, read: bytes) -> None:
        end = len(read)
        self._rest = b""
        sinks = self.sinks
        arrival_ns = self._clock.utc_ns()
        frames = 0
        # A message that is not whole has used all there was, so only the start of a read can be inside of one.
        position = self._cut_slowly(read, 0) if self._parser.busy else 0
        while position < end:
            if read[position] != INTERLEAVED_MAGIC:
                position = self._cut_slowly(read, position)
                continue
            start = position + INTERLEAVED_HEADER_BYTES
            if start > end:
                break
            stop = start + (read[position + 2] << 8 | read[position + 3])
            if stop > end:
                break
            channel = read[position + 1]
            sink = sinks[channel]
            if sink is not None:
                position = sink.take(read, start, stop, end, arrival_ns)
                frames += 1
            else:
                self._stray(channel, read[start:stop], arrival_ns)
                position = stop
        if frames:
            self.frames += frames
            self._garbage_since_frame = 0
        if position < end:
            self._rest = read[position:]

    def _cut_slowly(self, read: bytes, position: int) -> int:
        """Take text, or skip garbage to the next thing that can be a frame or an answer. Returns the new position."""
        if not self._parser.busy and self.tolerant:
            start = read[position : position + 4]
            if not any(known.startswith(start) or start.startswith(known) for known in _MESSAGE_STARTS):
                return self._skip_garbage(read, position)
        try:
            message, used = self._parser.feed(read[position:])
        except MessageBrokenError as error:
            if not self.spoke_rtsp:
                raise self._not_rtsp(str(error.params.get("looks_like", "unknown"))) from None
            if not self.tolerant:
                raise
            self._parser = MessageParser()
            return self._skip_garbage(read, position)
        if message is not None:
            self._take(message)
        return position + used

    def _skip_garbage(self, read: bytes, position: int) -> int:
        """Some cameras put stray bytes, or frames with a wrong length, between frames: go on at the next channel we
        know. Raises MessageBrokenError if that never comes."""
        found, end = position + 1, len(read)
        while found < end:
            if read[found] == INTERLEAVED_MAGIC and (found + 1 == end or self.sinks[read[found + 1]] is not None):
                break
            if read.startswith(b"RTSP/", found):
                break
            found += 1
        self.garbage_bytes += found - position
        self._garbage_since_frame += found - position
        if self._garbage_since_frame > MAX_GARBAGE_BYTES:
            raise MessageBrokenError("garbage instead of RTP frames", looks_like="unknown")
        return found

    def _take(self, message: Message) -> None:
        if isinstance(message, Request):
            self._answer(message)
            return
        self.spoke_rtsp = True
        cseq = message.cseq
        if cseq is None and len(self._pending) == 1:
            cseq = next(iter(self._pending))
        waiting = self._pending.get(cseq) if cseq is not None else None
        if waiting is not None and not waiting.done():
            waiting.set_result(message)

    def _answer(self, request: Request) -> None:
        known = request.method in ("OPTIONS", "GET_PARAMETER", "SET_PARAMETER", "ANNOUNCE", "REDIRECT", "TEARDOWN")
        headers = Headers([("CSeq", str(request.cseq or 0))])
        self._write(Response(200 if known else 501, headers=headers).encode())
        if request.method in ("REDIRECT", "TEARDOWN"):
            self.fail(CameraDisconnectedError("the camera ended the session"))

    # What the client calls.

    async def request(self, method: str, url: str, headers: Sequence[tuple[str, str]], timeout_s: float) -> Response:
        """Send a request and wait for its answer.

        Raises the failure of the connection, CameraTimeoutError, or NotRtspError if nothing has ever been answered.
        """
        if self.failure is not None:
            raise self.failure
        if len(self._pending) >= MAX_PENDING:
            raise CameraTimeoutError("too many requests without an answer", method=method, seconds=timeout_s)
        self._cseq += 1
        cseq = self._cseq
        message = Request(method, url, Headers([("CSeq", str(cseq)), *headers]))
        waiting: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._pending[cseq] = waiting
        try:
            self._write(message.encode())
            async with asyncio.timeout(timeout_s):
                return await waiting
        except TimeoutError:
            if self.spoke_rtsp or self.frames:
                raise CameraTimeoutError("no answer in time", method=method, seconds=timeout_s) from None
            raise self._not_rtsp("silent") from None
        finally:
            del self._pending[cseq]

    def send_and_forget(self, method: str, url: str, headers: Sequence[tuple[str, str]]) -> None:
        """Send a request whose answer does not matter (TEARDOWN)."""
        self._cseq += 1
        self._write(Request(method, url, Headers([("CSeq", str(self._cseq)), *headers])).encode())

    def send_frame(self, channel: int, packet: bytes) -> None:
        """Send one interleaved packet; dropped if the camera does not read."""
        self._write(interleaved_header(channel, len(packet)) + packet)

    def fail(self, error: Exception) -> None:
        """End the connection because of ``error``; the first failure counts."""
        if self.failure is None:
            self.failure = error
        self._stop_pacing()
        if self._transport is not None:
            self._transport.abort()
        self._finish()

    def close(self) -> None:
        """End the connection after what is written has gone out."""
        if self.failure is None:
            self.failure = CameraDisconnectedError("closed by us")
        self._stop_pacing()
        if self._transport is not None:
            self._transport.close()
        self._finish()

    def _write(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() < MAX_UNSENT_BYTES:
            self._transport.write(data)

    def _not_rtsp(self, looks_like: str) -> NotRtspError:
        return NotRtspError("no RTSP there", host=self._host, port=self._port, looks_like=looks_like)

    def _finish(self) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        for waiting in self._pending.values():
            if not waiting.done() and self.failure is not None:
                waiting.set_exception(self.failure)

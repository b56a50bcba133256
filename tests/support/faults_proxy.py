"""A TCP proxy before a real server that does what networks and servers do: go away, hang, be slow, say no."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field

_BLOCK = 64 * 1024
_METHOD = re.compile(rb"([A-Z]{3,7}) (\S+) HTTP/1\.1\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the proxy answers by itself, as S3 servers do: an HTTP status and an error code; to all requests, or to
    those of some methods."""

    status: int
    code: str
    methods: Collection[str] = ()


READ_ONLY = Refusal(403, "AccessDenied", ("PUT", "POST", "DELETE"))
FULL = Refusal(507, "XMinioStorageFull", ("PUT", "POST"))
BUSY = Refusal(503, "SlowDown")


@dataclass
class FaultProxy:
    """Listens on ``port`` for ``upstream_port``. The switches may be thrown at any time, in the middle of an answer.

    ``away`` cuts all connections and takes none. ``hangs`` passes nothing on. ``delay_s`` lies before each piece of an
    answer. ``deaf`` passes requests on and loses the answers. ``secretive`` does not tell the server that a client has
    gone. ``refusal`` needs ``http``.
    """

    upstream_port: int
    http: bool = False
    port: int = 0
    delay_s: float = 0.0
    deaf: bool = False
    secretive: bool = False
    refusal: Refusal | None = None
    connections: int = 0
    pieces: int = 0
    _away: bool = False
    _passing: asyncio.Event = field(default_factory=asyncio.Event)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _serving: set[asyncio.Task[None]] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["FaultProxy"]:
        """Serve for as long as the context is open."""
        self._passing.set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self._passing.set()
            while self._serving:
                self.cut()
                await asyncio.wait(self._serving, timeout=0.1)

    @property
    def away(self) -> bool:
        """Whether nobody is there."""
        return self._away

    @away.setter
    def away(self, value: bool) -> None:
        self._away = value
        if value:
            self.cut()

    @property
    def hangs(self) -> bool:
        """Whether nothing is passed on."""
        return not self._passing.is_set()

    @hangs.setter
    def hangs(self, value: bool) -> None:
        if value:
            self._passing.clear()
        else:
            self._passing.set()

    def cut(self) -> None:
        """Reset every connection now."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    def heal(self) -> None:
        """Behave."""
        self.away = self.deaf = self.hangs = self.secretive = False
        self.delay_s = 0.0
        self.refusal = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._away:
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, up_writer}
        self._writers |= both
        requests = self._requests if self.http else self._forward
        tasks = [
            asyncio.create_task(requests(reader, up_writer, writer)),
            asyncio.create_task(self._answers(up_reader, writer)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self.secretive and not up_writer.is_closing():
                both = {writer}
            self._writers -= both
            for each in both:
                each.close()

    async def _forward(
        self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter, _client: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(_BLOCK):
            await self._pass(upstream, data)

    async def _answers(self, upstream: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while data := await upstream.read(_BLOCK):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if not self.deaf:
                await self._pass(client, data)

    async def _pass(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        await self._passing.wait()
        self.pieces += 1
        writer.write(data)
        await writer.drain()

    async def _requests(
        self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        """One request after the other (RFC 9112, 9.3), each to the server or answered here."""
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            request = _METHOD.match(head)
            assert request is not None, head[:100]
            method = request[1].decode()
            length = _LENGTH.search(head)
            left = int(length[1]) if length is not None else 0
            refusal = self.refusal
            if refusal is not None and refusal.methods and method not in refusal.methods:
                refusal = None
            if refusal is None:
                await self._pass(upstream, head)
            while left:
                data = await reader.read(min(left, _BLOCK))
                if not data:
                    return
                left -= len(data)
                if refusal is None:
                    await self._pass(upstream, data)
            if refusal is not None:
                await self._pass(client, _answer(refusal, method))


def _answer(refusal: Refusal, method: str) -> bytes:
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{refusal.code}</Code><Message>no</Message></Error>'
    head = f"HTTP/1.1 {refusal.status} no\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + ("" if method == "HEAD" else body)).encode()

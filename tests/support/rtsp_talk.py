"""A bare RTSP connection for tests of servers: what is sent is up to the test."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from streaming.rtsp.auth import ClientAuthenticator
from streaming.rtsp.message import Headers, InterleavedFrame, Request, Response, StreamParser
from streaming.secret import Secret


class RtspTalk:
    """Sends requests, collects interleaved frames that come in between."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        url: str,
        log_in: ClientAuthenticator | None,
    ) -> None:
        self.url = url
        self.session = ""
        self.frames: list[InterleavedFrame] = []
        self.marked = 0
        """RTP packets with the marker, on even channels: pictures that have come."""
        self.reader = reader
        self.writer = writer
        self._log_in = log_in
        self._parser = StreamParser()
        self._responses: list[Response] = []
        self._cseq = 0

    async def ask(self, method: str, url: str | None = None, body: bytes = b"", **headers: str) -> Response:
        """Send a request and wait for its answer; logs in when asked."""
        for attempt in range(2):
            response = await self._ask(method, url or self.url, body, headers)
            if response.status != 401 or attempt or self._log_in is None:
                break
            if not self._log_in.challenged(response.headers.get_all("WWW-Authenticate")):
                break
        if (session := response.headers.get("Session")) is not None:
            self.session = session.partition(";")[0]
        return response

    async def _ask(self, method: str, url: str, body: bytes, headers: dict[str, str]) -> Response:
        self._cseq += 1
        fields = [("CSeq", str(self._cseq)), *((name.replace("_", "-"), value) for name, value in headers.items())]
        if self.session and "Session" not in headers:
            fields.append(("Session", self.session))
        if self._log_in is not None and (answer := self._log_in.authorization(method, url)) is not None:
            fields.append(("Authorization", answer))
        self.writer.write(Request(method, url, Headers(fields), body).encode())
        while not self._responses:
            await self.read_more()
        response = self._responses.pop(0)
        assert response.cseq == self._cseq
        return response

    async def read_more(self) -> None:
        """Take what comes next. Raises EOFError when the server has closed the connection."""
        async with asyncio.timeout(10):
            data = await self.reader.read(65_536)
        if not data:
            raise EOFError
        for message in self._parser.feed(data):
            if isinstance(message, InterleavedFrame):
                self.frames.append(message)
                self.marked += message.channel % 2 == 0 and message.payload[1] >> 7
            elif isinstance(message, Response):
                self._responses.append(message)

    async def play_interleaved(self, *tracks: int) -> None:
        """SETUP of ``tracks`` on channels 0-1, 2-3, ... and PLAY."""
        for number, track in enumerate(tracks):
            transport = f"RTP/AVP/TCP;unicast;interleaved={2 * number}-{2 * number + 1}"
            response = await self.ask("SETUP", f"{self.url}/track{track}", Transport=transport)
            assert response.status == 200, response
        response = await self.ask("PLAY")
        assert response.status == 200, response


@contextlib.asynccontextmanager
async def rtsp_talk(url: str, user: str = "", password: str = "", *, receive_bytes: int = 0) -> AsyncIterator[RtspTalk]:
    """A connection to the server of ``url``; ``receive_bytes`` limits what the system takes before it is read."""
    host, _, port = url.split("/")[2].rpartition(":")
    sock = socket.socket()
    sock.setblocking(False)
    if receive_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=sock)
    log_in = ClientAuthenticator(user, Secret(password)) if user else None
    try:
        yield RtspTalk(reader, writer, url, log_in)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

"""The line to a camera: dialled, redirected, logged in, kept alive (RFC 2326, sections 9 to 11)."""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence

from media.clock import Clock
from streaming.addresses import AddressGuard, RtspUrl, joined, parse_rtsp_url, split_credentials
from streaming.errors import (
    CameraCertificateChangedError,
    CameraRedirectError,
    CameraTimeoutError,
    CredentialsMissingError,
    CredentialsRefusedError,
    StreamingError,
    UrlInvalidError,
)
from streaming.rtsp.connection import RtspConnection
from streaming.rtsp.dialling import dial
from streaming.rtsp.dialogue import Dialogue, expect_ok
from streaming.rtsp.message import Response
from streaming.rtsp.settings import RtspSettings
from streaming.source import CameraSource


class CameraLine:
    """One line, over as many connections as redirects make of it. Owned by its client.

    ``stray`` is given what comes on a channel that nobody took: channel, packet, arrival in nanoseconds of the
    monotonic clock. ``require`` is the option that the camera has to know.
    """

    def __init__(
        self,
        source: CameraSource,
        clock: Clock,
        guard: AddressGuard,
        settings: RtspSettings,
        stray: Callable[[int, bytes, int], None],
        *,
        require: str = "",
    ) -> None:
        self.target: RtspUrl = parse_rtsp_url(source.url)
        """Where it leads, after redirects."""
        self.certificate = ""
        """SHA-256 of the certificate that the camera showed, hexadecimal; empty without TLS."""
        self._source = source
        self._clock = clock
        self._guard = guard
        self._settings = settings
        self._stray = stray
        self._first_host = self.target.host
        self._dialogue = Dialogue(source, settings.user_agent, settings.answer_s, settings.default_session_s, require)
        self._connection: RtspConnection | None = None
        self._public: frozenset[str] = frozenset()
        self._keep_alive_method = "OPTIONS"
        self._keep_alive: asyncio.Task[None] | None = None
        self.keeps_alive_no_more = False
        self.forgotten = False
        """Whether the camera has answered that it knows no such session. Some do so and go on sending."""
        self._redirects = 0

    @property
    def connection(self) -> RtspConnection:
        """The open connection. Raises RuntimeError where there is none."""
        if self._connection is None:
            raise RuntimeError("not connected")
        return self._connection

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    @property
    def session_s(self) -> int:
        """After how many seconds without a request the camera may end the session."""
        return self._dialogue.session_s

    async def connect(self) -> None:
        """Open the connection and ask for OPTIONS, which tells whether RTSP is spoken there.

        Raises the AddressErrors, CameraUnreachableError, NotRtspError, the RtspErrors, CameraTimeoutError.
        """
        await self._open()
        await self._learn_options()

    async def describe(self) -> Response:
        """Log in and ask what the camera has to offer; follows redirects.

        Raises CredentialsRefusedError, CredentialsMissingError, PathNotFoundError, CameraRefusedError,
        CameraRedirectError and what :meth:`connect` raises.
        """
        while True:
            response = await self.request("DESCRIBE", self.target.url, [("Accept", "application/sdp")])
            if not 300 <= response.status < 400:
                expect_ok("DESCRIBE", response, self.target)
                return response
            await self._follow(response.headers.get("Location"))

    async def know_options(self) -> None:
        """Ask for OPTIONS again if it told nothing: it may have been refused before the log-in, and tells how to keep
        the session alive. Raises as :meth:`connect`."""
        if not self._public:
            await self._learn_options()

    async def request(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], *, log_in: bool = True
    ) -> Response:
        """Send a request, logging in when asked; any answer will do. Raises as :meth:`Dialogue.request`."""
        return await self._dialogue.request(self.connection, method, url, headers, log_in=log_in)

    async def ask(self, method: str, url: str, headers: Sequence[tuple[str, str]]) -> Response:
        """A request of a session that has to be granted; keeps the session that the answer names.

        Raises CameraRefusedError, SessionLostError, and what the connection raises.
        """
        response = await self.request(method, url, headers)
        self.granted(method, response)
        return response

    def granted(self, method: str, response: Response) -> None:
        """Keep the session that an answer names. Raises what its refusal means."""
        expect_ok(method, response, self.target)
        self._dialogue.take_session(response)

    async def _open(self) -> None:
        target = self.target
        source = self._source
        if not source.tls_pin and self.certificate:
            # Pinned on first use: the one met first holds for this line already, not only for the next.
            source = dataclasses.replace(source, tls_pin=self.certificate)
        self._connection, self.certificate = await dial(
            target,
            source,
            self._guard,
            lambda: RtspConnection(self._clock, target.host, target.port, self._stray),
            self._settings.connect_s,
        )

    async def _learn_options(self) -> None:
        response = await self.request("OPTIONS", self.target.url, [], log_in=False)
        if 300 <= response.status < 400:
            await self._follow(response.headers.get("Location"))
            return
        public = ",".join(response.headers.get_all("Public"))
        self._public = frozenset(method.strip().upper() for method in public.split(",") if method.strip())
        self._keep_alive_method = "GET_PARAMETER" if "GET_PARAMETER" in self._public else "OPTIONS"

    async def _follow(self, location: str | None) -> None:
        self._redirects += 1
        if self._redirects > self._settings.max_redirects:
            raise CameraRedirectError("redirected too often", reason="too-often")
        if not location:
            raise CameraRedirectError("redirected without a place to go", reason="no-location")
        secure = self.target.tls
        try:
            clean, _ = split_credentials(joined(self.target.url, location))
            self.target = parse_rtsp_url(clean)
        except UrlInvalidError as error:
            raise CameraRedirectError("redirected to no camera", reason=str(error.params["reason"])) from None
        if secure and not self.target.tls:
            raise CameraRedirectError("redirected out of TLS", reason="insecure")
        # A password in clear text goes to no host but the one it was set for.
        self._dialogue.log_in_anew(allow_basic=self.target.host == self._first_host)
        self.connection.close()
        try:
            await self._open()
        except CameraCertificateChangedError:
            # Pinned is one camera, not whoever it names: another certificate there is not the one a person trusts.
            raise CameraRedirectError("redirected to another certificate", reason="certificate") from None
        await self._learn_options()

    def keep_alive(self, url: str | None) -> bool:
        """Begin to tell the camera that the session is wanted, unless that is still on its way. Whether it began."""
        if self._keep_alive is not None or self.keeps_alive_no_more:
            return False
        self._keep_alive = asyncio.create_task(self._send_keep_alive(self.connection, url or self.target.url))
        return True

    async def _send_keep_alive(self, connection: RtspConnection, url: str) -> None:
        """As long as media comes, no answer matters, nor that there is none: cameras refuse what they asked for, or
        call a session unknown and go on with it. One that does end it falls silent, and that is noticed by itself."""
        method = self._keep_alive_method
        try:
            response = await self.request(method, url, [])
            self.forgotten = response.status == 454
            if response.status >= 400:
                # Public says it, yet it is not there: OPTIONS always is.
                self._keep_alive_method = "OPTIONS"
        except CameraTimeoutError:
            pass
        except (CredentialsRefusedError, CredentialsMissingError):
            # Once more in another way, and then never: a camera that counts refusals would lock its doors.
            self.keeps_alive_no_more = method == "OPTIONS"
            self._keep_alive_method = "OPTIONS"
        except StreamingError as error:
            connection.fail(error)
        finally:
            self._keep_alive = None

    async def let_go(self) -> None:
        """Keep the session alive no more."""
        if self._keep_alive is not None:
            keep_alive = self._keep_alive
            keep_alive.cancel()
            await asyncio.wait((keep_alive,))

    def close(self, url: str | None) -> None:
        """Close the connection; with ``url`` end the session first. Waits for nothing."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if url is not None:
            self._dialogue.tear_down(connection, url)
        connection.close()

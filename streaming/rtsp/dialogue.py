"""Requests to a camera and their answers: log-in, session, and what a refusal means (RFC 2326; RFC 7616)."""

from collections.abc import Sequence

from streaming.addresses import RtspUrl, redacted
from streaming.errors import (
    CameraRefusedError,
    CredentialsMissingError,
    CredentialsRefusedError,
    PathNotFoundError,
    SessionLostError,
)
from streaming.rtsp.auth import ClientAuthenticator
from streaming.rtsp.connection import RtspConnection
from streaming.rtsp.message import Response
from streaming.source import CameraSource


class Dialogue:
    """What is said on one connection after another of one client. ``session_s`` is how many seconds the camera keeps a
    session without a request; ``require`` the option it has to know."""

    def __init__(self, source: CameraSource, user_agent: str, answer_s: float, session_s: int, require: str) -> None:
        self.session_s = session_s
        self._source = source
        self._user_agent = user_agent
        self._answer_s = answer_s
        self._require = require
        self._session = ""
        self._auth = ClientAuthenticator(source.username, source.password)

    def log_in_anew(self, *, allow_basic: bool) -> None:
        """Forget what the camera asked for: another one answers now."""
        self._auth = ClientAuthenticator(self._source.username, self._source.password, allow_basic=allow_basic)

    async def request(
        self,
        connection: RtspConnection,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        *,
        log_in: bool = True,
    ) -> Response:
        """Send a request, logging in when asked. With ``log_in`` false a 401 is an answer like any other.

        Raises CredentialsMissingError, CredentialsRefusedError, and what the connection raises.
        """
        answered = stale = False
        while True:
            response = await connection.request(method, url, self._fields(method, url, headers), self._answer_s)
            if response.status != 401:
                return response
            challenges = response.headers.get_all("WWW-Authenticate")
            fresh = self._auth.challenged(challenges)
            if not log_in:
                return response
            if not self._source.username:
                raise CredentialsMissingError("the camera asks for a log-in")
            # One answer to the challenge at hand; one more if it answered an old nonce, or the camera says stale.
            # More would only get the account locked.
            now_stale = any("stale=true" in value.lower().replace(" ", "").replace('"', "") for value in challenges)
            if not fresh or (answered and (stale or not now_stale)):
                raise CredentialsRefusedError("user name or password refused")
            stale = answered and now_stale
            answered = True

    def tear_down(self, connection: RtspConnection, url: str) -> None:
        """End the session, if there is one. Waits for nothing."""
        if connection.failure is None and self._session:
            connection.send_and_forget("TEARDOWN", url, self._fields("TEARDOWN", url, []))

    def take_session(self, response: Response) -> None:
        """Remember the session that an answer names."""
        value = response.headers.get("Session")
        if not value:
            return
        session, *parameters = (part.strip() for part in value.split(";"))
        self._session = session
        for parameter in parameters:
            name, _, seconds = parameter.partition("=")
            if name.strip().lower() == "timeout" and seconds.strip().isdecimal() and len(seconds) < 7:
                self.session_s = min(max(int(seconds), 2), 3600)

    def _fields(self, method: str, url: str, headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        authorization = self._auth.authorization(method, url)
        fields = [("User-Agent", self._user_agent), *headers]
        if self._session:
            fields.append(("Session", self._session))
        if self._require and method in ("DESCRIBE", "SETUP", "PLAY"):
            fields.append(("Require", self._require))
        if authorization is not None:
            fields.append(("Authorization", authorization))
        return fields


def expect_ok(method: str, response: Response, target: RtspUrl) -> None:
    """Raise what a refusal means: PathNotFoundError, SessionLostError, CredentialsRefusedError, CameraRefusedError."""
    status = response.status
    if 200 <= status < 300:
        return
    if status == 404:
        raise PathNotFoundError("no such stream", path=redacted(target.path))
    if status in (454, 455) and method != "DESCRIBE":
        raise SessionLostError("the camera forgot the session")
    if status == 403:
        raise CredentialsRefusedError("the camera forbids this user the stream")
    raise CameraRefusedError(f"{method} refused", method=method, status=status, reason=response.reason[:100])

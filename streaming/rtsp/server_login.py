"""Who stands behind a connection to our RTSP server, and whether they still may (RFC 2326, section 11; RFC 7616)."""

from contextlib import AbstractContextManager, nullcontext

from streaming.rtsp.auth import ServerAuthenticator
from streaming.rtsp.message import Headers, Request, Response
from streaming.secret import Secret

MAX_LOGIN_FAILURES = 5


class LogIn:
    """The log-in of one connection. Without an ``authenticator`` everybody may, as nobody in particular."""

    def __init__(self, authenticator: ServerAuthenticator | None) -> None:
        self.user: str | None = None
        self._authenticator = authenticator
        self._password: Secret | None = None
        # What was set up or played last.
        self._url = ""
        self._failures = 0

    @property
    def exhausted(self) -> bool:
        """Whether there were so many wrong passwords that the connection should end."""
        return self._failures >= MAX_LOGIN_FAILURES

    def refused(self, request: Request) -> Response | None:
        """None if the request may be answered, else the challenge to log in."""
        if self._authenticator is None:
            return None
        verdict = self._authenticator.check(request.method, request.url, request.headers.get("Authorization"))
        if verdict.user is not None:
            self._failures = 0
            self.user = verdict.user
            if request.method in ("SETUP", "PLAY"):
                self._url, self._password = request.url, self._authenticator.standing(verdict.user, request.url)
            return None
        if "Authorization" in request.headers and not verdict.stale:
            self._failures += 1
        challenges = self._authenticator.challenges(stale=verdict.stale)
        return Response(401, headers=Headers([("WWW-Authenticate", value) for value in challenges]))

    def stands(self, path: str) -> bool:
        """Whether its person still may have ``path``, which is set up. Asked when rights may have changed."""
        if self._authenticator is None or self.user is None:
            return True
        return self._authenticator.standing(self.user, path) == self._password

    def looking(self) -> AbstractContextManager[None]:
        """Open while its person looks at what was played."""
        if self._authenticator is None or self.user is None:
            return nullcontext()
        return self._authenticator.looking(self.user, self._url)

"""Log-in, log-out, first set-up, and what a page must know before anybody is logged in."""

from web.access.scopes import Scope
from web.api.schemas.session import (
    About,
    LoginRequest,
    PasswordChange,
    Session,
    SessionUpdate,
    SetupInfo,
    SetupRequest,
    StreamAccess,
)
from web.call import Call
from web.operations import Operations

operations = Operations("session")


@operations.operation("GET", "/about", scope=None)
async def about(call: Call) -> About:
    """Name, version and time zone, for a page that nobody is logged in to."""
    raise NotImplementedError


@operations.operation("GET", "/session", scope=Scope.SELF)
async def get_session(call: Call) -> Session:
    """The log-in of this browser."""
    raise NotImplementedError


@operations.operation("POST", "/session", scope=None)
async def log_in(call: Call, body: LoginRequest) -> Session:
    """Log in. Sets the session cookie."""
    raise NotImplementedError


@operations.operation("PUT", "/session", scope=Scope.SELF)
async def update_session(call: Call, body: SessionUpdate) -> Session:
    """Change one's own language."""
    raise NotImplementedError


@operations.operation("DELETE", "/session", scope=Scope.SELF)
async def log_out(call: Call) -> None:
    """Log out."""
    raise NotImplementedError


@operations.operation("POST", "/session/password", scope=Scope.SELF)
async def change_password(call: Call, body: PasswordChange) -> Session:
    """Change one's own password."""
    raise NotImplementedError


@operations.operation("POST", "/session/stream-access", scope=Scope.LIVE_WATCH)
async def create_stream_access(call: Call) -> StreamAccess:
    """Make a new password for RTSP players."""
    raise NotImplementedError


@operations.operation("GET", "/setup/{token}", scope=None)
async def get_setup(call: Call, token: str) -> SetupInfo:
    """Whether a set-up link is good."""
    raise NotImplementedError


@operations.operation("POST", "/setup/{token}", scope=None)
async def finish_setup(call: Call, token: str, body: SetupRequest) -> Session:
    """Make the county and its first administrator. The link works once."""
    raise NotImplementedError

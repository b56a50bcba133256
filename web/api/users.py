"""Users, and the log of what was done."""

from web.access.scopes import Scope
from web.api.schemas.users import AuditPage, AuditQuery, PasswordReset, User, UserCreate, UserList, UserUpdate
from web.call import Call
from web.operations import Operations

operations = Operations("users")


@operations.operation("GET", "/users", scope=Scope.USERS_READ)
async def list_users(call: Call) -> UserList:
    """Everybody who may log in."""
    raise NotImplementedError


@operations.operation("POST", "/users", scope=Scope.USERS_WRITE, status=201)
async def create_user(call: Call, body: UserCreate) -> User:
    """Add a person."""
    raise NotImplementedError


@operations.operation("PUT", "/users/{user_id}", scope=Scope.USERS_WRITE)
async def update_user(call: Call, user_id: str, body: UserUpdate) -> User:
    """Change a person, or disable them."""
    raise NotImplementedError


@operations.operation("POST", "/users/{user_id}/password", scope=Scope.USERS_WRITE)
async def reset_password(call: Call, user_id: str, body: PasswordReset) -> User:
    """Set a person's password."""
    raise NotImplementedError


@operations.operation("GET", "/audit", scope=Scope.AUDIT_READ)
async def list_audit(call: Call, query: AuditQuery) -> AuditPage:
    """The log of what was done, newest first."""
    raise NotImplementedError

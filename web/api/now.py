"""What happens now."""

from web.access.scopes import Scope
from web.api.schemas.now import Now
from web.call import Call
from web.operations import Operations

operations = Operations("now")


@operations.operation("GET", "/now", scope=Scope.MEETINGS_READ)
async def get_now(call: Call) -> Now:
    """What happens now, in the order of the first page."""
    raise NotImplementedError

"""Tokens with which players elsewhere (OBS, GStreamer) look at one camera over WHEP."""

from web.access.audit import camera_detail
from web.access.scopes import Scope
from web.access.view_tokens import VIEW_TOKENS
from web.api.schemas.whep import ViewToken
from web.call import Call
from web.errors import NotFoundError, SupervisionRefusedError
from web.operations import Operations

operations = Operations("whep")


@operations.operation("POST", "/cameras/{camera_id}/view-token", scope=Scope.LIVE_WATCH, status=201)
async def create_view_token(call: Call, camera_id: str) -> ViewToken:
    """A token for a player that cannot log in: this camera alone, in the person's name, for an hour.

    Each look with it is on record as the person's own.
    """
    place = call.camera(camera_id)
    if not place.camera.supervision_allowed:
        raise SupervisionRefusedError
    tokens = call.request.app.get(VIEW_TOKENS)
    if tokens is None:
        raise NotFoundError
    async with call.services.database.transaction() as repos:
        await repos.audit.add(call.entry("camera.view-token", f"camera/{camera_id}", **camera_detail(place)))
    issued = tokens.issue(call.principal.user, camera_id)
    base = call.services.settings.public_url or f"{call.request.scheme}://{call.request.host}"
    return ViewToken(token=issued.token, expires_at=issued.expires_at, whep_url=f"{base}/live/{camera_id}/whep")

"""WHIP over HTTP (RFC 9725): ``/live/{camera}/whip``, where a room sends its own picture to.

The room's device does so with its cookie, or its token as ``Authorization: Bearer``; so may whoever runs meetings in
that area. Only cameras that are registered as sending by themselves are taken.
"""

import contextlib
from collections.abc import Sequence

import structlog
from aiohttp import hdrs, web

from media.stream import StreamId
from storage.errors import StorageError
from streaming.webrtc.errors import SessionGoneError
from streaming.webrtc.fragment import CONTENT_TYPE
from streaming.webrtc.whip_sessions import WhipSession
from web.access.audit import camera_detail
from web.access.identity import assume, authenticate_room, check_same_site
from web.access.principal import Principal
from web.access.scopes import Scope
from web.errors import NotFoundError, NotLoggedInError, OutsideAreaError, WebError
from web.live.rights import Watch, keep_watch, while_allowed
from web.live.rtc_http import SDP, body_text, created, options, patched, webrtc_of
from web.services import SERVICES

log = structlog.get_logger("web.whip")

_CAMERA = r"/live/{camera:[A-Za-z0-9_-]{1,64}}/whip"
_SESSION = _CAMERA + r"/{session:[A-Za-z0-9_-]{1,64}}"
_PUBLISHERS = web.AppKey("whip_publishers", Watch)


async def _sender(request: web.Request) -> Principal:
    """Who may send this camera's picture. Raises NotLoggedInError, ForbiddenError, OutsideAreaError, NotFoundError,
    CsrfError."""
    principal = await authenticate_room(request)
    if principal is None:
        raise NotLoggedInError
    services = request.app[SERVICES]
    place = services.county.picture.cameras.get(request.match_info["camera"])
    if place is None:
        raise NotFoundError
    if principal.device is not None:
        principal.demand(Scope.ROOM_PUBLISH)
        if principal.device.site_id != place.site.id:
            raise OutsideAreaError
    else:
        principal.demand(Scope.MEETINGS_RUN)
        if not services.county.picture.within(principal.area, place.organization.id):
            raise OutsideAreaError
    if principal.by_cookie:
        check_same_site(request, principal)
    return principal


async def _offer(request: web.Request) -> web.Response:
    webrtc = webrtc_of(request)
    camera = request.match_info["camera"]
    principal = await _sender(request)
    text = await body_text(request, SDP)
    session = await webrtc.whip.offer(StreamId(camera), principal.user.id, text)
    try:
        await _put_on_record(request, principal, camera)
    except BaseException:
        # Or the room would count as sending until the answer that never came is given up.
        with contextlib.suppress(SessionGoneError):
            await webrtc.whip.close(session.id)
        raise
    watch = _watch(request, session)
    request.app[_PUBLISHERS].begin(session.id, principal.user.id, f"whip rights {camera}", watch)
    return created(webrtc, f"/live/{camera}/whip/{session.id}", session.etag, session.answer)


async def _put_on_record(request: web.Request, principal: Principal, camera: str) -> None:
    services = request.app[SERVICES]
    detail = camera_detail(services.county.picture.cameras[camera])
    person, address = principal.user, request.remote or ""
    entry = services.audit.entry(person, "camera.send", f"camera/{camera}", address, detail=detail)
    async with services.database.transaction() as repos:
        await repos.audit.add(entry)


async def _watch(request: web.Request, session: WhipSession) -> None:
    """Who loses the right to send is cut off."""

    async def allowed() -> None:
        assume(request, None)
        await _sender(request)

    peer = session.publisher.peer
    try:
        await while_allowed(peer, allowed)
    except (WebError, StorageError) as error:
        log.info("whip: the right to send is gone", camera=session.stream_id.camera, code=error.code)
    finally:
        await peer.close()


async def _own(request: web.Request) -> str:
    """The session named in the address, if it is the asker's. Raises SessionGoneError."""
    principal = await _sender(request)
    return request.app[_PUBLISHERS].own(request.match_info["session"], principal.user.id)


async def _patch(request: web.Request) -> web.Response:
    webrtc = webrtc_of(request)
    session_id = await _own(request)
    text = await body_text(request, CONTENT_TYPE)
    session, fragment = webrtc.whip.patch(session_id, text, request.headers.get(hdrs.IF_MATCH))
    return patched(webrtc, session.etag, fragment)


async def _delete(request: web.Request) -> web.Response:
    await webrtc_of(request).whip.close(await _own(request))
    return web.Response(status=200)


def prepare(app: web.Application) -> None:
    """What the handlers keep in the application."""
    keep_watch(app, _PUBLISHERS)


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this module."""
    return [
        web.post(_CAMERA, _offer),
        web.options(_CAMERA, options),
        web.patch(_SESSION, _patch),
        web.delete(_SESSION, _delete),
        web.options(_SESSION, options),
    ]

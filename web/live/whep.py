"""WHEP over HTTP (draft-ietf-wish-whep, RFC 9725): ``/live/{camera}/whep``, for our pages and for any player.

A logged-in browser uses its session with the CSRF header; others bring ``Authorization: Bearer`` with a session's
token, or with one for this camera alone. ``quality=main|sub`` in the query chooses the stream.
"""

import contextlib
from collections.abc import Sequence

import structlog
from aiohttp import hdrs, web

from media.stream import Quality
from storage.errors import StorageError
from streaming.webrtc.fragment import CONTENT_TYPE
from streaming.webrtc.whep import WhepSession
from web.access.identity import assume, authenticate, check_same_site, demand_login
from web.access.view_tokens import PREFIX
from web.errors import WebError
from web.live.context import LIVE
from web.live.rights import Watch, keep_watch, while_allowed
from web.live.rtc_http import SDP, body_text, created, options, patched, webrtc_of
from web.services import SERVICES

log = structlog.get_logger("web.whep")

_CAMERA = r"/live/{camera:[A-Za-z0-9_-]{1,64}}/whep"
_SESSION = _CAMERA + r"/{session:[A-Za-z0-9_-]{1,64}}"
_LOOKS = web.AppKey("whep_looks", Watch)


async def _known(request: web.Request) -> None:
    """Find out who asks: a session, or a token for this camera. Raises CsrfError."""
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() == "bearer" and token.strip().startswith(PREFIX):
        principal = webrtc_of(request).tokens.find(token.strip(), request.match_info["camera"])
        if principal is not None:
            assume(request, principal)
        return
    principal = await authenticate(request)
    if principal is None or principal.by_cookie:
        check_same_site(request, principal)


async def _offer(request: web.Request) -> web.Response:
    webrtc = webrtc_of(request)
    camera = request.match_info["camera"]
    quality = Quality.SUB if request.query.get("quality") == Quality.SUB else Quality.MAIN
    await _known(request)
    await request.app[LIVE].gate.watch_camera(request, camera)
    text = await body_text(request, SDP)
    session = await webrtc.whep.offer(camera, quality, text)
    principal = await demand_login(request)
    watch = _watch(request, session, principal.user.id)
    request.app[_LOOKS].begin(session.id, principal.user.id, f"whep look {camera}", watch)
    return created(webrtc, f"/live/{camera}/whep/{session.id}", session.etag, session.answer)


async def _watch(request: web.Request, session: WhepSession, user_id: str) -> None:
    """For as long as the viewer looks: they count as one, and lose the picture with the right to it."""

    async def allowed() -> None:
        # A player that plays is a sign of life of its session, or token.
        assume(request, None)
        with contextlib.suppress(WebError):
            await _known(request)
        await demand_login(request)
        await request.app[LIVE].gate.watch_camera(request, session.camera)

    try:
        with request.app[SERVICES].viewers.holding(session.camera, user_id):
            await while_allowed(session.peer, allowed)
    except (WebError, StorageError) as error:
        log.info("whep: the right to look is gone", camera=session.camera, code=error.code)
    finally:
        await session.peer.close()


async def _own(request: web.Request) -> str:
    """The session named in the address, if it is the asker's. Raises SessionGoneError, and the errors of access."""
    await _known(request)
    principal = await demand_login(request)
    return request.app[_LOOKS].own(request.match_info["session"], principal.user.id)


async def _state(request: web.Request) -> web.Response:
    """What the viewer is sent now: ``quality`` main or sub, and whether the picture is ``converted`` for them."""
    webrtc = webrtc_of(request)
    session = webrtc.whep.session(await _own(request))
    answer = web.json_response({"quality": session.quality.value, "converted": session.converted})
    answer.headers["Cache-Control"] = "no-store"
    return answer


async def _patch(request: web.Request) -> web.Response:
    webrtc = webrtc_of(request)
    session_id = await _own(request)
    text = await body_text(request, CONTENT_TYPE)
    session, fragment = webrtc.whep.patch(session_id, text, request.headers.get(hdrs.IF_MATCH))
    return patched(webrtc, session.etag, fragment)


async def _delete(request: web.Request) -> web.Response:
    webrtc = webrtc_of(request)
    await webrtc.whep.close(await _own(request))
    return web.Response(status=200)


def prepare(app: web.Application) -> None:
    """What the handlers keep in the application."""
    keep_watch(app, _LOOKS)


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this module; handlers find their services under :data:`web.live.webrtc.WEBRTC`."""
    return [
        web.post(_CAMERA, _offer),
        web.options(_CAMERA, options),
        web.get(_SESSION, _state, allow_head=False),
        web.patch(_SESSION, _patch),
        web.delete(_SESSION, _delete),
        web.options(_SESSION, options),
    ]

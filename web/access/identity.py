"""From a request to the person behind it, and the checks that no other site speaks in their name."""

import hmac

from aiohttp import hdrs, web

from web.access.principal import Principal
from web.access.sessions import token_hash
from web.errors import CsrfError, NotLoggedInError
from web.messages import Catalog
from web.services import SERVICES

COOKIE = "sanhui_session"
ROOM_COOKIE = "sanhui_room"
CSRF_HEADER = "X-CSRF-Token"
BACKGROUND_HEADER = "X-Background"
"""Sent by pages that refresh themselves: such a request is no sign of life of the person."""
_PRINCIPAL = web.RequestKey("principal", Principal)
_MAX_TOKEN = 200
# Browsers keep no cookie longer than 400 days (RFC 6265bis, 5.5); it is renewed with each look at the room.
_ROOM_COOKIE_S = 400 * 24 * 3600


async def authenticate(request: web.Request) -> Principal | None:
    """Who asks, by session cookie or ``Authorization: Bearer`` (players such as ffmpeg); None if nobody does."""
    if _PRINCIPAL in request:
        return request[_PRINCIPAL]
    token = session_token(request)
    if not token or len(token) > _MAX_TOKEN:
        return None
    # Stills renew themselves too, and an image cannot carry a header of ours; its fetch metadata tells it.
    alive = BACKGROUND_HEADER not in request.headers and request.headers.get("Sec-Fetch-Dest") != "image"
    principal = await request.app[SERVICES].sessions.find(token, by_cookie=_bearer(request) is None, alive=alive)
    if principal is not None:
        request[_PRINCIPAL] = principal
    return principal


async def authenticate_room(request: web.Request) -> Principal | None:
    """The device of a room that asks; where none does, the person. A browser may hold both cookies: then its page says
    with the CSRF token whose it is."""
    if _PRINCIPAL in request:
        return request[_PRINCIPAL]
    token = room_token(request)
    if token and len(token) <= _MAX_TOKEN:
        principal = await request.app[SERVICES].devices.find(token, by_cookie=_bearer(request) is None)
        if principal is not None:
            safe = request.method in {hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS}
            if principal.by_cookie and not safe and not _knows_csrf(request, principal):
                principal = await authenticate(request) or principal
            request[_PRINCIPAL] = principal
            return principal
    return await authenticate(request)


def room_token(request: web.Request) -> str:
    """The token of a room's device as it was sent; empty for none."""
    bearer = _bearer(request)
    return request.cookies.get(ROOM_COOKIE, "") if bearer is None else bearer


def session_token(request: web.Request) -> str:
    """The session's token as the client sent it; empty for none."""
    bearer = _bearer(request)
    return request.cookies.get(COOKIE, "") if bearer is None else bearer


def _bearer(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def assume(request: web.Request, principal: Principal | None) -> None:
    """Let the request stand for somebody who is known otherwise; None lets it be looked up anew."""
    if principal is not None:
        request[_PRINCIPAL] = principal
    elif _PRINCIPAL in request:
        del request[_PRINCIPAL]


async def demand_login(request: web.Request) -> Principal:
    """Who asks. Raises NotLoggedInError."""
    principal = await authenticate(request)
    if principal is None:
        raise NotLoggedInError
    return principal


def check_same_site(request: web.Request, principal: Principal | None) -> None:
    """Refuse what another site makes a browser send (CSRF). Raises CsrfError.

    Fetch metadata tells it of any modern browser, log-in included; a session by cookie needs its token besides.
    """
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
        raise CsrfError
    if principal is not None and principal.by_cookie and not _knows_csrf(request, principal):
        raise CsrfError


def _knows_csrf(request: web.Request, principal: Principal) -> bool:
    return hmac.compare_digest(token_hash(request.headers.get(CSRF_HEADER, "")), principal.csrf_hash)


def catalog_of(request: web.Request) -> Catalog:
    """The sentences to answer with: what the person has chosen, else what the browser asks for, else the default."""
    services = request.app[SERVICES]
    principal = request.get(_PRINCIPAL)
    if principal is not None:
        return services.catalogs.of(principal.user.locale)
    return services.catalogs.accept(request.headers.get(hdrs.ACCEPT_LANGUAGE, ""))


def set_cookie(request: web.Request, response: web.StreamResponse, token: str) -> None:
    """Hand the browser its session. Without Max-Age it ends with the browser; the server bounds it in any case."""
    response.set_cookie(COOKIE, token, httponly=True, samesite="Lax", secure=_is_secure(request), path="/")


def set_room_cookie(request: web.Request, response: web.StreamResponse, token: str) -> None:
    """Hand a box what it is known by. It lasts: nobody in a village types anything twice."""
    response.set_cookie(
        ROOM_COOKIE,
        token,
        max_age=_ROOM_COOKIE_S,
        httponly=True,
        samesite="Lax",
        secure=_is_secure(request),
        path="/",
    )


def _is_secure(request: web.Request) -> bool:
    mode = request.app[SERVICES].settings.cookie_secure
    return request.secure if mode == "auto" else mode == "always"


def clear_cookie(response: web.StreamResponse) -> None:
    """Take the session from the browser."""
    response.del_cookie(COOKIE, path="/", httponly=True, samesite="Lax")

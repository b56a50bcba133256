"""From a request to the person behind it, and the checks that no other site speaks in their name."""

import hmac

from aiohttp import hdrs, web

from web.access.principal import Principal
from web.access.sessions import token_hash
from web.errors import CsrfError, NotLoggedInError
from web.messages import Catalog
from web.services import SERVICES

COOKIE = "sanhui_session"
CSRF_HEADER = "X-CSRF-Token"
BACKGROUND_HEADER = "X-Background"
"""Sent by pages that refresh themselves: such a request is no sign of life of the person."""
_PRINCIPAL = web.RequestKey("principal", Principal)
_MAX_TOKEN = 200


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


def session_token(request: web.Request) -> str:
    """The session's token as the client sent it; empty for none."""
    bearer = _bearer(request)
    return request.cookies.get(COOKIE, "") if bearer is None else bearer


def _bearer(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


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
    if principal is not None and principal.by_cookie:
        sent = token_hash(request.headers.get(CSRF_HEADER, ""))
        if not hmac.compare_digest(sent, principal.csrf_hash):
            raise CsrfError


def catalog_of(request: web.Request) -> Catalog:
    """The sentences to answer with: what the person has chosen, else what the browser asks for, else the default."""
    services = request.app[SERVICES]
    principal = request.get(_PRINCIPAL)
    if principal is not None:
        return services.catalogs.of(principal.user.locale)
    return services.catalogs.accept(request.headers.get(hdrs.ACCEPT_LANGUAGE, ""))


def set_cookie(request: web.Request, response: web.StreamResponse, token: str) -> None:
    """Hand the browser its session. Without Max-Age it ends with the browser; the server bounds it in any case."""
    mode = request.app[SERVICES].settings.cookie_secure
    secure = request.secure if mode == "auto" else mode == "always"
    response.set_cookie(COOKIE, token, httponly=True, samesite="Lax", secure=secure, path="/")


def clear_cookie(response: web.StreamResponse) -> None:
    """Take the session from the browser."""
    response.del_cookie(COOKIE, path="/", httponly=True, samesite="Lax")

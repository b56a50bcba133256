"""What WHEP and WHIP have in common over HTTP (RFC 9725): bodies, CORS, the headers of answers."""

import re

from aiohttp import hdrs, web

from streaming.webrtc.errors import OfferBrokenError
from streaming.webrtc.fragment import CONTENT_TYPE
from web.access.identity import authenticate_room, session_token
from web.errors import BodyTypeError, NotFoundError
from web.live.webrtc import WEBRTC, WebRtc

SDP = "application/sdp"
_CORS = {
    # No cookie is sent along with this, so another site gets nothing that its token does not open.
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
    "Access-Control-Expose-Headers": "Location, ETag, Link, Retry-After",
    "Access-Control-Max-Age": "86400",
}
_ADDRESS = re.compile(r"/live/.+/(?:whep|whip|talk|voice)(?:/[^/]*)?")


async def add_cors(request: web.Request, response: web.StreamResponse) -> None:
    """An ``on_response_prepare`` signal: players on other sites may read every answer from these addresses, refusals
    too, or they could not tell anybody what is wrong."""
    if _ADDRESS.fullmatch(request.path):
        response.headers.update(_CORS)


def webrtc_of(request: web.Request) -> WebRtc:
    """The parts of WebRTC. Raises NotFoundError where it is turned off."""
    webrtc = request.app.get(WEBRTC)
    if webrtc is None:
        raise NotFoundError
    return webrtc


async def body_text(request: web.Request, content_type: str) -> str:
    """The body. Raises BodyTypeError, OfferBrokenError."""
    if request.content_type != content_type:
        raise BodyTypeError
    try:
        return (await request.read()).decode("utf-8")
    except UnicodeDecodeError as error:
        raise OfferBrokenError("not text", reason="syntax") from error


def created(webrtc: WebRtc, location: str, etag: str, answer: str) -> web.Response:
    """The answer to an offer (RFC 9725, 4.2)."""
    headers = {"Location": location, "ETag": etag}
    response = web.Response(status=201, text=answer, content_type=SDP, headers=headers)
    response.headers["Cache-Control"] = "no-store"
    return with_links(response, webrtc)


def patched(webrtc: WebRtc, etag: str, fragment: str | None) -> web.Response:
    """The answer to a PATCH: nothing for candidates, our new credentials for a restart (RFC 9725, 4.3)."""
    if fragment is None:
        return web.Response(status=204)
    response = web.Response(status=200, text=fragment, content_type=CONTENT_TYPE, headers={"ETag": etag})
    return with_links(response, webrtc)


async def options(request: web.Request) -> web.Response:
    """What may be asked for here, and which ICE servers there are (RFC 9725, 4.6): log-ins of theirs are for those who
    may log in here, not for a browser's question ahead of a request."""
    webrtc = webrtc_of(request)
    response = web.Response(status=204, headers={"Accept-Post": SDP, "Accept-Patch": CONTENT_TYPE})
    token, camera = session_token(request), request.match_info.get("camera", "")
    known = await authenticate_room(request) or webrtc.tokens.find(token, camera)
    return response if known is None else with_links(response, webrtc)


def with_links(response: web.Response, webrtc: WebRtc) -> web.Response:
    """Name the ICE servers in a response."""
    for link in webrtc.links():
        response.headers.add(hdrs.LINK, link)
    return response

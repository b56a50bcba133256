"""What every request passes: the true client behind a proxy, security headers, time taken."""

import ipaddress
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from web.services import SERVICES

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger("web.request")

# Styles are files or set by scripts (CSSOM), which needs no 'unsafe-inline'. hls.js plays from blob:; the picture of a
# camera's test and the icons of Swagger UI are data:. Nothing comes from elsewhere.
CONTENT_POLICY = "; ".join(
    (
        "default-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "worker-src 'none'",
        "connect-src 'self'",
        "font-src 'self'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": CONTENT_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=(self)",
}

_BEHIND_HTTPS = web.RequestKey("behind_https", bool)


async def add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    """An ``on_response_prepare`` signal: streamed answers get the headers too."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if request.secure or request.get(_BEHIND_HTTPS, False):
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    response.headers.pop(hdrs.SERVER, None)


def true_client(trusted: Sequence[str]) -> Middleware:
    """See through reverse proxies in the networks ``trusted``: the client is the last address that is none of them."""
    networks = [ipaddress.ip_network(text) for text in trusted]

    def is_trusted(address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in networks if network.version == ip.version)

    @web.middleware
    async def see_through(request: web.Request, handler: Handler) -> web.StreamResponse:
        remote = request.remote or ""
        if not networks or not is_trusted(remote):
            return await handler(request)
        # Some proxies add a field of their own instead of a value to the one there is.
        fields = ",".join(request.headers.getall(hdrs.X_FORWARDED_FOR, []))
        hops = [hop.strip() for hop in fields.split(",") if hop.strip()]
        client = next((hop for hop in reversed(hops) if not is_trusted(hop)), hops[0] if hops else remote)
        scheme = "https" if request.headers.get("X-Forwarded-Proto", "").strip().lower() == "https" else request.scheme
        # Signals of the response get the request as it came, not the clone.
        request[_BEHIND_HTTPS] = scheme == "https"
        return await handler(request.clone(remote=client[:64], scheme=scheme))

    return see_through


@web.middleware
async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Time each request by the name of its route, never by its path, which has ids in it."""
    started = time.perf_counter()
    status = 500
    try:
        response = await handler(request)
        status = response.status
    finally:
        route = request.match_info.route
        name = route.name or (route.resource.canonical if route.resource is not None else "none")
        services = request.app.get(SERVICES)
        if services is not None:
            services.metrics.requests.labels(name, str(status)).observe(time.perf_counter() - started)
    return response

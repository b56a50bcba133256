"""Pages and files: the desk (a single-page application), the API's description, health, metrics."""

import asyncio
import json
from functools import cache
from pathlib import Path

from aiohttp import hdrs, web
from prometheus_client import CONTENT_TYPE_LATEST

from web.access.identity import demand_login
from web.api import all_operations
from web.dispatch import accepts_json
from web.errors import ForbiddenError, NotFoundError
from web.metrics import may_read_metrics
from web.openapi import describe
from web.services import SERVICES

STATIC = Path(__file__).parent / "static"
# Vite puts a hash of the content into the names of files here, so they never change.
_FOREVER = "public, max-age=31536000, immutable"
_BUILD_HINT = "The desk is not built yet: run `make ui`, or install the wheel. The API is at /api/docs.\n"
# The page that tries the API out is Swagger UI, which sets styles and a small script of its own.
_DOCS_PAGE = """<!doctype html>
<html lang="zh-CN"><head><meta charset="utf-8"><title>Sanhui API</title>
<link rel="stylesheet" href="/static/api-docs/swagger-ui.css"></head>
<body><div id="swagger-ui"></div>
<script src="/static/api-docs/swagger-ui-bundle.js"></script>
<script src="/api/docs/start.js"></script></body></html>
"""
_DOCS_SCRIPT = """const session = () => fetch("/api/v1/session").then(r => r.ok ? r.json() : {});
SwaggerUIBundle({url: "/api/openapi.json", dom_id: "#swagger-ui", deepLinking: true,
  requestInterceptor: async request => {
    if (!/^get$/i.test(request.method || "get")) request.headers["X-CSRF-Token"] = (await session()).csrf_token || "";
    return request;
  }});
"""


def routes() -> list[web.AbstractRouteDef]:
    """Everything here; the last takes what no other route did."""
    return [
        web.get("/healthz", _alive, name="healthz"),
        web.get("/readyz", _ready, name="readyz"),
        web.get("/metrics", _metrics, name="metrics"),
        web.get("/api/openapi.json", _openapi, name="openapi"),
        web.get("/api/docs", _docs, name="docs"),
        web.get("/api/docs/start.js", _docs_script, name="docs-script"),
        web.get("/{path:(?!api/|live/|metrics$|healthz$|readyz$).*}", _desk, name="desk"),
    ]


async def _alive(request: web.Request) -> web.Response:
    """The process answers."""
    return web.json_response({"status": "alive"}, headers={"Cache-Control": "no-store"})


async def _ready(request: web.Request) -> web.Response:
    """Database, object store and spool can do their work."""
    troubles = await request.app[SERVICES].readiness.troubles()
    body = {"status": "not ready" if troubles else "ready", "troubles": troubles}
    return web.json_response(body, status=503 if troubles else 200, headers={"Cache-Control": "no-store"})


async def _metrics(request: web.Request) -> web.Response:
    services = request.app[SERVICES]
    settings = services.settings
    token = settings.metrics_token.get_secret_value()
    authorization = request.headers.get(hdrs.AUTHORIZATION, "")
    # What a proxy on this machine passes on comes from elsewhere.
    address = "" if hdrs.X_FORWARDED_FOR in request.headers else request.remote or ""
    if not may_read_metrics(settings.metrics_access, token, address, authorization):
        raise ForbiddenError(scope="metrics")
    return web.Response(body=services.metrics.text(), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_LATEST})


async def _openapi(request: web.Request) -> web.Response:
    # Made once, and beside the loop: it takes as long as a picture lasts, and anybody may ask.
    return web.Response(body=await asyncio.to_thread(_description), content_type="application/json")


@cache
def _description() -> bytes:
    return json.dumps(describe(all_operations())).encode()


async def _docs(request: web.Request) -> web.Response:
    await demand_login(request)
    return web.Response(text=_DOCS_PAGE, content_type="text/html")


async def _docs_script(request: web.Request) -> web.Response:
    return web.Response(text=_DOCS_SCRIPT, content_type="text/javascript")


def _static_file(path: str) -> Path | None:
    """The file of the built desk at ``path``; None for one outside of it, or a name that no file can have."""
    try:
        file = (STATIC / path).resolve()
        return file if file.is_relative_to(STATIC.resolve()) and file.is_file() else None
    except (OSError, ValueError):
        return None


async def _desk(request: web.Request) -> web.StreamResponse:
    """A file of the built desk, or its page for every address that is one of its views."""
    path = request.match_info["path"].removeprefix("static/")
    if path and not path.startswith(("/", ".")) and (file := _static_file(path)) is not None:
        cache = _FOREVER if "assets" in file.relative_to(STATIC.resolve()).parts else "no-cache"
        return web.FileResponse(file, headers={"Cache-Control": cache})
    if "." in path.rpartition("/")[2] or request.path.startswith("/static/") or (path and accepts_json(request)):
        raise NotFoundError
    index = STATIC / "index.html"
    if not index.is_file():
        return web.Response(status=503, text=_BUILD_HINT)
    return web.FileResponse(index, headers={"Cache-Control": "no-cache"})

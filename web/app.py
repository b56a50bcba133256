"""The composition root: settings in, application out."""

from aiohttp import web

from web import dispatch, middlewares, pages, problems
from web.access.identity import catalog_of
from web.api import all_operations
from web.config import Settings
from web.door import REQUESTS, Requests
from web.lifetime import Seams, lifetime
from web.live import download, events, hls, rtc_http, talk, vod, whep, whip
from web.messages import Catalog, Catalogs, load_catalogs
from web.services import SERVICES


def build_app(settings: Settings, seams: Seams | None = None) -> web.Application:
    """The whole service. Nothing is opened or started before aiohttp runs the application."""
    catalogs = load_catalogs(settings.language)
    seams = seams or Seams()
    requests = Requests(seams.clock)
    app = web.Application(
        client_max_size=settings.http_body_max_kb * 1024,
        middlewares=[
            requests.notice,
            middlewares.true_client(settings.trusted_proxies),
            middlewares.measure,
            problems.middleware(lambda request: _catalog(request, catalogs)),
        ],
    )
    app[REQUESTS] = requests
    app.on_response_prepare.append(middlewares.add_security_headers)
    app.on_response_prepare.append(rtc_http.add_cors)
    app.on_response_prepare.append(problems.note_begun)
    app.on_shutdown.append(events.let_go)
    app.cleanup_ctx.append(lifetime(settings, catalogs, seams))
    whep.prepare(app)
    whip.prepare(app)
    talk.prepare(app)
    app.add_routes(dispatch.routes(all_operations()))
    for module in (hls, vod, download, whep, whip, talk):
        app.add_routes(module.routes())
    app.add_routes(pages.routes())
    return app


def _catalog(request: web.Request, catalogs: Catalogs) -> Catalog:
    return catalog_of(request) if SERVICES in request.app else catalogs.of(None)

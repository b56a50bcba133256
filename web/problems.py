"""Every error as problem details (RFC 9457), in one place and in the person's language.

Typed errors of all packages are known by their ``code``; their HTTP status stands in :data:`STATUS`, or in the error
itself where it is the web layer's own.
 Anything else is a fault of ours: 500 with an incident code that the log has too.
"""

import asyncio
import math
import secrets
from collections.abc import Awaitable, Callable, Mapping

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from media.errors import MediaError
from recorder.errors import RecorderError
from storage.errors import StorageError
from streaming.errors import StreamingError
from web.api.schemas.common import FieldError, Problem
from web.errors import (
    BodyInvalidError,
    BodyTooLargeError,
    FieldsInvalidError,
    MethodNotAllowedError,
    NotFoundError,
    WebError,
)
from web.messages import Catalog

TypedError = MediaError | StreamingError | RecorderError | StorageError | WebError
TYPED_ERRORS = (MediaError, StreamingError, RecorderError, StorageError, WebError)
PROBLEM_TYPE = "application/problem+json"

STATUS: Mapping[str, int] = {
    "address-refused": 422,
    "address-unresolved": 422,
    "database-unavailable": 503,
    "export-failed": 422,
    "meeting-state": 409,
    "object-not-found": 404,
    "record-conflict": 409,
    "record-not-found": 404,
    "recording-not-found": 404,
    "nothing-recorded": 404,
    "playlist-request-invalid": 400,
    "segment-gone": 404,
    "spool-full": 503,
    "store-other": 503,
    "store-unavailable": 503,
    "publisher-there": 409,
    "stream-away": 503,
    "talk-busy": 409,
    "talk-closed": 409,
    "talk-unknown": 404,
    "url-invalid": 422,
    "webrtc-no-codec": 406,
    "webrtc-offer-broken": 400,
    "webrtc-offer-unsuitable": 400,
    "webrtc-picture-unplayable": 406,
    "webrtc-picture-unsendable": 406,
    "webrtc-session-changed": 412,
    "webrtc-session-gone": 404,
    "webrtc-session-unnamed": 428,
    "webrtc-too-many": 429,
    "webrtc-transcodes-full": 503,
    "window-timeout": 503,
}

log = structlog.get_logger("web.problems")

_CALM_S = 60.0


def status_of(error: TypedError) -> int:
    """The HTTP status of a typed error."""
    own = error.status if isinstance(error, WebError) else 500
    return STATUS.get(error.code, getattr(error, "http_status", own))


def describe(error: TypedError, catalog: Catalog) -> Problem:
    """A typed error as problem details."""
    notice = catalog.notice(error.code, error.params)
    fields: list[FieldError] = []
    if isinstance(error, FieldsInvalidError):
        fields = [
            FieldError(field=wrong.field, title=catalog.text("fields", wrong.code, wrong.params))
            for wrong in error.fields
        ]
    seconds = error.params.get("seconds") if status_of(error) in {429, 503} else None
    return Problem(
        type=f"urn:sanhui:problem:{error.code}",
        title=notice.title,
        status=status_of(error),
        detail=notice.detail,
        code=error.code,
        errors=fields,
        retry_after_s=int(seconds) if isinstance(seconds, int | float) else None,
    )


def unforeseen(catalog: Catalog, incident: str) -> Problem:
    """What is said about a fault of ours."""
    notice = catalog.notice("internal", {"incident": incident})
    return Problem(
        type="urn:sanhui:problem:internal",
        title=notice.title,
        status=500,
        detail=notice.detail,
        code="internal",
        incident=incident,
    )


def response(problem: Problem) -> web.Response:
    """Problem details as a response."""
    headers = {"Cache-Control": "no-store"}
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, problem.retry_after_s))
    if problem.status == 401:
        # RFC 9110, 11.6.1 demands a challenge; this scheme makes no browser ask by itself.
        headers["WWW-Authenticate"] = 'Bearer realm="Sanhui"'
    return web.Response(
        status=problem.status,
        body=problem.model_dump_json(exclude_none=True).encode(),
        content_type=PROBLEM_TYPE,
        headers=headers,
    )


def _translate(error: web.HTTPException, request: web.Request) -> TypedError | None:
    if isinstance(error, web.HTTPMethodNotAllowed):
        return MethodNotAllowedError(method=request.method, allowed=", ".join(sorted(error.allowed_methods)))
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return BodyTooLargeError(limit_kb=request.client_max_size // 1024)
    if error.status == 404:
        return NotFoundError()
    return None


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def middleware(catalog_of: Callable[[web.Request], Catalog]) -> Middleware:
    """The outermost middleware: whatever is raised inside becomes problem details."""
    told_s: dict[str, float] = {}

    def is_news(problem: Problem) -> bool:
        # What is away is away for all players, who ask again and again. A fault of ours is told each time.
        now_s = asyncio.get_running_loop().time()
        if problem.status == 503 and now_s - told_s.get(problem.code, -math.inf) < _CALM_S:
            return False
        told_s[problem.code] = now_s
        return True

    @web.middleware
    async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            typed = _translate(error, request)
            if typed is None:
                raise
            answer = response(describe(typed, catalog_of(request)))
            if isinstance(error, web.HTTPMethodNotAllowed):
                answer.headers["Allow"] = error.headers["Allow"]
            return answer
        except web.RequestPayloadError:
            # A body that is not encoded as its head says.
            return _instead(request, describe(BodyInvalidError(), catalog_of(request)))
        except TYPED_ERRORS as error:
            problem = describe(error, catalog_of(request))
            if problem.status >= 500 and is_news(problem):
                log.warning("request failed", code=error.code, error=str(error), path=request.path)
            return _instead(request, problem)
        except (asyncio.CancelledError, ConnectionResetError):
            raise
        # The boundary: whatever is left is a fault of ours, and no one outside may see more than its incident code.
        except Exception:
            incident = secrets.token_hex(4).upper()
            log.exception("unforeseen error", incident=incident, method=request.method, path=request.path)
            return _instead(request, unforeseen(catalog_of(request), incident))

    return problems


_BEGUN = web.RequestKey("answer_begun", bool)


async def note_begun(request: web.Request, _: web.StreamResponse) -> None:
    """An ``on_response_prepare`` signal: from here on an error can no longer become an answer of its own."""
    request[_BEGUN] = True


def _instead(request: web.Request, problem: Problem) -> web.Response:
    """The problem as the answer; where an answer has begun, its connection is cut off.

    A stream that ended tidily after an error would look whole, and a download must never look more complete than it is.
    """
    if not request.get(_BEGUN, False):
        return response(problem)
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError(f"cut off after an error: {problem.code}")

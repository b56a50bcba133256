"""Operations become routes: who asks, may they, is the request well formed, and only then the handler."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar

from aiohttp import hdrs, web
from multidict import MultiMapping
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from storage.records import AuditOutcome
from web.access.identity import authenticate, authenticate_room, catalog_of, check_same_site
from web.access.scopes import ROOM_SCOPES
from web.call import Call
from web.errors import (
    BodyInvalidError,
    BodyTypeError,
    FieldsInvalidError,
    ForbiddenError,
    NotFoundError,
    OutsideAreaError,
    WrongField,
)
from web.operations import Operation
from web.services import SERVICES

# Smaller answers gain nothing; larger ones are compressed in a thread, off the event loop.
_COMPRESS_BYTES = 8 * 1024

ModelT = TypeVar("ModelT", bound=BaseModel)


def routes(operations: Iterable[Operation], prefix: str = "/api/v1") -> list[web.RouteDef]:
    """A route for each operation."""
    return [web.route(item.method, prefix + item.path, _handler(item), name=item.name) for item in operations]


def _handler(operation: Operation) -> Any:
    async def handle(request: web.Request) -> web.StreamResponse:
        services = request.app[SERVICES]
        if operation.body is not None:
            # Read before anybody is asked who they are: rights are those at the end of a request, not at its beginning,
            # which may be long ago.
            await request.read()
        someone = await (authenticate_room if operation.scope in ROOM_SCOPES else authenticate)(request)
        if operation.unsafe:
            # What needs nobody is done in nobody's name: a log-in page knows nothing of a session that still lives.
            check_same_site(request, someone if operation.scope is not None else None)
        call = Call(request, services, someone, catalog_of(request))
        try:
            return await _run(operation, call)
        except (ForbiddenError, OutsideAreaError):
            await _note_refusal(operation, call)
            raise

    return handle


async def _run(operation: Operation, call: Call) -> web.StreamResponse:
    request = call.request
    if operation.scope is not None:
        call.principal.demand(operation.scope)
    arguments: dict[str, Any] = {name: request.match_info[name] for name in operation.path_parameters}
    if any("\0" in text for text in arguments.values()):
        # PostgreSQL has no such text, so nothing has it for an id.
        raise NotFoundError
    if operation.query is not None:
        arguments["query"] = read_query(operation.query, request.query)
    if operation.body is not None:
        arguments["body"] = await read_body(operation.body, request)
    result = await operation.handler(call, **arguments)
    return _respond(result, operation.status)


async def _note_refusal(operation: Operation, call: Call) -> None:
    """Whoever tries what they may not is on record (GB/T 22239, 8.1.4.3)."""
    entry = replace(
        call.entry("access.refused", f"operation/{operation.name}", operation=operation.name),
        outcome=AuditOutcome.DENIED,
    )
    async with call.services.database.transaction() as repos:
        await repos.audit.add(entry)


def _respond(result: object, status: int) -> web.StreamResponse:
    if isinstance(result, web.StreamResponse):
        return result
    headers = {"Cache-Control": "no-store"}
    if isinstance(result, BaseModel):
        body = result.model_dump_json().encode()
        response = web.Response(
            status=status,
            body=body,
            content_type="application/json",
            headers=headers,
            zlib_executor_size=_COMPRESS_BYTES,
        )
        if len(body) > _COMPRESS_BYTES:
            response.enable_compression()
        return response
    return web.Response(status=status, headers=headers)


def read_query(model: type[ModelT], query: MultiMapping[str]) -> ModelT:
    """Check a query string. An empty value is as good as none. Raises FieldsInvalidError."""
    return _validated(model, {name: query[name] for name in query if query[name] != ""})


async def read_body(model: type[ModelT], request: web.Request) -> ModelT:
    """Check a JSON body. Raises BodyTypeError, BodyInvalidError, FieldsInvalidError; aiohttp bounds its size."""
    if request.content_type != "application/json":
        raise BodyTypeError
    try:
        data = json.loads((await request.read()).decode("utf-8"))
    # ValueError: not UTF-8, not JSON, or a number of more digits than Python reads.
    except (ValueError, RecursionError) as error:
        raise BodyInvalidError from error
    if not isinstance(data, dict):
        raise BodyInvalidError
    return _validated(model, data)


def _validated(model: type[ModelT], data: dict[str, Any]) -> ModelT:
    try:
        # From text, as JSON has no dates or enums; lax mode reads them.
        return model.model_validate(data)
    except ValidationError as error:
        raise FieldsInvalidError(
            [_wrong(item) for item in error.errors(include_url=False, include_input=False)]
        ) from None


_CODES = {
    "missing": "missing",
    "extra_forbidden": "unknown-field",
    "string_too_long": "too-long",
    "string_too_short": "too-short",
    "too_long": "too-long",
    "string_pattern_mismatch": "pattern",
    "enum": "choice",
    "literal_error": "choice",
    "greater_than_equal": "at-least",
    "less_than_equal": "at-most",
    "int_parsing": "number",
    "int_type": "number",
    "int_from_float": "number",
    "float_parsing": "number",
    "datetime_parsing": "time",
    "datetime_from_date_parsing": "time",
    "date_from_datetime_parsing": "time",
    "date_parsing": "time",
}
_LIMITS = ("max_length", "min_length", "ge", "le")


def _wrong(item: ErrorDetails) -> WrongField:
    context = item.get("ctx", {})
    code = _CODES.get(item["type"], "wrong")
    if item["type"] == "value_error" and "time-without-zone" in item["msg"]:
        code = "time-without-zone"
    if code == "too-short" and context.get("min_length") == 1:
        code = "missing"
    limit = next((context[name] for name in _LIMITS if name in context), None)
    path = ".".join(str(part) for part in item["loc"])
    return WrongField(path, code, {} if limit is None else {"limit": limit})


def accepts_json(request: web.Request) -> bool:
    """Whether the client would rather have JSON than a page."""
    return "text/html" not in request.headers.get(hdrs.ACCEPT, "")

"""Declarations of API operations: what a handler takes, gives and demands is read from its own signature.

A handler is ``async def name(call, *path parameters, query: Model, body: Model) -> Model``. Method, path, scope and
summary stand in its decorator. Routing, validation, access control and the OpenAPI description all come from here.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel

from web.access.scopes import Scope

HandlerT = TypeVar("HandlerT", bound=Callable[..., Awaitable[Any]])
_PATH_PARAMETER = re.compile(r"{(\w+)(?::[^}]*)?}")


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. ``scope`` None means that nobody need be logged in.

    ``response`` is the model of the answer, of one line of it where ``media_type`` is NDJSON, or None.
    """

    method: str
    path: str
    handler: Callable[..., Awaitable[Any]]
    name: str
    tag: str
    summary: str
    description: str
    scope: Scope | None
    path_parameters: tuple[str, ...]
    query: type[BaseModel] | None
    body: type[BaseModel] | None
    response: type[BaseModel] | None
    media_type: str
    status: int
    errors: tuple[int, ...]

    @property
    def unsafe(self) -> bool:
        """Whether it may change something, so that the CSRF header is demanded (RFC 9110, 9.2.1)."""
        return self.method not in {"GET", "HEAD", "OPTIONS"}


class Operations:
    """The operations of one subject, in the order of declaration."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.all: list[Operation] = []

    def operation(
        self,
        method: str,
        path: str,
        *,
        scope: Scope | None,
        status: int | None = None,
        errors: tuple[int, ...] = (),
        media_type: str = "application/json",
        model: type[BaseModel] | None = None,
    ) -> Callable[[HandlerT], HandlerT]:
        """Declare the decorated handler. ``model`` is what a handler that makes its own response puts
        into it; one line of it where ``media_type`` is NDJSON."""

        def declare(handler: HandlerT) -> HandlerT:
            self.all.append(_read_handler(handler, method, path, self.tag, scope, status, errors, media_type, model))
            return handler

        return declare


def _read_handler(
    handler: Callable[..., Awaitable[Any]],
    method: str,
    path: str,
    tag: str,
    scope: Scope | None,
    status: int | None,
    errors: tuple[int, ...],
    media_type: str,
    model: type[BaseModel] | None,
) -> Operation:
    hints: Mapping[str, Any] = get_type_hints(handler)
    parameters = tuple(_PATH_PARAMETER.findall(path))
    expected = {"call", "query", "body", *parameters}
    unknown = set(inspect.signature(handler).parameters) - expected
    if unknown:
        raise TypeError(f"{method} {path}: parameters {sorted(unknown)} are neither in the path nor query nor body")
    result = hints.get("return")
    response = model or (result if inspect.isclass(result) and issubclass(result, BaseModel) else None)
    summary, _, rest = inspect.getdoc(handler).partition("\n") if inspect.getdoc(handler) else ("", "", "")  # type: ignore[union-attr]
    default_status = 204 if response is None and media_type == "application/json" else 200
    return Operation(
        method=method,
        path=path,
        handler=handler,
        name=handler.__name__,
        tag=tag,
        summary=summary,
        description=rest.strip(),
        scope=scope,
        path_parameters=parameters,
        query=hints.get("query"),
        body=hints.get("body"),
        response=response,
        media_type=media_type,
        status=status or default_status,
        errors=errors,
    )

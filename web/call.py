"""What a handler gets: the request, who asks, and the services."""

from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Call:
    """One request to an operation."""

    request: web.Request

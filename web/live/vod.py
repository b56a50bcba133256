"""Recorded HLS of a meeting."""

from collections.abc import Sequence

from aiohttp import web


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this module; handlers find their services under :data:`web.live.context.LIVE`."""
    return []

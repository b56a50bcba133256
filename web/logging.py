"""The log: one JSON object a line, or lines for people, and no secret in either (law 7).

Redaction is the last processor, over every value of every event, tracebacks included: fields with telling names are
starred, and in any text credentials in URLs, cookies, bearer and CSRF tokens, and passwords written as ``name=value``.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

from web.config import LogFormat, LogLevel

STARS = "***"
_SECRET_NAME = re.compile(
    r"passw|secret|token|cookie|authorization|api_?key|access_?key|csrf|credential", re.IGNORECASE
)
_HARMLESS_NAME = re.compile(r"_(count|id|kind|type|state|age|s)$", re.IGNORECASE)
# A password may hold @ : / and quotes, so all up to the last @ of the word is taken for credentials.
_URL = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?P<credentials>\S*)@", re.IGNORECASE)
_HEADER = re.compile(
    r"(?P<name>\b(?:authorization|proxy-authorization|cookie|set-cookie|x-csrf-token)\b[\"']?\s*[:=]\s*)(?P<value>[^\r\n]+)",
    re.IGNORECASE,
)
_PAIR = re.compile(
    r"(?P<name>\b[\w-]*(?:password|passwd|pwd|secret|token|sanhui_session|access_key)[\"']?\s*[=:]\s*)"
    r"(?P<value>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s,;&]+)",
    re.IGNORECASE,
)
_SETUP_LINK = re.compile(r"(/setup/)[A-Za-z0-9_-]{20,}")


def redact_text(text: str) -> str:
    """``text`` without the secrets that can be told from their form."""
    if "://" in text:
        text = _URL.sub(rf"\g<scheme>{STARS}@", text)
    text = _HEADER.sub(rf"\g<name>{STARS}", text)
    text = _PAIR.sub(rf"\g<name>{STARS}", text)
    return _SETUP_LINK.sub(rf"\1{STARS}", text)


def redact(value: object, name: str = "") -> object:
    """``value`` without secrets: by its name, by its form, and inside of it."""
    if name and _SECRET_NAME.search(name) and not _HARMLESS_NAME.search(name):
        return STARS
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {key: redact(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item) for item in value]
    if isinstance(value, bool | int | float) or value is None:
        return value
    return redact_text(str(value))


def _redact_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: redact(value, key) for key, value in event.items()}


def configure_logging(level: LogLevel, form: LogFormat, node: str = "", stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging (other packages') to write to ``stream`` (stderr)."""
    out = stream or sys.stderr
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    if node:
        shared.append(_adder(node))
    last = (
        structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
        if form is LogFormat.JSON
        else structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _redact_event, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.value.upper())
    # aiohttp's own line per request would say the same as ours, without redaction of paths; libav's noise helps nobody.
    for noisy in ("aiohttp.access", "libav", "alembic", "aiosqlite", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _adder(node: str) -> Any:
    def add(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["node"] = node
        return event

    return add

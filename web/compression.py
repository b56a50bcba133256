"""Answers that are compressed."""

import types
import zlib
from functools import lru_cache
from typing import Any

import aiohttp
from aiohttp import hdrs, web
from isal import isal_zlib

_GZIP_WBITS = 31
_KEPT_CHARS = 16 * 1024
_KEPT = 512


def compress_quickly() -> None:
    """Let aiohttp compress by ISA-L from now on, in the whole process: the same formats, a few octets longer. zlib
    takes longer over a live playlist than all else that is done for its request, ISA-L a tenth of that. What strangers
    send is still read by zlib: it says at once that something is not compressed at all."""
    backend: Any = types.SimpleNamespace(**vars(zlib) | {"compressobj": isal_zlib.compressobj})
    aiohttp.set_zlib_backend(backend)


def takes_gzip(request: web.Request) -> bool:
    """Whether the asker reads gzip (RFC 9110, 12.5.3)."""
    for item in request.headers.get(hdrs.ACCEPT_ENCODING, "").lower().split(","):
        coding, _, weight = item.partition(";")
        if coding.strip() == "gzip":
            # "q=0", "q=0.000": anything but.
            return weight.strip().removeprefix("q=").strip("0.") != "" or weight.strip() == ""
    return False


def packed(text: str) -> bytes:
    """``text`` in UTF-8 as gzip. A short one is kept: a live playlist goes to all its viewers at once, a recording's,
    which is long, to each alone."""
    return _kept(text) if len(text) <= _KEPT_CHARS else _packed(text)


def _packed(text: str) -> bytes:
    # In one go: an object that is fed and flushed costs three times as much with cold caches.
    return isal_zlib.compress(text.encode(), wbits=_GZIP_WBITS)


_kept = lru_cache(maxsize=_KEPT)(_packed)

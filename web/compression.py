"""Answers that are compressed."""

import types
import zlib
from typing import Any

import aiohttp
from isal import isal_zlib


def compress_quickly() -> None:
    """Let aiohttp compress by ISA-L from now on, in the whole process: the same formats, a few octets longer. zlib
    takes longer over a live playlist than all else that is done for its request, ISA-L a tenth of that. What strangers
    send is still read by zlib: it says at once that something is not compressed at all."""
    backend: Any = types.SimpleNamespace(**vars(zlib) | {"compressobj": isal_zlib.compressobj})
    aiohttp.set_zlib_backend(backend)

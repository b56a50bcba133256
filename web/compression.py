"""Answers that are compressed."""

import aiohttp
from isal import isal_zlib


def compress_quickly() -> None:
    """Let aiohttp compress by ISA-L from now on, in the whole process: the same formats, a few octets longer. zlib takes
    longer over a live playlist than all else that is done for its request, ISA-L a tenth of that."""
    aiohttp.set_zlib_backend(isal_zlib)

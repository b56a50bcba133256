"""The object store: bytes in, bytes out, by key. Two members: S3 and a directory; :func:`open_store` picks.

Keys are relative paths of ``[A-Za-z0-9._=-]`` segments joined by ``/``, at most 512 characters
(:func:`checked_key`). Metadata is a small mapping of text to text; any Unicode is kept.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from storage.errors import InvalidKeyError

CHUNK_BYTES = 256 * 1024
_KEY = re.compile(r"[A-Za-z0-9._=-]+(/[A-Za-z0-9._=-]+)*")
_MAX_KEY = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """What a store knows of an object. ``sha256`` is hex, ``""`` if the object was not stored by Sanhui.
    ``metadata`` and ``content_type`` are empty in listings."""

    key: str
    size: int
    sha256: str
    content_type: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DirectoryStoreSettings:
    """Objects as files below ``path``."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class S3StoreSettings:
    """A bucket of an S3 server. ``endpoint`` is ``http(s)://host:port``. Times in seconds.

    ``versioning`` and ``object_lock`` are asked of a bucket that is created here; a server that cannot is accepted
    unless ``object_lock`` is set.
    """

    endpoint: str
    bucket: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
    create_bucket: bool = True
    versioning: bool = False
    object_lock: bool = False
    ca_file: Path | None = None
    connect_timeout_s: float = 3.0
    read_timeout_s: float = 15.0
    attempts: int = 3
    threads: int = 8


StoreSettings = DirectoryStoreSettings | S3StoreSettings


class ObjectStore(Protocol):
    """Every method may raise ``StoreUnavailableError`` (try again later) or ``StoreRefusedError`` (a person must act),
    and ``InvalidKeyError`` for a bad key. None blocks the event loop."""

    @property
    def name(self) -> str:
        """The store's address for people, without credentials."""
        ...

    async def put(
        self, key: str, data: bytes, metadata: Mapping[str, str] | None = None, content_type: str = ""
    ) -> StoredObject:
        """Store ``data`` under ``key``, replacing what was there, and return once the store has confirmed its length
        and SHA-256. Raises ``IntegrityError`` if the store says otherwise."""
        ...

    async def head(self, key: str) -> StoredObject:
        """What is stored under ``key``. Raises ``ObjectNotFoundError``."""
        ...

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """``length`` bytes from ``offset``; to the end if None; fewer where the object ends sooner.
        Raises ``ObjectNotFoundError``."""
        ...

    def stream(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The same as :meth:`get` in pieces of at most ``CHUNK_BYTES``, with at most a few pieces in memory. The
        iterator is an async generator: leave early through ``contextlib.aclosing``."""
        ...

    async def delete(self, key: str) -> None:
        """Remove the object; nothing happens if there is none."""
        ...

    def list(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """Objects whose key starts with ``prefix``, in order of keys. ``sha256`` may be empty."""
        ...

    async def check(self) -> None:
        """Return if the store can be written to; raise as above if not. Ends within a few seconds."""
        ...


def checked_key(key: str) -> str:
    """``key`` itself if a store may take it. Raises ``InvalidKeyError``."""
    if len(key) > _MAX_KEY or not _KEY.fullmatch(key) or any(set(part) == {"."} for part in key.split("/")):
        raise InvalidKeyError(f"{key[:80]!r} is not a key", key=key[:80])
    return key


def open_store(settings: StoreSettings) -> AbstractAsyncContextManager[ObjectStore]:
    """The store that ``settings`` describe: ``async with open_store(settings) as store``.

    Entering creates the directory, or starts the client's threads; it does not need the S3 server to be there.
    """
    if isinstance(settings, DirectoryStoreSettings):
        from storage.directory_store import DirectoryStore

        return DirectoryStore(settings)
    from storage.s3_store import S3Store

    return S3Store(settings)

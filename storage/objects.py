"""The object store: bytes in, bytes out, by key. Two members, S3 and a directory; storage.open_store picks one.

Keys are relative paths whose segments, joined by ``/``, are letters, digits and ``._=-`` and start with a letter or
digit; at most 512 characters (:func:`checked_key`). Metadata is a small mapping of text to text; any Unicode is kept.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from io import RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote

from storage.errors import InvalidKeyError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK_BYTES = 256 * 1024
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]*(/[A-Za-z0-9][A-Za-z0-9._=-]*)*")
_MAX_KEY = 512
_MAX_SEGMENT = 200
_METADATA_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# S3 allows 2 KB of user metadata, names included (Amazon S3 User Guide, "User-defined object metadata").
_MAX_METADATA = 1900
_UNRESERVED = "-._~:/+,;=@ "


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
    """Objects as files below ``path``. ``begun`` says that there are objects in this store, ``marker`` what tells it
    from others (see :class:`storage.directory_store.DirectoryStore`), ``""`` if that is not known."""

    path: Path
    begun: bool = False
    marker: str = ""


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


class ObjectBody(Protocol):
    """An object's bytes, where they are too many to be held in memory: ``open`` gives them from the beginning, as often
    as it is called. ``size`` in bytes and ``sha256`` (hex) are known beforehand. ``path`` is a file that has these
    bytes and no others, was read for ``sha256``, and is never written again: a store on the same disk may make it its
    own by a link instead of a copy; None if there is no such file. Used in the store's threads."""

    @property
    def size(self) -> int: ...

    @property
    def sha256(self) -> str: ...

    @property
    def path(self) -> Path | None: ...

    def open(self) -> RawIOBase: ...


@dataclass(frozen=True, slots=True)
class BytesBody:
    """A body that is in memory."""

    data: bytes = field(repr=False)
    size: int
    sha256: str
    path: Path | None = None

    def open(self) -> RawIOBase:
        """A view of the bytes; nothing is copied."""
        return _BytesReader(self.data)


class _BytesReader(RawIOBase):
    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._left = memoryview(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._left))
        target[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def body_of(data: bytes | ObjectBody) -> ObjectBody:
    """Bytes as a body. Hashes them: not on the event loop."""
    return BytesBody(data, len(data), hashlib.sha256(data).hexdigest()) if isinstance(data, bytes) else data


class ObjectStore(Protocol):
    """Every method may raise ``StoreUnavailableError`` (try again later) or ``StoreRefusedError`` (a person must act),
    and ``InvalidKeyError`` for a bad key. None blocks the event loop."""

    @property
    def name(self) -> str:
        """The store's address for people, without credentials."""
        ...

    async def put(
        self, key: str, data: bytes | ObjectBody, metadata: Mapping[str, str] | None = None, content_type: str = ""
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
    too_long = len(key) > _MAX_KEY or any(len(part) > _MAX_SEGMENT for part in key.split("/"))
    if too_long or not _KEY.fullmatch(key):
        raise InvalidKeyError(f"{key[:80]!r} is not a key", key=key[:80])
    return key


def checked_range(offset: int, length: int | None) -> None:
    """Raises ``ValueError`` for what no caller should ask."""
    if offset < 0 or (length is not None and length < 0):
        raise ValueError("offset and length of a range are not negative")


def encoded_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata as S3 header values: UTF-8, percent-encoded. Names must be lower-case words joined by ``-``.

    S3 refuses more than 2 KB. A meeting with a very long title must be stored all the same, so the longest values are
    shortened, ending in ``…``, until all fit.
    """
    for name in metadata:
        if not _METADATA_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a metadata name")
    texts = dict(metadata)
    encoded = {name: quote(text, safe=_UNRESERVED) for name, text in texts.items()}
    while sum(len(name) + len(value) for name, value in encoded.items()) > _MAX_METADATA:
        longest = max(encoded, key=lambda name: len(encoded[name]))
        kept = texts[longest].removesuffix("…")
        if len(kept) <= 1:
            raise ValueError("too many metadata entries")
        texts[longest] = kept[: len(kept) * 3 // 4] + "…"
        encoded[longest] = quote(texts[longest], safe=_UNRESERVED)
    return encoded


def decoded_metadata(encoded: Mapping[str, str]) -> dict[str, str]:
    """What :func:`encoded_metadata` was given."""
    return {name: unquote(value, errors="replace") for name, value in encoded.items()}

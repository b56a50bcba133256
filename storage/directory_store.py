"""Objects as files: the embedded default, and what a county without servers keeps its archive in.

An object ``a/b.mp4`` is the file ``a/b.mp4``, playable as it lies there. Its facts are beside it in ``a/.b.mp4.json``.
Both are written to ``.tmp`` first, fsynced, then renamed into place, facts before data; where an object is replaced the
old facts go first and the new ones come last. So a file that is there is whole, and its facts are its own, or none.
Directories are fsynced after each rename, so that the name survives a power cut too. What lies in a file of its own on
the same disk is not copied: the object is a link to it.

``.sanhui-store``, the marker, is made with the folder and has an id of its own. Where it is missing, or another's, the
disk is not mounted or is another one: nothing is read or written there.
"""

import asyncio
import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import RawIOBase
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TypeVar

from storage.errors import (
    IntegrityError,
    ObjectNotFoundError,
    ObjectStoreError,
    OtherStoreError,
    StoreRefusedError,
    StoreUnavailableError,
)
from storage.files import make_folders, sync_directory, write_synced
from storage.objects import (
    CHUNK_BYTES,
    DirectoryStoreSettings,
    ObjectBody,
    StoredObject,
    body_of,
    checked_key,
    checked_range,
)

T = TypeVar("T")

_MARKER = ".sanhui-store"
_MARKER_TEXT = "Objects of Sanhui. Do not remove this file: it tells that the disk is mounted.\nid: {id}\n"
_MARKER_ID = re.compile(r"^id: ([0-9a-f]{32})$", re.MULTILINE)
_TEMPORARY = ".tmp"
_STALE_S = 3600
_LIST_BATCH = 500
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS}
_NO_RIGHTS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}
_REFUSALS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class DirectoryStore:
    """See :class:`storage.objects.ObjectStore`. Open from ``async with`` to its end; all file work is done by its own
    threads.

    A store that has not begun takes whatever folder it is given, and makes it where there is none. One that has opens
    without its folder too, raises ``OtherStoreError`` to whoever asks, and goes on once it is there: the one whose
    marker has the id that is known, or a marker without an id, which a person made (or a version before ids).
    """

    def __init__(self, settings: DirectoryStoreSettings) -> None:
        self._root = settings.path
        self._begun = settings.begun
        self._id = settings.marker
        self.marker = ""
        """The marker's id, once the folder was found to be this store."""
        self._threads: ThreadPoolExecutor | None = None

    @property
    def name(self) -> str:
        """The directory."""
        return str(self._root)

    async def __aenter__(self) -> Self:
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="directory-store")
        try:
            await self._run(self._open)
        except BaseException:
            self._threads.shutdown(wait=False)
            self._threads = None
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)

    async def put(
        self, key: str, data: bytes | ObjectBody, metadata: Mapping[str, str] | None = None, content_type: str = ""
    ) -> StoredObject:
        """Link; or write, fsync, read back, and rename."""
        path = self._path(key)
        return await self._run(lambda: self._put(key, path, body_of(data), dict(metadata or {}), content_type))

    async def head(self, key: str) -> StoredObject:
        """The facts beside the file, and the file's own size. What is told of lasts: a put that was killed may have
        given it its name and not come to make that last, and who tries again goes by this."""
        path = self._path(key)

        def look() -> StoredObject:
            found = _head(key, path)
            sync_directory(path.parent)
            return found

        return await self._run(look, key)

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """One read."""
        checked_range(offset, length)
        path = self._path(key)

        def read() -> bytes:
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(-1 if length is None else length)

        return await self._run(read, key)

    async def stream(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """One piece at a time."""
        checked_range(offset, length)
        path = self._path(key)

        def start() -> BinaryIO:
            file = path.open("rb")
            file.seek(offset)
            return file

        file = await self._run(start, key)
        left = length
        try:
            while left is None or left > 0:
                wanted = CHUNK_BYTES if left is None else min(CHUNK_BYTES, left)
                piece = await self._run(lambda size=wanted: file.read(size), key)  # type: ignore[misc]
                if not piece:
                    return
                if left is not None:
                    left -= len(piece)
                yield piece
        finally:
            file.close()

    async def delete(self, key: str) -> None:
        """Data first, facts after; folders that are left empty go too."""
        path = self._path(key)
        await self._run(lambda: self._delete(path))

    async def list(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """A walk of the folders that the prefix leaves over."""
        await self._run(self._require_marker)
        found = self._walk(self._root, "", prefix)
        while batch := await self._run(lambda: list(islice(found, _LIST_BATCH))):
            for stored in batch:
                yield stored

    async def check(self) -> None:
        """Write a small file and remove it."""

        def write() -> None:
            self._require_marker()
            path = self._temporary()
            try:
                write_synced(path, b"sanhui")
            finally:
                path.unlink(missing_ok=True)

        await self._run(write)

    def _path(self, key: str) -> Path:
        return self._root / checked_key(key)

    async def _run(self, work: Callable[[], T], key: str = "") -> T:
        if self._threads is None:
            raise StoreUnavailableError("the store is not open", store=self.name)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._mounted, work)
        except OSError as error:
            raise self._typed(error, key) from error

    def _mounted(self, work: Callable[[], T]) -> T:
        """What ``work`` gives. What it does not find on a disk that is away is not gone. Raises OSError."""
        try:
            return work()
        except FileNotFoundError:
            self._require_marker()
            raise

    def _typed(self, error: OSError, key: str) -> ObjectStoreError:
        if key and isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError)):
            return ObjectNotFoundError(f"no object {key!r}", key=key)
        reason = errno.errorcode.get(error.errno or 0, "EIO")
        if error.errno in _REFUSALS:
            return StoreRefusedError("the directory refuses", store=self.name, reason=reason)
        return StoreUnavailableError("the directory does not answer", store=self.name, reason=reason)

    def _open(self) -> None:
        found = self._found_id()
        if not self._begun:
            self._id = found or self._id
        self._id = self._id or found or secrets.token_hex(16)
        if not self._begun and found is None:
            make_folders(self._root)
            self._write_marker()
        try:
            self._require_marker()
        except OtherStoreError:
            return
        self.marker = self._id
        oldest = time.time() - _STALE_S
        for left_over in self._temporary().parent.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if left_over.stat().st_mtime < oldest:
                    left_over.unlink()

    def _require_marker(self) -> None:
        # A disk that is unmounted while the service runs leaves an empty folder behind: writing there would fill the
        # wrong disk, and hide the objects when the right one comes back.
        found = self._found_id()
        if found is None or found not in ("", self._id):
            raise OtherStoreError("the folder is not the store that was here", store=self.name)
        if not found:
            self._write_marker()

    def _found_id(self) -> str | None:
        """The id in the marker, ``""`` where it has none; None if there is no marker."""
        try:
            text = (self._root / _MARKER).read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None
        found = _MARKER_ID.search(text)
        return found[1] if found else ""

    def _write_marker(self) -> None:
        new = self._temporary()
        write_synced(new, _MARKER_TEXT.format(id=self._id).encode())
        os.replace(new, self._root / _MARKER)
        sync_directory(self._root)

    def _temporary(self) -> Path:
        folder = self._root / _TEMPORARY
        folder.mkdir(exist_ok=True)
        return folder / secrets.token_hex(8)

    def _put(self, key: str, path: Path, body: ObjectBody, metadata: dict[str, str], content_type: str) -> StoredObject:
        self._require_marker()
        sha256 = body.sha256
        linked = False
        facts = {"size": body.size, "sha256": sha256, "content_type": content_type, "metadata": metadata}
        new_data, new_facts = self._temporary(), self._temporary()
        try:
            linked = body.path is not None and _link_synced(new_data, body.path, body.size)
            if not linked:
                with body.open() as source:
                    _copy_synced(new_data, source)
            _write_protect(new_data)
            if not linked:
                # Before it gets its name: what has one is taken for what its facts say, by whoever tries again too.
                with new_data.open("rb", buffering=0) as file:
                    found = _hash_of(file)
                if found != sha256:
                    raise IntegrityError("the directory holds other bytes", key=key, expected=sha256, found=found)
            write_synced(new_facts, json.dumps(facts, ensure_ascii=False, indent=1).encode())
            make_folders(path.parent)
            renames = [(new_facts, _facts_path(path)), (new_data, path)]
            if path.exists():
                # Whatever cuts this off: the new facts must not speak for what is still there.
                _facts_path(path).unlink(missing_ok=True)
                renames.reverse()
            for new, name in renames:
                os.replace(new, name)
        finally:
            new_data.unlink(missing_ok=True)
            new_facts.unlink(missing_ok=True)
        sync_directory(path.parent)
        return StoredObject(key=key, size=body.size, sha256=sha256, content_type=content_type, metadata=metadata)

    def _delete(self, path: Path) -> None:
        self._require_marker()
        with contextlib.suppress(NotADirectoryError):
            path.unlink(missing_ok=True)
            _facts_path(path).unlink(missing_ok=True)
        folder = path.parent
        if folder.is_dir():
            sync_directory(folder)
        while folder != self._root:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent

    def _walk(self, folder: Path, inside: str, prefix: str) -> Iterator[StoredObject]:
        try:
            with os.scandir(folder) as entries:
                # A folder sorts as if it ended in "/", which is how S3 orders whole keys.
                children = sorted(
                    (entry.name + "/" if entry.is_dir() else entry.name, entry)
                    for entry in entries
                    if not entry.name.startswith(".")
                )
        except (FileNotFoundError, NotADirectoryError):
            return
        for name, entry in children:
            key = inside + name
            if name.endswith("/"):
                if key.startswith(prefix) or prefix.startswith(key):
                    yield from self._walk(folder / entry.name, key, prefix)
            elif key.startswith(prefix):
                with contextlib.suppress(FileNotFoundError):
                    yield StoredObject(key=key, size=entry.stat().st_size, sha256="")


def _facts_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.json")


def _head(key: str, path: Path) -> StoredObject:
    if path.is_dir():
        raise FileNotFoundError(errno.ENOENT, "a folder, not an object", str(path))
    size = path.stat().st_size
    try:
        facts = json.loads(_facts_path(path).read_bytes())
        return StoredObject(
            key=key,
            size=size,
            # Facts of another length are those of what was to replace it when the power went, or it was cut since.
            sha256=str(facts["sha256"]) if facts["size"] == size else "",
            content_type=str(facts["content_type"]),
            metadata={str(name): str(value) for name, value in facts["metadata"].items()},
        )
    except (FileNotFoundError, ValueError, KeyError, AttributeError, TypeError):
        # Put there by hand, or its facts were damaged: the bytes still count, and a check will hash them.
        return StoredObject(key=key, size=size, sha256="")


def _write_protect(path: Path) -> None:
    """An object is written once: whoever opens it to write to it, under whatever name, is refused; where there are such
    rights at all, as a share of another system's may not have."""
    try:
        path.chmod(path.stat().st_mode & 0o444)
    except OSError as error:
        if error.errno not in _NO_RIGHTS:
            raise


def _link_synced(path: Path, source: Path, size: int) -> bool:
    """Give the file ``source`` the name ``path`` too. False if it lies on another disk, or the disk has no links."""
    with source.open("rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size != size:
            return False
        os.fsync(file.fileno())
    try:
        os.link(source, path, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_LINK:
            return False
        raise
    return True


def _copy_synced(path: Path, source: RawIOBase) -> None:
    with path.open("xb", buffering=0) as file:
        view = memoryview(bytearray(CHUNK_BYTES))
        while count := source.readinto(view):
            written = 0
            while written < count:
                written += file.write(view[written:count])
        os.fsync(file.fileno())


def _hash_of(file: RawIOBase) -> str:
    digest = hashlib.sha256()
    view = memoryview(bytearray(CHUNK_BYTES))
    while count := file.readinto(view):
        digest.update(view[:count])
    return digest.hexdigest()

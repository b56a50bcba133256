"""A disk that is watched: what is written, synced, renamed and removed below a folder is noted, in order, so that the
disk can be built anew as a power cut would have left it at any moment; and one that refuses when it is told to.

What is not synced may be gone, wholly or in part: data without ``fsync`` of its file, names without ``fsync`` of their
folder. The calls of this process are watched where Python makes them, so a library that writes by itself (SQLite) is
not; its commits are noted by who uses it.
"""

import builtins
import contextlib
import io
import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

_WRITING = set("wxa+")


@dataclass(slots=True)
class Operation:
    """One thing done. ``what``: create, write, truncate, sync, link (a name made, the first or one more), unlink,
    rename, mkdir, rmdir, sync-folder, or a note of the test's own, with ``data``."""

    what: str
    node: int = 0
    path: str = ""
    target: str = ""
    offset: int = 0
    data: Any = b""


@dataclass
class _Node:
    synced: bytes = b""
    pending: list[Operation] = field(default_factory=list)
    _names: list[Path] = field(default_factory=list)

    def put(self, name: Path, chance: random.Random) -> None:
        """Give the file its name, or one more."""
        name.unlink(missing_ok=True)
        known = next((item for item in self._names if item.exists()), None)
        if known is not None:
            os.link(known, name)
        else:
            name.write_bytes(self.after_cut(chance))
        self._names.append(name)

    def after_cut(self, chance: random.Random) -> bytes:
        """What a power cut may leave: everything since the last sync, nothing, or a torn part of it."""
        data = self.synced
        kind = chance.choice(("none", "none", "some", "torn", "zeros", "all"))
        if kind == "none" or not self.pending:
            return data
        kept = len(self.pending) if kind == "all" else chance.randrange(len(self.pending) + 1)
        for done in self.pending[:kept]:
            data = _applied(data, done)
        if kept < len(self.pending) and self.pending[kept].what == "write" and kind in ("torn", "zeros"):
            cut = self.pending[kept]
            whole = len(cut.data)
            there = chance.randrange(whole + 1)
            # The length may be on disk before the bytes are.
            piece = cut.data[:there] + (bytes(whole - there) if kind == "zeros" else b"")
            data = _applied(data, Operation("write", offset=cut.offset, data=piece))
        return data


def _applied(data: bytes, done: Operation) -> bytes:
    if done.what == "truncate":
        return data[: done.offset].ljust(done.offset, b"\0")
    data = data.ljust(done.offset, b"\0")
    written: bytes = done.data
    return data[: done.offset] + written + data[done.offset + len(written) :]


@dataclass
class WatchedDisk:
    """Everything below ``root``. ``refuses`` is asked before each step and may raise OSError: what, and the path."""

    root: Path
    log: list[Operation] = field(default_factory=list)
    refuses: Callable[[str, str], None] | None = None
    _fds: dict[int, tuple[int, str]] = field(default_factory=dict)
    _nodes: dict[str, int] = field(default_factory=dict)
    _sizes: dict[int, int] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def note(self, what: str, data: Any) -> None:
        """Put a remark between the operations."""
        with self._lock:
            self.log.append(Operation(what, data=data))

    @contextlib.contextmanager
    def watching(self) -> Iterator["WatchedDisk"]:
        """Watch for as long as the context is open."""
        with contextlib.ExitStack() as stack:
            for name in (
                "open", "close", "write", "writev", "fsync", "fdatasync", "ftruncate",
                "link", "unlink", "remove", "rename", "replace", "mkdir", "rmdir",
            ):  # fmt: skip
                real = getattr(os, name)
                step = getattr(self, f"_{name}")
                stack.enter_context(mock.patch.object(os, name, self._guarded(step, real)))
            opened = self._guarded(self._io_open, io.open)
            stack.enter_context(mock.patch.object(io, "open", opened))
            stack.enter_context(mock.patch.object(builtins, "open", opened))
            yield self

    def _guarded(self, step: Callable[..., Any], real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            with self._lock:
                return step(real, *arguments, **named)

        return call

    def _inside(self, path: Any) -> str | None:
        if isinstance(path, int):
            return None
        absolute = os.path.abspath(os.fspath(path))
        inside = isinstance(absolute, str) and (absolute + os.sep).startswith(str(self.root) + os.sep)
        # SQLite's own files are not written by Python.
        return absolute if inside and ".db" not in os.path.basename(absolute) else None

    def _may(self, what: str, path: str) -> None:
        if self.refuses is not None:
            self.refuses(what, path)

    def _opened(self, fd: int, path: str, *, created: bool) -> None:
        if os.path.isdir(path):
            self._fds[fd] = (0, path)
            return
        if created or path not in self._nodes:
            node = self._nodes[path] = len(self._sizes) + 1
            self._sizes[node] = 0
            self.log.append(Operation("link", node, path))
        self._fds[fd] = (self._nodes[path], path)

    def _open(self, real: Callable[..., int], path: Any, flags: int, *rest: Any, **named: Any) -> int:
        inside = self._inside(path)
        if inside is None:
            return real(path, flags, *rest, **named)
        created = bool(flags & os.O_CREAT) and not os.path.exists(inside)
        self._may("create" if created else "open", inside)
        fd = real(path, flags, *rest, **named)
        if created or os.path.isdir(inside) or inside in self._nodes:
            self._opened(fd, inside, created=created)
        return fd

    def _io_open(self, real: Callable[..., Any], file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        inside = self._inside(file)
        if inside is None or not _WRITING & set(mode):
            return real(file, mode, *rest, **named)
        assert "b" in mode, "only bytes are written here"
        buffering = rest[0] if rest else named.get("buffering", -1)
        created = not os.path.exists(inside)
        self._may("create" if created else "open", inside)
        raw = _WatchedFile(inside, mode.replace("b", ""), self)
        self._opened(raw.fileno(), inside, created=created)
        return raw if buffering == 0 else io.BufferedWriter(raw)

    def _close(self, real: Callable[..., None], fd: int) -> None:
        self._fds.pop(fd, None)
        real(fd)

    def wrote(self, fd: int, data: bytes) -> None:
        """For watched files."""
        node, _ = self._fds[fd]
        self.log.append(Operation("write", node, offset=self._sizes[node], data=data))
        self._sizes[node] += len(data)

    def writes(self, fd: int) -> None:
        """For watched files."""
        if fd in self._fds:
            self._may("write", self._fds[fd][1])

    def _write(self, real: Callable[..., int], fd: int, data: Any) -> int:
        self.writes(fd)
        done = real(fd, data)
        if fd in self._fds:
            self.wrote(fd, bytes(data)[:done])
        return done

    def _writev(self, real: Callable[..., int], fd: int, buffers: Sequence[Any]) -> int:
        self.writes(fd)
        done = real(fd, buffers)
        if fd in self._fds:
            self.wrote(fd, b"".join(bytes(item) for item in buffers)[:done])
        return done

    def _synced(self, real: Callable[..., None], fd: int) -> None:
        known = self._fds.get(fd)
        if known is not None:
            self._may("sync", known[1])
        real(fd)
        if known is not None:
            node, path = known
            self.log.append(Operation("sync", node, path) if node else Operation("sync-folder", path=path))

    _fsync = _fdatasync = _synced

    def _ftruncate(self, real: Callable[..., None], fd: int, length: int) -> None:
        real(fd, length)
        if fd in self._fds:
            node, path = self._fds[fd]
            self._sizes[node] = length
            self.log.append(Operation("truncate", node, path, offset=length))

    def _link(self, real: Callable[..., None], source: Any, target: Any, **named: Any) -> None:
        inside, outcome = self._inside(source), self._inside(target)
        if outcome is not None:
            self._may("create", outcome)
        real(source, target, **named)
        if inside is not None and outcome is not None:
            node = self._nodes[outcome] = self._nodes[inside]
            self.log.append(Operation("link", node, outcome))

    def _unlink(self, real: Callable[..., None], path: Any, **named: Any) -> None:
        real(path, **named)
        inside = self._inside(path)
        if inside is not None and self._nodes.pop(inside, None) is not None:
            self.log.append(Operation("unlink", path=inside))

    _remove = _unlink

    def _rename(self, real: Callable[..., None], source: Any, target: Any, **named: Any) -> None:
        inside, outcome = self._inside(source), self._inside(target)
        if inside is not None:
            self._may("rename", inside)
        real(source, target, **named)
        if inside is not None and outcome is not None:
            self._nodes[outcome] = self._nodes.pop(inside)
            self.log.append(Operation("rename", self._nodes[outcome], inside, outcome))

    _replace = _rename

    def _mkdir(self, real: Callable[..., None], path: Any, *rest: Any, **named: Any) -> None:
        inside = self._inside(path)
        if inside is not None and not os.path.isdir(inside):
            self._may("create", inside)
        real(path, *rest, **named)
        if inside is not None:
            self.log.append(Operation("mkdir", path=inside))

    def _rmdir(self, real: Callable[..., None], path: Any, **named: Any) -> None:
        real(path, **named)
        inside = self._inside(path)
        if inside is not None:
            self.log.append(Operation("rmdir", path=inside))

    def after_power_cut(self, moment: int, chance: random.Random, target: Path) -> None:
        """Build in ``target``, which has what was there before the watching began, what the disk may hold if the power
        goes after the first ``moment`` operations."""
        nodes: dict[int, _Node] = {}
        names: list[Operation] = []
        for done in self.log[:moment]:
            if done.what in ("write", "truncate"):
                nodes[done.node].pending.append(done)
            elif done.what == "sync":
                node = nodes[done.node]
                for each in node.pending:
                    node.synced = _applied(node.synced, each)
                node.pending.clear()
            elif done.what in ("link", "unlink", "rename", "mkdir", "rmdir"):
                if done.what == "link":
                    nodes.setdefault(done.node, _Node())
                names.append(done)
            elif done.what == "sync-folder":
                for each in names:
                    if os.path.dirname(each.target or each.path) == done.path:
                        each.data = b"durable"
        lasting = [each for each in names if each.data]
        loose = [each for each in names if not each.data]
        kept = chance.choice((0, 0, chance.randrange(len(loose) + 1), len(loose)))
        chosen = {id(each) for each in (*lasting, *loose[:kept])}
        for each in names:
            if id(each) in chosen:
                self._do(each, nodes, chance, target)
        for each in names:
            each.data = b""

    def _do(self, done: Operation, nodes: dict[int, _Node], chance: random.Random, target: Path) -> None:
        def there(path: str) -> Path:
            return target / os.path.relpath(path, self.root)

        path = there(done.path)
        if done.what == "mkdir":
            # A folder whose own was lost is lost with it.
            with contextlib.suppress(FileNotFoundError):
                path.mkdir(exist_ok=True)
        elif done.what == "rmdir":
            with contextlib.suppress(OSError):
                path.rmdir()
        elif done.what == "unlink":
            path.unlink(missing_ok=True)
        else:
            name = there(done.target) if done.what == "rename" else path
            # A name whose folder was lost is lost with it.
            if name.parent.is_dir():
                nodes[done.node].put(name, chance)
            if done.what == "rename":
                path.unlink(missing_ok=True)


class _WatchedFile(io.FileIO):
    """A file that tells what is written to it."""

    def __init__(self, path: str, mode: str, disk: WatchedDisk) -> None:
        super().__init__(path, mode)
        self._disk = disk

    def write(self, data: Any) -> int:
        """As a file does."""
        self._disk.writes(self.fileno())
        done = super().write(data)
        self._disk.wrote(self.fileno(), bytes(data)[:done])
        return done

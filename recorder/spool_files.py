"""The two files of an object in progress, as the spool's writer has them, and what is done with them as a whole."""

import errno
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from recorder.spool_format import SegmentBuilder, SpooledSegment, SpoolHeader, media_path
from recorder.spool_object import rebuilt_path
from storage.files import make_folders, sync_directory
from storage.records import GapRecord

DAMAGED: Final = "damaged"
"""The folder in the spool where damaged files are kept."""
FOLDER_MODE: Final = 0o700
_MAX_VECTORS: Final = 512
_MAX_NAMES: Final = 100
_NEW_FILE: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
_JOURNAL_MODE: Final = 0o600
# A store on the same disk takes the file as it is, for others to read there; here its folder keeps it.
_MEDIA_MODE: Final = 0o666
_KEPT_SCRATCH: Final = 4 * 1024 * 1024


class Scratch:
    """Where the media of one file is put together before it is hashed and written: memory that is used again and again,
    since pages that come anew with each part cost as much as hashing it."""

    def __init__(self) -> None:
        self.size = 0
        self._bytes = io.BytesIO()

    def clear(self) -> None:
        """Begin anew."""
        self.size = 0
        if self._bytes.seek(0, os.SEEK_END) > _KEPT_SCRATCH:
            self._bytes = io.BytesIO()
        self._bytes.seek(0)

    def add(self, pieces: Sequence[bytes]) -> memoryview:
        """Put pieces behind what is there; a view of them, to be released before anything else is done here."""
        begin = self.size
        self._bytes.writelines(pieces)
        self.size = self._bytes.tell()
        return self._bytes.getbuffer()[begin : self.size]

    def write(self, fd: int) -> None:
        """Write all of it to a file, and begin anew. Raises OSError."""
        with self._bytes.getbuffer() as view:
            done = 0
            while done < self.size:
                with view[done : self.size] as left:
                    done += os.write(fd, left)
        self.clear()


@dataclass(slots=True)
class SpoolLog:
    """One of the two files: bytes go to its end."""

    path: Path
    fd: int = -1
    size: int = 0
    """Bytes written or waiting to be."""
    whole: int = 0
    """Size up to the end of the last whole segment, or gap outside a segment."""
    durable: int = 0
    """The same, as far as it is known to be on disk."""
    unsynced: bool = False
    named: bool = True
    """Whether its name is known to be on disk."""

    def open(self) -> int:
        """Its descriptor, for something to be written to; media's file is made with the first of it. Raises OSError."""
        if self.fd < 0:
            self.fd = os.open(self.path, _NEW_FILE, _MEDIA_MODE)
            self.named = False
        self.unsynced = True
        return self.fd

    def sync(self) -> None:
        """Bring what is written to disk. Raises OSError."""
        if self.unsynced:
            os.fdatasync(self.fd)
            self.unsynced = False

    def cut(self) -> None:
        """Take away what is not known to be whole and on disk. Raises OSError."""
        self.size = self.durable
        if self.fd >= 0:
            os.ftruncate(self.fd, self.durable)

    def close(self) -> None:
        """Let go of the file."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass(slots=True)
class WrittenFile:
    """An object being written. Owned by the writer thread; nothing is written before :meth:`flush`."""

    header: SpoolHeader
    journal: SpoolLog
    media: SpoolLog
    first_track: int
    scratch: Scratch
    """Media that waits to be written: all files', so each is flushed before the next one's turn."""
    builder: SegmentBuilder | None = None
    segments: list[SpooledSegment] = field(default_factory=list)
    fresh: list[SpooledSegment] = field(default_factory=list)
    gaps: list[GapRecord] = field(default_factory=list)
    durable_gaps: int = 0
    needs_sync: bool = False
    new: bool = True
    closing: bool = False
    _frames: list[bytes] = field(default_factory=list)
    _after_sync: list[bytes] = field(default_factory=list)
    """Frames that may be in the journal only once the media they speak of is on disk, and all behind them."""
    _waiting: dict[int, list[bytes]] = field(default_factory=dict)
    """Chunks of the other tracks, until their place in the media is known."""

    @property
    def path(self) -> Path:
        """The journal's."""
        return self.journal.path

    @property
    def size(self) -> int:
        """Bytes of both files."""
        return self.journal.size + self.media.size

    def note(self, *frames: bytes) -> None:
        """Queue a frame, in pieces or whole, for the journal."""
        for piece in frames:
            self.journal.size += len(piece)
        (self._after_sync or self._frames).extend(frames)

    def note_after_sync(self, frame: bytes) -> None:
        """Queue a frame that says that media is on disk."""
        self.journal.size += len(frame)
        self._after_sync.append(frame)
        self.needs_sync = True

    def add(self, pieces: Sequence[bytes]) -> memoryview:
        """Queue media; a view of it in one piece, to be released at once."""
        view = self.scratch.add(pieces)
        self.media.size += len(view)
        return view

    def keep_waiting(self, track_id: int, data: bytes) -> None:
        """Keep a chunk whose place in the media is not known yet."""
        self._waiting.setdefault(track_id, []).append(data)

    def add_waiting(self) -> None:
        """The place of all that waits is here."""
        for _, chunks in sorted(self._waiting.items()):
            self.add(chunks).release()
        self._waiting.clear()

    def is_whole(self) -> None:
        """All that is queued so far may stay, whatever comes."""
        self.media.whole, self.journal.whole = self.media.size, self.journal.size

    def flush(self) -> None:
        """Write, and sync where that is asked for. Raises OSError."""
        if self.scratch.size:
            self.scratch.write(self.media.open())
        if self._frames:
            _write_all(self.journal.open(), self._frames)
            self._frames.clear()
        if not self.needs_sync:
            return
        self.media.sync()
        if self.new or not self.media.named:
            # A journal that speaks of media whose name a power cut takes away would call that damage.
            sync_directory(self.path.parent)
            self.media.named = True
        if self._after_sync:
            _write_all(self.journal.open(), self._after_sync)
            self._after_sync.clear()
        self.journal.sync()
        if self.new:
            sync_directory(self.path.parent.parent)
            self.new = False
        self.needs_sync = False
        self.journal.durable, self.media.durable = self.journal.whole, self.media.whole
        self.durable_gaps = len(self.gaps)


def create_journal(path: Path) -> tuple[Path, int]:
    """A new journal: of this name or, where an older file of that number is not yet through, of one beside it."""
    for count in range(_MAX_NAMES):
        candidate = path if count == 0 else path.with_name(f"{path.stem}-{count:02d}{path.suffix}")
        if media_path(candidate).exists():
            continue
        try:
            return candidate, os.open(candidate, _NEW_FILE, _JOURNAL_MODE)
        except FileExistsError:
            continue
    raise FileExistsError(errno.EEXIST, "too many spool files of one number", str(path))


def _write_all(fd: int, buffers: list[bytes]) -> None:
    for first in range(0, len(buffers), _MAX_VECTORS):
        vectors: list[bytes | memoryview] = list(buffers[first : first + _MAX_VECTORS])
        while vectors:
            done = os.writev(fd, vectors)
            while vectors and done >= len(vectors[0]):
                done -= len(vectors.pop(0))
            if done:
                vectors[0] = memoryview(vectors[0])[done:]


def spool_size(path: Path) -> int:
    """Bytes of a journal and its media. Blocks. Raises OSError."""
    return sum([item.stat().st_size for item in (path, media_path(path)) if item.exists()])


def remove_file(path: Path) -> None:
    """Remove a journal and what it speaks of, and make that last. Blocks. Raises OSError."""
    # The journal first, for good: media that has none is on its way out.
    for items in ((path,), (media_path(path), rebuilt_path(path))):
        for item in items:
            item.unlink(missing_ok=True)
        if path.parent.exists():
            sync_directory(path.parent)


def set_aside_file(path: Path, directory: Path) -> None:
    """Move it below ``damaged``, for a person to look at; media that a store has as its own stays there alone. Blocks.
    Raises OSError."""
    target = directory / DAMAGED / path.parent.name
    make_folders(target, FOLDER_MODE)
    rebuilt_path(path).unlink(missing_ok=True)
    aside = _free_name(target / path.name, of_media=not path.exists())
    for item, place in ((path, aside), (media_path(path), media_path(aside))):
        if not item.exists():
            continue
        if item.stat().st_nlink > 1:
            item.unlink()
        else:
            item.rename(place)
    sync_directory(target)
    sync_directory(path.parent)


def _free_name(path: Path, *, of_media: bool) -> Path:
    """A name that nothing set aside before has. Media alone belongs to a journal of its name that has none: the moving
    of the two was cut off in between."""
    for count in range(_MAX_NAMES):
        candidate = path if count == 0 else path.with_name(f"{path.stem}-{count:02d}{path.suffix}")
        if not media_path(candidate).exists() and (of_media or not candidate.exists()):
            return candidate
    raise FileExistsError(errno.EEXIST, "too many files set aside of one name", str(path))


def was_set_aside(path: Path, directory: Path) -> bool:
    """Whether a journal of this name lies below ``damaged`` without its media."""
    aside = directory / DAMAGED / path.parent.name / path.name
    return aside.exists() and not media_path(aside).exists()

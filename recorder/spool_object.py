"""From the spool's files to the object: what was written is read once more, and compared with what was said of it.

As a rule the media file is the object but for its sample tables, which are put at its end. Only where something was cut
off or damaged are the bytes put together anew, in a file beside it.
"""

import contextlib
import errno
import hashlib
import os
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Final

from isal.isal_zlib import crc32

from media.errors import ContainerError
from media.fmp4_read import read_fragments
from media.unit import Codec, VideoTrack
from recorder.chain import chain_after
from recorder.errors import SpoolDamagedError
from recorder.sample_table import SampleTable, table_of, tables_box, tables_size
from recorder.spool_format import Piece, Source, SpooledSegment, SpoolFile, media_path

_MAX_TAIL: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Assembled:
    """An object ready to be stored: all of the file ``path``. Once a store has taken it nobody changes it any more."""

    path: Path
    size: int
    sha256: str

    def open(self) -> RawIOBase:
        """The object's bytes from its beginning. Blocks, as does reading. Raises OSError."""
        return self.path.open("rb", buffering=0)


class SpoolReader:
    """The bytes of a spool file, by piece. A context manager; blocks."""

    def __init__(self, journal: Path) -> None:
        self._paths = {Source.MEDIA: media_path(journal), Source.JOURNAL: journal}
        self._fds: dict[Source, int] = {}

    def __enter__(self) -> "SpoolReader":
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    @property
    def size(self) -> int:
        """Bytes of the media file; 0 where there is none. Raises OSError."""
        try:
            return os.fstat(self._fd(Source.MEDIA)).st_size
        except FileNotFoundError:
            return 0

    def read(self, offset: int, length: int) -> bytes | None:
        """``length`` bytes of the media file; None unless they are all there. Raises OSError."""
        if offset + length > self.size:
            return None
        data = bytearray(length)
        return bytes(data) if self._read_at(Source.MEDIA, memoryview(data), offset) == length else None

    def is_tail(self, offset: int) -> bool:
        """Whether what lies behind ``offset`` in the media file is what an object ends with."""
        tail = self.read(offset, self.size - offset) if 0 < self.size - offset <= _MAX_TAIL else None
        return tail is not None and tables_size(tail) == len(tail)

    def begins_with(self, data: bytes) -> bool:
        """Whether the media file does. Raises OSError."""
        return self.read(0, len(data)) == data

    def read_into(self, buffer: memoryview, pieces: tuple[Piece, ...]) -> bool:
        """Read the pieces one behind the other; whether they are all there and fill ``buffer``. Raises OSError."""
        done = 0
        for source, offset, length in pieces:
            target = buffer[done : done + length]
            if len(target) != length or self._read_at(source, target, offset) != length:
                return False
            done += length
        return done == len(buffer)

    def _read_at(self, source: Source, target: memoryview, offset: int) -> int:
        """Octets read; none where the disk cannot read them any more, which is damage like any other."""
        try:
            return os.preadv(self._fd(source), (target,), offset)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return 0

    def _fd(self, source: Source) -> int:
        fd = self._fds.get(source)
        if fd is None:
            fd = self._fds[source] = os.open(self._paths[source], os.O_RDONLY | os.O_CLOEXEC)
        return fd


def read_pieces(journal: Path, pieces: tuple[Piece, ...]) -> bytes:
    """Media bytes of one track of a spooled segment. Blocks. Raises OSError, SpoolDamagedError if bytes lack."""
    data = bytearray(_length(pieces))
    with SpoolReader(journal) as reader:
        if not reader.read_into(memoryview(data), pieces):
            raise SpoolDamagedError(f"{journal.name} is shorter than what was written", file=journal.name)
    return bytes(data)


@dataclass(frozen=True, slots=True)
class _Checked:
    """What was read: where the media ends in the object, and what comes behind it."""

    media_end: int
    tail: bytes
    sha256: str


def assemble(spool: SpoolFile) -> Assembled:
    """The object of a spool file: ``init``, then for each segment its video and its sound, each in one range; at the
    end the sample tables that a download's index is made of (see :mod:`recorder.sample_table`).

    The CRC of every range and the chain of the segments' hashes are checked; no more than one track of one segment is
    held in memory. Done again, it gives the same. Blocks; call it in a thread. Raises OSError, SpoolDamagedError.
    """
    if _in_place(spool):
        checked = _checked(spool, None)
        if _sealed(spool.media_path, checked):
            return Assembled(spool.media_path, checked.media_end + len(checked.tail), checked.sha256)
    path = rebuilt_path(spool.path)
    path.unlink(missing_ok=True)
    with path.open("xb", buffering=0) as out:
        checked = _checked(spool, out)
        _write(out, checked.tail)
        os.fsync(out.fileno())
    return Assembled(path, checked.media_end + len(checked.tail), checked.sha256)


def rebuilt_path(journal: Path) -> Path:
    """Where an object lies whose bytes had to be put together anew."""
    return journal.with_suffix(".object")


def _in_place(spool: SpoolFile) -> bool:
    """Whether the media file is the object, but for its tail."""
    with SpoolReader(spool.path) as reader:
        if not spool.segments or not reader.begins_with(spool.header.init):
            return False
    return all(
        item.pieces.get(part.track_id) == ((Source.MEDIA, part.offset, part.size),)
        for item in spool.segments
        for part in item.facts.ranges
    )


def _checked(spool: SpoolFile, out: RawIOBase | None) -> _Checked:
    """Read all of it, compare, and write it to ``out`` if there is such a file."""
    header = spool.header
    whole = hashlib.sha256(header.init)
    if out is not None:
        _write(out, header.init)
    position, chain = len(header.init), header.chain
    # Other sound is derived for downloads, and needs none.
    indexed = {track.id for track in header.tracks if isinstance(track, VideoTrack) or track.codec is Codec.AAC}
    tables: list[tuple[int, int, SampleTable]] = []
    # By what is there, not by what is said about it.
    sizes = [_length(found) for segment in spool.segments for found in segment.pieces.values()]
    buffer = bytearray(max(sizes, default=0))
    with SpoolReader(spool.path) as reader:
        for segment in spool.segments:
            for item in segment.facts.ranges:
                found = segment.pieces.get(item.track_id, ())
                if item.offset != position or not 0 < item.size == _length(found):
                    raise _damaged(spool, segment)
                media = memoryview(buffer)[: item.size]
                if not reader.read_into(media, found) or crc32(media) != segment.checksums.get(item.track_id):
                    raise _damaged(spool, segment)
                whole.update(media)
                if out is not None:
                    _write(out, media)
                position += item.size
                if item.track_id in indexed:
                    with contextlib.suppress(ContainerError):
                        samples = read_fragments(media, item.track_id)
                        tables.append((segment.facts.sequence, item.track_id, table_of(samples)))
            chain = _linked(spool, segment, chain)
    try:
        tail = tables_box(tables)
    except ContainerError as error:
        raise SpoolDamagedError(f"{spool.path.name} names what no recording has", file=spool.path.name) from error
    whole.update(tail)
    return _Checked(position, tail, whole.hexdigest())


def _linked(spool: SpoolFile, segment: SpooledSegment, chain: str) -> str:
    """The chain after a segment. Raises SpoolDamagedError if that is not what was said."""
    try:
        linked = chain_after(chain, spool.header.recording, spool.header.period, segment.facts)
    except (TypeError, ValueError) as error:
        raise _damaged(spool, segment) from error
    if linked != segment.facts.chain:
        raise _damaged(spool, segment)
    return linked


def _sealed(path: Path, checked: _Checked) -> bool:
    """Put the tail behind the media. False if that may not be done: something else is behind it, or a run before this
    one, cut off since, has put the file into the store already."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        known = os.fstat(fd)
        if known.st_size == checked.media_end + len(checked.tail):
            if os.pread(fd, len(checked.tail), checked.media_end) != checked.tail:
                return False
            os.fsync(fd)
            return True
    finally:
        os.close(fd)
    if known.st_size != checked.media_end or known.st_nlink > 1:
        return False
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        _write_all(fd, checked.tail)
        os.fsync(fd)
    except OSError:
        # What a failed fsync leaves looks written, and may not be: the next try begins anew.
        with contextlib.suppress(OSError):
            os.ftruncate(fd, checked.media_end)
        raise
    finally:
        os.close(fd)
    return True


def _write_all(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        written = os.write(fd, left)
        left = left[written:]


def _write(out: RawIOBase, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:
        written = out.write(left) or 0
        left = left[written:]


def _length(pieces: tuple[Piece, ...]) -> int:
    return sum([length for _, _, length in pieces])


def _damaged(spool: SpoolFile, segment: SpooledSegment) -> SpoolDamagedError:
    return SpoolDamagedError(
        f"segment {segment.facts.sequence} in {spool.path.name} is not what was written",
        file=spool.path.name,
        segment=segment.facts.sequence,
    )

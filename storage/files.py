"""Files and folders that survive a power cut. All of it blocks, and raises OSError."""

import errno
import os
import shutil
from pathlib import Path
from typing import Final

_NOT_FOR_FOLDERS: Final = frozenset({errno.EINVAL, errno.EBADF, errno.ENOTSUP})


def make_folders(folder: Path, mode: int = 0o777) -> None:
    """Make ``folder`` and those above it, so that their names survive a power cut. ``mode`` is for those that are not
    there yet."""
    if folder.is_dir():
        return
    make_folders(folder.parent, mode)
    folder.mkdir(mode, exist_ok=True)
    sync_directory(folder.parent)


def sync_directory(path: Path) -> None:
    """Make the names in it last, as far as the file system knows how to: some of those on a network do not."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_FOR_FOLDERS:
            raise
    finally:
        os.close(descriptor)


def write_synced(path: Path, data: bytes) -> None:
    """A new file, whole and on disk; its name is not, see :func:`sync_directory`."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def free_bytes(path: Path) -> int:
    """Bytes that are free on the disk of ``path``."""
    return shutil.disk_usage(path).free

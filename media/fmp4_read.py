"""Fragmented MP4, reading side. Reads what :mod:`media.fmp4` writes and tolerates boxes it does not know.

Everything is bounded by the length of the input; nonsense ends in :class:`media.errors.ContainerError`.
"""

from media.fmp4 import Buffer, Sample
from media.unit import Track


def read_init(data: Buffer) -> tuple[Track, ...]:
    """The tracks of an init segment (or of a file that begins with one), in order. Raises ContainerError."""
    raise NotImplementedError


def read_fragments(data: Buffer, track_id: int | None = None) -> list[Sample]:
    """The samples of all fragments in ``data`` (of one track, if ``track_id`` is given), in file order.

    ``Sample.data`` is a memoryview into ``data``. Raises ContainerError.
    """
    raise NotImplementedError

"""A still picture from a keyframe."""

from media.unit import VideoTrack


def still(track: VideoTrack, data: bytes, max_width: int = 640) -> bytes:
    """A JPEG, at most ``max_width`` pixels wide, of the keyframe ``data`` (an AccessUnit's data).

    Blocks for some milliseconds: call it in an executor. Raises :class:`media.errors.BitstreamError`.
    """
    raise NotImplementedError

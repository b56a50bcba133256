"""A still picture from a keyframe."""

from typing import Any

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from media.codecs import annexb
from media.errors import BitstreamError
from media.packetizer import nal_units
from media.unit import Codec, VideoTrack

_JPEG_QUALITY = 80
_DECODERS = {Codec.H264: "h264", Codec.H265: "hevc"}


def still(track: VideoTrack, data: bytes, max_width: int = 640) -> bytes:
    """A JPEG, at most ``max_width`` pixels wide, of the keyframe ``data`` (an AccessUnit's data).

    Blocks for some milliseconds: call it in an executor. Raises :class:`media.errors.BitstreamError`.
    """
    picture = decode_keyframe(track, data)
    height, width = picture.shape[:2]
    if width > max_width:
        size = (max_width, max(1, round(height * max_width / width)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    done, jpeg = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
    if not done:
        raise BitstreamError("the picture could not be written as JPEG")
    return jpeg.tobytes()


def decode_keyframe(track: VideoTrack, data: bytes) -> NDArray[Any]:
    """The picture as height x width x 3 BGR octets. Raises :class:`media.errors.BitstreamError`."""
    decoder = av.CodecContext.create(_DECODERS[track.codec], "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    stream = annexb.join((*track.parameter_sets, *nal_units(data)))
    try:
        frames = [*decoder.decode(av.Packet(stream)), *decoder.decode(None)]
    except av.FFmpegError as error:
        raise BitstreamError("the keyframe could not be decoded") from error
    if not frames:
        raise BitstreamError("the keyframe gave no picture")
    return np.asarray(frames[0].to_ndarray(format="bgr24"))

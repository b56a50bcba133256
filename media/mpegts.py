"""MPEG-2 transport stream segments for HLS version 3 (ISO/IEC 13818-1, RFC 8216 section 3.2), made from samples.

Same input, same output: a segment is made anew whenever somebody asks for it.
"""

from collections.abc import Sequence

from media.fmp4 import Sample
from media.unit import AudioTrack, VideoTrack


def mux_segment(
    video: VideoTrack | None,
    video_samples: Sequence[Sample],
    audio: AudioTrack | None,
    audio_samples: Sequence[Sample],
) -> bytes:
    """One segment: PAT and PMT first, then PES packets in decoding order. ``audio`` must be AAC (see media.transcode).

    Each PID's continuity counter begins at 0 and ends at 15, so segments that are made apart join without a
    continuity error. Takes milliseconds for a long segment: call it off the event loop.
    """
    raise NotImplementedError

"""The hash chain of a recording: each segment's hash covers its media, its facts and the hash before it.

::

    seed    = SHA256(canonical JSON {"camera": …, "meeting": …, "recording": …})
    chain_n = SHA256(chain_{n-1} || SHA256(video bytes) || SHA256(sound bytes) || canonical JSON of the facts)

Hashes are joined as 32 raw octets. A track that a segment lacks counts as the empty byte string. Canonical JSON here:
keys sorted, no white space, integers only, UTF-8 (what RFC 8785 gives for such values). The facts are what says when
and in what order the media was taken; where it lies in an object is not among them, so a copy in another layout can
be checked against the same chain.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from media.unit import AUDIO_TRACK_ID, VIDEO_TRACK_ID
from recorder.facts import SegmentFacts, TrackRange

_EMPTY = hashlib.sha256(b"").digest()


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no white space."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def chain_seed(*, recording: str, meeting: str, camera: str) -> str:
    """The hash (hex) before the first segment of a recording."""
    return hashlib.sha256(canonical_json({"recording": recording, "meeting": meeting, "camera": camera})).hexdigest()


def chain_next(
    previous: str,
    *,
    sequence: int,
    period: int,
    start_utc_ns: int,
    duration_ns: int,
    discontinuity: bool,
    tracks: Iterable[TrackRange],
) -> str:
    """The hash (hex) after a segment, from the hash (hex) before it. Offsets of ``tracks`` do not count."""
    by_id = {track.track_id: track for track in tracks}
    facts = {
        "sequence": sequence,
        "period": period,
        "start_utc_ns": start_utc_ns,
        "duration_ns": duration_ns,
        "discontinuity": discontinuity,
        "tracks": [
            {
                "track": track.track_id,
                "length": track.length,
                "dts": track.dts,
                "duration": track.duration,
                "samples": track.samples,
            }
            for _, track in sorted(by_id.items())
        ],
    }
    digest = hashlib.sha256(bytes.fromhex(previous))
    for track_id in (VIDEO_TRACK_ID, AUDIO_TRACK_ID):
        digest.update(bytes.fromhex(by_id[track_id].sha256) if track_id in by_id else _EMPTY)
    digest.update(canonical_json(facts))
    return digest.hexdigest()


def chain_after(previous: str, segment: SegmentFacts) -> str:
    """What ``segment.chain`` must be if the hash before it is ``previous``."""
    return chain_next(
        previous,
        sequence=segment.sequence,
        period=segment.period,
        start_utc_ns=segment.start_utc_ns,
        duration_ns=segment.duration_ns,
        discontinuity=segment.discontinuity,
        tracks=segment.tracks,
    )

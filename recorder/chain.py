"""The hash chain of a recording: each segment's hash covers its media, its facts and the hash before it.

::

    chain_0 = 32 octets of zero
    chain_n = SHA256(chain_{n-1} || SHA256(video bytes) || SHA256(sound bytes) || canonical JSON of the facts)

Hashes are joined as 32 raw octets. A track that a segment lacks counts as the empty byte string. Canonical JSON here:
keys sorted, no white space, integers only, UTF-8 (what RFC 8785 gives for such values). The facts say of which
recording, when and in what order the media was taken; where it lies in an object is not among them, so a copy in
another layout can be checked against the same chain.
"""

import hashlib
import json
from typing import Any

from media.unit import AUDIO_TRACK_ID, VIDEO_TRACK_ID
from storage.records import StoredSegment

_EMPTY = hashlib.sha256(b"").digest()


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no white space."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def segment_facts(recording: str, period: int, segment: StoredSegment) -> dict[str, Any]:
    """What the chain says of a segment beside its bytes."""
    return {
        "recording": recording,
        "period": period,
        "sequence": segment.sequence,
        "start_utc_ns": segment.start_utc_ns,
        "duration_ns": segment.duration_ns,
        "discontinuity": segment.discontinuity,
        "tracks": [
            {"track": item.track_id, "size": item.size, "dts": item.dts, "duration": item.duration}
            for item in sorted(segment.ranges, key=lambda item: item.track_id)
        ],
    }


def chain_after(previous: str, recording: str, period: int, segment: StoredSegment) -> str:
    """The hash (hex) after ``segment`` if ``previous`` (hex) is the one before it. ``segment.chain`` is not read."""
    by_id = {item.track_id: item for item in segment.ranges}
    digest = hashlib.sha256(bytes.fromhex(previous))
    for track_id in (VIDEO_TRACK_ID, AUDIO_TRACK_ID):
        digest.update(bytes.fromhex(by_id[track_id].sha256) if track_id in by_id else _EMPTY)
    digest.update(canonical_json(segment_facts(recording, period, segment)))
    return digest.hexdigest()

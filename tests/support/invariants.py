"""What holds of everything that is kept, whatever the camera did."""

import io
from itertools import pairwise

import av

from media.segments import Part, Period, SegmentEnd, SegmentStart
from media.unit import AUDIO_TRACK_ID, NS_PER_S, VIDEO_TRACK_ID, GapCause, VideoTrack
from tests.support.camera_simulator import Kept, Shown
from tests.support.content import DECODERS

LONGEST_SEGMENT_S = 45.0
"""A segment is cut at 40 s even without a keyframe, and a picture may be shown for a while after it."""

OVERLAP_S = 0.06
"""How far a chunk may begin before the one before it ends: about one packet of sound."""

SYNC_NS = 100_000_000
"""Sound is never further from the picture than this once the first moments have gone by."""


def holds(kept: Kept, *, lasted_s: float, decode: bool = True, damaged: bool = False) -> None:
    """All that holds of every camera. ``damaged``: packets were lost, so a decoder may miss references."""
    well_formed(kept)
    lasts_no_longer(kept, lasted_s)
    for period in kept.periods:
        plays(kept, period, decode=decode, damaged=damaged)


def well_formed(kept: Kept) -> None:
    """Segments and parts come in their order, no chunk goes back in time, and no segment is longer than a player's
    patience."""
    open_segment: SegmentStart | None = None
    last_sequence: int | None = None
    parts = 0
    ends: dict[int, int] = {}
    assert kept.starts, "nothing was kept"
    period: Period | None = None
    for event in kept.events:
        if isinstance(event, SegmentStart):
            assert open_segment is None
            assert last_sequence is None or event.sequence == last_sequence + 1
            if period is not None and event.period is not period:
                assert event.discontinuity
                ends.clear()
            open_segment, last_sequence, parts, period = event, event.sequence, 0, event.period
        elif isinstance(event, Part):
            assert open_segment is not None
            assert (event.sequence, event.index) == (open_segment.sequence, parts)
            assert event.chunks
            assert 0 <= event.duration_ns <= LONGEST_SEGMENT_S * NS_PER_S
            parts += 1
            for track, chunk in event.chunks.items():
                # Sound that is slewed towards the wall clock overlaps by some ticks; FFmpeg looks at each sample.
                rate = next(each.clock_rate for each in open_segment.period.tracks if each.id == track)
                overlap_s = (ends.get(track, 0) - chunk.dts) / rate
                assert overlap_s <= OVERLAP_S, f"track {track} goes back in time by {overlap_s} s"
                ends[track] = chunk.dts + chunk.duration
        elif isinstance(event, SegmentEnd):
            assert open_segment is not None
            assert event.sequence == open_segment.sequence
            assert parts
            assert event.duration_ns <= LONGEST_SEGMENT_S * NS_PER_S
            open_segment = None
    assert open_segment is None, "the last segment was not closed"
    for gap in kept.gaps:
        assert gap.start_utc_ns <= gap.end_utc_ns


def lasts_no_longer(kept: Kept, seconds: float) -> None:
    """What is kept does not say that it is longer than the time that really went by."""
    first, last = kept.starts[0], kept.starts[-1]
    span_s = (last.start_utc_ns + kept.ends[-1].duration_ns - first.start_utc_ns) / NS_PER_S
    assert span_s <= seconds + 1.5
    assert sum(end.duration_ns for end in kept.ends) / NS_PER_S <= seconds + 1.5


def plays(kept: Kept, period: Period, *, decode: bool = True, damaged: bool = False) -> None:
    """FFmpeg reads a period's file, finds every sample, at growing times, and decodes them."""
    wanted = dict.fromkeys((track.id for track in period.tracks), 0)
    for of, part in kept.parts():
        if of is period:
            for track, chunk in part.chunks.items():
                wanted[track] += chunk.samples
    found = dict.fromkeys(wanted, 0)
    last: dict[int, int] = {}
    decoded = {"video": 0, "audio": 0}
    with av.open(io.BytesIO(kept.file(period)), "r", format="mp4") as container:
        for packet in container.demux():
            if packet.dts is None or not packet.size:
                decoded[packet.stream.type] += len(packet.decode()) if decode else 0
                continue
            track = packet.stream.id
            found[track] += 1
            assert packet.dts > last.get(track, -1)
            assert packet.pts is not None
            assert packet.duration is not None
            assert packet.duration < LONGEST_SEGMENT_S / (packet.time_base or 1)
            last[track] = packet.dts
            if decode:
                decoded[packet.stream.type] += len(packet.decode())
    assert found == wanted
    if decode and VIDEO_TRACK_ID in wanted and not damaged:
        assert decoded["video"] == wanted[VIDEO_TRACK_ID]
    if decode and AUDIO_TRACK_ID in wanted:
        assert decoded["audio"] > 0.9 * wanted[AUDIO_TRACK_ID]
    sizes = [(track.width, track.height) for track in period.tracks if isinstance(track, VideoTrack)]
    assert all(width > 0 and height > 0 for width, height in sizes)
    assert all(track.codec in DECODERS for track in period.tracks)


def all_is_kept(kept: Kept) -> None:
    """Everything that was sent is there, once and in order, and nothing is called missing."""
    for track, sent in kept.sent.items():
        got = [sample.true_ns for sample in kept.shown(track)]
        assert got == sent, f"track {track}: {len(got)} of {len(sent)}"
    assert kept.gaps == []


def losses_are_on_record(kept: Kept, *causes: GapCause, near_ns: int = 150_000_000) -> None:
    """Each unit that was sent and is not there lies in a gap with one of these causes, and there is no other gap.

    Pictures before the first keyframe cannot be shown and are nobody's loss; of the last moments the next unit tells.
    """
    assert {gap.cause for gap in kept.gaps} == set(causes)
    spans = [(gap.start_utc_ns - near_ns, gap.end_utc_ns + near_ns) for gap in kept.gaps]
    for track, sent in kept.sent.items():
        got = {sample.true_ns for sample in kept.shown(track)}
        known = [true_ns for true_ns in got if true_ns is not None]
        begun, ended = min(known), max(known)
        assert sent[-1] - ended < NS_PER_S, f"track {track} ends early"
        for true_ns in sent:
            if begun <= true_ns <= ended and true_ns not in got:
                where = (true_ns - sent[0]) / NS_PER_S
                assert any(start <= true_ns <= end for start, end in spans), f"track {track} at {where} s is missing"


def in_place(kept: Kept, *, within_ns: int, after_s: float = 0.0) -> None:
    """Each sample stands on the timeline where it was taken, to within ``within_ns``."""
    for track in kept.sent:
        samples = [sample for sample in kept.shown(track) if sample.true_ns is not None]
        begin_ns = min(kept.sent[track]) + round(after_s * NS_PER_S)
        worst = max((sample for sample in samples if _true(sample) >= begin_ns), key=lambda each: abs(each.error_ns))
        at_s = (_true(worst) - min(kept.sent[track])) / NS_PER_S
        assert abs(worst.error_ns) <= within_ns, f"track {track} at {at_s} s: {worst.error_ns / 1e6} ms"


def in_sync(kept: Kept, *, within_ns: int = SYNC_NS, after_s: float = 0.0) -> None:
    """Sound and picture taken at the same time are shown within ``within_ns`` of each other, all the time."""
    pictures = [sample for sample in kept.shown(VIDEO_TRACK_ID) if sample.true_ns is not None]
    sounds = [sample for sample in kept.shown(AUDIO_TRACK_ID) if sample.true_ns is not None]
    assert pictures
    assert sounds
    pictures.sort(key=_true)
    sounds.sort(key=_true)
    begin_ns = _true(pictures[0]) + round(after_s * NS_PER_S)
    at, worst, worst_at = 0, 0, 0.0
    for picture in pictures:
        if _true(picture) < begin_ns:
            continue
        while at + 1 < len(sounds) and _true(sounds[at + 1]) <= _true(picture):
            at += 1
        if abs(_true(sounds[at]) - _true(picture)) > NS_PER_S:
            continue
        apart = sounds[at].error_ns - picture.error_ns
        if abs(apart) > abs(worst):
            worst, worst_at = apart, (_true(picture) - _true(pictures[0])) / NS_PER_S
    assert abs(worst) <= within_ns, f"{worst / 1e6} ms at {worst_at} s"


def time_never_goes_back(kept: Kept) -> None:
    """Decode times are checked by FFmpeg too; this looks at what is shown of sound, which is never reordered."""
    sounds = kept.shown(AUDIO_TRACK_ID)
    assert all(later.shown_ns > earlier.shown_ns for earlier, later in pairwise(sounds))


def _true(sample: Shown) -> int:
    assert sample.true_ns is not None
    return sample.true_ns

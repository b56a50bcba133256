"""Where a recording's picture changes its codec or size: most players follow an MP4 only up to there."""

from collections.abc import Mapping
from dataclasses import dataclass

from media.unit import VideoTrack
from recorder.facts import tracks_from_json
from storage.records import Recording, RecordingPeriod
from storage.repositories import Repositories

_NS_PER_MS = 1_000_000
_NAMES = {"h264": "H.264", "h265": "H.265"}


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch in which the picture is of one kind; ``picture`` is such as ``H.265 2560×1440``, empty for none."""

    start_ns: int
    end_ns: int
    picture: str

    @property
    def query(self) -> str:
        """The span for the download's address: no segment of a neighbouring part reaches into it."""
        return f"?start={-(-self.start_ns // _NS_PER_MS)}&end={self.end_ns // _NS_PER_MS}"


async def parts_of(repos: Repositories, recordings: tuple[Recording, ...]) -> Mapping[str, tuple[Part, ...]]:
    """The parts of each recording that has more than one, by its id."""
    found = {}
    for recording in recordings:
        periods = await repos.recordings.periods(recording.id)
        if len({_picture(period) for period in periods}) > 1:
            found[recording.id] = joined(periods, await repos.recordings.period_spans(recording.id))
    return {key: parts for key, parts in found.items() if len(parts) > 1}


def joined(periods: tuple[RecordingPeriod, ...], spans: Mapping[int, tuple[int, int]]) -> tuple[Part, ...]:
    """Periods with stored media in order of time, like ones that follow each other as one part."""
    parts: list[Part] = []
    for period in sorted((item for item in periods if item.number in spans), key=lambda item: spans[item.number]):
        start, end = spans[period.number]
        picture = _picture(period)
        if parts and parts[-1].picture == picture:
            parts[-1] = Part(parts[-1].start_ns, max(end, parts[-1].end_ns), picture)
        else:
            parts.append(Part(start, end, picture))
    return tuple(parts)


def _picture(period: RecordingPeriod) -> str:
    track = next((item for item in tracks_from_json(period.tracks) if isinstance(item, VideoTrack)), None)
    return f"{_NAMES.get(track.codec, track.codec)} {track.width}×{track.height}" if track is not None else ""

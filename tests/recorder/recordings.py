"""Recordings that the playback tests play: a gap, a codec change, a restart."""

import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from media.unit import AccessUnit, Codec, StreamItem
from recorder.export import Mp4Export
from recorder.playback import Playback
from recorder.recorded import Spooled
from storage import migrate
from storage.database import Database
from storage.objects import DirectoryStoreSettings, ObjectStore
from storage.open_store import open_store
from tests.support.encoded import ORIGIN_NS, g711_units, interleave, sound_units, video_units
from tests.support.live_feed import gap
from tests.support.recorded import RecordedMeeting, record
from tests.support.rows import SampleCounty


@dataclass
class Archive:
    """An empty archive with a county in it, and what plays it."""

    database: Database
    store: ObjectStore
    county: SampleCounty
    executor: ThreadPoolExecutor

    def playback(self, spooled: Spooled | None = None) -> Playback:
        """A playback without anything cached."""
        return Playback(self.database, self.store, spooled, self.executor)

    def export(self) -> Mp4Export:
        """An export without anything cached."""
        return Mp4Export(self.playback(), self.executor)


@contextlib.asynccontextmanager
async def archive(folder: Path) -> AsyncIterator[Archive]:
    """An archive in a folder."""
    url = f"sqlite:///{folder}/sanhui.db"
    migrate.upgrade(url)
    settings = DirectoryStoreSettings(folder / "objects")
    with ThreadPoolExecutor(2) as executor:
        async with Database(url) as database, open_store(settings) as store:
            county = SampleCounty()
            async with database.transaction() as repos:
                await county.add_to(repos)
            yield Archive(database, store, county, executor)


@cache
def stretch(
    start_s: float,
    seconds: float,
    *,
    video: Codec | None = Codec.H264,
    sound: Codec | None = Codec.PCMA,
    epoch: int = 0,
    b_frames: int = 0,
    size: tuple[int, int] = (320, 180),
) -> tuple[AccessUnit, ...]:
    """Picture and sound of a camera. Pictures carry their number: 25 per second of the timeline from second 100."""
    tracks = []
    if video is not None:
        number = round((start_s - 100) * 25)
        tracks.append(
            video_units(
                video, frames=round(seconds * 25), start_s=start_s, epoch=epoch, first_number=number,
                b_frames=b_frames, size=size,
            )
        )  # fmt: skip
    if sound in (Codec.PCMA, Codec.PCMU):
        tracks.append(g711_units(sound, seconds=seconds, start_s=start_s, epoch=epoch))
    elif sound is not None:
        tracks.append(sound_units(sound, seconds=seconds, start_s=start_s, epoch=epoch))
    return tuple(interleave(*tracks))


def with_gap(sound: Codec | None = Codec.PCMA) -> list[StreamItem]:
    """Twelve seconds, five seconds of nothing, eight seconds."""
    return [
        *stretch(100.0, 12.0, sound=sound),
        gap(112.0, 117.0, ORIGIN_NS),
        *stretch(117.0, 8.0, sound=sound, epoch=1),
    ]


def with_codec_change() -> list[StreamItem]:
    """Eight seconds of H.264 and G.711, then, at once, eight of H.265 and AAC."""
    return [
        *stretch(100.0, 8.0),
        *stretch(108.5, 8.0, video=Codec.H265, sound=Codec.AAC, epoch=1),
    ]


__all__ = ["Archive", "RecordedMeeting", "archive", "record", "stretch", "with_codec_change", "with_gap"]

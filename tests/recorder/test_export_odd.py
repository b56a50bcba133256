"""The MP4 of recordings that are long, have holes in the middle of a segment, or HE-AAC."""

import struct
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from media.unit import AccessUnit, Codec, StreamItem
from recorder.sample_table import SampleTable, read_tables, tables_box, tables_size
from tests.recorder.recordings import archive, record, stretch
from tests.recorder.test_export import boxes, exported, keeps_the_clock, sound
from tests.support.encoded import interleave, sound_units, video_units
from tests.support.he_aac import hidden, signalled


def _longer(path: Path, sample_bytes: int) -> None:
    """Say of an object's samples that each is so long."""
    data = path.read_bytes()
    size = tables_size(data)
    assert size is not None
    tables = read_tables(data[-size:])
    assert tables is not None
    box = tables_box(
        (sequence, track, SampleTable(t.dts, t.durations, t.cts_offsets, [sample_bytes] * len(t), t.keyframes))
        for (sequence, track), t in tables.items()
    )
    # As long as its row says.
    path.write_bytes(data[: -len(box)] + box)


@pytest.mark.parametrize("sample_bytes", [42_949_672, 42_949_673, 100_000_000])
async def test_a_file_of_four_gibibytes_and_more(tmp_path: Path, sample_bytes: int) -> None:
    """Two hours at 5 Mb/s."""
    async with archive(tmp_path) as home:
        made = await record(home.database, home.store, home.county, [stretch(100.0, 4.0, sound=None)], per_object=1)
        for path in (tmp_path / "objects").rglob("*.mp4"):
            _longer(path, sample_bytes)
        mp4 = await home.export().open(made.meeting.id)
    opening = dict(boxes(mp4.head[: mp4.head.index(b"mdat") - 4]))
    (offset,) = struct.unpack_from(">Q", opening["/moov/trak/mdia/minf/stbl/co64"], 8)
    assert offset == len(mp4.head)
    media = 100 * sample_bytes
    assert mp4.size == len(mp4.head) + media
    if media + 8 < 1 << 32:
        assert mp4.head[-8:] == struct.pack(">I4s", media + 8, b"mdat")
    else:
        assert mp4.head[-16:] == struct.pack(">I4sQ", 1, b"mdat", media + 16)


@pytest.mark.parametrize("until", [101.2, 103.0])
@pytest.mark.parametrize("tables", [True, False])
async def test_sound_missing_between_two_parts_of_a_segment_moves_nothing(
    tmp_path: Path, until: float, tables: bool
) -> None:
    """Parts are half a second, segments four: what follows the hole is not early up to the segment's end."""
    units: list[StreamItem] = [
        unit
        for unit in stretch(100.0, 16.0, sound=Codec.AAC)
        if unit.track.id == 1 or not 101.0 - 0.04 < unit.dts / unit.track.clock_rate < until
    ]
    async with archive(tmp_path) as home:
        _, data = await exported(home, units, tables=tables)
    heard = sound(data)
    keeps_the_clock(heard, 1024 / 48_000)
    loud = [at for at, wave, _ in heard if np.abs(wave).max() > 0.3]
    hole = max(((after - before, before) for before, after in pairwise(loud)), default=(0.0, 0.0))
    assert hole[0] == pytest.approx(until - 100.96, abs=0.08)
    assert hole[1] == pytest.approx(0.96, abs=0.08)


@pytest.mark.parametrize("made", [signalled, hidden])
async def test_he_aac_is_heard_after_a_gap(
    tmp_path: Path, made: Callable[[Sequence[AccessUnit]], list[AccessUnit]]
) -> None:
    async with archive(tmp_path) as home:
        lives: list[list[StreamItem]] = []
        for life, start_s in enumerate((100.0, 111.0)):
            tone = sound_units(Codec.AAC, rate=24_000, seconds=6.0, start_s=start_s, epoch=life)
            lives.append([*interleave(video_units(frames=150, start_s=start_s, epoch=life), made(tone))])
        _, data = await exported(home, *lives)
    loud = [at for at, wave, _ in sound(data) if np.abs(wave).max() > 0.3]
    assert min(loud) < 0.3
    assert [at for at in loud if 11.0 <= at < 11.3]
    assert not [at for at in loud if 6.3 < at < 10.7]


async def test_he_aac_beside_other_sound_is_heard(tmp_path: Path) -> None:
    """Where the sound's kind changes all of it is derived."""
    tone = signalled(sound_units(Codec.AAC, rate=24_000, seconds=6.0, start_s=108.0, epoch=1))
    parts: list[StreamItem] = [*stretch(100.0, 8.0), *interleave(video_units(frames=150, start_s=108.0, epoch=1), tone)]
    async with archive(tmp_path) as home:
        _, data = await exported(home, parts)
    loud = [at for at, wave, _ in sound(data) if np.abs(wave).max() > 0.3]
    assert [at for at in loud if at < 7.5]
    assert [at for at in loud if at > 8.5]

"""The MP4 of a meeting: plays everywhere, goes on anywhere, is the same every time."""

import io
import random
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.errors import BitstreamError, ContainerError
from media.unit import Codec, StreamItem
from recorder.aac_padding import pad_frame, padded_size
from recorder.errors import NothingRecordedError
from recorder.export import Mp4, Mp4Export
from recorder.mp4 import children
from recorder.playback import Playback
from recorder.sample_table import SampleTable, read_tables, tables_box, tables_size
from storage.errors import StoreUnavailableError
from tests.recorder.recordings import Archive, archive, record, stretch, with_codec_change, with_gap
from tests.support.encoded import ORIGIN_NS, picture_number
from tests.support.faults import Faults, FaultyStore
from tests.support.media_site import ffmpeg

SECOND = 1_000_000_000


async def whole(mp4: Mp4, start: int = 0, end: int | None = None) -> bytes:
    """Bytes of the file."""
    return b"".join([piece async for piece in mp4.read(start, end)])


async def exported(home: Archive, *stretches: list[StreamItem], **options: Any) -> tuple[Mp4, bytes]:
    """A recording and its file."""
    made = await record(home.database, home.store, home.county, stretches, **options)
    mp4 = await home.export().open(made.meeting.id)
    data = await whole(mp4)
    assert len(data) == mp4.size
    return mp4, data


def boxes(data: bytes, path: str = "") -> Iterator[tuple[str, bytes]]:
    """All boxes by path."""
    for kind, payload in children(data):
        name = f"{path}/{kind.decode()}"
        yield name, payload
        if kind in {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts"}:
            yield from boxes(payload, name)


def pictures(data: bytes) -> list[tuple[float, int]]:
    """Time and number of every picture."""
    with av.open(io.BytesIO(data), "r") as container:
        return [(float(frame.time or 0), picture_number(frame)) for frame in container.decode(video=0)]


def sound(data: bytes) -> list[tuple[float, np.ndarray[Any, Any], int]]:
    """Time, samples and rate of every sound frame."""
    with av.open(io.BytesIO(data), "r") as container:
        return [
            (float(frame.time or 0), frame.to_ndarray()[0], frame.sample_rate) for frame in container.decode(audio=0)
        ]


@pytest.mark.parametrize("codec", [Codec.PCMA, Codec.PCMU, Codec.AAC, Codec.OPUS])
async def test_the_files_time_is_the_meetings_time(tmp_path: Path, codec: Codec) -> None:
    async with archive(tmp_path) as home:
        _, data = await exported(home, with_gap(codec))
    assert [name for name, _ in boxes(data) if name.count("/") == 1] == ["/ftyp", "/moov", "/mdat"]
    shown = pictures(data)
    assert [number for _, number in shown] == [*range(300), *range(425, 625)]
    # A picture's number is 25 times its second: what follows the gap is as much later as it was.
    start = shown[0][0]
    assert start < 0.05
    assert all(abs(at - start - number / 25) < 0.002 for at, number in shown)
    heard = sound(data)
    loud = np.concatenate([at - start + np.flatnonzero(np.abs(wave) > 0.3) / rate for at, wave, rate in heard])
    # The file's sound begins with the first frame of the grid that begins within it.
    frame_s = 0.128 if codec in (Codec.PCMA, Codec.PCMU) else 0.064
    assert -0.03 < loud.min() < frame_s + 0.03
    assert not loud[(loud > 12.0 + frame_s) & (loud < 17.0 - frame_s)].size
    assert abs(loud.max() - 25.0) < 0.1
    if codec is Codec.AAC:
        frame_s = 1024 / 48_000
    keeps_the_clock(heard, frame_s)


def keeps_the_clock(heard: list[tuple[float, np.ndarray[Any, Any], int]], frame_s: float) -> None:
    """Silence is there, not left out: players keep their clock by the sound that they have played. None is more than
    half a frame off, however often something was missing."""
    clock = heard[0][0] + np.arange(len(heard)) * frame_s
    assert np.abs(np.array([at for at, _, _ in heard]) - clock).max() < frame_s * 0.5 + 0.002


@pytest.mark.parametrize("codec", [Codec.PCMA, Codec.AAC])
async def test_sound_that_is_missing_again_and_again_moves_nothing(tmp_path: Path, codec: Codec) -> None:
    """A camera that loses sound by the packet and comes back again and again: late by nothing at the end."""
    chance = random.Random(5)
    frame_s = 0.128 if codec is Codec.PCMA else 1024 / 48_000
    items: list[StreamItem] = []
    for life in range(8):
        units = stretch(100.0 + 11.37 * life, 8.0, sound=codec, epoch=life)
        items += [unit for unit in units if unit.track.id == 1 or chance.random() > 0.1]
    async with archive(tmp_path) as home:
        mp4, data = await exported(home, items)
        for start in (mp4.size // 3, mp4.size // 2 + 1):
            assert await whole(mp4, start, start + 50_000) == data[start : start + 50_000]
    keeps_the_clock(sound(data), frame_s)
    assert len(pictures(data)) == 8 * 200
    played = [at for at, wave, _ in sound(data) if np.abs(wave).max() > 0.3]
    for life in range(8):
        assert any(abs(at - 11.37 * life) < 0.3 for at in played)
        assert not any(8.2 < at - 11.37 * life < 11.0 for at in played)


async def test_telephone_sound_stays_at_eight_kilohertz_and_its_stretches_have_no_seam(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        # Two stretches and a bit: their seams must not be heard.
        made = await record(home.database, home.store, home.county, [stretch(100.0, 72.0)])
        data = await whole(await home.export().open(made.meeting.id))
        wide = await record(home.database, home.store, home.county, [stretch(100.0, 8.0, sound=Codec.OPUS)])
        assert {rate for _, _, rate in sound(await whole(await home.export().open(wide.meeting.id)))} == {16_000}
    heard = sound(data)
    assert {rate for _, _, rate in heard} == {8_000}
    wave = np.concatenate([piece for _, piece, _ in heard])[4096:-4096].astype(float)
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
    near = np.abs(np.fft.rfftfreq(len(wave), 1 / 8_000) - 440) < 25
    assert spectrum[~near].sum() / spectrum.sum() < 1e-3


async def test_ffmpeg_decodes_it_without_a_complaint(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        _, data = await exported(home, with_gap())
    path = tmp_path / "meeting.mp4"
    path.write_bytes(data)
    played = await ffmpeg("-i", str(path), "-fps_mode", "passthrough", "-f", "null", "-")
    assert (played.code, played.complaints, played.frames) == (0, [], 500)


async def test_any_range_is_the_same_bytes(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        made = await record(home.database, home.store, home.county, [with_gap()])
        first = await home.export().open(made.meeting.id)
        data = await whole(first)
        dice = random.Random(7)
        edges = [len(first.head) + chunk.offset for chunk in first.chunks]
        spans = [(edge + shift, edge + shift + 5_000) for edge in edges for shift in (-1, 0, 1)]
        for _ in range(25):
            start, end = sorted(dice.sample(range(len(data) + 1), 2))
            spans.append((start, end))
        dice.shuffle(spans)
        for number, (start, end) in enumerate([*spans, (0, len(data)), (len(data) - 1, len(data)), (0, 1)]):
            if number % 12 == 0:
                # As after a restart: nothing is known from the first download.
                again = await home.export().open(made.meeting.id)
                assert again.etag == first.etag
            assert await whole(again, start, end) == data[start:end]


async def test_another_recording_has_another_etag(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        one, _ = await exported(home, list(stretch(100.0, 4.0)))
    async with archive(tmp_path / "other") as home:
        other, _ = await exported(home, list(stretch(104.0, 4.0)))
    assert one.etag != other.etag
    assert one.etag.startswith('"')


async def test_a_change_of_codec_is_another_sample_entry(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        _, data = await exported(home, with_codec_change())
    entries = [
        [kind.decode() for kind, _ in children(payload[8:])] for name, payload in boxes(data) if name.endswith("/stsd")
    ]
    assert entries == [["avc1", "hvc1"], ["mp4a"]]
    # One kind of sound throughout: what was G.711 and what was AAC are both heard at their time.
    heard = sound(data)
    assert heard[-1][0] > 16.3
    loud = [at for at, wave, _ in heard if np.abs(wave).max() > 0.3]
    assert min(loud) < 0.1
    assert max(loud) > 16.2


async def test_changed_parameter_sets_play_on(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        parts = [*stretch(100.0, 4.0), *stretch(104.0, 4.0, epoch=1, size=(640, 360))]
        _, data = await exported(home, list(parts))
    with av.open(io.BytesIO(data), "r") as container:
        sizes = [(frame.width, frame.height) for frame in container.decode(video=0)]
    assert sizes == [(320, 180)] * 100 + [(640, 360)] * 100


async def test_pictures_in_another_order_than_they_are_shown(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        _, data = await exported(home, list(stretch(100.0, 8.0, b_frames=2)))
    shown = pictures(data)
    assert [number for _, number in shown] == list(range(200))
    assert np.allclose(np.diff([at for at, _ in shown]), 0.04, atol=0.001)
    # The first whole frame of derived sound begins within one frame of the first picture shown.
    assert 0 <= sound(data)[0][0] - shown[0][0] < 0.129


async def test_a_restart_of_the_service_keeps_the_wall_clock(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        before = stretch(100.0, 8.0)
        after = [replace(unit, utc_ns=unit.utc_ns + 11 * SECOND) for unit in before]
        _, data = await exported(home, list(before), list(after))
    shown = pictures(data)
    assert abs(shown[200][0] - shown[0][0] - 11.0) < 0.002
    loud = [at for at, wave, _ in sound(data) if np.abs(wave).max() > 0.3]
    assert min(at for at in loud if at > 9) - shown[200][0] < 0.1


async def test_sound_of_a_camera_that_comes_and_goes(tmp_path: Path) -> None:
    # Each life of the stream is a stretch of sound of its own, and several are asked for at once.
    first = stretch(100.0, 4.0)
    lives: list[list[StreamItem]] = [
        [replace(unit, utc_ns=unit.utc_ns + n * 11 * SECOND) for unit in first] for n in range(12)
    ]
    async with archive(tmp_path) as home:
        mp4, data = await exported(home, *lives)
        middle = mp4.size // 2
        assert await whole(mp4, middle) == data[middle:]
    loud = np.array([at for at, wave, _ in sound(data) if np.abs(wave).max() > 0.3])
    # The first life is the zero of time; each later one is 11 s after the one before it.
    assert all(((loud >= n * 11) & (loud < n * 11 + 4.2)).any() for n in range(12))


async def test_objects_without_sample_tables_give_the_same_file(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        _, data = await exported(home, with_gap())
    async with archive(tmp_path / "bare") as home:
        _, bare = await exported(home, with_gap(), tables=False)
    assert data == bare


async def test_a_camera_without_sound_and_one_without_picture(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        _, data = await exported(home, list(stretch(100.0, 4.0, sound=None)))
    assert len(pictures(data)) == 100
    assert [name for name, _ in boxes(data)].count("/moov/trak") == 1
    async with archive(tmp_path / "deaf") as home:
        _, data = await exported(home, list(stretch(100.0, 8.0, video=None)))
    assert sound(data)[-1][0] > 7.8


async def test_a_span_is_a_file_of_its_own(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        made = await record(home.database, home.store, home.county, [with_gap()])
        mp4 = await home.export().open(made.meeting.id, ORIGIN_NS + 104 * SECOND, ORIGIN_NS + 108 * SECOND)
        assert [number for _, number in pictures(await whole(mp4))] == list(range(100, 200))
        with pytest.raises(NothingRecordedError):
            await home.export().open(made.meeting.id, ORIGIN_NS + 200 * SECOND)
        with pytest.raises(NothingRecordedError):
            await home.export().open("nowhere")


async def test_a_reader_who_leaves_leaves_nothing_behind(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        made = await record(home.database, home.store, home.county, [with_gap()])
        mp4 = await home.export().open(made.meeting.id)
        reader = mp4.read()
        assert await anext(reader) == mp4.head
        await anext(reader)
        await reader.aclose()
        assert (await home.export().open(made.meeting.id)).etag == mp4.etag


@given(st.binary(max_size=768))
def test_padded_frames_have_one_size_and_end_with_the_frame(frame: bytes) -> None:
    padded = pad_frame(frame, padded_size(1))
    assert len(padded) == 775
    assert padded.endswith(frame)
    # Eight fill elements, read back bit by bit as a decoder does.
    bits = int.from_bytes(padded[: 775 - len(frame)], "big")
    left = 8 * (775 - len(frame))
    for _ in range(8):
        left -= 7
        head = bits >> left & 127
        assert head >> 4 == 6
        count = head & 15
        if count == 15:
            left -= 8
            count += (bits >> left & 255) - 1
        left -= 8 * count
    assert left == 0


def test_a_frame_that_is_too_long_is_refused() -> None:
    with pytest.raises(BitstreamError):
        pad_frame(bytes(769), padded_size(1))


_TICKS = st.integers(0, 2**32 - 1)


@given(st.lists(st.tuples(_TICKS, st.integers(-(2**31), 2**31 - 1), _TICKS, st.booleans()), max_size=50), st.binary())
def test_sample_tables_come_back_as_they_were(samples: list[tuple[int, int, int, bool]], before: bytes) -> None:
    durations, offsets, sizes, keys = ([item[n] for item in samples] for n in range(4))
    table = SampleTable(2**40, durations, offsets, sizes, bytes(keys))
    box = tables_box([(1 << 40, 1, table), (7, 2, table)])
    tail = before + box
    size = tables_size(tail)
    assert size == len(box)
    found = read_tables(tail[-size:])
    assert found is not None
    assert set(found) == {(1 << 40, 1), (7, 2)}
    back = found[7, 2]
    assert (list(back.durations), list(back.cts_offsets), list(back.sizes)) == (durations, offsets, sizes)
    assert (back.dts, back.keyframes) == (2**40, bytes(keys))


@given(st.binary(max_size=200))
def test_any_other_tail_is_no_sample_table(tail: bytes) -> None:
    size = tables_size(tail)
    assert size is None or read_tables(tail[-size:]) is None


def test_a_broken_sample_table_is_said() -> None:
    box = bytearray(tables_box([(1, 1, SampleTable(0, [1], [0], [2], b"\1"))]))
    box[40] ^= 255
    with pytest.raises(ContainerError):
        read_tables(bytes(box))


async def test_the_media_box_says_its_length(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        made = await record(home.database, home.store, home.county, [list(stretch(100.0, 4.0))])
        mp4 = await home.export().open(made.meeting.id)
    size, kind = struct.unpack_from(">I4s", mp4.head, len(mp4.head) - 8)
    assert (kind, size) == (b"mdat", mp4.size - len(mp4.head) + 8)


async def test_a_store_that_is_away_is_said_as_such(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        made = await record(home.database, home.store, home.county, [stretch(100.0, 12.0)])
        away = FaultyStore(home.store, Faults(away=True))
        export = Mp4Export(Playback(home.database, away, None, home.executor), home.executor)
        with pytest.raises(StoreUnavailableError):
            await export.open(made.meeting.id)


async def test_damaged_sample_tables_cost_nothing_since_the_media_has_them(tmp_path: Path) -> None:
    async with archive(tmp_path) as home:
        made = await record(home.database, home.store, home.county, [stretch(100.0, 12.0)])
        expected = await whole(await home.export().open(made.meeting.id))
        for path in (tmp_path / "objects").rglob("*.mp4"):
            data = bytearray(path.read_bytes())
            data[-8] ^= 1
            path.write_bytes(data)
        assert await whole(await home.export().open(made.meeting.id)) == expected


@pytest.mark.parametrize("codec", [None, Codec.PCMA])
async def test_a_clock_that_was_wrong_by_days_makes_no_file_of_days(tmp_path: Path, codec: Codec | None) -> None:
    later = [
        replace(unit, utc_ns=unit.utc_ns + 2 * 86_400 * SECOND) for unit in stretch(112.0, 8.0, sound=codec, epoch=1)
    ]
    async with archive(tmp_path) as home:
        _, data = await exported(home, [*stretch(100.0, 12.0, sound=codec)], [*later])
    shown = pictures(data)
    assert [number for _, number in shown] == list(range(500))
    assert shown[-1][0] < 21


async def test_a_gap_after_a_clock_was_set_back_is_as_long_as_it_was(tmp_path: Path) -> None:
    pieces = [stretch(112.0, 4.0, epoch=1), stretch(121.0, 4.0, epoch=2)]
    back: list[list[StreamItem]] = [
        [replace(unit, utc_ns=unit.utc_ns - 60 * SECOND) for unit in piece] for piece in pieces
    ]
    async with archive(tmp_path) as home:
        _, data = await exported(home, [*stretch(100.0, 12.0)], *back)
    for time, number in pictures(data):
        assert time == pytest.approx(number / 25, abs=0.1)

"""Targets in ``recorder`` and ``web``: spool files, sample tables, and what players put into addresses."""

import asyncio
import atexit
import functools
import os
import shutil
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

from aiohttp import hdrs, web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from media.errors import ContainerError
from media.segments import Part, SegmentEnd, SegmentStart
from recorder.errors import RecorderError
from recorder.sample_table import SampleTable, read_tables, tables_box, tables_size
from recorder.spool_format import (
    CHUNK,
    FRAME,
    MAGIC,
    PLACE,
    Kind,
    SegmentBuilder,
    SpoolHeader,
    end_payload,
    frame,
    gap_payload,
    media_path,
    start_payload,
)
from recorder.spool_object import assemble
from recorder.spool_read import read_spool, scan_spool
from storage.records import GENESIS_HASH, GapRecord
from streaming.hls.errors import HlsError
from tests.fuzz.harness import Input, Target, piece
from tests.support.events import PERIOD, SOUND, START_NS, VIDEO, segments
from web.api import all_operations
from web.dispatch import read_query
from web.errors import FieldsInvalidError
from web.live import answers, hls
from web.live.context import LIVE
from web.live.vod import span_of


def _spool(data: bytes) -> None:
    """A spool file. Frames come as kind and payload, with a sum that is right, so that what is inside is read too."""
    source = Input(data)
    if source.number() & 1:
        _read(source.rest())
        return
    out = bytearray(MAGIC)
    while source:
        kind, payload = source.number(), source.piece()
        out += FRAME.pack(len(payload), kind, zlib.crc32(payload, zlib.crc32(bytes((kind,))))) + payload
    _read(bytes(out))


@functools.cache
def _files() -> tuple[Path, int, int]:
    """The path of a journal, and descriptors of it and of its media; in memory, where a disk would take longer than the
    reader."""
    memory = Path("/dev/shm")
    folder = tempfile.mkdtemp(prefix="fuzz-spool-", dir=memory if memory.is_dir() else None)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    journal = Path(folder, "1.spool")
    flags = os.O_CREAT | os.O_RDWR
    return journal, os.open(journal, flags, 0o600), os.open(media_path(journal), flags, 0o600)


def _read(data: bytes) -> None:
    path, *fds = _files()
    for fd, content in zip(fds, (data, _spool_frames()[1]), strict=True):
        os.ftruncate(fd, len(content))
        os.pwrite(fd, content, 0)
    try:
        found = scan_spool(path) or read_spool(path)
        if found is not None:
            assemble(found)
    except RecorderError:
        return


@functools.cache
def _spool_frames() -> tuple[list[tuple[Kind, bytes]], bytes]:
    """Frames of a good journal, and the media it speaks of."""
    header = SpoolHeader(
        recording="r", meeting="m", camera="c", number=1, period=0, tracks=(VIDEO, SOUND), init=b"init",
        track_init=PERIOD.init, metadata={"title": "会"}, chain=GENESIS_HASH,
    )  # fmt: skip
    frames = [(Kind.HEADER, header.to_payload())]
    media, sound, previous = header.init, b"", header.chain
    builder = SegmentBuilder(0, 0, False)
    begin = 0
    for event in segments(2, parts=1, part_bytes=30):
        if isinstance(event, SegmentStart):
            builder = SegmentBuilder(event.sequence, event.start_utc_ns, event.discontinuity)
            begin, sound = len(media), b""
            start = start_payload(event.sequence, event.start_utc_ns, event.discontinuity)
            frames.append((Kind.SEGMENT_START, start))
        elif isinstance(event, Part):
            for track, chunk in event.chunks.items():
                head = CHUNK.pack(event.sequence, 0, track, chunk.dts, chunk.duration, chunk.samples, START_NS)
                checksum = builder.add(track, chunk.dts, chunk.duration, chunk.samples, chunk.data)
                if track == header.first_track:
                    place = PLACE.pack(len(media), chunk.size, checksum)
                    frames.append((Kind.PLACED, head + place))
                    media += chunk.data
                else:
                    frames.append((Kind.CHUNK, head + chunk.data))
                    sound += chunk.data
        elif isinstance(event, SegmentEnd):
            facts = builder.end(header, previous, begin, event.duration_ns)
            media, previous = media + sound, facts.chain
            frames.append((Kind.SEGMENT_END, end_payload(facts, builder.checksums)))
    gap = GapRecord(recording_id="r", start_utc_ns=1, end_utc_ns=2, cause="silent")
    return [*frames, (Kind.GAP, gap_payload(gap)), (Kind.CLOSE, b"")], media


def _spool_seeds() -> list[bytes]:
    frames, _ = _spool_frames()
    made = b"".join(bytes((kind,)) + piece(payload) for kind, payload in frames)
    raw = MAGIC + b"".join(frame(kind, payload) for kind, payload in frames)
    return [b"\0" + made, b"\0" + made[: len(made) // 2], b"\1" + raw]


def _tables(data: bytes) -> None:
    """Sample tables: packed as they are stored, so that what is inside is read too, and as any bytes."""
    tables_size(data)
    try:
        read_tables(data)
    except ContainerError:
        pass
    packed = zlib.compress(data, 1)
    box = tables_box([])
    head = bytearray(box[:25])
    size = len(head) + len(packed) + 4
    struct.pack_into(">I", head, 0, size)
    try:
        read_tables(bytes(head) + packed + struct.pack(">I", size))
    except ContainerError:
        return


def _table_seeds() -> list[bytes]:
    table = SampleTable(90_000, [3600] * 3, [0, -10, 10], [100, 5, 7], b"\1\0\0")
    box = tables_box([(1, 1, table), (1, 2, table)])
    return [zlib.decompress(box[25:-4]), box]


class _Everybody:
    """Lets everybody see everything."""

    async def watch_camera(self, request: web.Request, camera_id: str) -> None:
        return


class _Window:
    """Notes what a handler asks of the window."""

    def __init__(self) -> None:
        self.asked: list[int | None] = []

    async def media_playlist(self, name: str, msn: int | None = None, part: int | None = None) -> str:
        self.asked = [msn, part]
        return "#EXTM3U\n"

    async def segment(self, name: str, msn: int) -> bytes:
        self.asked = [msn]
        return b"media"

    async def init(self, name: str, number: int) -> bytes:
        return await self.segment(name, number)

    async def part(self, name: str, msn: int, part: int) -> bytes:
        self.asked = [msn, part]
        return b"media"

    async def ts_segment(self, msn: int) -> bytes:
        return await self.segment("video", msn)

    async def master_playlist(self) -> str:
        return "#EXTM3U\n"

    ts_playlist = master_playlist


class _Live:
    """What the handlers find under LIVE."""

    def __init__(self) -> None:
        self.gate = _Everybody()
        self.last = _Window()
        self.windows = self

    async def window(self, stream_id: object) -> _Window:
        return self.last


def _application(live: Any) -> web.Application:
    app = web.Application()
    app[LIVE] = live
    app.add_routes(hls.routes())
    app.freeze()
    return app


_LOOP = asyncio.new_event_loop()
_LIVE = _Live()
_APP = _application(_LIVE)


def _playlist(data: bytes) -> None:
    """Addresses below /live/, with their query: the handler asks for numbers within bounds, or refuses."""
    source = Input(data)
    range_header = source.piece().decode("latin-1")
    path, _, query = source.rest().partition(b"?")
    address = "/live/hall/" + quote_from_bytes(path, safe="/.-") + "?" + quote_from_bytes(query, safe="=&%+;")
    headers = CIMultiDict({hdrs.RANGE: range_header, hdrs.IF_RANGE: range_header[:8]} if range_header else {})
    _LOOP.run_until_complete(_answer(address, headers))


async def _answer(address: str, headers: "CIMultiDict[str]") -> None:
    request = make_mocked_request("GET", address, headers, app=_APP)
    found = await _APP.router.resolve(request)
    _LIVE.last.asked = []
    if found.http_exception is None:
        request = request.clone()
        found.add_app(_APP)
        request._match_info = found  # noqa: SLF001 what aiohttp's application does
        try:
            await found.handler(request)
        except (HlsError, web.HTTPRequestRangeNotSatisfiable):
            pass
    assert all(number is None or 0 <= number < 10**15 for number in _LIVE.last.asked)
    try:
        start, end = span_of(request)
        assert all(moment is None or 0 <= moment < 10**21 for moment in (start, end))
    except HlsError:
        pass
    try:
        span = answers.requested_span(request, 1000, '"tag"')
        assert span is None or 0 <= span.start < span.end <= 1000
    except web.HTTPRequestRangeNotSatisfiable:
        pass


def _playlist_seeds() -> list[bytes]:
    addresses = [
        b"video.m3u8?_HLS_msn=12&_HLS_part=3", b"sound.m3u8?_HLS_part=0", b"index.m3u8", b"ts.m3u8?start=1&end=2",
        b"video/init-0.mp4", b"video/12.m4s", b"sub/video/12.3.m4s", b"ts/12.ts",
    ]  # fmt: skip
    return [b"\0\0" + address for address in addresses] + [b"\0\x0bbytes=10-20" + addresses[5]]


_QUERIES = [operation.query for operation in all_operations() if operation.query is not None]


def _api_query(data: bytes) -> None:
    """The query strings of the API's operations."""
    source = Input(data)
    model = _QUERIES[source.number() % len(_QUERIES)]
    names = list(model.model_fields)
    text = CIMultiDict[str]()
    while source:
        name = names[source.number() % len(names)]
        text.add(name, source.piece().decode("utf-8", "replace"))
    try:
        read_query(model, text)
    except FieldsInvalidError:
        return


def _api_query_seeds() -> list[bytes]:
    values = [b"2026-11-21T08:00:00+08:00", b"2026-11-21", b"12", b"-1", b"true", b"1e400", b"video", b""]
    return [bytes((n,)) + b"".join(b"\0" + piece(value) for value in values[n % 3 :: 3]) for n in range(6)]


TARGETS = (
    Target("spool", _spool, _spool_seeds, 3000, (b'"sequence"', b'"ranges"', b"null", b"1e999", b"[[[[", b"SANHUIS1")),
    Target("sample_tables", _tables, _table_seeds, 600),
    Target("playlist_address", _playlist, _playlist_seeds, 200, (b"_HLS_msn=", b"_HLS_part=", b"bytes=", b"%00")),
    Target("api_query", _api_query, _api_query_seeds, 200, (b"+08:00", b"T00:00:00", b"9999-12-31", b"0001-01-01")),
)

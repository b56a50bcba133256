"""Ten years of a county in the database: rows and bytes, and how long its pages take.

    python bench/county.py [--years 10] [--rooms 300] [--share 0.01] [--database sqlite postgres] [--json]

Rows are generated: 300 rooms, four meetings of an hour and a half a month each. All meetings, recordings, periods and
gaps are there; of the object index, most of all bytes, the rows of `--share` of the months, since all of it takes hours
to write. Sizes are counted per row and scaled to all. Pages are asked of `sanhui serve` by a logged-in archivist; the
media themselves are not there.
"""

import argparse
import asyncio
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.archivist import PASSWORD, USERNAME, add_archivist
from bench.county_rows import TOPICS, CountyRows, load
from bench.table import Table
from bench.viewer import Viewer, p95
from storage.database import Database
from storage.migrate import upgrade
from storage.objects import DirectoryStoreSettings
from storage.open_store import open_store_of
from tests.support.service import ServiceProcess
from tools.postgres import PostgresServer

MIB = 1024 * 1024
PAGES = 15


@dataclass(frozen=True)
class Sizes:
    """Bytes of a database: of the object index and its own indexes, and of all the rest."""

    objects: int
    others: int


def sqlite_sizes(path: Path) -> Sizes:
    """From its own account of its pages."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute(
            "SELECT m.tbl_name, SUM(s.pgsize) FROM dbstat s JOIN sqlite_master m ON m.name = s.name GROUP BY 1"
        ).fetchall()
    sizes = {name: int(size) for name, size in rows}
    return Sizes(sizes.pop("media_object", 0), sum(sizes.values()))


def postgres_sizes(url: str) -> Sizes:
    """From its own account of its relations."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relkind = 'r' AND relnamespace ="
            " 'public'::regnamespace"
        ).fetchall()
    sizes = {name: int(size) for name, size in rows}
    return Sizes(sizes.pop("media_object", 0), sum(sizes.values()))


async def begin(url: str, store: DirectoryStoreSettings) -> None:
    """An empty store that the database knows as its own, and somebody who may look."""
    async with Database(url) as database, open_store_of(database, store):
        await add_archivist(database)


def pages(viewer: Viewer, rows: CountyRows) -> dict[str, list[float]]:
    """Milliseconds of each page, over a few of its kind."""
    dice = random.Random(3)
    theme = sorted({item.start.date() for item in rows.held if item.start.day == 5})
    plain = sorted({item.start.date() for item in rows.held if item.start.day != 5})
    asked: dict[str, Callable[[], str]] = {
        f"now page, {rows.rooms} rooms": lambda: "/api/v1/now",
        "meetings of a plain day": lambda: f"/api/v1/meetings?day={dice.choice(plain)}",
        f"meetings of a theme day, {rows.rooms} of them": lambda: f"/api/v1/meetings?day={dice.choice(theme)}",
        "a month's calendar": lambda: f"/api/v1/calendar?month={dice.choice(plain):%Y-%m}",
        "archive, first page": lambda: "/api/v1/archive?state=ended",
        "archive, a page years back": lambda: f"/api/v1/archive?cursor={dice.choice(rows.held).start_ns // 1000}-0",
        "search, a village": lambda: f"/api/v1/archive?search={quote(rows.village(dice.randrange(rows.rooms)))}",
        "search, a word in titles": lambda: f"/api/v1/archive?search={quote(dice.choice(TOPICS))}",
        "search, village and word": lambda: (
            "/api/v1/archive?search=" + quote(f"{rows.village(dice.randrange(rows.rooms))} {dice.choice(TOPICS)}")
        ),
        "search, nothing found": lambda: f"/api/v1/archive?search={quote('没有这个')}",
        "a meeting's page": lambda: f"/api/v1/meetings/{dice.choice(rows.played).id}",
    }
    found = {what: [viewer.get(address())[1] for _ in range(PAGES)] for what, address in asked.items()}
    playlists: dict[str, list[float]] = {"index": [], "video": []}
    for item in rows.played:
        for name, taken in playlists.items():
            taken.append(viewer.get(f"/meetings/{item.id}/vod/{name}.m3u8")[1])
    found["playlist of 1.5 h: index.m3u8, first look"] = playlists["index"]
    found["playlist of 1.5 h: video.m3u8 after it"] = playlists["video"]
    return found


def measure(kind: str, rows: CountyRows, stack: ExitStack, tables: tuple[Table, Table]) -> None:
    """One database: written, weighed, asked."""
    sizes_table, times_table = tables
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sanhui-bench-")))
    (folder / "data").mkdir()
    path = folder / "data" / "sanhui.db"
    url = f"sqlite:///{path}"
    if kind == "postgres":
        url = stack.enter_context(PostgresServer()).create_database("sanhui")
    began = time.perf_counter()
    upgrade(url)
    asyncio.run(begin(url, DirectoryStoreSettings(folder / "data" / "objects")))
    load(url, rows.tables())
    took = time.perf_counter() - began
    sizes = sqlite_sizes(path) if kind == "sqlite" else postgres_sizes(url)
    written = len(rows.indexed) * rows.objects_each
    all_objects = len(rows.held) * rows.objects_each
    per_object = sizes.objects / written
    # Of each recording: meeting, recording, period, 4 lines of story, a gap in each fifth; and its objects.
    row_count = len(rows.held) * (1 + 1 + 1 + 4) + len(rows.held) // 5 + all_objects
    sizes_table.add(
        kind,
        f"{rows.hours:,.0f}",
        f"{row_count:,}",
        row_count / rows.hours,
        (all_objects + len(rows.held)) / rows.hours,
        per_object,
        sizes.others / MIB,
        (per_object * all_objects + sizes.others) / MIB / 1024,
    )
    sizes_table.notes.append(f"{kind}: {written:,} rows of objects written; all written in {took:.0f} s.")
    print(f"{kind}: {written:,} rows of objects and all others written in {took:.0f} s", file=sys.stderr)
    service = ServiceProcess(folder, {"SANHUI_DATABASE_URL": url})
    try:
        asyncio.run(service.start())
        assert service.process is not None
        viewer = Viewer(service.port)
        viewer.log_in(USERNAME, PASSWORD)
        for what, taken in pages(viewer, rows).items():
            middle = sorted(taken)[len(taken) // 2]
            times_table.add(f"{kind}: {what}", taken[0], middle, p95(taken))
        memory = psutil.Process(service.process.pid).memory_info().rss
        times_table.notes.append(f"{kind}: the service has {memory / MIB:.0f} MiB after it.")
    finally:
        asyncio.run(service.stop())


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--years", type=int, default=10)
    parser.add_argument("--rooms", type=int, default=300)
    parser.add_argument("--share", type=float, default=0.01, help="of the months whose objects have rows, 0 to 1")
    parser.add_argument("--database", nargs="+", choices=("sqlite", "postgres"), default=["sqlite", "postgres"])
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    options = parser.parse_args()

    rows = CountyRows(options.years, options.rooms, options.share, datetime.now(UTC))
    title = f"{options.years} years of {options.rooms} rooms"
    sizes = Table(
        f"{title}: rows and bytes",
        (
            "database",
            "recorded hours",
            "rows",
            "rows an hour",
            "objects stored an hour",
            "bytes a row of the object index",
            "all other tables, MiB",
            "all, GiB",
        ),
    )
    times = Table(f"{title}: pages, ms", ("page", "first", "p50", "p95"))
    for kind in options.database:
        with ExitStack() as stack:
            measure(kind, rows, stack, (sizes, times))
    sizes.print(as_json=options.json)
    times.print(as_json=options.json)


if __name__ == "__main__":
    main()

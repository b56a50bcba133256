"""How long a guidance note takes: from the official's click to the room's TV, and from the room's OK to the desk.

    python bench/note_to_tv.py [--rooms 40] [--desks 40] [--notes 60] [--json]

`sanhui serve` as a process of its own, SQLite, no cameras; each room's TV and each desk page is a WebSocket of this
program, which shares the machine's cores with the service. The recipients of one note are its room and the pages that
have its meeting open; all others are there to be in the way.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.table import Table
from bench.viewer import p95
from tests.support import county
from tests.support.event_page import EventPage, event_page
from tests.support.service import PASSWORD, Person

A_MINUTE = 30
"""Notes that one official may write in a minute."""


@dataclass(slots=True)
class Room:
    """A room that meets, and its TV."""

    meeting: str
    tv: Person
    csrf: str
    notes: "asyncio.Queue[str]"


async def reading(stack: AsyncExitStack, page: EventPage, kind: str) -> "asyncio.Queue[str]":
    """Have a page read all the time, as a browser does; the ids of the notes that it shows."""
    told: asyncio.Queue[str] = asyncio.Queue()

    async def read() -> None:
        while True:
            for note in (await page.next(kind, patience_s=None))["data"].get("notes", ()):
                told.put_nowait(note["id"])

    task = asyncio.create_task(read())
    stack.push_async_callback(_ended, task)
    return told


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def showing(notes: "asyncio.Queue[str]", note_id: str) -> None:
    """Return when the TV shows this note."""
    async with asyncio.timeout(30):
        while await notes.get() != note_id:
            pass


async def open_room(stack: AsyncExitStack, person: Person, town: str, number: int) -> Room:
    """A village with a TV that is paired and shows its running meeting."""
    branch, site = await county.add_room(person, town, f"第{number}村党支部")
    await county.add_camera(person, site, f"rtsp://192.0.2.{number % 250 + 1}/none", enabled=False)
    meeting = await county.plan_meeting(person, branch, 1800)
    await person.call("POST", f"/meetings/{meeting}/start")
    tv = await stack.enter_async_context(Person(person.base))
    code = (await tv.call("POST", "/room/pairing"))["code"]
    await person.call("POST", f"/sites/{site}/devices", {"code": code})
    shown = await tv.call("GET", "/room")
    page = await stack.enter_async_context(event_page(tv.http, f"{person.base}/api/v1/room/events"))
    await page.subscribe(shown["topic"])
    await page.next("room", lambda told: told["data"]["meeting"] is not None)
    return Room(meeting, tv, shown["csrf_token"], await reading(stack, page, "room"))


async def officials(stack: AsyncExitStack, person: Person, count: int) -> list[Person]:
    """Officials of the county who are logged in."""
    found = []
    for number in range(count):
        body = {"username": f"official{number}", "display_name": f"官员{number}", "role": "official"}
        await person.call("POST", "/users", {**body, "password": PASSWORD})
        official = await stack.enter_async_context(Person(person.base))
        await official.log_in(f"official{number}")
        found.append(official)
    return found


async def measure(rooms: int, desks: int, notes: int) -> tuple[list[float], list[float]]:
    """Milliseconds from click to TV, and from OK to desk."""
    shown_ms, answered_ms = [], []
    with tempfile.TemporaryDirectory(prefix="sanhui-bench-") as folder:
        async with county.running(Path(folder)) as here, AsyncExitStack() as stack:
            person = here.person
            authors = await officials(stack, person, -(-max(notes, desks * A_MINUTE // 10) // A_MINUTE))
            open_rooms = [await open_room(stack, person, here.town, number) for number in range(rooms)]
            for number in range(desks):
                author = authors[number // 10 % len(authors)]
                page = await stack.enter_async_context(event_page(author.http, f"{person.base}/api/v1/events"))
                await page.subscribe("now")
                await page.next("now")
                await reading(stack, page, "card")
            for number in range(notes):
                room, author = open_rooms[number % rooms], authors[number // A_MINUTE]
                async with event_page(author.http, f"{person.base}/api/v1/events") as desk:
                    await desk.subscribe(f"meeting/{room.meeting}")
                    await desk.next("meeting")
                    body = {"kind": "remind", "text": "请先清点到会人数", "key": f"bench-{number:08}"}
                    begun = time.perf_counter()
                    note = await author.call("POST", f"/meetings/{room.meeting}/notes", body)
                    await showing(room.notes, note["id"])
                    shown_ms.append((time.perf_counter() - begun) * 1000)
                    begun = time.perf_counter()
                    waiting = asyncio.create_task(desk.next("note", lambda told: told["data"]["answered_at"]))
                    answer = f"{person.base}/api/v1/room/notes/{note['id']}/answer"
                    async with room.tv.http.post(answer, headers={"X-CSRF-Token": room.csrf}) as response:
                        assert response.status == 200, await response.text()
                    await waiting
                    answered_ms.append((time.perf_counter() - begun) * 1000)
    return shown_ms, answered_ms


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rooms", type=int, default=40)
    parser.add_argument("--desks", type=int, default=40)
    parser.add_argument("--notes", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    shown, answered = asyncio.run(measure(options.rooms, options.desks, options.notes))
    table = Table(f"A note, {options.rooms} rooms, {options.desks} desks", ("way", "p50 ms", "p95 ms", "max ms"))
    for way, values in (("click → TV", shown), ("OK → desk", answered)):
        table.add(way, statistics.median(values), p95(values), max(values))
    table.notes.append("Committed to SQLite (synchronous=FULL) before anybody is told; bar: 1,000 ms.")
    table.print(as_json=options.json)


if __name__ == "__main__":
    main()

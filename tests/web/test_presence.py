"""Who looks in, kept as stretches of time; nothing is lost while the database is away."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from storage import migrate
from storage.database import Database
from storage.errors import DatabaseUnavailableError
from storage.records import Attendance, MeetingPlace, Role
from tests.support.rows import SampleCounty
from tests.web.conftest import ShiftedClock, user
from web.county import CountyPicture
from web.live.presence import Presence, is_superior
from web.viewers import Viewers


class Scene:
    """A meeting that runs in the first village, and people of several offices."""

    def __init__(self, database: Database, county: SampleCounty, place: MeetingPlace) -> None:
        self.clock = ShiftedClock()
        self.database = database
        self.place = place
        village, town = (
            place.organization,
            next(item for item in county.towns if item.id == place.organization.parent_id),
        )
        other = next(item for item in county.towns if item.id != town.id)
        people = [
            user("county", Role.OFFICIAL, "", None),
            user("town", Role.OFFICIAL, "", town.id),
            user("other", Role.OFFICIAL, "", other.id),
            user("village", Role.OFFICIAL, "", village.id),
            user("viewer", Role.VIEWER, "", None),
        ]
        organizations = (county.county, *county.towns, *county.villages)
        self.picture = CountyPicture(
            organizations={item.id: item for item in organizations}, users={item.id: item for item in people}
        )
        self.presence = Presence(database, self.clock)

    async def look(self, *names: str, after_s: float = 1.0) -> None:
        """So much later, these look."""
        self.clock.shift_s += after_s
        viewers = {self.place.camera.id: [f"u-{name}" for name in names]}
        await self.presence.update([self.place], viewers, self.picture)

    async def rows(self) -> list[Attendance]:
        """What is on record."""
        async with self.database.read() as repos:
            return list(await repos.attendance.of_meeting(self.place.meeting.id))


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    url = f"sqlite:///{tmp_path}/sanhui.db"
    migrate.upgrade(url)
    async with Database(url) as database:
        county = SampleCounty()
        meeting = county.meeting()
        async with database.transaction() as repos:
            await county.add_to(repos)
            await repos.meetings.add(meeting)
            place = await repos.meetings.place(meeting.id)
        yield Scene(database, county, place)


async def test_short_absences_are_one_look_and_long_ones_two(scene: Scene) -> None:
    await scene.look("county")
    await scene.look()
    await scene.look("county", after_s=30)
    await scene.look()
    assert scene.presence.of(scene.place.meeting.id) == ()
    await scene.look(after_s=61)
    await scene.look("county")
    await scene.look("county", "town")
    rows = await scene.rows()
    assert [(row.user_id, row.to_utc_ns is None) for row in rows] == [
        ("u-county", False),
        ("u-county", True),
        ("u-town", True),
    ]
    first = rows[0]
    assert first.to_utc_ns is not None
    assert 31e9 < first.to_utc_ns - first.from_utc_ns < 34e9
    await scene.presence.leave_all()
    assert all(row.to_utc_ns is not None for row in await scene.rows())


async def test_what_a_crash_leaves_open_ends_where_it_was_last_known_to_last(scene: Scene) -> None:
    await scene.look("county")
    await scene.look("county", after_s=61)
    (row,) = await scene.rows()
    assert row.seen_utc_ns - row.from_utc_ns > 60e9
    await Presence(scene.database, scene.clock).close_forgotten()
    assert [item.to_utc_ns for item in await scene.rows()] == [row.seen_utc_ns]


async def test_a_database_that_is_away_is_told_later(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise DatabaseUnavailableError("away", database="x")

    with monkeypatch.context() as patch:
        patch.setattr(scene.database, "transaction", away)
        await scene.look("county")
        await scene.look()
        await scene.look("town", after_s=90)
    assert await scene.rows() == []
    await scene.look("town")
    rows = await scene.rows()
    assert [(row.user_id, row.to_utc_ns is None) for row in rows] == [("u-county", False), ("u-town", True)]


async def test_superior_are_officials_of_offices_above_the_village(scene: Scene) -> None:
    village = scene.place.organization.id
    found = {name: is_superior(scene.picture, person, village) for name, person in scene.picture.users.items()}
    assert found == {"u-county": True, "u-town": True, "u-other": False, "u-village": False, "u-viewer": False}
    stranger = replace(scene.picture.users["u-town"], organization_id="gone")
    assert not is_superior(scene.picture, stranger, village)


def test_who_holds_a_connection_looks_until_a_moment_after_it() -> None:
    clock = ShiftedClock()
    viewers = Viewers(clock)
    with viewers.holding("c", "u"), viewers.holding("c", "u"):
        viewers.seen("c", "u")
        clock.shift_s += 100
        assert viewers.counts() == {"c": 1}
        viewers.seen("c", "u")
    assert viewers.of_camera("c") == ("u",)
    clock.shift_s += 3
    assert viewers.counts() == {}

"""Organizations, sites, cameras: on SQLite and PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import Engine, event

from storage.database import Database
from storage.errors import ConflictError, RecordNotFoundError
from storage.records import CameraTransport, PlaceKind
from tests.support.rows import SampleCounty, camera, organization


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    """Statements that any engine runs meanwhile, but for BEGIN."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if not statement.startswith("BEGIN"):
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_the_tree_and_its_subtrees(database: Database, county: SampleCounty) -> None:
    async with database.read() as repos:
        everything = await repos.organizations.all()
        town = await repos.organizations.subtree(county.towns[0].id)
        nothing = await repos.organizations.subtree("none")
        village = await repos.organizations.subtree(county.villages[2].id)
    assert set(everything) == {county.county, *county.towns, *county.villages}
    assert set(town) == {county.towns[0], county.villages[0], county.villages[1]}
    assert village == (county.villages[2],)
    assert nothing == ()


async def test_an_organization_is_changed_and_removed(database: Database, county: SampleCounty) -> None:
    moved = replace(county.villages[0], name="柳树新村党支部", parent_id=county.towns[1].id, code="371322", position=3)
    bare = organization("空村", county.towns[1])
    async with database.transaction() as repos:
        await repos.organizations.update(moved)
        await repos.organizations.add(bare)
        await repos.organizations.delete(bare.id)
    async with database.read() as repos:
        assert await repos.organizations.get(moved.id) == moved
        assert moved in await repos.organizations.subtree(county.towns[1].id)
        with pytest.raises(RecordNotFoundError):
            await repos.organizations.get(bare.id)


async def test_siblings_have_different_names(database: Database, county: SampleCounty) -> None:
    with pytest.raises(ConflictError):
        async with database.transaction() as repos:
            await repos.organizations.add(organization(county.villages[0].name, county.towns[0]))
    async with database.transaction() as repos:
        await repos.organizations.add(organization(county.villages[0].name, county.towns[1]))


async def test_sites_of_a_subtree(database: Database, county: SampleCounty) -> None:
    renamed = replace(county.sites[0], name="新会议室", address="村口")
    async with database.transaction() as repos:
        await repos.sites.update(renamed)
    async with database.read() as repos:
        assert await repos.sites.get(renamed.id) == renamed
        assert len(await repos.sites.all()) == 3
        assert set(await repos.sites.all(county.towns[0].id)) == {renamed, county.sites[1]}
    with pytest.raises(ConflictError):
        async with database.transaction() as repos:
            await repos.sites.delete(renamed.id)


async def test_a_camera_with_its_register_entry(database: Database, county: SampleCounty) -> None:
    full = replace(
        county.cameras[0],
        name="后排",
        url="rtsp://192.0.2.9/Streaming/Channels/101",
        sub_url="rtsp://192.0.2.9/Streaming/Channels/102",
        username="admin",
        password_encrypted="v1.k.xxxx",
        transport=CameraTransport.UDP,
        enabled=False,
        position=2,
        place_kind=PlaceKind.DUTY_OFFICE,
        purpose="坐班抽查",
        legal_basis="《个人信息保护法》第二十六条",
        notice="门口，2026-03-01 起",
        notice_photo_key="register/notice.jpg",
        filing_number="371300-0001",
        retention_days=90,
        supervision_allowed=False,
    )
    async with database.transaction() as repos:
        await repos.cameras.update(full)
    async with database.read() as repos:
        assert await repos.cameras.get(full.id) == full
        assert {seen.id for seen in await repos.cameras.enabled()} == {seen.id for seen in county.cameras[1:]}
        assert await repos.cameras.count() == 3
    assert "v1.k.xxxx" not in repr(full)


async def test_cameras_with_their_places_are_one_statement(database: Database, county: SampleCounty) -> None:
    with counted_statements() as statements:
        async with database.read() as repos:
            places = await repos.cameras.places()
    assert len(statements) == 1
    assert [(p.camera, p.site, p.organization) for p in places] == [
        (county.cameras[i], county.sites[i], county.villages[i]) for i in _county_order(county)
    ]
    async with database.read() as repos:
        assert len(await repos.cameras.places(county.towns[0].id)) == 2
        assert len(await repos.cameras.places(county.villages[2].id, enabled=True)) == 1
        assert await repos.cameras.places(county.villages[2].id, enabled=False) == ()
        assert (await repos.cameras.place(county.cameras[1].id)).organization == county.villages[1]
        with pytest.raises(RecordNotFoundError):
            await repos.cameras.place("none")


def _county_order(county: SampleCounty) -> list[int]:
    return sorted(range(3), key=lambda i: (county.villages[i].position, county.villages[i].name))


async def test_a_camera_that_meetings_refer_to_stays(database: Database, county: SampleCounty) -> None:
    spare = camera(county.sites[0], "备用")
    async with database.transaction() as repos:
        await repos.cameras.add(spare)
        await repos.meetings.add(county.meeting())
        await repos.cameras.delete(spare.id)
    with pytest.raises(ConflictError):
        async with database.transaction() as repos:
            await repos.cameras.delete(county.cameras[0].id)

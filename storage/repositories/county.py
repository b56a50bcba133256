"""Organizations, sites and cameras."""

from sqlalchemy import Select, delete, func, insert, select, update

from storage.models import CameraRow, OrganizationRow, SiteRow
from storage.records import Camera, CameraPlace, Organization, Site
from storage.repositories.base import Repository, record_of, subtree, values_of


class OrganizationRepository(Repository):
    """The county's tree."""

    kind = "organization"

    async def add(self, organization: Organization) -> None:
        """Raises ``ConflictError`` if a sibling has the name or the parent is not there."""
        await self._execute(insert(OrganizationRow).values(values_of(organization)))

    async def get(self, organization_id: str) -> Organization:
        """Raises ``RecordNotFoundError``."""
        query = select(OrganizationRow).where(OrganizationRow.id == organization_id)
        return await self._one(Organization, query, organization_id)

    async def update(self, organization: Organization) -> None:
        """Write all fields. Raises ``RecordNotFoundError``, ``ConflictError``. The caller keeps the tree a tree."""
        statement = update(OrganizationRow).where(OrganizationRow.id == organization.id)
        await self._changed_one(statement.values(values_of(organization, without=("id",))), organization.id)

    async def delete(self, organization_id: str) -> None:
        """Raises ``ConflictError`` while anything belongs to it."""
        await self._changed_one(delete(OrganizationRow).where(OrganizationRow.id == organization_id), organization_id)

    async def all(self) -> tuple[Organization, ...]:
        """The whole tree, siblings in order; parents before children is for the caller to arrange."""
        return await self._all(Organization, select(OrganizationRow).order_by(*_ORDER))

    async def subtree(self, root_id: str) -> tuple[Organization, ...]:
        """``root_id`` and all below it; empty if there is no such organization."""
        query = select(OrganizationRow).where(OrganizationRow.id.in_(select(subtree(root_id).c.id)))
        return await self._all(Organization, query.order_by(*_ORDER))

    async def count(self) -> int:
        """How many there are."""
        return await self._number(select(func.count()).select_from(OrganizationRow))


_ORDER = (OrganizationRow.position, OrganizationRow.name, OrganizationRow.id)


class SiteRepository(Repository):
    """Places where organizations meet."""

    kind = "site"

    async def add(self, site: Site) -> None:
        """Raises ``ConflictError`` if the organization has a site of that name."""
        await self._execute(insert(SiteRow).values(values_of(site)))

    async def get(self, site_id: str) -> Site:
        """Raises ``RecordNotFoundError``."""
        return await self._one(Site, select(SiteRow).where(SiteRow.id == site_id), site_id)

    async def update(self, site: Site) -> None:
        """Write all fields. Raises ``RecordNotFoundError``, ``ConflictError``."""
        statement = update(SiteRow).where(SiteRow.id == site.id).values(values_of(site, without=("id",)))
        await self._changed_one(statement, site.id)

    async def delete(self, site_id: str) -> None:
        """Raises ``ConflictError`` while it has cameras or meetings."""
        await self._changed_one(delete(SiteRow).where(SiteRow.id == site_id), site_id)

    async def all(self, organization_id: str | None = None) -> tuple[Site, ...]:
        """Sites of the organization and all below it; of the county if None."""
        query = select(SiteRow).order_by(SiteRow.name, SiteRow.id)
        if organization_id is not None:
            query = query.where(SiteRow.organization_id.in_(select(subtree(organization_id).c.id)))
        return await self._all(Site, query)


class CameraRepository(Repository):
    """Cameras and their register."""

    kind = "camera"

    async def add(self, camera: Camera) -> None:
        """Raises ``ConflictError`` if the site has a camera of that name."""
        await self._execute(insert(CameraRow).values(values_of(camera)))

    async def get(self, camera_id: str) -> Camera:
        """Raises ``RecordNotFoundError``."""
        return await self._one(Camera, select(CameraRow).where(CameraRow.id == camera_id), camera_id)

    async def update(self, camera: Camera) -> None:
        """Write all fields. Raises ``RecordNotFoundError``, ``ConflictError``."""
        statement = update(CameraRow).where(CameraRow.id == camera.id)
        await self._changed_one(statement.values(values_of(camera, without=("id", "created_at"))), camera.id)

    async def delete(self, camera_id: str) -> None:
        """Raises ``ConflictError`` while meetings or recordings refer to it: disable it instead."""
        await self._changed_one(delete(CameraRow).where(CameraRow.id == camera_id), camera_id)

    async def enabled(self) -> tuple[Camera, ...]:
        """Every camera that should be connected."""
        query = select(CameraRow).where(CameraRow.enabled.is_(True)).order_by(CameraRow.id)
        return await self._all(Camera, query)

    async def place(self, camera_id: str) -> CameraPlace:
        """The camera with its site and organization. Raises ``RecordNotFoundError``."""
        row = (await self._execute(_places().where(CameraRow.id == camera_id))).first()
        if row is None:
            raise self._not_found(camera_id)
        return _place(*row)

    async def places(
        self, organization_id: str | None = None, *, enabled: bool | None = None
    ) -> tuple[CameraPlace, ...]:
        """Cameras of the organization and all below it (of the county if None), each with site and organization: one
        query."""
        query = _places().order_by(
            OrganizationRow.position, OrganizationRow.name, SiteRow.name, CameraRow.position, CameraRow.name
        )
        if organization_id is not None:
            query = query.where(SiteRow.organization_id.in_(select(subtree(organization_id).c.id)))
        if enabled is not None:
            query = query.where(CameraRow.enabled.is_(enabled))
        return tuple(_place(*row) for row in await self._execute(query))

    async def count(self) -> int:
        """How many there are."""
        return await self._number(select(func.count()).select_from(CameraRow))

    async def count_sealed(self) -> int:
        """How many have a password on record."""
        return await self._number(select(func.count()).select_from(CameraRow).where(CameraRow.password_encrypted != ""))

    async def reseal(self, camera_id: str, before: str, after: str) -> bool:
        """Put another sealed password in the place of ``before``. False if somebody has put one there meanwhile."""
        statement = update(CameraRow).where(CameraRow.id == camera_id, CameraRow.password_encrypted == before)
        return await self._changed(statement.values(password_encrypted=after)) == 1


def _places() -> Select[CameraRow, SiteRow, OrganizationRow]:
    return (
        select(CameraRow, SiteRow, OrganizationRow)
        .join(SiteRow, CameraRow.site_id == SiteRow.id)
        .join(OrganizationRow, SiteRow.organization_id == OrganizationRow.id)
    )


def _place(camera: CameraRow, site: SiteRow, organization: OrganizationRow) -> CameraPlace:
    return CameraPlace(
        camera=record_of(Camera, camera),
        site=record_of(Site, site),
        organization=record_of(Organization, organization),
    )

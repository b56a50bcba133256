"""Organizations and their sites."""

from collections import Counter
from collections.abc import Mapping

from storage.records import Organization as OrganizationRecord
from storage.records import OrganizationLevel, new_id
from storage.records import Site as SiteRecord
from web.access.scopes import Scope
from web.api import present
from web.api.schemas.organizations import (
    Organization,
    OrganizationInput,
    OrganizationTree,
    Site,
    SiteInput,
    SiteList,
    SiteQuery,
)
from web.call import Call
from web.county import CountyPicture
from web.errors import FieldsInvalidError, NotFoundError, WrongField
from web.operations import Operations

operations = Operations("organizations")
_ABOVE = {OrganizationLevel.TOWN: OrganizationLevel.COUNTY, OrganizationLevel.VILLAGE: OrganizationLevel.TOWN}


@operations.operation("GET", "/organizations", scope=Scope.ORGANIZATIONS_READ)
async def list_organizations(call: Call) -> OrganizationTree:
    """The tree of organizations, from the person's own downwards."""
    picture, area = call.picture, call.principal.area
    roots = picture.children.get(None, ()) if area is None else tuple(picture.path(area)[:1])
    sites, cameras = _counts(picture)
    return OrganizationTree(roots=[_node(picture, root, sites, cameras) for root in roots])


@operations.operation("POST", "/organizations", scope=Scope.ORGANIZATIONS_WRITE, status=201, errors=(409,))
async def create_organization(call: Call, body: OrganizationInput) -> Organization:
    """Add an organization."""
    _check_parent(call, body, None)
    record = OrganizationRecord(
        id=new_id(),
        parent_id=body.parent_id,
        level=body.level,
        name=body.name,
        code=body.code,
        position=body.position,
    )
    async with call.services.database.transaction() as repos:
        await repos.organizations.add(record)
        await repos.audit.add(call.entry("organization.create", f"organization/{record.id}", name=record.name))
    return await _refreshed(call, record.id)


@operations.operation("PUT", "/organizations/{organization_id}", scope=Scope.ORGANIZATIONS_WRITE, errors=(409,))
async def update_organization(call: Call, organization_id: str, body: OrganizationInput) -> Organization:
    """Change an organization."""
    call.organization(organization_id)
    _check_parent(call, body, organization_id)
    record = OrganizationRecord(
        id=organization_id,
        parent_id=body.parent_id,
        level=body.level,
        name=body.name,
        code=body.code,
        position=body.position,
    )
    async with call.services.database.transaction() as repos:
        await repos.organizations.update(record)
        await repos.audit.add(call.entry("organization.update", f"organization/{record.id}", name=record.name))
    return await _refreshed(call, organization_id)


@operations.operation("DELETE", "/organizations/{organization_id}", scope=Scope.ORGANIZATIONS_WRITE, errors=(409,))
async def delete_organization(call: Call, organization_id: str) -> None:
    """Remove an organization that has nothing below it."""
    record = call.organization(organization_id)
    async with call.services.database.transaction() as repos:
        await repos.organizations.delete(organization_id)
        await repos.audit.add(call.entry("organization.delete", f"organization/{record.id}", name=record.name))
    await call.services.county.refresh()


@operations.operation("GET", "/sites", scope=Scope.ORGANIZATIONS_READ)
async def list_sites(call: Call, query: SiteQuery) -> SiteList:
    """Places where meetings are held."""
    area = call.narrowed(query.organization_id)
    picture = call.picture
    by_site = Counter(place.site.id for place in picture.cameras.values())
    sites = [site for site in picture.sites.values() if picture.within(area, site.organization_id)]
    return SiteList(items=[_site(picture, site, by_site[site.id]) for site in sites])


@operations.operation("POST", "/sites", scope=Scope.ORGANIZATIONS_WRITE, status=201, errors=(409,))
async def create_site(call: Call, body: SiteInput) -> Site:
    """Add a place."""
    _check_organization(call, body.organization_id)
    record = SiteRecord(id=new_id(), organization_id=body.organization_id, name=body.name, address=body.address)
    async with call.services.database.transaction() as repos:
        await repos.sites.add(record)
        await repos.audit.add(call.entry("site.create", f"site/{record.id}", **_named(call, record)))
    picture = await call.services.county.refresh()
    return _site(picture, record, 0)


@operations.operation("PUT", "/sites/{site_id}", scope=Scope.ORGANIZATIONS_WRITE, errors=(409,))
async def update_site(call: Call, site_id: str, body: SiteInput) -> Site:
    """Change a place."""
    _known_site(call, site_id)
    _check_organization(call, body.organization_id)
    record = SiteRecord(id=site_id, organization_id=body.organization_id, name=body.name, address=body.address)
    async with call.services.database.transaction() as repos:
        await repos.sites.update(record)
        await repos.audit.add(call.entry("site.update", f"site/{record.id}", **_named(call, record)))
    picture = await call.services.county.refresh()
    return _site(picture, record, sum(place.site.id == site_id for place in picture.cameras.values()))


@operations.operation("DELETE", "/sites/{site_id}", scope=Scope.ORGANIZATIONS_WRITE, errors=(409,))
async def delete_site(call: Call, site_id: str) -> None:
    """Remove a place that has no cameras and no meetings."""
    record = _known_site(call, site_id)
    async with call.services.database.transaction() as repos:
        await repos.sites.delete(site_id)
        await repos.audit.add(call.entry("site.delete", f"site/{record.id}", **_named(call, record)))
    await call.services.county.refresh()


async def _refreshed(call: Call, organization_id: str) -> Organization:
    picture = await call.services.county.refresh()
    sites, cameras = _counts(picture)
    return _node(picture, picture.organizations[organization_id], sites, cameras)


def _named(call: Call, site: SiteRecord) -> dict[str, str]:
    return {"name": site.name, "village": call.picture.village_of(site)}


def _known_site(call: Call, site_id: str) -> SiteRecord:
    site = call.picture.sites.get(site_id)
    if site is None:
        raise NotFoundError
    call.inside(site.organization_id)
    return site


def _check_organization(call: Call, organization_id: str) -> None:
    if organization_id not in call.picture.organizations:
        raise FieldsInvalidError([WrongField("organization_id", "not-there", {})])
    if not call.picture.within(call.principal.area, organization_id):
        raise FieldsInvalidError([WrongField("organization_id", "outside-area", {})])


def _check_parent(call: Call, body: OrganizationInput, own_id: str | None) -> None:
    """A town stands below a county, a village below a town, nothing below itself, all inside the person's area."""
    above = _ABOVE.get(body.level)
    below = call.picture.children.get(own_id, ()) if own_id is not None else ()
    code = ""
    if any(_ABOVE.get(child.level) is not body.level for child in below):
        code = "level-below"
    elif above is None:
        code = "parent-level" if body.parent_id is not None else ""
        if call.principal.area is not None and own_id != call.principal.area:
            code = "outside-area"
    elif body.parent_id is None:
        code = "parent-needed"
    else:
        parent = call.picture.organizations.get(body.parent_id)
        if parent is None:
            code = "not-there"
        elif parent.level is not above or own_id in {item.id for item in call.picture.path(parent.id)}:
            code = "parent-level"
        elif not call.picture.within(call.principal.area, parent.id):
            code = "outside-area"
    if code:
        raise FieldsInvalidError([WrongField("parent_id", code, {})])


def _counts(picture: CountyPicture) -> tuple[Counter[str], Counter[str]]:
    """Sites and cameras of each organization itself."""
    sites = Counter(site.organization_id for site in picture.sites.values())
    return sites, Counter(place.organization.id for place in picture.cameras.values())


def _node(
    picture: CountyPicture, record: OrganizationRecord, sites: Mapping[str, int], cameras: Mapping[str, int]
) -> Organization:
    children = [_node(picture, child, sites, cameras) for child in picture.children.get(record.id, ())]
    return Organization(
        id=record.id,
        name=record.name,
        level=record.level,
        parent_id=record.parent_id,
        code=record.code,
        position=record.position,
        site_count=sites.get(record.id, 0) + sum(child.site_count for child in children),
        camera_count=cameras.get(record.id, 0) + sum(child.camera_count for child in children),
        children=children,
    )


def _site(picture: CountyPicture, site: SiteRecord, cameras: int) -> Site:
    return Site(
        id=site.id,
        name=site.name,
        organization=present.organization_ref(picture.organizations[site.organization_id]),
        town=present.town_ref(picture, site.organization_id),
        address=site.address,
        camera_count=cameras,
    )

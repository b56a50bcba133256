"""Organizations and their sites."""

from web.access.scopes import Scope
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
from web.operations import Operations

operations = Operations("organizations")


@operations.operation("GET", "/organizations", scope=Scope.ORGANIZATIONS_READ)
async def list_organizations(call: Call) -> OrganizationTree:
    """The tree of organizations."""
    raise NotImplementedError


@operations.operation("POST", "/organizations", scope=Scope.ORGANIZATIONS_WRITE, status=201)
async def create_organization(call: Call, body: OrganizationInput) -> Organization:
    """Add an organization."""
    raise NotImplementedError


@operations.operation("PUT", "/organizations/{organization_id}", scope=Scope.ORGANIZATIONS_WRITE)
async def update_organization(call: Call, organization_id: str, body: OrganizationInput) -> Organization:
    """Change an organization."""
    raise NotImplementedError


@operations.operation("DELETE", "/organizations/{organization_id}", scope=Scope.ORGANIZATIONS_WRITE)
async def delete_organization(call: Call, organization_id: str) -> None:
    """Remove an organization that has nothing below it."""
    raise NotImplementedError


@operations.operation("GET", "/sites", scope=Scope.ORGANIZATIONS_READ)
async def list_sites(call: Call, query: SiteQuery) -> SiteList:
    """Places where meetings are held."""
    raise NotImplementedError


@operations.operation("POST", "/sites", scope=Scope.ORGANIZATIONS_WRITE, status=201)
async def create_site(call: Call, body: SiteInput) -> Site:
    """Add a place."""
    raise NotImplementedError


@operations.operation("PUT", "/sites/{site_id}", scope=Scope.ORGANIZATIONS_WRITE)
async def update_site(call: Call, site_id: str, body: SiteInput) -> Site:
    """Change a place."""
    raise NotImplementedError


@operations.operation("DELETE", "/sites/{site_id}", scope=Scope.ORGANIZATIONS_WRITE)
async def delete_site(call: Call, site_id: str) -> None:
    """Remove a place that has no cameras and no meetings."""
    raise NotImplementedError

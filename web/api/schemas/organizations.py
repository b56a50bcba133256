"""The tree of organizations, and their sites."""

from typing import Annotated

from pydantic import Field, StringConstraints

from storage.records import OrganizationLevel
from web.api.schemas.common import Id, Name, OrganizationRef, RequestModel, ResponseModel

Code = Annotated[str, StringConstraints(strip_whitespace=True, max_length=32)]


class Organization(ResponseModel):
    """One organization with what is below it."""

    id: str
    name: str
    level: OrganizationLevel
    parent_id: str | None
    code: str = Field(description="The county's own number for it; empty for none")
    position: int = Field(description="Order among its siblings")
    site_count: int
    camera_count: int
    children: list["Organization"]


class OrganizationTree(ResponseModel):
    """The organizations one may see."""

    roots: list[Organization]


class OrganizationInput(RequestModel):
    """An organization to add or to change."""

    name: Name
    level: OrganizationLevel
    parent_id: Id | None = None
    code: Code = ""
    position: int = Field(default=0, ge=0, le=100_000)


class Site(ResponseModel):
    """A place where an organization meets."""

    id: str
    name: str
    organization: OrganizationRef
    town: OrganizationRef | None
    address: str
    camera_count: int


class SiteList(ResponseModel):
    """The sites one may see."""

    items: list[Site]


class SiteQuery(RequestModel):
    """Which sites."""

    organization_id: Id | None = Field(default=None, description="This organization and all below it")


class SiteInput(RequestModel):
    """A site to add or to change."""

    name: Name
    organization_id: Id
    address: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)] = ""

"""The archive: meetings found back in time, page by page."""

from typing import Annotated

from pydantic import Field, StringConstraints

from storage.records import MeetingKind, MeetingState
from web.api.schemas.common import Id, RequestModel, ResponseModel
from web.api.schemas.meetings import MeetingSummary


class ArchiveQuery(RequestModel):
    """Which meetings, newest first; nothing that is planned for a later day."""

    organization_id: Id | None = Field(default=None, description="This organization and all below it")
    kind: MeetingKind | None = None
    state: MeetingState | None = None
    search: Annotated[str, StringConstraints(strip_whitespace=True, max_length=80)] = Field(
        default="", description="Words that are all in the title or the names of the village or the room"
    )
    cursor: Annotated[str, StringConstraints(pattern=r"^([0-9]{1,18}-[A-Za-z0-9_-]{1,64})?$")] = Field(
        default="", description="``next`` of the page before; empty for the first page"
    )
    limit: int = Field(default=30, ge=1, le=100)


class ArchivePage(ResponseModel):
    """Some meetings, newest first."""

    time_zone: str
    items: list[MeetingSummary]
    next: str | None = Field(description="``cursor`` of the next page; null on the last")

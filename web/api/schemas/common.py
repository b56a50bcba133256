"""Models that every subject shares."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator

from storage.records import OrganizationLevel

FIRST_YEAR = 2000
LAST_YEAR = 2200
"""Years in which a meeting can be; far enough from where calendars end for any time zone."""


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("time-without-zone")
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise ValueError("time-out-of-range")
    return value


Time = Annotated[datetime, AfterValidator(_aware), Field(description="RFC 3339 time with its offset")]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]


class RequestModel(BaseModel):
    """What a client sends: an unknown field is a mistake, said so."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*")
    @classmethod
    def _without_nul(cls, value: object) -> object:
        """PostgreSQL has no text with NUL in it."""
        if isinstance(value, str) and "\0" in value:
            raise ValueError("nul")
        return value


class ResponseModel(BaseModel):
    """What a client gets."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)


class Notice(ResponseModel):
    """Something a person should know, in their language."""

    code: str = Field(description="Stable kebab-case code, the same as in problem details and message catalogs")
    title: str = Field(description="What happened, in one line")
    detail: str = Field(description="What it means for the recording and what to do next")


class FieldError(ResponseModel):
    """What is wrong with one field of a request."""

    field: str = Field(description="Dotted path, such as ``planned_start`` or ``cameras.0``; empty for the whole body")
    title: str


class Problem(ResponseModel):
    """Problem details (RFC 9457), sent as ``application/problem+json`` for every error."""

    type: str = Field(description="URI that names the kind of problem")
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldError] = Field(default=[], description="One entry for each wrong field")
    incident: str | None = Field(
        default=None, description="Code to look for in the log when something unforeseen broke"
    )
    retry_after_s: int | None = Field(default=None, description="Seconds until it is worth trying again")


class OrganizationRef(ResponseModel):
    """An organization by id and name."""

    id: str
    name: str
    level: OrganizationLevel


class SiteRef(ResponseModel):
    """A place by id and name."""

    id: str
    name: str


class CameraRef(ResponseModel):
    """A camera by id and name."""

    id: str
    name: str


class PersonRef(ResponseModel):
    """A user by id and the name to show."""

    id: str
    name: str


class Action(ResponseModel):
    """Whether the person may do something now, and if not, why not."""

    allowed: bool
    reason: Notice | None = None

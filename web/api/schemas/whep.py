"""Bodies of the WHEP operations."""

from pydantic import Field

from web.api.schemas.common import ResponseModel, Time


class ViewToken(ResponseModel):
    """For the `Authorization: Bearer` header of a WHEP player. Shown once; Sanhui keeps its hash alone."""

    token: str
    expires_at: Time = Field(description="Until then a player may look; the picture ends with it")
    whep_url: str
